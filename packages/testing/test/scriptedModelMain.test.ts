import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Path, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { ScriptedModel } from "../src/index.ts"
import { bodyOf } from "./fixtures/modelClient.ts"

const run = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const path = yield* Path.Path
  const main = yield* path.fromFileUrl(new URL("../src/scriptedModelMain.ts", import.meta.url))
  return yield* spawner.spawn(ChildProcess.make(process.execPath, [
    "--conditions=@reins/source",
    "--disable-warning=ExperimentalWarning",
    main,
    ...args
  ], { stdin: "ignore", extendEnv: true, killSignal: "SIGTERM", forceKillAfter: "5 seconds" }))
})

const provided = <A, E>(effect: Effect.Effect<A, E, NodeServices.NodeServices>) =>
  Effect.provide(effect, NodeServices.layer)

describe("reins-scripted-model", () => {
  it.live("says where it listens, answers, writes its log, and ends on SIGTERM", () =>
    provided(Effect.scoped(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const log = `${yield* fs.makeTempDirectoryScoped()}/calls.jsonl`
      const handle = yield* run("--port", "0", "--log", log)
      const line = yield* handle.stdout.pipe(
        Stream.decodeText(),
        Stream.splitLines,
        Stream.runHead,
        Effect.flatMap(Effect.fromOption)
      )
      const url = /^scripted model listening on (http:\/\/127\.0\.0\.1:\d+\/v1)$/.exec(line)?.[1]
      assert.isDefined(url, line)
      const body = JSON.stringify(bodyOf(ScriptedModel.prompt("say", { do: "text", text: "hello" }), { stream: false }))
      const answer = yield* Effect.promise(() =>
        fetch(`${url}/chat/completions`, { method: "POST", body }).then((response) => response.text())
      )
      assert.strictEqual(JSON.parse(answer).choices[0].message.content, "hello")
      const [entry, ...rest] = (yield* fs.readFileString(log)).trimEnd().split("\n")
      assert.deepStrictEqual(rest, [])
      assert.deepInclude(JSON.parse(entry ?? "{}"), { index: 0, isTitle: false, model: "scripted-1", text: body })
      yield* handle.kill({ killSignal: "SIGTERM" })
      // An interrupted run, not a kill after the grace.
      assert.strictEqual(yield* handle.exitCode, ChildProcessSpawner.ExitCode(130))
    }))))

  it.live("explains itself, and refuses a port that is none", () =>
    provided(Effect.scoped(Effect.gen(function*() {
      const help = yield* run("--help")
      assert.include(yield* Stream.mkString(Stream.decodeText(help.stdout)), "--port")
      assert.strictEqual(yield* help.exitCode, ChildProcessSpawner.ExitCode(0))
      const wrong = yield* run("--port", "70000")
      assert.include(yield* Stream.mkString(Stream.decodeText(wrong.all)), "Expected a port number")
      assert.strictEqual(yield* wrong.exitCode, ChildProcessSpawner.ExitCode(1))
    }))))

  it.live("says which port is taken", () =>
    provided(Effect.scoped(Effect.gen(function*() {
      const model = yield* ScriptedModel.make()
      const second = yield* run("--port", String(model.port))
      const output = yield* Stream.mkString(Stream.decodeText(second.all))
      assert.include(output, `cannot listen on 127.0.0.1:${model.port}`)
      assert.notInclude(output, "    at ")
      assert.strictEqual(yield* second.exitCode, ChildProcessSpawner.ExitCode(1))
    }))))
})
