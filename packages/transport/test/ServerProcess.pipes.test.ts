/** Agents that are spoken to over their standard input and output. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import type { AgentError } from "@reins/core/AgentError"
import { Effect, Exit, Scope } from "effect"
import { fileURLToPath } from "node:url"
import { JsonRpcPeer, JsonRpcWire, ProcessTree, ServerProcess } from "../src/index.ts"

const child = fileURLToPath(new URL("./fixtures/rpcChild.mjs", import.meta.url))
const shell = (script: string) => ({ command: "/bin/sh", args: ["-c", script] })

/** A first question over the pipes of a process. */
const handshake = (method: string) => (pipes: ServerProcess.Pipes) =>
  Effect.gen(function*() {
    const peer = yield* JsonRpcPeer.make({
      wire: JsonRpcWire.fromStdio(pipes),
      target: "child",
      receive: () => Effect.void
    })
    yield* Effect.catchTag(peer.call(method, "hello"), "JsonRpcError", Effect.die)
    return peer
  })

const tailOf = ({ reason }: AgentError) => "stderrTail" in reason ? reason.stderrTail ?? "" : ""

describe("a handshake over the pipes", () => {
  it.live("makes the process ready; it ends by the end of its input, before any signal", () =>
    Effect.gen(function*() {
      const scope = Scope.makeUnsafe()
      const server = yield* Scope.provide(
        ServerProcess.spawn({ command: process.execPath, args: [child], ready: { handshake: handshake("echo") } }),
        scope
      )
      assert.strictEqual(yield* server.info.call("echo", 1), 1)
      // More than a pipe holds, on the output that nobody reads.
      assert.strictEqual(yield* server.info.call("complain"), "complained")
      assert.include(server.tail(), "said")
      yield* Scope.close(scope, Exit.void)
      const exited = yield* server.exited
      assert.strictEqual(exited.code, 7)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("that the process does not live to see fails with how it ended", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.asVoid(ServerProcess.spawn({
        ...shell("echo 'CODEX_HOME does not exist' >&2; exit 4"),
        ready: { handshake: handshake("echo") }
      })))
      assert.deepInclude(error.reason, { _tag: "ProcessExited", code: 4, starting: true })
      assert.include(tailOf(error), "CODEX_HOME does not exist")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("that fails while the process lives fails the start with its own error, and the process is ended", () =>
    Effect.gen(function*() {
      let pid = 0
      const error = yield* Effect.flip(Effect.asVoid(ServerProcess.spawn({
        ...shell("exec 1>&-; exec sleep 300"),
        onSpawn: (process) =>
          Effect.sync(() => {
            pid = process.pid
          }),
        ready: { handshake: handshake("echo") }
      })))
      assert.strictEqual(error.reason._tag, "ConnectionLost")
      assert.isAbove(pid, 0)
      assert.isUndefined(yield* ProcessTree.startTime(pid))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("that is never answered is over with the start, which tells what was written", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.asVoid(ServerProcess.spawn({
        ...shell("echo 'waiting for the network' >&2; exec sleep 300"),
        startTimeout: "500 millis",
        ready: { handshake: handshake("echo") }
      })))
      assert.strictEqual(error.reason._tag, "StartTimeout")
      assert.include(tailOf(error), "waiting for the network")
    }).pipe(Effect.provide(NodeServices.layer)))
})
