/** The real `codex app-server`, kept running. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as CodexBinary from "@reins/codex/CodexBinary"
import * as CodexServer from "@reins/codex/CodexServer"
import type { Signal } from "@reins/core/Signal"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Deferred, Effect, Exit, FileSystem, Scope, Stream } from "effect"
import * as Processes from "./fixtures/processes.ts"

const start = (options: { readonly config?: string; readonly env?: Record<string, string> } = {}) =>
  Effect.gen(function*() {
    const model = yield* ScriptedModel.make()
    const sandbox = yield* CodexSandbox.make({ url: model.url, ...options })
    const { path } = yield* CodexBinary.find({ from: [process.cwd()] })
    const server = yield* CodexServer.make({
      binary: path,
      env: { ...sandbox.env, ...options.env },
      startTimeout: "30 seconds"
    })
    return { model, sandbox, server }
  })

const text = (words: string) => [{ type: "text", text: words, text_elements: [] }]

/** The signals of a thread until its turn has ended. */
const turn = (
  { server }: { readonly server: CodexServer.CodexServer },
  { cwd }: CodexSandbox.CodexSandbox,
  script: ScriptedModel.Script
) =>
  Effect.gen(function*() {
    const { client } = yield* server.live
    const { thread } = yield* client.startThread({ cwd, approvalPolicy: "never", sandbox: "danger-full-access" })
    const attached = yield* server.attach(thread.id)
    yield* client.startTurn(thread.id, text(ScriptedModel.prompt("go", script)), "key-1", {})
    const signals = yield* attached.signals.pipe(
      Stream.takeUntil(({ _tag }) => _tag === "turnEnded"),
      Stream.runCollect
    )
    return { thread, signals: [...signals], attached }
  })

const live = <A, E>(body: Effect.Effect<A, E, Scope.Scope | NodeServices.NodeServices>) =>
  Effect.scoped(body).pipe(Effect.provide(NodeServices.layer))

const verdict = (signals: ReadonlyArray<Signal>) => {
  const last = signals.at(-1)
  return last?._tag === "turnEnded" ? last.verdict?._tag : undefined
}

