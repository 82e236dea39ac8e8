/** Both directions of JSON-RPC over a wire in memory. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import * as JsonRpcPeer from "@reins/transport/JsonRpcPeer"
import { Deferred, Effect, Exit, Fiber, Latch, Logger, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import { conversation } from "./fixtures/rpcWire.ts"

const settle = Effect.forEach(Array.from({ length: 40 }), () => Effect.yieldNow, { discard: true })

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** The error of a fiber that failed. */
const failure = <A, E>(fiber: Fiber.Fiber<A, E>) => Effect.flip(Effect.asVoid(Fiber.join(fiber)))

const reasonOf = (error: JsonRpcPeer.JsonRpcError | AgentError.AgentError): string =>
  error._tag === "AgentError" ? error.reason._tag : `${error.code}`

describe("a call", () => {
  it.effect("is answered by its id, in any order, the first of them with 0", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const a = yield* fork(peer.call("a", { x: 1 }))
      const b = yield* fork(peer.call("b"))
      assert.deepStrictEqual(yield* agent.next, { id: 0, method: "a", params: { x: 1 } })
      assert.deepStrictEqual(yield* agent.next, { id: 1, method: "b" })
      agent.say({ id: 1, result: "for b" }, { id: 0, result: null })
      assert.strictEqual(yield* Fiber.join(b), "for b")
      assert.isNull(yield* Fiber.join(a))
    }))

  it.effect("comes after everything that was said before its answer has been taken", () =>
    Effect.gen(function*() {
      const latch = Latch.makeUnsafe(false)
      const { agent, peer } = yield* conversation({ receive: () => latch.await })
      const call = yield* fork(peer.call("prompt"))
      yield* agent.next
      agent.say({ method: "update" }, { id: 0, result: "done" })
      yield* settle
      assert.isUndefined(call.pollUnsafe())
      Latch.openUnsafe(latch)
      assert.strictEqual(yield* Fiber.join(call), "done")
    }))

  it.effect("that is refused fails with the code, the words and the data", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const calls = yield* Effect.forEach(["a", "b"], (method) => fork(peer.call(method)))
      agent.say({ id: 0, error: { code: -32_600, message: "Not initialized", data: { why: 1 } } }, {
        id: 1,
        error: "no object"
      })
      const [a, b] = yield* Effect.forEach(calls, failure)
      assert.deepInclude(a, { method: "a", code: -32_600, message: "Not initialized", data: { why: 1 } })
      assert.deepInclude(b, { method: "b", code: -32_603, message: "It did not say why." })
    }))

  it.effect("is waited for within a limit; the conversation goes on, and the late answer is nobody's", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const slow = yield* fork(peer.call("slow"))
      const other = yield* fork(peer.call("other", undefined, { timeout: "2 minutes" }))
      yield* TestClock.adjust("30 seconds")
      const error = yield* failure(slow)
      assert.strictEqual(reasonOf(error), "ConnectionLost")
      assert.include(error.message, "agent")
      agent.say({ id: 0, result: "late" }, { id: 1, result: "fine" })
      assert.strictEqual(yield* Fiber.join(other), "fine")
    }))

  it.effect("that nobody waits for any more can be cancelled at the agent, once it was sent", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation({
        onCancel: ({ id }) => ({ method: "$/cancel_request", params: { requestId: id } })
      })
      const call = yield* fork(peer.call("long"))
      yield* agent.next
      yield* Fiber.interrupt(call)
      assert.deepStrictEqual(yield* agent.next, { method: "$/cancel_request", params: { requestId: 0 } })
      agent.say({ id: 0, result: "late" })
      const done = yield* fork(peer.call("short"))
      yield* agent.next
      agent.say({ id: 1, result: "fine" })
      yield* Fiber.join(done)
      yield* settle
      assert.deepStrictEqual(agent.sent(), [])
    }))

  it.effect("that the agent was too busy for is made again, with growing waits, and not for ever", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation({ overloadCode: JsonRpcPeer.codes.overloaded })
      const busy = { code: -32_001, message: "Server overloaded; retry later." }
      const lucky = yield* fork(peer.call("a"))
      agent.say({ id: (yield* agent.next).id, error: busy })
      yield* settle
      assert.deepStrictEqual(agent.sent(), [])
      yield* TestClock.adjust("150 millis")
      agent.say({ id: (yield* agent.next).id, result: 1 })
      assert.strictEqual(yield* Fiber.join(lucky), 1)
      const unlucky = yield* fork(peer.call("b"))
      let tries = 0
      while (unlucky.pollUnsafe() === undefined) {
        for (const { id } of agent.sent()) {
          tries++
          agent.say({ id, error: busy })
        }
        yield* settle
        yield* TestClock.adjust("3 seconds")
      }
      assert.strictEqual(reasonOf(yield* failure(unlucky)), "-32001")
      assert.strictEqual(tries, 6)
    }))

  it.effect("with an answer that names no request fails, as does every other that waits", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const calls = yield* Effect.forEach(["a", "b"], (method) => fork(peer.call(method)))
      agent.say({ id: null, error: { code: -32_700, message: "Parse error" } })
      for (const error of yield* Effect.forEach(calls, failure)) {
        assert.strictEqual(reasonOf(error), "ProtocolError")
        assert.include(error.message, "agent")
      }
      const after = yield* fork(peer.call("c"))
      agent.say({ id: 2, result: "fine" })
      assert.strictEqual(yield* Fiber.join(after), "fine")
    }))

  it.effect("fails when the agent closes its output, and so does every later one", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const call = yield* fork(peer.call("a"))
      agent.end()
      assert.strictEqual(reasonOf(yield* failure(call)), "ConnectionLost")
      assert.strictEqual((yield* peer.lost).reason._tag, "ConnectionLost")
      assert.strictEqual(reasonOf(yield* Effect.flip(Effect.asVoid(peer.call("b")))), "ConnectionLost")
      assert.strictEqual(reasonOf(yield* Effect.flip(peer.notify("c"))), "ConnectionLost")
    }))

  it.effect("waits while there is no room for it, and for nothing when the agent reads again", () =>
    Effect.gen(function*() {
      const reads = Latch.makeUnsafe(false)
      const { agent, peer } = yield* conversation({ reads: reads.await, maxBuffered: 1_000 })
      const text = "x".repeat(600)
      const sending = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => fork(peer.notify(`n${n}`, { text })))
      yield* settle
      const done = () => sending.filter((fiber) => fiber.pollUnsafe() !== undefined).length
      assert.strictEqual(done(), 2)
      Latch.openUnsafe(reads)
      yield* Effect.forEach(sending, Fiber.join)
      const order: Array<string | undefined> = []
      for (let n = 0; n < 5; n++) order.push((yield* agent.next).method)
      assert.deepStrictEqual(order, ["n1", "n2", "n3", "n4", "n5"])
    }))
})

