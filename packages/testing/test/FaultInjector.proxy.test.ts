import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Queue, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Http from "node:http"
import * as Net from "node:net"
import { FaultInjector } from "../src/index.ts"

type Read = { readonly text: string } | { readonly end: "end" | "error" }

const listen = (server: Net.Server) =>
  Effect.acquireRelease(
    Effect.callback<FaultInjector.Target>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as Net.AddressInfo
        resume(Effect.succeed({ host: "127.0.0.1", port }))
      })
    }),
    () => Effect.sync(() => server.close())
  )

/** A server whose side of each connection the test holds. */
const rawServer = Effect.gen(function*() {
  const sockets = yield* Queue.unbounded<Net.Socket>()
  const target = yield* listen(Net.createServer((socket) => {
    socket.on("error", () => undefined)
    socket.setNoDelay(true)
    Queue.offerUnsafe(sockets, socket)
  }))
  return { target, accept: Queue.take(sockets) }
})

/** A client that collects what it reads until it has seen enough. */
const connect = Effect.fnUntraced(function*(port: number, hello = "hello\n") {
  const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
  const reads = yield* Queue.unbounded<Read>()
  socket.on("data", (data: Buffer) => void Queue.offerUnsafe(reads, { text: data.toString() }))
  socket.on("end", () => void Queue.offerUnsafe(reads, { end: "end" }))
  socket.on("error", () => void Queue.offerUnsafe(reads, { end: "error" }))
  yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
  socket.write(hello)
  const until = Effect.fnUntraced(function*(done: (text: string) => boolean) {
    let text = ""
    while (!done(text)) {
      const read = yield* Queue.take(reads)
      if ("end" in read) return `${text}<${read.end}>`
      text += read.text
    }
    return text
  })
  return {
    socket,
    length: (length: number) => until((text) => text.length >= length),
    end: until(() => false),
    nothing: Queue.size(reads).pipe(Effect.map((size) => size === 0))
  }
})

/** A connection through a proxy, with both of its ends. */
const through = Effect.fnUntraced(function*(options: { readonly delimiter?: string } = {}) {
  const server = yield* rawServer
  const proxy = yield* FaultInjector.proxy({ target: server.target, ...options })
  const open = Effect.fnUntraced(function*(hello?: string) {
    const client = yield* connect(proxy.port, hello)
    const socket = yield* server.accept
    return { client, socket }
  })
  return { ...(yield* open()), open, proxy }
})

