/** Each trap of an agent that its page lists has a test of its name, and the other way round. */
import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { root, textOf } from "./fixtures/docs/blocks.ts"

interface Trap {
  readonly number: number
  readonly file: string
  readonly test: string
}

/** The rows of the table: trap, what it is, what Reins does, file, test. */
const listed: ReadonlyArray<Trap> = textOf("docs/opencode.md").split("\n").flatMap((line) => {
  const cells = line.split(" | ").map((cell) => cell.replace(/^\|\s*|\s*\|$/g, "").trim())
  const file = /\]\(\.\.\/([^)]+)\)/.exec(cells[3] ?? "")?.[1]
  const test = /^`(.*)`$/.exec(cells[4] ?? "")?.[1]
  return file === undefined || test === undefined ? [] : [{ number: Number(cells[0]), file, test }]
})

const tests = readdirSync(`${root}packages`, { recursive: true, encoding: "utf8" })
  .filter((path) => /^\w+\/test\/[^/]+\.test\.ts$/.test(path))
  .map((path) => `packages/${path}`)

/** The tests of a file that are named after a trap. */
const named = (file: string): ReadonlyArray<Trap> =>
  Array.from(
    readFileSync(`${root}${file}`, "utf8").matchAll(/^\s*(?:it\S*\()?"(trap (\d+): [^"\n]+)"/gm),
    ([, test = "", number]) => ({ number: Number(number), file, test })
  )

const ordered = (traps: ReadonlyArray<Trap>) => traps.toSorted((a, b) => a.number - b.number)

describe("the traps of Codex", () => {
  it("that its page lists are those that have a test, in the file that it names", () => {
    const rows = textOf("docs/codex.md").split("\n").flatMap((line) => {
      const [, number, file] = /^\| (\d+)\s+\|.*\]\(\.\.\/([^)]+)\)/.exec(line) ?? []
      return number === undefined || file === undefined ? [] : [`${number} ${file}`]
    })
    const found = new Set(tests.flatMap((file) =>
      Array.from(
        readFileSync(`${root}${file}`, "utf8").matchAll(/"codex trap (\d+): /g),
        ([, number]) => `${number} ${file}`
      )
    ))
    assert.isAbove(rows.length, 0)
    for (const row of rows) assert.isTrue(found.has(row), row)
    const listed = new Set(rows.map((row) => row.split(" ")[0]))
    for (const one of found) assert.isTrue(listed.has(one.split(" ")[0]), one)
  })
})

describe("the traps of OpenCode", () => {
  it("are twenty, each with a test that is there", () => {
    assert.deepStrictEqual(listed.map((trap) => trap.number), Array.from({ length: 20 }, (_, index) => index + 1))
    assert.deepStrictEqual(ordered(tests.flatMap(named)), listed)
  })
})
