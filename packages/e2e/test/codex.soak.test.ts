/** A minute of random work, faults and kills over several sessions on the real Codex; `npm run soak -- --provider codex`. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { run } from "./soak/soak.ts"

describe("a soak of Codex for a minute", () => {
  it.live(
    "loses nothing, has nothing stuck or doubled, and leaves no process and no fiber",
    () =>
      Effect.gen(function*() {
        const figures = yield* run({ minutes: 1, seed: 5, provider: "codex" })
        assert.deepStrictEqual(figures.problems, [])
        assert.deepStrictEqual(
          { processes: figures.leakedProcesses, fibers: figures.leakedFibers },
          { processes: 0, fibers: 0 }
        )
        // It was work, and the faults were some.
        assert.isAbove(figures.outcomes["completed"] ?? 0, 10)
        assert.isAbove(Object.values(figures.faults).reduce((sum, count) => sum + count, 0), 3)
      }),
    300_000
  )
})
