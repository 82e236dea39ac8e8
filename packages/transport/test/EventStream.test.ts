import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import { Clock, Deferred, Effect, Exit, Fiber, Queue, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { EventStream } from "../src/index.ts"
import * as fakeHttp from "./fixtures/fakeHttp.ts"

const events = { status: 200 }
const request = HttpClientRequest.get("http://127.0.0.1:1/event?auth_token=secret")

/** Reads the stream into an array for as long as the test lasts. */
const read = Effect.fnUntraced(function*(
  server: Effect.Success<ReturnType<typeof fakeHttp.make>>,
  options: Partial<EventStream.Options<never>> = {}
) {
  const signals: Array<EventStream.StreamSignal> = []
  const fiber = yield* EventStream.make({ request, ...options }).pipe(
    Stream.runForEach((signal) => Effect.sync(() => signals.push(signal))),
    Effect.provide(server.layer),
    Effect.forkScoped({ startImmediately: true })
  )
  return { fiber, signals }
})

const settle = TestClock.adjust("1 millis")
const tags = (signals: ReadonlyArray<EventStream.StreamSignal>) => signals.map((signal) => signal._tag)
const data = (signals: ReadonlyArray<EventStream.StreamSignal>) =>
  signals.flatMap((signal) => signal._tag === "Data" ? signal.events : [])
const losses = (signals: ReadonlyArray<EventStream.StreamSignal>) =>
  signals.flatMap((signal) => signal._tag === "Lost" ? [signal] : [])

describe("EventStream", () => {
  it.effect("tells of the connection, then gives payloads in arrays, one for each chunk", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const { signals } = yield* read(server)
      const response = yield* Queue.take(server.responses)
      assert.strictEqual(response.request.headers["accept"], "text/event-stream")
      assert.isUndefined(response.request.headers["traceparent"])
      yield* response.write("data: one\n\ndata: two\n\nda")
      yield* settle
      yield* response.write("ta: three\n\n: beat\n\n")
      yield* settle
      assert.deepStrictEqual(signals, [
        { _tag: "Connected", generation: 1 },
        { _tag: "Data", generation: 1, events: ["one", "two"] },
        { _tag: "Data", generation: 1, events: ["three"] }
      ])
    }))

  it.effect("takes an end for a loss, says so before it waits, and connects again", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const { signals } = yield* read(server)
      const response = yield* Queue.take(server.responses)
      yield* response.write("data: half")
      yield* response.end
      yield* settle
      assert.deepStrictEqual(tags(signals), ["Connected", "Lost"])
      assert.strictEqual(server.requests(), 1)
      yield* TestClock.adjust("313 millis")
      yield* (yield* Queue.take(server.responses)).write("data: whole\n\n")
      yield* settle
      assert.deepStrictEqual(signals.slice(2), [
        { _tag: "Connected", generation: 2 },
        { _tag: "Data", generation: 2, events: ["whole"] }
      ])
      const [lost] = losses(signals)
      assert.isDefined(lost)
      assert.strictEqual(lost.error.reason._tag, "ConnectionLost")
      assert.notInclude(JSON.stringify(AgentError.toInfo(lost.error)), "secret")
    }))

  it.effect("doubles the wait up to 10 s, give or take a quarter, and tells each attempt", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => "refuse")
      const { signals } = yield* read(server)
      yield* TestClock.adjust("5 minutes")
      const all = losses(signals)
      assert.isAbove(all.length, 25)
      all.forEach(({ attempt, error, generation, retryIn }, index) => {
        const plain = Math.min(250 * 2 ** index, 10_000)
        assert.strictEqual(attempt, index + 1)
        assert.strictEqual(generation, 0)
        assert.isTrue(retryIn >= plain * 0.75 && retryIn <= plain * 1.25, `wait ${index} is ${retryIn}`)
        assert.include(error.message, "ECONNREFUSED")
      })
      assert.isAbove(new Set(all.map((lost) => lost.retryIn)).size, 10, "the waits vary")
      assert.strictEqual(tags(signals).length, all.length)
    }))

  it.effect("starts the back-off over with the first byte, not with the head of the response", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make((number) => number <= 3 ? "refuse" : events)
      const { signals } = yield* read(server)
      yield* TestClock.adjust("10 seconds")
      yield* (yield* Queue.take(server.responses)).end
      yield* TestClock.adjust("10 seconds")
      const second = yield* Queue.take(server.responses)
      yield* second.write(":")
      yield* settle
      yield* second.end
      yield* settle
      assert.deepStrictEqual(losses(signals).map((lost) => lost.attempt), [1, 2, 3, 4, 1])
    }))

  it.effect("gives a connection up after 25 s without a byte, and says since when", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const { signals } = yield* read(server)
      const response = yield* Queue.take(server.responses)
      yield* TestClock.adjust("20 seconds")
      yield* response.write(": heartbeat\n\n")
      yield* TestClock.adjust("24999 millis")
      assert.deepStrictEqual(tags(signals), ["Connected"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(tags(signals), ["Connected", "Silent", "Lost"])
      assert.deepStrictEqual(signals[1], { _tag: "Silent", generation: 1, since: 20_000, for: 25_000 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(tags(signals).at(-1), "Connected")
    }))

  it.effect("does not take its reader's silence for the server's, and loses nothing meanwhile", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const proceed = Deferred.makeUnsafe<void>()
      const signals: Array<EventStream.StreamSignal> = []
      yield* EventStream.make({ request }).pipe(
        Stream.runForEach((signal) => Effect.andThen(Deferred.await(proceed), Effect.sync(() => signals.push(signal)))),
        Effect.provide(server.layer),
        Effect.forkScoped({ startImmediately: true })
      )
      const response = yield* Queue.take(server.responses)
      const sent = Array.from({ length: 100 }, (_, index) => String(index))
      for (const one of sent) {
        yield* response.write(`data: ${one}\n\n`)
        yield* settle
      }
      yield* TestClock.adjust("10 minutes")
      yield* Deferred.succeed(proceed, undefined)
      yield* settle
      assert.deepStrictEqual(data(signals), sent)
      assert.notInclude(tags(signals), "Silent")
      yield* TestClock.adjust("25 seconds")
      assert.include(tags(signals), "Silent")
    }))

  it.effect("starts the silence over when the machine slept", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const clock = yield* Clock.Clock
      let slept = 0n
      const sleepy: Clock.Clock = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + slept
      }
      const { signals } = yield* read(server).pipe(Effect.provideService(Clock.Clock, sleepy))
      yield* Queue.take(server.responses)
      yield* settle
      slept = 3_600_000_000_000n
      yield* TestClock.adjust("49 seconds")
      assert.deepStrictEqual(tags(signals), ["Connected"])
      yield* TestClock.adjust("2 seconds")
      assert.include(tags(signals), "Silent")
    }))

  it.effect("gives a request 10 s to be answered", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make((number) => number === 1 ? "hang" : events)
      const { signals } = yield* read(server)
      yield* TestClock.adjust("9999 millis")
      assert.deepStrictEqual(signals, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(tags(signals), ["Lost"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(tags(signals), ["Lost", "Connected"])
    }))

  it.effect("tries again after a 5xx, not before the time that the server asks for", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make((number) =>
        number === 1 ? { status: 503, headers: { "retry-after": "7" } } : events
      )
      const { signals } = yield* read(server)
      yield* TestClock.adjust("6999 millis")
      assert.deepInclude(losses(signals)[0], { attempt: 1, retryIn: 7_000 })
      assert.strictEqual(losses(signals)[0]?.error.reason.statusCode, 503)
      assert.strictEqual(server.requests(), 1)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(tags(signals), ["Lost", "Connected"])
    }))

  it.effect("fails with what no retry can mend", () =>
    Effect.gen(function*() {
      const refusals = [
        [{ status: 401 }, "AuthRequired"],
        [{ status: 403 }, "AuthRequired"],
        [{ status: 404 }, "ProtocolError"],
        [{ status: 302 }, "ProtocolError"],
        [{ status: 204, headers: {} }, "ProtocolError"],
        [{ status: 200, headers: { "content-type": "text/html" } }, "ProtocolError"],
        [{ status: 200, headers: { "content-type": "text/event-streams" } }, "ProtocolError"]
      ] as const
      for (const [answer, tag] of refusals) {
        const server = yield* fakeHttp.make(() => answer)
        const { fiber, signals } = yield* read(server)
        yield* settle
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error.reason._tag, tag)
        assert.strictEqual(error.reason.statusCode, answer.status)
        assert.deepStrictEqual(signals, [])
        assert.strictEqual(server.requests(), 1)
      }
    }))

  it.effect("takes the type of an event stream with parameters and in any case", () =>
    Effect.gen(function*() {
      const headers = { "content-type": "Text/Event-Stream; charset=utf-8" }
      const { signals } = yield* read(yield* fakeHttp.make(() => ({ status: 200, headers })))
      yield* settle
      assert.deepStrictEqual(tags(signals), ["Connected"])
    }))

  it.effect("asks for the request at each connection, and retries what may pass", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      let asked = 0
      const unavailable = AgentError.make(new AgentError.Unavailable({ target: "agent", retryAfter: 30_000 }))
      const { signals } = yield* read(server, {
        request: Effect.suspend(() =>
          ++asked === 1 ? Effect.fail(unavailable) : Effect.succeed(HttpClientRequest.get(`http://127.0.0.1:${asked}/`))
        )
      })
      yield* TestClock.adjust("29999 millis")
      assert.deepInclude(losses(signals)[0], { error: unavailable, retryIn: 30_000 })
      yield* TestClock.adjust("1 millis")
      const response = yield* Queue.take(server.responses)
      assert.strictEqual(response.request.url, "http://127.0.0.1:2/")
    }))

  it.effect("fails with the request that cannot be made", () =>
    Effect.gen(function*() {
      const missing = AgentError.make(new AgentError.NotInstalled({ binary: "agent", tried: [] }))
      const { fiber } = yield* read(yield* fakeHttp.make(() => events), { request: Effect.fail(missing) })
      assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), missing)
    }))

  it.effect("breaks a connection whose event does not end, and connects again", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const { signals } = yield* read(server, { maxEventSize: 1_000 })
      const response = yield* Queue.take(server.responses)
      yield* response.write(`data: ${"x".repeat(990)}`)
      yield* settle
      assert.deepStrictEqual(tags(signals), ["Connected"])
      yield* response.write("xxxxxxxxxx")
      yield* settle
      assert.strictEqual(losses(signals)[0]?.error.reason._tag, "ProtocolError")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(server.requests(), 2)
    }))

  it.effect("ends the connection when its reader ends", () =>
    Effect.gen(function*() {
      const server = yield* fakeHttp.make(() => events)
      const first = yield* EventStream.make({ request }).pipe(
        Stream.take(1),
        Stream.runCollect,
        Effect.provide(server.layer)
      )
      assert.deepStrictEqual(tags(first), ["Connected"])
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(server.requests(), 1)
      const { fiber } = yield* read(server)
      yield* settle
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(server.requests(), 2)
    }))
})
