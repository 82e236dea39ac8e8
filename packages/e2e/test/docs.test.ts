/** Every code block of the README and of docs/ is compiled and run, and every table is what the code says. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import * as exitCodes from "@reins/cli/exitCodes"
import * as SessionEvent from "@reins/core/SessionEvent"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { plain, render } from "../../../scripts/docs-tables.ts"
import { blocks, pages, proseOf, root, textOf } from "./fixtures/docs/blocks.ts"
import * as programs from "./fixtures/docs/programs.ts"
import { respond } from "./fixtures/docs/scenario.ts"

const of = (language: string) => blocks.filter((block) => block.language === language)
const { isNpm, shells, typescript } = programs

const cellsOf = (page: string, head: string): ReadonlyArray<string> => {
  const lines = textOf(page).split("\n")
  const start = lines.findIndex((line) => line.replaceAll(/ +/g, " ").startsWith(`| ${head} |`))
  const end = lines.findIndex((line, index) => index > start && !line.startsWith("|"))
  return lines.slice(start + 2, end).map((line) => line.split("|")[1]?.trim() ?? "")
}

/** The anchor that GitHub gives a heading. */
const anchor = (heading: string) => heading.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-")

const anchorsOf = (page: string) => Array.from(proseOf(page).matchAll(/^#+ (.+)$/gm), (match) => anchor(match[1] ?? ""))

/** For the programs of a page, which wait for those before them and for the starts of their agents, in milliseconds. */
const patience = 180_000

const Live = programs.layer.pipe(
  Layer.provideMerge(ScriptedModel.layer({ respond })),
  Layer.provideMerge(NodeServices.layer)
)

layer(Live, {
  excludeTestServices: true,
  timeout: "60 seconds"
})("documentation", (it) => {
  it.effect("has no block that these tests do not know, and no two programs of one name", () =>
    Effect.sync(() => {
      const known = new Set(["ts", "sh", "json", "mermaid"])
      assert.deepStrictEqual(blocks.filter((block) => !known.has(block.language)).map((block) => block.place), [])
      assert.deepStrictEqual(typescript.filter((block) => !/^[a-z-]+\.ts$/.test(block.info)), [])
      assert.strictEqual(new Set(typescript.map((block) => block.info)).size, typescript.length)
      for (const language of known) assert.isAbove(of(language).length, 0, language)
    }))

  it.effect("type-checks every program", () =>
    Effect.gen(function*() {
      const result = yield* programs.run(`${root}node_modules/.bin/tsc`, ["-p", programs.generated], { cwd: root })
      assert.deepStrictEqual([result.code, result.stdout], [0, ""])
    }))

  for (const page of pages) {
    const all = typescript.filter((block) => block.page === page)
    if (all.length === 0) continue
    it.effect(`runs every program of ${page}, and it prints what the page says`, () =>
      Effect.gen(function*() {
        const { result } = yield* programs.Runs
        const results = yield* Effect.forEach(all, result)
        assert.deepStrictEqual(
          results.map((result, index) => ({ place: all[index]?.place, ...result })),
          all.map((block) => ({ place: block.place, code: 0, stdout: block.output ?? "", stderr: "" }))
        )
      }), patience)
  }

  it.effect("runs every shell block that calls reins", () =>
    Effect.gen(function*() {
      const { result } = yield* programs.Runs
      const results = yield* Effect.forEach(shells, result)
      assert.deepStrictEqual(
        results.map(({ code, stderr, stdout }, index) => ({
          place: shells[index]?.place,
          code,
          ...(shells[index]?.output === undefined ? undefined : { stdout }),
          ...(code === 0 ? undefined : { stderr })
        })),
        shells.map((block) => ({
          place: block.place,
          code: 0,
          ...(block.output === undefined ? undefined : { stdout: block.output })
        }))
      )
    }))

  it.effect("names only scripts that the workspace has", () =>
    Effect.sync(() => {
      const { scripts } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as {
        readonly scripts: Readonly<Record<string, string>>
      }
      const builtIn = new Set(["ci", "install", "run"])
      const named = of("sh").filter(isNpm).flatMap((block) =>
        Array.from(block.code.matchAll(/\bnpm (?:run )?([\w:]+)/g), (match) => match[1] ?? "")
      )
      assert.includeMembers(named, ["ci", "start", "test"])
      assert.deepStrictEqual(named.filter((name) => !builtIn.has(name) && scripts[name] === undefined), [])
    }))

  it.effect("names the flags and exit codes of reins, all and no others", () =>
    Effect.gen(function*() {
      const help = yield* programs.reins("run", "--help")
      const flags = Array.from(help.stdout.matchAll(/^\s+(?:-\w, )?(--[a-z]+)/gm), (match) => match[1] ?? "")
      const documented = cellsOf("docs/getting-started.md", "Flag").map((cell) => /--[a-z]+/.exec(cell)?.[0] ?? cell)
      const common = ["--help", "--version", "--completions", "--log"]
      assert.deepStrictEqual(
        [...new Set(flags)].filter((flag) => !common.includes(flag)).sort(),
        [...documented].sort()
      )
      assert.deepStrictEqual(
        cellsOf("docs/getting-started.md", "Exit code").map(Number),
        Object.values(exitCodes).filter((value) => typeof value === "number").sort((a, b) => a - b)
      )
    }))

  it.effect("shows events on the wire that decode", () =>
    Effect.gen(function*() {
      for (const block of of("json")) {
        for (const line of block.code.trim().split("\n")) {
          const event = yield* SessionEvent.decode(JSON.parse(line))
          assert.deepStrictEqual(yield* SessionEvent.encode(event), JSON.parse(line))
        }
      }
    }))

  it.effect("has the tables that scripts/docs-tables.ts writes", () =>
    Effect.sync(() => {
      for (const page of ["docs/errors.md", "docs/events.md"]) {
        assert.strictEqual(
          plain(textOf(page)),
          plain(render(page, textOf(page))),
          "write them: npx node --conditions=@reins/source scripts/docs-tables.ts && npm run format"
        )
      }
    }))

  it.effect("links to files and headings that exist", () =>
    Effect.sync(() => {
      const broken = pages.flatMap((page) =>
        Array.from(proseOf(page).matchAll(/\]\(([^)\s]+)\)/g), (match) => match[1] ?? "")
          .filter((target) => {
            const [file = "", heading] = target.split("#")
            const path = file === "" ? page : join(dirname(page), file)
            return !existsSync(`${root}${path}`) ||
              (heading !== undefined && !anchorsOf(path).includes(heading))
          })
          .map((target) => `${page}: ${target}`)
      )
      assert.deepStrictEqual(broken, [])
    }))
})
