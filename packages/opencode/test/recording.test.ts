/** The fixtures are what the real server says: they are recorded by a command, and that command still makes them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { scenarios } from "./recording/scenarios.ts"
import * as stage from "./recording/stage.ts"

const fixture = (name: string) => readFileSync(new URL(`fixtures/${name}.jsonl`, import.meta.url), "utf8")

/**
 * What a fixture tells, each thing once and sorted: of two things that the server does at once either may be told first,
 * and some it repeats as often as it likes.
 */
const told = (text: string): ReadonlyArray<string> => {
  const frames = text.trimEnd().split("\n").map((line) => JSON.parse(line) as Line)
  const finishes = frames.some(({ properties }) => properties.info?.finish !== undefined)
  const lines = frames.flatMap(({ properties, type }) => {
    if (type === "session.status" || type === "session.diff" || properties.info?.role === "user") return []
    const { delta, info, method, part, path, reply } = properties
    // Written when it is sent, not when it changed: in a hurry each frame of a message that finishes has its finish.
    if (finishes && type === "message.updated" && info?.role === "assistant" && info.finish === undefined) return []
    return [
      [type, info?.role, info?.finish, part?.type, part?.state?.status, part?.text, delta, reply, method, path].join(
        " "
      )
    ]
  })
  return [...new Set(lines)].sort()
}

interface Line {
  readonly type: string
  readonly properties: {
    readonly info?: { readonly role?: string; readonly finish?: string }
    readonly part?: { readonly type: string; readonly text?: string; readonly state?: { readonly status: string } }
    readonly delta?: string
    readonly reply?: string
    readonly method?: string
    readonly path?: string
  }
}

describe("the fixtures", () => {
  it("each have a scenario, and each scenario has one", () => {
    const files = readdirSync(new URL("fixtures", import.meta.url)).filter((file) => file.endsWith(".jsonl"))
    assert.deepStrictEqual(files.map((file) => file.slice(0, -".jsonl".length)).sort(), Object.keys(scenarios).sort())
  })

  it.live("are recorded anew from the real server as they are", () =>
    Effect.gen(function*() {
      const { record } = yield* stage.make
      for (const name of ["02b-text-warm", "03d-perm-reject", "06l-finish-length"]) {
        const scenario = scenarios[name]
        if (scenario === undefined) return assert.fail(name)
        assert.deepStrictEqual(told(yield* record(name, scenario)), told(fixture(name)), name)
      }
    }).pipe(Effect.scoped, Effect.provide(stage.platform)), 60_000)
})
