/** Tools of the host that the model of the real Codex calls. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as HostTool from "@reins/core/HostTool"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Deferred, Effect, Schema, Stream } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { prompt, text } from "./fixtures/script.ts"

const isToolCall = (event: SessionEvent | Lagged): event is Extract<SessionEvent, { readonly _tag: "ItemCompleted" }> =>
  event._tag === "ItemCompleted" && event.item._tag === "toolCall"

const completed = { _tag: "completed", stopReason: "endTurn" } as const

const add = HostTool.make({
  description: "Adds two numbers.",
  input: Schema.Struct({ a: Schema.Number, b: Schema.Number }),
  run: ({ a, b }) => Effect.succeed({ sum: a + b })
})

const call = (name: string, args: Record<string, Schema.Json> = {}): ScriptedModel.Step => ({
  do: "tools",
  tools: [{ name, args: args as never }]
})

/** A turn in which a tool is called, and how that ended. */
const turnWith = Effect.fnUntraced(function*(session: Session, ...steps: ReadonlyArray<ScriptedModel.Step>) {
  const turn = yield* session.prompt(prompt("go on", ...steps, text("done")))
  const events = [...yield* Stream.runCollect(turn.events)]
  return { outcome: yield* turn.outcome, items: events.filter(isToolCall), events }
})

const outputs = (items: ReadonlyArray<Extract<SessionEvent, { readonly _tag: "ItemCompleted" }>>) =>
  items.map(({ item, status }) => [status, item._tag === "toolCall" ? item.output : ""] as const)

layer(Codex.layer({ policy: ApprovalPolicy.askAlways }), { excludeTestServices: true, timeout: "60 seconds" })(
  "tools of the host, with Codex",
  (it) => {
    it.effect("are offered with their schema, run in the host, and the model hears what they came to", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ tools: { add } })
        const { events, items, outcome } = yield* turnWith(session, call("add", { a: 20, b: 22 }))
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(outputs(items), [["completed", "{\"sum\":42}"]])
        const opened = events.find(Host.isTag("RequestOpened"))
        assert.strictEqual(opened?.kind, "hostTool")
        assert.deepStrictEqual(opened?.facts.input, { a: 20, b: 22 })
        // The call and its item are known as one.
        assert.strictEqual(opened?.itemId, items[0]?.itemId)
        assert.strictEqual(events.find(Host.isTag("RequestSettled"))?.by, "host")
        const bodies = yield* Model.bodies
        const offered = JSON.stringify(bodies.at(-1)?.["tools"])
        assert.include(offered, "Adds two numbers.")
        assert.include(
          JSON.stringify(bodies.at(-1)?.["input"]),
          JSON.stringify(JSON.stringify({ sum: 42 })).slice(1, -1)
        )
      }))

    it.effect("that fail are failed calls, of which the model hears why", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({
          tools: {
            add,
            find: { ...add, run: () => Effect.fail({ message: "no such ticket" }) },
            dies: { ...add, run: () => Effect.die(new Error("secret of the host")) }
          }
        })
        const { items, outcome } = yield* turnWith(session, call("find"), call("dies"), call("add", { a: "one" }))
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(outputs(items).map(([status]) => status), ["failed", "failed", "failed"])
        const heard = JSON.stringify((yield* Model.lastBody)["input"])
        assert.include(heard, "no such ticket")
        assert.include(heard, "failed in the host")
        assert.include(heard, "Expected number")
        assert.notInclude(heard, "secret of the host")
      }))

    it.effect("are stopped by an interrupt of the turn", () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const stopped = yield* Deferred.make<void>()
        const session = yield* Codex.open({
          tools: {
            wait: {
              ...add,
              run: () =>
                Deferred.succeed(begun, undefined).pipe(
                  Effect.andThen(Effect.never),
                  Effect.onInterrupt(() => Deferred.succeed(stopped, undefined))
                )
            }
          }
        })
        const turn = yield* session.prompt(prompt("wait", call("wait"), text("never said")))
        yield* Deferred.await(begun)
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* Deferred.await(stopped)
        assert.deepStrictEqual((yield* turnWith(session)).outcome, completed)
      }))

    it.effect("without code of their own are answered by a person; cancelled, the turn ends", () =>
      Effect.gen(function*() {
        const { run: _, ...choose } = add
        const session = yield* Codex.open({ tools: { choose } })
        yield* session.attach()
        const answered = yield* session.prompt(prompt("choose", call("choose"), text("chosen")))
        const first = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        const { seq } = yield* session.view
        yield* session.answer(first.requestId, { _tag: "content", value: "the left one" })
        assert.deepStrictEqual(yield* answered.outcome, completed)
        assert.include(JSON.stringify((yield* Model.lastBody)["input"]), "the left one")
        const cancelled = yield* session.prompt(prompt("again", call("choose"), text("never said")))
        const second = yield* session.events({ after: seq }).pipe(
          Stream.filter(Host.isTag("RequestOpened")),
          Stream.runHead,
          Effect.flatMap(Effect.fromOption)
        )
        yield* session.answer(second.requestId, { _tag: "cancel" })
        assert.deepStrictEqual(yield* cancelled.outcome, { _tag: "interrupted", by: "user" })
        assert.deepStrictEqual((yield* turnWith(session)).outcome, completed)
      }))

    it.effect("are there again after a crash of Codex, and in the next opening of the session", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ tools: { add }, env: { OF_THIS_TEST: "1" } })
        assert.deepStrictEqual(outputs((yield* turnWith(session, call("add", { a: 1, b: 1 }))).items), [
          ["completed", "{\"sum\":2}"]
        ])
        const ready = yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ProcessChanged" && event.status._tag === "ready"
        )
        const pid = ready._tag === "ProcessChanged" && ready.status._tag === "ready" ? ready.status.pid : undefined
        if (pid === undefined) return assert.fail("the server has no pid")
        process.kill(pid, "SIGKILL")
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
        )
        assert.deepStrictEqual(outputs((yield* turnWith(session, call("add", { a: 2, b: 2 }))).items), [
          ["completed", "{\"sum\":4}"]
        ])
        yield* session.close
        // Another set: what it does not have any more is a failed call, and no wait.
        const next = yield* Codex.open({ id: session.id, env: { OF_THIS_TEST: "1" } })
        const { items, outcome } = yield* turnWith(next, call("add", { a: 3, b: 3 }))
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(outputs(items), [["failed", "The host has no tool \"add\"."]])
      }))
  }
)
