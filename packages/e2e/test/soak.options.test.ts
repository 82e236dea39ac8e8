import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Options from "./fixtures/options.ts"

const options = {
  minutes: Options.number(1, { above: 0 }),
  seed: Options.integer(7, { from: 0 }),
  sessions: Options.integer(4, { from: 1 }),
  provider: Options.oneOf("one", ["one", "two"])
}

describe("the options of a soak", () => {
  it("are read, and have a value where they are not given", () => {
    assert.deepStrictEqual(Options.parse([], options), {
      _tag: "values",
      values: { minutes: 1, seed: 7, sessions: 4, provider: "one" }
    })
    assert.deepStrictEqual(Options.parse(["--minutes", "0.5", "--seed=0", "--provider", "two"], options), {
      _tag: "values",
      values: { minutes: 0.5, seed: 0, sessions: 4, provider: "two" }
    })
  })

  for (
    const args of [
      ["--bogus"],
      ["5"],
      ["--minutes"],
      ["--minutes", "-1"],
      ["--minutes=-1"],
      ["--minutes="],
      ["--minutes", "0"],
      ["--minutes", "NaN"],
      ["--minutes", "1e9999"],
      ["--minutes", "9".repeat(400)],
      ["--seed", "1.5"],
      ["--sessions", "0"],
      ["--provider", "three"]
    ]
  ) {
    it(`cannot be ${args.join(" ").slice(0, 30)}`, () => {
      assert.strictEqual(Options.parse(args, options)._tag, "wrong")
    })
  }

  it("are explained", () => {
    for (const args of [["--help"], ["-h"], ["--minutes", "2", "--help"]]) {
      assert.deepStrictEqual(Options.parse(args, options), { _tag: "help" })
    }
  })

  for (const tool of ["soak", "hostCrash"]) {
    it(`end ${tool} with 2 when they are wrong, with 0 after the explanation`, () => {
      const run = (arg: string) =>
        spawnSync(process.execPath, [
          "--conditions=@reins/source",
          fileURLToPath(new URL(`./${tool}/main.ts`, import.meta.url)),
          arg
        ], { encoding: "utf8" })
      const wrong = run("--bogus")
      assert.deepStrictEqual([wrong.status, wrong.stdout], [2, ""])
      assert.match(wrong.stderr, /--bogus[\s\S]*\nusage: npm run soak/)
      const help = run("--help")
      assert.deepStrictEqual([help.status, help.stderr], [0, ""])
      assert.match(help.stdout, /^usage: npm run soak/)
    })
  }
})
