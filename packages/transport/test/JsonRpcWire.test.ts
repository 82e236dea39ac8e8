/** JSON-RPC over what really carries it: the pipes of a child process, and a WebSocket. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import { assert, describe, it } from "@effect/vitest"
import * as JsonRpcPeer from "@reins/transport/JsonRpcPeer"
import * as JsonRpcWire from "@reins/transport/JsonRpcWire"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Socket from "effect/socket/Socket"
import { fileURLToPath } from "node:url"

const child = fileURLToPath(new URL("./fixtures/rpcChild.mjs", import.meta.url))

/** A peer of a real child. */
const conversation = Effect.gen(function*() {
  const process = yield* ChildProcess.make(globalThis.process.execPath, [child], { stdin: "pipe", stderr: "pipe" })
  let stderr = 0
  yield* Stream.runForEach(process.stderr, (chunk) =>
    Effect.sync(() => {
      stderr += chunk.length
    })).pipe(Effect.ignore, Effect.forkScoped)
  const told: Array<JsonRpcPeer.Message> = []
  const waiting: Array<{ readonly count: number; readonly done: Deferred.Deferred<void> }> = []
  const peer = yield* JsonRpcPeer.make({
    wire: JsonRpcWire.fromStdio(process),
    target: "child",
    receive: (messages) =>
      Effect.sync(() => {
        told.push(...messages)
        for (const { count, done } of waiting) if (told.length >= count) Deferred.doneUnsafe(done, Exit.void)
      })
  })
  /** Waits until so many messages came. */
  const heard = (count: number) =>
    Effect.suspend(() => {
      const done = Deferred.makeUnsafe<void>()
      waiting.push({ count, done })
      return told.length >= count ? Effect.void : Deferred.await(done)
    })
  return { process, peer, told, heard, stderr: () => stderr }
})

const live = <A, E>(body: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  Effect.scoped(body).pipe(Effect.provide(NodeServices.layer))

describe("the pipes of a child", () => {
  it.live("carry calls, 10,000 notifications in order, and requests of the agent with ids of its own", () =>
    live(Effect.gen(function*() {
      const { heard, peer, told } = yield* conversation
      assert.deepStrictEqual(yield* peer.call("echo", { text: "grün\n\u2028" }), { text: "grün\n\u2028" })
      assert.strictEqual(yield* peer.call("many", { count: 10_000 }), 10_000)
      assert.deepStrictEqual(
        told.map(({ params }) => (params as { readonly n: number }).n),
        Array.from({ length: 10_000 }, (_, n) => n)
      )
      const asked = yield* Effect.forkChild(peer.call("ask", "why"))
      yield* heard(10_001)
      const request = told.at(-1)
      assert.strictEqual(request?.id, 2)
      assert.isTrue(yield* peer.answer(2, "because"))
      yield* heard(10_002)
      assert.deepStrictEqual(told.at(-1)?.params, { id: 2, result: "because" })
      yield* Fiber.interrupt(asked)
    })))

  it.live("carry 20 MB in one line both ways", () =>
    live(Effect.gen(function*() {
      const { peer } = yield* conversation
      const text = "x".repeat(20 * 1024 * 1024)
      assert.strictEqual(yield* peer.call("echo", text), text)
    })))

  it.live("go on while the agent writes more to its standard error than a pipe holds", () =>
    live(Effect.gen(function*() {
      const { peer, stderr } = yield* conversation
      assert.strictEqual(yield* peer.call("complain"), "complained")
      assert.isAbove(stderr(), 900_000)
    })))

  it.live("end with the process: what waits fails, whatever was half said", () =>
    live(Effect.gen(function*() {
      for (const method of ["die", "half"]) {
        const { peer, told } = yield* conversation
        const waiting = yield* Effect.forkChild(Effect.asVoid(peer.call("ask")))
        const error = yield* Effect.flip(Effect.asVoid(peer.call(method)))
        assert.strictEqual(error._tag === "AgentError" && error.reason._tag, "ConnectionLost")
        assert.strictEqual((yield* Effect.flip(Fiber.join(waiting)))._tag, "AgentError")
        assert.isFalse(told.some((message) => message.method === "half"))
      }
    })))

  it.live("are ended with the scope: the agent sees the end of its input", () =>
    live(Effect.gen(function*() {
      const scope = Scope.makeUnsafe()
      const process = yield* ChildProcess.make(globalThis.process.execPath, [child], { stdin: "pipe" })
      const peer = yield* Scope.provide(
        JsonRpcPeer.make({ wire: JsonRpcWire.fromStdio(process), target: "child", receive: () => Effect.void }),
        scope
      )
      assert.strictEqual(yield* peer.call("echo", 1), 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* process.exitCode, 7)
    })))
})

/** An agent behind a WebSocket: it says hello, then answers each request but `nothing`, and closes on `close`. */
const server = Effect.gen(function*() {
  const listening = yield* NodeSocketServer.makeWebSocket({ host: "127.0.0.1", port: 0 })
  yield* listening.run((socket) =>
    Effect.scoped(Effect.gen(function*() {
      const reader = yield* Socket.readerString(socket)
      const writer = yield* socket.writer
      yield* writer.write(JSON.stringify({ method: "hello" }))
      while (true) {
        for (const text of yield* reader) {
          const { id, method, params } = JSON.parse(text) as JsonRpcPeer.Request
          if (method === "close") return
          if (method !== "nothing") yield* writer.write(JSON.stringify({ id, result: params }, undefined, 1))
        }
      }
    }))
  ).pipe(Effect.forkScoped)
  const { address } = listening
  return "port" in address ? `ws://127.0.0.1:${address.port}` : assert.fail(address._tag)
})

describe("a WebSocket", () => {
  it.live("carries a message in a frame, both ways, and its end is the end of the conversation", () =>
    live(Effect.gen(function*() {
      const url = yield* server
      const socket = yield* Socket.makeWebSocket(url).pipe(Effect.provide(NodeSocket.layerWebSocketConstructor))
      const told: Array<JsonRpcPeer.Message> = []
      const peer = yield* JsonRpcPeer.make({
        wire: yield* JsonRpcWire.fromSocket(socket),
        target: url,
        receive: (messages) =>
          Effect.sync(() => {
            told.push(...messages)
          })
      })
      assert.deepStrictEqual(yield* peer.call("echo", { text: "two\nlines" }), { text: "two\nlines" })
      assert.deepStrictEqual(told, [{ method: "hello" }])
      const waiting = yield* Effect.forkChild(Effect.asVoid(peer.call("nothing")))
      yield* peer.notify("close")
      const error = yield* Effect.flip(Fiber.join(waiting))
      assert.strictEqual(error._tag === "AgentError" && error.reason._tag, "ConnectionLost")
      assert.strictEqual((yield* peer.lost).reason._tag, "ConnectionLost")
    })))
})
