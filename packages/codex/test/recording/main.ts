/**
 * Records the frames of the normaliser anew, with the real Codex against a scripted model:
 *
 *   npm run record:codex -- [name …]
 *
 * Without names, all of them, in a minute or two. Ids, times, ports and places are numbered or named anew, so that a second
 * recording differs where the agent does, and in the order of what it does at once. Frames that the scripted model cannot
 * bring about stay as they are; `fixtures/README.md` names them.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect } from "effect"
import { writeFileSync } from "node:fs"
import { scenarios } from "./scenarios.ts"
import * as stage from "./stage.ts"

/** Longest fixture, in characters: one that is longer tells too much. */
const maxLength = 60_000

const program = Effect.gen(function*() {
  const wanted = process.argv.slice(2)
  const names = wanted.length === 0 ? Object.keys(scenarios) : wanted
  for (const name of names) {
    const scenario = scenarios[name]
    if (scenario === undefined) {
      return yield* Effect.die(
        new Error(`There is no scenario ${name}; there are ${Object.keys(scenarios).join(", ")}.`)
      )
    }
    const text = yield* stage.record(scenario)
    if (text.length > maxLength) return yield* Effect.die(new Error(`${name} has ${text.length} characters.`))
    writeFileSync(new URL(`../fixtures/frames/${name}.jsonl`, import.meta.url), text)
    yield* Console.log(`${name}: ${text.split("\n").length - 1} lines`)
  }
}).pipe(Effect.scoped, Effect.provide(stage.platform))

// A signal ends the server, too.
NodeRuntime.runMain(program)