describe("what the agent says", () => {
  it.effect("is handed on in order, a chunk at a time, unknown fields and all", () =>
    Effect.gen(function*() {
      const batches: Array<ReadonlyArray<JsonRpcPeer.Message>> = []
      const { agent } = yield* conversation({
        receive: (messages) =>
          Effect.sync(() => {
            batches.push(messages)
          })
      })
      agent.say({ method: "a", params: {}, emittedAtMs: 5 }, { method: "b", id: 0 }, { method: "c", jsonrpc: "2.0" })
      yield* settle
      assert.deepStrictEqual(batches, [[
        { method: "a", params: {}, emittedAtMs: 5 } as JsonRpcPeer.Message,
        { method: "b", id: 0 },
        { method: "c", jsonrpc: "2.0" } as JsonRpcPeer.Message
      ]])
    }))

  it.effect("waits to be read while what was said before it is being taken", () =>
    Effect.gen(function*() {
      const latch = Latch.makeUnsafe(false)
      const told: Array<string> = []
      const { agent } = yield* conversation({
        receive: (messages) => {
          told.push(...messages.map(({ method }) => method))
          return latch.await
        }
      })
      agent.say({ method: "a" })
      yield* settle
      agent.say({ method: "b" })
      yield* settle
      assert.deepStrictEqual(told, ["a"])
      Latch.openUnsafe(latch)
      yield* settle
      assert.deepStrictEqual(told, ["a", "b"])
    }))

  it.effect("is found between noise, over chunks, with either end of line, in batches", () =>
    Effect.gen(function*() {
      const { agent, told } = yield* conversation()
      agent.text("Loading…\n\n\r\n{\"method\":\"a\"}\r\n{\"method\":")
      agent.text("\"b\",\"params\":{\"text\":\"gr")
      const split = new TextEncoder().encode("ü")
      agent.bytes(split.slice(0, 1))
      agent.bytes(split.slice(1))
      agent.text("n\"}}\n[{\"method\":\"c\"},{\"method\":\"d\"}]\nnull\n7\n{\"id\":52}\n{\"method\":7}\n{\"id\":1.5}\n")
      agent.text("{\"method\":\"e\",\"id\":null}\n{\"method\":\"f\"}\n")
      yield* settle
      assert.deepStrictEqual(told.map(({ method }) => method), ["a", "b", "c", "d", "f"])
      assert.deepStrictEqual(told[1]?.params, { text: "grün" })
    }))

  it.effect("goes on behind bytes that are no UTF-8", () =>
    Effect.gen(function*() {
      const { agent, told } = yield* conversation()
      agent.bytes(Uint8Array.from([0x7b, 0xff, 0xfe, 0x0a]))
      agent.bytes(Uint8Array.from([...new TextEncoder().encode("{\"method\":\"a"), 0xc3, 0x22, 0x7d, 0x0a]))
      agent.say({ method: "b" })
      yield* settle
      assert.deepStrictEqual(told.map(({ method }) => method), ["a\ufffd", "b"])
    }))

  it.effect("is not lost with the end of its line when the agent ends, and half of it is nothing", () =>
    Effect.gen(function*() {
      const whole = yield* conversation()
      whole.agent.text("{\"method\":\"last\"}")
      whole.agent.end()
      yield* whole.peer.lost
      assert.deepStrictEqual(whole.told.map(({ method }) => method), ["last"])
      const half = yield* conversation()
      half.agent.text("{\"method\":\"la")
      half.agent.end()
      yield* half.peer.lost
      assert.deepStrictEqual(half.told, [])
    }))

  it.effect("may be long, up to a limit; beyond it the agent counts as broken", () =>
    Effect.gen(function*() {
      const long = yield* conversation()
      const text = "x".repeat(20 * 1024 * 1024)
      const line = new TextEncoder().encode(`${JSON.stringify({ method: "long", params: { text } })}\n`)
      for (let at = 0; at < line.length; at += 65_536) long.agent.bytes(line.subarray(at, at + 65_536))
      long.agent.say({ method: "after" })
      yield* settle
      assert.deepStrictEqual(long.told.map(({ method }) => method), ["long", "after"])
      assert.deepStrictEqual(long.told[0]?.params, { text })
      const limited = yield* conversation({ maxMessage: 1_000 })
      const call = yield* fork(limited.peer.call("a"))
      limited.agent.text("x".repeat(1_001))
      limited.agent.say({ method: "after" })
      const error = yield* failure(call)
      assert.strictEqual(reasonOf(error), "ProtocolError")
      assert.include(error.message, "1000")
      assert.deepStrictEqual(limited.told, [])
    }))

  it.effect("and is no message is logged, shortly and without secrets, ten times at the most", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => {
        logged.push(String(message))
      })
      yield* Effect.gen(function*() {
        const { agent } = yield* conversation({ redactor: Redaction.make({ values: ["hunter2hunter2"] }) })
        agent.text("the key is hunter2hunter2\n")
        for (let n = 0; n < 20; n++) agent.text(`${"y".repeat(1_000)}\n`)
        yield* settle
      }).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(References.MinimumLogLevel, "Debug"))
      assert.lengthOf(logged, 10)
      assert.notInclude(logged[0] ?? "", "hunter2")
      assert.include(logged[0] ?? "", "the key is")
      assert.isBelow(logged[1]?.length ?? 0, 300)
    }))
})