describe("codex app-server", () => {
  it.live("shakes hands, says its version and runs a turn, whose prompt carries our key", () =>
    live(Effect.gen(function*() {
      const started = yield* start()
      const { home, version } = yield* started.server.live
      assert.strictEqual(version, "0.169.0")
      assert.strictEqual(home, started.sandbox.home)
      const { signals } = yield* turn(started, started.sandbox, [
        { do: "tools", tools: [{ name: "exec_command", args: { cmd: "echo hello" } }] },
        { do: "text", text: "It said hello." }
      ])
      assert.strictEqual(verdict(signals), "completed")
      assert.deepStrictEqual(signals.filter(({ _tag }) => _tag === "unrecognised"), [])
      const prompt = signals.find((signal) => signal._tag === "prompt")
      assert.deepInclude(prompt, { key: "key-1" })
      const command = signals.findLast((signal) => signal._tag === "item" && signal.item._tag === "command")
      assert.deepInclude(command?._tag === "item" ? command.item : {}, { command: "echo hello", exitCode: 0 })
    })))

  it.live("codex trap 21: asks nobody but the model, and leaves the user's file of settings as it is", () =>
    live(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const started = yield* start()
      const file = `${started.sandbox.home}/config.toml`
      const before = yield* fs.readFileString(file)
      const { signals } = yield* turn(started, started.sandbox, { do: "text", text: "hi" })
      assert.strictEqual(verdict(signals), "completed")
      assert.strictEqual(yield* fs.readFileString(file), before)
      // Its lists of plugins come from the network.
      assert.isAbove(Processes.withText("features.plugins=false").length, 0)
    })))

  it.live("marks its commands as ours, whatever the user's policy leaves them of their environment", () =>
    live(Effect.gen(function*() {
      const started = yield* start({ config: "[shell_environment_policy]\ninherit = \"none\"\n" })
      const { signals } = yield* turn(started, started.sandbox, [
        { do: "tools", tools: [{ name: "exec_command", args: { cmd: "echo owner=$REINS_OWNER" } }] },
        { do: "text", text: "done" }
      ])
      const command = signals.findLast((signal) => signal._tag === "item" && signal.item._tag === "command")
      const output = command?._tag === "item" && command.item._tag === "command" ? command.item.output : ""
      assert.match(output, /owner=[0-9a-f-]{36}/)
    })))

  it.live(
    "codex trap 19: a death by SIGKILL ends the signals with how it ended; the next server goes on with the thread",
    () =>
      live(Effect.gen(function*() {
        const started = yield* start()
        const pids: Array<number> = []
        const ready = Deferred.makeUnsafe<number>()
        yield* started.server.listen((signal) => {
          if (signal._tag !== "process" || signal.status._tag !== "ready") return
          pids.push(signal.status.pid ?? 0)
          Deferred.doneUnsafe(ready, Exit.succeed(pids[0] ?? 0))
        })
        const { attached, signals, thread } = yield* turn(started, started.sandbox, { do: "text", text: "first" })
        assert.strictEqual(verdict(signals), "completed")
        yield* Processes.kill(yield* Deferred.await(ready), "SIGKILL")
        const error = yield* Effect.flip(Stream.runDrain(attached.signals))
        assert.deepInclude(error.reason, { _tag: "ProcessExited", signal: "SIGKILL" })
        const { client } = yield* started.server.live
        const resumed = yield* client.resumeThread(thread.id, {})
        assert.strictEqual(resumed.thread.id, thread.id)
        const turns = yield* client.listTurns(thread.id, { limit: 10 })
        assert.deepStrictEqual(turns.data.map(({ status }) => status), ["completed"])
      })),
    60_000
  )

  it.live("keeps what it asked for a session that listens again, and takes its answer", () =>
    live(Effect.gen(function*() {
      const { sandbox, server } = yield* start()
      const { client, peer } = yield* server.live
      const { thread } = yield* client.startThread({
        cwd: sandbox.cwd,
        approvalPolicy: "untrusted",
        sandbox: "workspace-write"
      })
      const script = [
        { do: "tools", tools: [{ name: "exec_command", args: { cmd: "touch asked.txt" } }] },
        { do: "text", text: "done" }
      ] as const
      yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* server.attach(thread.id)
        yield* client.startTurn(thread.id, text(ScriptedModel.prompt("go", script as never)), "k", {})
        yield* first.signals.pipe(Stream.takeUntil(({ _tag }) => _tag === "requestOpened"), Stream.runDrain)
      }))
      const again = yield* server.attach(thread.id)
      const [ask] = again.state.asks.values()
      assert.strictEqual(ask?.signal.facts.command, "touch asked.txt")
      assert.isTrue(yield* peer.answer(ask?.id ?? -1, { decision: "accept" }))
      const signals = yield* again.signals.pipe(
        Stream.takeUntil(({ _tag }) => _tag === "turnEnded"),
        Stream.runCollect
      )
      assert.strictEqual(verdict([...signals]), "completed")
      assert.isTrue([...signals].some(({ _tag }) => _tag === "requestClosed"))
    })))

  it.live("ends by the end of its input, and its running command with it", () =>
    live(Effect.gen(function*() {
      const scope = Scope.makeUnsafe()
      const started = yield* Scope.provide(start(), scope)
      const { client } = yield* started.server.live
      const { thread } = yield* client.startThread({
        cwd: started.sandbox.cwd,
        approvalPolicy: "never",
        sandbox: "danger-full-access"
      })
      const attached = yield* Scope.provide(started.server.attach(thread.id), scope)
      yield* client.startTurn(
        thread.id,
        text(
          ScriptedModel.prompt("go", [{ do: "tools", tools: [{ name: "exec_command", args: { cmd: "sleep 271" } }] }])
        ),
        "k",
        {}
      )
      yield* attached.signals.pipe(
        Stream.takeUntil((signal) => signal._tag === "item" && signal.item._tag === "command"),
        Stream.runDrain
      )
      yield* Processes.until(() => Processes.withText("sleep 271").length > 0, "the command", Processes.starts)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(Processes.withText("sleep 271"), [])
    })), 60_000)

  it.live("a home that does not exist is a setting to correct, named with its path", () =>
    live(Effect.gen(function*() {
      const { server } = yield* start({ env: { CODEX_HOME: "/nowhere/at/all" } })
      const error = yield* Effect.flip(Effect.asVoid(server.live))
      assert.strictEqual(error.reason._tag, "InvalidConfig")
      assert.include(error.message, "/nowhere/at/all")
    })))

  it.live("codex trap 13: a policy in the user's file that this release refuses is named, not retried", () =>
    live(Effect.gen(function*() {
      const model = yield* ScriptedModel.make()
      const sandbox = yield* CodexSandbox.make({ url: model.url })
      const fs = yield* FileSystem.FileSystem
      const file = `${sandbox.home}/config.toml`
      yield* fs.writeFileString(file, `approval_policy = "untrusted"\n${yield* fs.readFileString(file)}`)
      const { path } = yield* CodexBinary.find({ from: [process.cwd()] })
      const server = yield* CodexServer.make({ binary: path, env: sandbox.env, startTimeout: "30 seconds" })
      const error = yield* Effect.flip(Effect.asVoid(server.live))
      assert.strictEqual(error.reason._tag, "InvalidConfig", error.message)
      assert.include(error.message, "no longer supported")
    })))
})
