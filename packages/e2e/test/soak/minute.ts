/** A minute of soak, and what has to be true of it. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { run } from "./soak.ts"
import type { Provider } from "./subjects.ts"

export const minute = (provider: Provider, seed: number, completed: number) =>
  Effect.gen(function*() {
    const figures = yield* run({ minutes: 1, seed, provider })
    assert.deepStrictEqual(figures.problems, [])
    assert.deepStrictEqual(
      { processes: figures.leakedProcesses, fibers: figures.leakedFibers },
      { processes: 0, fibers: 0 }
    )
    // It was work, and the faults were some.
    assert.isAbove(figures.outcomes["completed"] ?? 0, completed)
    assert.isAbove(Object.values(figures.faults).reduce((sum, count) => sum + count, 0), 3)
    assert.isAbove(figures.faults["kill"] ?? 0, 0)
    assert.isBelow(figures.heapGrowth ?? Infinity, figures.heapLimit)
  })
