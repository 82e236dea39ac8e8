/** The command with Codex behind it. */
import { assert, layer } from "@effect/vitest"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem } from "effect"
import * as Reins from "./fixtures/reins.ts"
import { leftBehind, Place, run } from "./fixtures/reins.ts"

const { prompt } = ScriptedModel
const sessionOf = (stderr: string) => /^Session (\S+) with codex/m.exec(stderr)?.[1] ?? ""
const exec = (cmd: string): ScriptedModel.Step => ({ do: "tools", tools: [{ name: "exec_command", args: { cmd } }] })

layer(Reins.layerCodex, { excludeTestServices: true, timeout: "60 seconds" })("reins run --provider codex", (it) => {
  it.effect("answers, runs what is allowed, and goes on with the session without being told the provider again", () =>
    Effect.gen(function*() {
      const { cwd, root } = yield* Place
      const fs = yield* FileSystem.FileSystem
      const model = yield* ScriptedModel.ScriptedModel
      const first = yield* run([
        "run",
        "--provider",
        "codex",
        "--approve",
        "all",
        prompt("remember the word kiwi", [exec("echo made > made.txt"), { do: "text", text: "It is made." }])
      ])
      assert.deepStrictEqual(
        { code: first.code, stdout: first.stdout },
        { code: 0, stdout: "It is made.\n" },
        first.stderr
      )
      assert.strictEqual(yield* fs.readFileString(`${cwd}/made.txt`), "made\n")
      const id = sessionOf(first.stderr)
      assert.match(id, /^ses_/)
      assert.deepStrictEqual(leftBehind(root), [])
      const second = yield* run(["run", "--session", id, prompt("which word?", { do: "text", text: "Kiwi." })])
      assert.deepStrictEqual(
        { code: second.code, stdout: second.stdout },
        { code: 0, stdout: "Kiwi.\n" },
        second.stderr
      )
      assert.include((yield* model.requests).at(-1)?.text, "remember the word kiwi")
      assert.deepStrictEqual(leftBehind(root), [])
    }))

  it.effect("declines without a terminal what would have to be asked, and ends with 4", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Place
      const fs = yield* FileSystem.FileSystem
      const { code, stderr, stdout } = yield* run([
        "run",
        "--provider",
        "codex",
        prompt("work", [exec("touch one.txt"), { do: "text", text: "I could not." }])
      ])
      assert.deepStrictEqual({ code, stdout }, { code: 4, stdout: "I could not.\n" }, stderr)
      assert.include(stderr, "touch one.txt")
      assert.isFalse(yield* fs.exists(`${cwd}/one.txt`))
    }))
})
