import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Reins from "./fixtures/reins.ts"
import { run } from "./fixtures/reins.ts"

layer(Reins.layer, { excludeTestServices: true, timeout: "60 seconds" })("calling reins", (it) => {
  it.effect("in a wrong way ends with 2, a sentence and advice, and nothing on standard output", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: RegExp]> = [
        [["run", "--bogus", "x"], /--bogus/],
        [["run", "--timeout", "soon", "x"], /"soon" is no duration/],
        [["run", "--approve", "maybe", "x"], /--approve.*maybe/],
        [["run", "--provider", "nope", "x"], /no provider "nope"[\s\S]*opencode/],
        [["run", "--cwd", "/nonexistent/place", "x"], /\/nonexistent\/place does not exist/],
        [["run", "--session", "ses_nope", "x"], /no session ses_nope/],
        [["run", "--", " "], /prompt is empty/],
        [["run"], /prompt is empty/],
        [["walk", "x"], /walk/]
      ]
      const results = yield* Effect.forEach(wrong, ([args]) => run(args), { concurrency: 2 })
      results.forEach(({ code, stderr, stdout }, index) => {
        const says = wrong[index]?.[1] ?? /^$/
        assert.deepStrictEqual({ code, stdout }, { code: 2, stdout: "" }, stderr)
        assert.match(stderr, says)
        assert.match(stderr, /What to do: /)
      })
    }))

  it.effect("with --help teaches by examples, and with --version tells the version", () =>
    Effect.gen(function*() {
      const help = yield* run(["run", "--help"])
      assert.strictEqual(help.code, 0)
      assert.match(help.stdout, /--approve[\s\S]*EXAMPLES[\s\S]*reins run "Fix the failing test"/)
      const version = yield* run(["--version"])
      assert.deepStrictEqual({ code: version.code, stderr: version.stderr }, { code: 0, stderr: "" })
      assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/)
    }))
})