describe("FaultInjector.proxy", () => {
  it.live("passes bytes both ways, and both ends", () =>
    Effect.gen(function*() {
      const { client, proxy, socket } = yield* through()
      const big = "0123456789".repeat(300_000)
      let got = ""
      const ended = yield* Effect.forkScoped(Effect.callback<void>((resume) => {
        socket.on("data", (data: Buffer) => {
          got += data.toString()
        })
        socket.once("end", () => resume(Effect.void))
      }))
      yield* Effect.yieldNow
      socket.end(big)
      assert.isTrue((yield* client.end) === `${big}<end>`)
      client.socket.end(big)
      yield* Fiber.join(ended)
      yield* proxy.awaitClosed()
      assert.isTrue(got === `hello\n${big}`)
      const { accepted, bytesDown, bytesUp, open } = yield* proxy.counters
      assert.deepStrictEqual({ accepted, bytesDown, bytesUp, open }, {
        accepted: 1,
        bytesDown: big.length,
        bytesUp: big.length + 6,
        open: 0
      })
    }))

  it.live("cuts exactly after the n-th frame, over the joins of reads, and only as often as told", () =>
    Effect.gen(function*() {
      const { client, open, proxy, socket } = yield* through()
      yield* proxy.onFrame({ n: 3, do: "cut" })
      socket.write("one\n\ntw")
      yield* client.length(7)
      socket.write("o\n")
      yield* client.length(2)
      socket.write("\nthree\n\nfour\n\n")
      // A reset that arrives together with bytes is shown as an end by some clients, Node's among them.
      assert.match(yield* client.end, /^\nthree\n\n<(error|end)>$/)
      const second = yield* open()
      second.socket.write("a\n\nb\n\nc\n\nd\n\n")
      assert.strictEqual(yield* second.client.length(12), "a\n\nb\n\nc\n\nd\n\n")
      assert.strictEqual((yield* proxy.counters).faults, 1)
    }))

  it.live("stalls what matches and nothing else, also what comes later, and loses nothing", () =>
    Effect.gen(function*() {
      const { client, open, proxy, socket } = yield* through()
      yield* proxy.stall("/event")
      const events = yield* open("GET /event HTTP/1.1\r\n\r\n")
      yield* proxy.awaitConnection("/event")
      events.socket.write("held\n\n")
      socket.write("free\n\n")
      assert.strictEqual(yield* client.length(6), "free\n\n")
      assert.isTrue(yield* events.client.nothing)
      yield* proxy.resume
      assert.strictEqual(yield* events.client.length(6), "held\n\n")
    }))

  it.live("stalls at a frame with the rest of the read held", () =>
    Effect.gen(function*() {
      const { client, proxy, socket } = yield* through({ delimiter: "\n" })
      yield* proxy.onFrame({ n: 2, do: "stall" })
      socket.write("1\n2\n3\n")
      assert.strictEqual(yield* client.length(4), "1\n2\n")
      assert.isTrue(yield* client.nothing)
      assert.strictEqual((yield* proxy.awaitFrame(2)).frames, 2)
      yield* proxy.resume
      assert.strictEqual(yield* client.length(2), "3\n")
    }))

  it.live("cuts and half-closes on command", () =>
    Effect.gen(function*() {
      const { client, open, proxy, socket } = yield* through()
      yield* proxy.awaitConnection("hello")
      const other = yield* open("other\n")
      yield* proxy.awaitConnection("other")
      yield* proxy.cut("other")
      assert.strictEqual(yield* other.client.end, "<error>")
      yield* proxy.halfClose("hello")
      assert.strictEqual(yield* client.end, "<end>")
      const heard = yield* Queue.unbounded<string>()
      socket.on("data", (data: Buffer) => void Queue.offerUnsafe(heard, data.toString()))
      assert.strictEqual(yield* Queue.take(heard), "hello\n")
      client.socket.write("still here")
      assert.strictEqual(yield* Queue.take(heard), "still here")
      assert.deepStrictEqual((yield* proxy.connections).map(({ requestLine }) => requestLine), ["hello"])
    }))

  it.live("duplicates a frame and a read, and inserts noise between frames", () =>
    Effect.gen(function*() {
      const { client, proxy, socket } = yield* through({ delimiter: "\n" })
      yield* proxy.duplicate({ n: 2 })
      socket.write("a\nb")
      yield* client.length(3)
      yield* proxy.noise("#\n")
      socket.write("b\nc\n")
      const text = yield* client.length(9)
      assert.include(["b\nbb\n#\nc\n", "b\n#\nbb\nc\n"], text)
      yield* proxy.noise("!\n")
      assert.strictEqual(yield* client.length(2), "!\n")
      yield* proxy.duplicate({ n: 1, delimiter: "chunk" })
      socket.write("x\ny\n")
      assert.strictEqual(yield* client.length(8), "x\ny\nx\ny\n")
    }))

  it.effect("delays each byte by the clock", () =>
    Effect.gen(function*() {
      const { client, proxy, socket } = yield* through()
      yield* proxy.awaitConnection("hello")
      yield* proxy.delay(5_000)
      const heard = yield* Queue.unbounded<string>()
      socket.on("data", (data: Buffer) => void Queue.offerUnsafe(heard, data.toString()))
      assert.strictEqual(yield* Queue.take(heard), "hello\n")
      const fiber = yield* Effect.forkScoped(client.length(4))
      yield* Effect.callback<void>((resume) => void socket.write("late", () => resume(Effect.void)))
      // A second connection is answered after the first one's bytes have reached the proxy.
      const probe = yield* connect(proxy.port, "probe\n")
      yield* proxy.awaitConnection("probe")
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("5001 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "late")
      probe.socket.destroy()
    }))

  it.live("refuses new connections, and follows a target that moves", () =>
    Effect.gen(function*() {
      const first = yield* rawServer
      const second = yield* rawServer
      let target = first.target
      const proxy = yield* FaultInjector.proxy({ target: () => target })
      yield* proxy.refuse(true)
      const refused = yield* connect(proxy.port)
      assert.strictEqual(yield* refused.end, "<error>")
      assert.strictEqual((yield* proxy.counters).refused, 1)
      yield* proxy.refuse(false)
      target = second.target
      yield* connect(proxy.port)
      yield* second.accept
      target = { host: "127.0.0.1", port: 1 }
      const nobody = yield* connect(proxy.port)
      assert.strictEqual(yield* nobody.end, "<error>")
    }))

  it.live("hits the event stream of an HTTP server, and duplicates an event so that the body stays whole", () =>
    Effect.gen(function*() {
      const responses = yield* Queue.unbounded<Http.ServerResponse>()
      const target = yield* listen(Http.createServer((request, response) => {
        if (request.url !== "/global/event") return void response.end("ok\n\nok\n\n")
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.flushHeaders()
        Queue.offerUnsafe(responses, response)
      }))
      const proxy = yield* FaultInjector.proxy({ target })
      yield* proxy.duplicate({ match: "/global/event", n: 1 })
      yield* proxy.onFrame({ match: "/global/event", n: 3, do: "cut" })
      // One agent: the event stream may come over a connection that has served something else.
      const agent = new Http.Agent({ keepAlive: true, maxSockets: 1 })
      yield* Effect.addFinalizer(() => Effect.sync(() => agent.destroy()))
      const get = (path: string) =>
        Effect.callback<string>((resume) => {
          Http.get(`${proxy.url}${path}`, { agent }, (response) => {
            let text = ""
            response.on("data", (data: Buffer) => {
              text += data.toString()
            })
            response.on("error", () => resume(Effect.succeed(`${text}<error>`)))
            response.on("end", () => resume(Effect.succeed(`${text}<end>`)))
          })
        })
      assert.strictEqual(yield* get("/other"), "ok\n\nok\n\n<end>")
      const reading = yield* Effect.forkScoped(get("/global/event"))
      const response = yield* Queue.take(responses)
      for (const n of [1, 2, 3, 4]) response.write(`data: ${n}\n\n`)
      assert.strictEqual(yield* Fiber.join(reading), "data: 1\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n<error>")
    }))

  it.live("leaves no socket and no listener behind, stalled ones included", () =>
    Effect.gen(function*() {
      const server = yield* rawServer
      const scope = yield* Scope.make()
      const proxy = yield* FaultInjector.proxy({ target: server.target }).pipe(Scope.provide(scope))
      const client = yield* connect(proxy.port)
      const socket = yield* server.accept
      yield* proxy.stall()
      yield* Effect.callback<void>((resume) => void socket.write("held", () => resume(Effect.void)))
      yield* proxy.delay(60_000)
      const closed = yield* Effect.forkScoped(Effect.callback<void>((resume) => {
        socket.once("close", () => resume(Effect.void))
        socket.resume()
      }))
      yield* Effect.yieldNow
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(closed)
      yield* client.end
      const after = yield* connect(proxy.port)
      assert.strictEqual(yield* after.end, "<error>")
    }))
})
