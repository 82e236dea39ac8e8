import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import { FetchHttpClient, HttpClientRequest } from "effect/http"
import { EventStream } from "../src/index.ts"
import * as httpServer from "./fixtures/httpServer.ts"

const clients = {
  undici: NodeHttpClient.layerUndici,
  "node:http": NodeHttpClient.layerNodeHttp,
  fetch: FetchHttpClient.layer
}

/** Reads from the server; the test takes the signals one by one. */
const read = Effect.fnUntraced(function*(url: string, options: Partial<EventStream.Options<never>> = {}) {
  const signals = yield* Queue.unbounded<EventStream.StreamSignal>()
  const fiber = yield* EventStream.make({ request: HttpClientRequest.get(url), ...options }).pipe(
    Stream.runForEachArray((all) => Queue.offerAll(signals, all)),
    Effect.forkScoped
  )
  return { fiber, signals, next: Queue.take(signals) }
})

/** The payloads of the next signals, until there are `count` of them. */
const payloads = Effect.fnUntraced(function*(next: Effect.Effect<EventStream.StreamSignal>, count: number) {
  const found: Array<string> = []
  while (found.length < count) {
    const signal = yield* next
    assert.strictEqual(signal._tag, "Data")
    if (signal._tag === "Data") found.push(...signal.events)
  }
  return found
})

for (const [name, layer] of Object.entries(clients)) {
  describe(`EventStream over ${name}`, () => {
    it.live("survives a cut and an end of the stream, and tells both", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        const { next } = yield* read(server.url)
        const first = yield* server.events
        yield* first.write("data: one\n\ndata: half")
        assert.deepStrictEqual(yield* next, { _tag: "Connected", generation: 1 })
        assert.deepStrictEqual(yield* payloads(next, 1), ["one"])
        first.response.socket?.destroy()
        const cut = yield* next
        assert.isTrue(cut._tag === "Lost" && cut.error.reason._tag === "ConnectionLost" && cut.attempt === 1)
        const second = yield* server.events
        yield* second.write("data: two\n\n")
        assert.deepStrictEqual(yield* next, { _tag: "Connected", generation: 2 })
        assert.deepStrictEqual(yield* payloads(next, 1), ["two"])
        second.response.end()
        const ended = yield* next
        assert.isTrue(ended._tag === "Lost" && ended.generation === 2 && ended.attempt === 1)
        yield* server.events
        assert.deepStrictEqual(yield* next, { _tag: "Connected", generation: 3 })
      }).pipe(Effect.provide(layer)))

    it.live("is refused by 401 and by a page of another server, without a second request", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        for (
          const [status, type, tag] of [[401, "text/plain", "AuthRequired"], [
            200,
            "text/html",
            "ProtocolError"
          ]] as const
        ) {
          const { fiber, signals } = yield* read(server.url)
          const { closed, response } = yield* Queue.take(server.exchanges)
          response.writeHead(status, { "content-type": type }).write("a body that does not end")
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert.strictEqual(error.reason._tag, tag)
          yield* closed
          assert.strictEqual(yield* Queue.size(signals), 0)
        }
        assert.strictEqual(yield* Queue.size(server.exchanges), 0)
      }).pipe(Effect.provide(layer)))

    it.live("puts characters together that arrive byte by byte", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        const { next } = yield* read(server.url)
        const exchange = yield* server.events
        exchange.response.socket?.setNoDelay(true)
        for (const byte of Buffer.from("data: né😀\r\n\r\ndata: ☃\n\n")) yield* exchange.write(Uint8Array.of(byte))
        assert.strictEqual((yield* next)._tag, "Connected")
        assert.deepStrictEqual(yield* payloads(next, 2), ["né😀", "☃"])
      }).pipe(Effect.provide(layer)))

    it.live("drops a connection that has gone silent, and makes another", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        const { next } = yield* read(server.url, { silence: "150 millis" })
        const exchange = yield* server.events
        assert.strictEqual((yield* next)._tag, "Connected")
        assert.strictEqual((yield* next)._tag, "Silent")
        assert.strictEqual((yield* next)._tag, "Lost")
        yield* exchange.closed
        yield* server.events
        assert.deepStrictEqual(yield* next, { _tag: "Connected", generation: 2 })
      }).pipe(Effect.provide(layer)))

    it.live("gives all to a slow reader, in order", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        const count = 20_000
        const found: Array<string> = []
        const reading = yield* EventStream.make({ request: HttpClientRequest.get(server.url) }).pipe(
          Stream.takeUntil((signal) => signal._tag === "Lost"),
          Stream.runForEach((signal) =>
            Effect.andThen(
              Effect.sleep("1 millis"),
              Effect.sync(() => signal._tag === "Data" && found.push(...signal.events))
            )
          ),
          Effect.forkScoped
        )
        const exchange = yield* server.events
        const lines = Array.from({ length: count }, (_, index) => `data: ${index} ${"x".repeat(200)}\n\n`)
        for (let at = 0; at < count; at += 500) yield* exchange.write(lines.slice(at, at + 500).join(""))
        exchange.response.end()
        yield* Fiber.join(reading)
        assert.deepStrictEqual(found.map((one) => Number.parseInt(one, 10)), lines.map((_, index) => index))
      }).pipe(Effect.provide(layer)))

    it.live("closes the connection when its reader stops", () =>
      Effect.gen(function*() {
        const server = yield* httpServer.make
        const { fiber, next } = yield* read(server.url)
        const exchange = yield* server.events
        assert.strictEqual((yield* next)._tag, "Connected")
        yield* Fiber.interrupt(fiber)
        yield* exchange.closed
      }).pipe(Effect.provide(layer)))

    it.live("says why it cannot connect", () =>
      Effect.gen(function*() {
        // A port that was just given back: nobody listens there.
        const { url } = yield* Effect.scoped(httpServer.make)
        const { next } = yield* read(url)
        const lost = yield* next
        assert.isTrue(lost._tag === "Lost" && lost.generation === 0)
        if (lost._tag === "Lost") assert.include(lost.error.message, "ECONNREFUSED")
      }).pipe(Effect.provide(layer)))
  })
}