describe("a request of the agent", () => {
  const ask = (id: JsonRpcPeer.Id, method = "ask"): JsonRpcPeer.Request => ({ id, method })

  it.effect("is answered once, with the id as it came: 0, a string, beside calls of ours with the same", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const call = yield* fork(peer.call("ours"))
      yield* agent.next
      agent.say(ask(0), ask("0"), ask("b"))
      yield* settle
      assert.deepStrictEqual(peer.open(), [0, "0", "b"])
      assert.isTrue(yield* peer.answer("0", { decision: "accept" }))
      assert.deepStrictEqual(yield* agent.next, { id: "0", result: { decision: "accept" } })
      assert.isTrue(yield* peer.answer(0, undefined))
      assert.deepStrictEqual(yield* agent.next, { id: 0, result: null })
      assert.isTrue(yield* peer.refuse("b", { code: -32_601, message: "Unknown method" }))
      assert.deepStrictEqual(yield* agent.next, { id: "b", error: { code: -32_601, message: "Unknown method" } })
      assert.isFalse(yield* peer.answer(0, "again"))
      assert.isFalse(yield* peer.refuse("b", { code: 1, message: "again" }))
      assert.isFalse(yield* peer.answer("nobody", 1))
      agent.say({ id: 0, result: "for us" })
      assert.strictEqual(yield* Fiber.join(call), "for us")
      assert.deepStrictEqual(agent.sent(), [])
    }))

  it.effect("under an id that is open is passed over; under one that was answered it is a new one", () =>
    Effect.gen(function*() {
      const { agent, peer, told } = yield* conversation()
      agent.say(ask(1, "a"), ask(1, "b"))
      yield* settle
      yield* peer.answer(1, "x")
      agent.say(ask(1, "c"))
      yield* settle
      assert.deepStrictEqual(told.map(({ method }) => method), ["a", "c"])
      assert.isTrue(yield* peer.answer(1, "y"))
    }))

  it.effect("is served beside others, and a slow one holds up neither them nor the reader", () =>
    Effect.gen(function*() {
      const slow = Deferred.makeUnsafe<string>()
      const { agent, peer, told } = yield* conversation()
      agent.say(ask(1), ask(2))
      yield* settle
      yield* peer.serve(ask(1), Deferred.await(slow))
      yield* peer.serve(ask(2), Effect.succeed("quick"))
      agent.say({ method: "more" })
      assert.deepStrictEqual(yield* agent.next, { id: 2, result: "quick" })
      yield* settle
      assert.strictEqual(told.at(-1)?.method, "more")
      Deferred.doneUnsafe(slow, Exit.succeed("slow"))
      assert.deepStrictEqual(yield* agent.next, { id: 1, result: "slow" })
      assert.deepStrictEqual(peer.open(), [])
    }))

  it.effect("that cannot be served is refused in words of the protocol", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const refused = (effect: Effect.Effect<unknown, JsonRpcPeer.JsonRpcError | AgentError.AgentError>) =>
        Effect.gen(function*() {
          agent.say(ask(1))
          yield* settle
          yield* peer.serve(ask(1), effect)
          return (yield* agent.next).error
        })
      assert.deepStrictEqual(
        yield* refused(Effect.fail(new JsonRpcPeer.JsonRpcError({ method: "ask", code: -32_602, message: "No path" }))),
        { code: -32_602, message: "No path" }
      )
      const unsupported = AgentError.make(new AgentError.Unsupported({ operation: "a terminal", provider: "test" }))
      assert.deepStrictEqual(yield* refused(Effect.fail(unsupported)), {
        code: -32_603,
        message: unsupported.message
      })
      assert.deepStrictEqual(
        yield* Effect.provide(refused(Effect.die(new Error("secret"))), Logger.layer([])),
        { code: -32_603, message: "Internal error" }
      )
      assert.deepStrictEqual(yield* refused(Effect.interrupt), { code: -32_603, message: "Cancelled" })
    }))

  it.effect("that the agent takes back is not answered, and its handler is stopped", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const stopped = Deferred.makeUnsafe<void>()
      agent.say(ask(1))
      yield* settle
      yield* peer.serve(ask(1), Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined)))
      yield* settle
      yield* peer.withdraw(1)
      yield* Deferred.await(stopped)
      assert.isFalse(yield* peer.answer(1, "late"))
      assert.deepStrictEqual(agent.sent(), [])
    }))

  it.effect("is stopped when the agent is gone, also one that does not want to", () =>
    Effect.gen(function*() {
      const { agent, peer } = yield* conversation()
      const stopped = Deferred.makeUnsafe<void>()
      agent.say(ask(1), ask(2))
      yield* settle
      yield* peer.serve(ask(1), Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined)))
      yield* peer.serve(ask(2), Effect.uninterruptible(Effect.never))
      yield* settle
      agent.end()
      yield* peer.lost
      yield* Deferred.await(stopped)
      assert.deepStrictEqual(peer.open(), [])
      assert.isFalse(yield* peer.answer(2, "late"))
    }))
})

describe("the end", () => {
  it.effect("of the scope writes what waits, ends the agent's input, and fails the calls that wait", () =>
    Effect.gen(function*() {
      const scope = Scope.makeUnsafe()
      const { agent, peer } = yield* Scope.provide(conversation(), scope)
      const call = yield* fork(peer.call("a"))
      yield* peer.notify("last")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(agent.sent().map(({ method }) => method), ["a", "last"])
      assert.isTrue(agent.inputEnded())
      assert.strictEqual(reasonOf(yield* failure(call)), "ConnectionLost")
    }))

  it.effect("of the scope is not held up by an agent that does not read", () =>
    Effect.gen(function*() {
      const scope = Scope.makeUnsafe()
      const { peer } = yield* Scope.provide(conversation({ reads: Effect.never }), scope)
      yield* peer.notify("a")
      const closing = yield* fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
    }))
})
