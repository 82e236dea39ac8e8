import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { ScriptedModel } from "../src/index.ts"
import { ask, bodyOf, call, script, tool, withModel } from "./fixtures/modelClient.ts"
import * as rawClient from "./fixtures/rawClient.ts"

describe("control from the test", () => {
  it.live("holds a stream at a gate", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const client = yield* rawClient.post(
          model.port,
          bodyOf(script({ do: "text", text: "one two three", gate: "middle", gateAfter: 2 }))
        )
        yield* model.awaitGate("middle")
        yield* client.awaitText("two ")
        assert.notInclude(client.received(), "three")
        yield* model.open("middle")
        yield* client.awaitText("[DONE]")
        assert.include(client.received(), "three")
      })
    ))

  it.live("holds a whole answer at a gate, of any kind", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const client = yield* rawClient.post(model.port, bodyOf(script({ do: "status", code: 418, gate: "first" })))
        yield* model.awaitGate("first")
        assert.strictEqual(client.received(), "")
        yield* model.openAll
        yield* client.closed
        assert.match(client.received(), /^HTTP\/1\.1 418 /)
        assert.strictEqual((yield* ask(model, script({ do: "text", text: "open", gate: "later" }))).content, "open")
      })
    ))

  it.live("waits for a call still to come", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const second = yield* Effect.forkChild(model.awaitRequest(1))
        const wanted = yield* Effect.forkChild(model.awaitRequest((request) => request.tools.includes("write")))
        yield* ask(model, "first")
        assert.isUndefined(second.pollUnsafe())
        yield* ask(model, "second", { tools: [tool("write")] })
        assert.strictEqual((yield* Fiber.join(second)).lastUserText, "second")
        assert.strictEqual((yield* Fiber.join(wanted)).index, 1)
      })
    ))

  it.live("records calls without their key, and cuts long bodies", () =>
    withModel((model) =>
      Effect.gen(function*() {
        yield* call(model, bodyOf("x".repeat(1_200_000)), { authorization: "Bearer secret", "x-session-id": "s1" })
        const [recorded] = yield* model.requests
        assert.isDefined(recorded)
        if (recorded !== undefined) {
          assert.strictEqual(recorded.text.length, 1_000_000)
          assert.isTrue(recorded.truncated)
          assert.isTrue(recorded.stream)
          assert.strictEqual(recorded.request.sessionId, "s1")
          assert.notInclude(JSON.stringify(recorded), "secret")
        }
      })
    ))

  it.live("gives up an answer when its client leaves", () =>
    Effect.gen(function*() {
      const left = yield* Deferred.make<void>()
      yield* withModel((model) =>
        Effect.gen(function*() {
          const client = yield* rawClient.post(model.port, bodyOf("x"))
          yield* model.awaitRequest(0)
          yield* client.leave
          yield* Deferred.await(left)
        }), { onRequest: () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(left, undefined)) })
    }))

  it.live("ends every open answer when it is closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const model = yield* Scope.provide(ScriptedModel.make(), scope)
      const steps: ReadonlyArray<ScriptedModel.Step> = [
        { do: "hang" },
        { do: "hang", headers: true },
        { do: "stall" },
        { do: "text", text: "a b", gate: "never", gateAfter: 1 },
        { do: "text", words: 5, delayMs: 600_000 }
      ]
      const clients = yield* Effect.forEach(steps, (step) => rawClient.post(model.port, bodyOf(script(step))))
      yield* model.awaitRequest(steps.length - 1)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(clients, (client) => client.closed)
      assert.strictEqual(yield* model.connections, 0)
    }))

  it.live("says so when its port is taken", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(ScriptedModel.make({ port: model.port }))
        assert.instanceOf(error, ScriptedModel.ListenError)
        assert.strictEqual(error.port, model.port)
      })
    ))
})
