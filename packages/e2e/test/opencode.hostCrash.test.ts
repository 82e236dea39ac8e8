/** A host that is killed at random moments, over the real server: nothing lost, stuck, doubled or left behind. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { run } from "./hostCrash/hostCrash.ts"

describe("a host that is killed 20 times", () => {
  it.live(
    "has every prompt, turn, item and request once, numbered without a gap, and leaves no process",
    () =>
      Effect.gen(function*() {
        const figures = yield* run({ kills: 20, seed: 41 })
        assert.deepStrictEqual(figures.problems, [])
        assert.strictEqual(figures.orphans, 0)
        assert.isAbove(figures.prompts, 20)
        assert.isAbove(figures.outcomes["completed"] ?? 0, 0)
        // The kills did hit turns at work, and the host in the middle of everything.
        assert.isAbove(figures.outcomes["lost"] ?? 0, 0)
        assert.deepStrictEqual(Object.entries(figures.hit).filter(([, count]) => count === 0), [])
      }),
    420_000
  )
})
