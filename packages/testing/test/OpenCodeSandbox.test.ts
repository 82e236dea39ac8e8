import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, FileSystem, Schema, Scope, Stream } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { createRequire } from "node:module"
import { OpenCodeSandbox, ScriptedModel } from "../src/index.ts"

const binary = createRequire(import.meta.url).resolve("opencode-linux-x64/bin/opencode")
const password = "sandbox-password"

/** Starts a server in the sandbox and ends it with the scope: orderly first, so that no tool is left behind. */
const serve = Effect.fnUntraced(function*(sandbox: OpenCodeSandbox.OpenCodeSandbox) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const handle = yield* spawner.spawn(ChildProcess.make(binary, ["serve", "--hostname=127.0.0.1", "--port=0"], {
    cwd: sandbox.cwd,
    env: { ...sandbox.env, OPENCODE_SERVER_PASSWORD: password },
    extendEnv: true,
    stdin: "ignore",
    stderr: "ignore",
    killSignal: "SIGTERM",
    forceKillAfter: "5 seconds"
  }))
  const base = yield* handle.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.map((line) => /listening on (http:\S+)/.exec(line)?.[1]),
    Stream.filter((url) => url !== undefined),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption)
  )
  const request = (method: string, path: string, body?: unknown) =>
    Effect.promise((signal) =>
      fetch(`${base}${path}`, {
        method,
        signal,
        headers: {
          authorization: `Basic ${Buffer.from(`opencode:${password}`).toString("base64")}`,
          "content-type": "application/json"
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      }).then((response) => response.json())
    )
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(request("POST", "/global/dispose"), "5 seconds")))
  return request
})

const Session = Schema.Struct({ id: Schema.String })
const Message = Schema.Struct({
  parts: Schema.Array(Schema.Struct({ type: Schema.String, text: Schema.optionalKey(Schema.String) }))
})

describe("the sandbox", () => {
  it.live("is removed with its scope", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const scope = yield* Scope.make()
      const sandbox = yield* Scope.provide(OpenCodeSandbox.make({ url: "http://127.0.0.1:1/v1" }), scope)
      assert.isTrue(yield* fs.exists(sandbox.cwd))
      assert.deepStrictEqual(yield* fs.readDirectory(sandbox.cwd), [])
      for (const name of ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR"]) {
        const directory = sandbox.env[name] ?? ""
        assert.isTrue(directory.startsWith(`${sandbox.root}/`), name)
        assert.isTrue(yield* fs.exists(directory), name)
      }
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* fs.exists(sandbox.root))
    }).pipe(Effect.provide(NodeServices.layer)))

  it("merges overrides into the configuration", () => {
    const config = OpenCodeSandbox.openCodeConfig("http://127.0.0.1:1/v1", {
      permission: { bash: "ask" },
      provider: { [OpenCodeSandbox.provider]: { options: { chunkTimeout: 1500 } } },
      enabled_providers: ["other"]
    })
    assert.deepNestedInclude(config, {
      "provider.scripted.options": { baseURL: "http://127.0.0.1:1/v1", apiKey: "sk-scripted", chunkTimeout: 1500 },
      permission: { bash: "ask" },
      enabled_providers: ["other"]
    })
  })

  it.live("lets a real agent run turns against the scripted model", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const sandbox = yield* OpenCodeSandbox.make({ url: model.url })
      const request = yield* serve(sandbox)
      const session = yield* Schema.decodeUnknownEffect(Session)(yield* request("POST", "/session", {}))
      const turn = Effect.fnUntraced(function*(script: ScriptedModel.Script) {
        const answer = yield* request("POST", `/session/${session.id}/message`, {
          parts: [{ type: "text", text: ScriptedModel.prompt("say it", script) }]
        })
        const { parts } = yield* Schema.decodeUnknownEffect(Message)(answer)
        return parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("")
      })

      const plain = yield* turn({ do: "text", reasoning: "hm", text: "hello from the script" })
      assert.strictEqual(plain, "hello from the script")
      const first = yield* model.awaitRequest(0)
      assert.strictEqual(first.sessionId, session.id)
      assert.include(first.tools, "bash")

      const worked = yield* turn([
        { do: "tools", tools: [{ name: "bash", args: { command: "echo from-the-tool", description: "say" } }] },
        { do: "text", text: "the tool has run" }
      ])
      assert.strictEqual(worked, "the tool has run")
      const second = yield* model.awaitRequest((request) => request.hasToolResults)
      assert.deepInclude(second.toolResultsAfterLastUser[0], { name: "bash", content: "from-the-tool\n" })

      const cut = yield* turn([
        { do: "cut", text: "lost words", times: 1, after: 1 },
        { do: "text", text: "kept words" }
      ])
      assert.strictEqual(cut, "kept words")
    }).pipe(Effect.scoped, Effect.provide([ScriptedModel.layer(), NodeServices.layer])), 60_000)
})
