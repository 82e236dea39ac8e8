import { assert, describe, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import { Backoff } from "../src/index.ts"

describe("Backoff", () => {
  it.effect("doubles from the base to the cap, within the jitter, for any number of attempts", () =>
    Effect.gen(function*() {
      for (
        const [attempt, plain] of [[0, 250], [1, 500], [5, 8_000], [6, 10_000], [60, 10_000], [
          100_000,
          10_000
        ]] as const
      ) {
        const waits = yield* Effect.replicateEffect(Backoff.delayMillis(attempt), 200)
        assert.isTrue(waits.every((wait) => wait >= plain * 0.75 && wait <= plain * 1.25), `attempt ${attempt}`)
        assert.isAbove(Math.max(...waits), plain * 1.15)
        assert.isBelow(Math.min(...waits), plain * 0.85)
      }
    }).pipe(Random.withSeed("backoff")))

  it.effect("follows its own settings", () =>
    Effect.gen(function*() {
      const backoff = { base: "1 second", cap: "3 seconds", jitter: 0 } as const
      assert.deepStrictEqual(yield* Effect.forEach([0, 1, 2, 3], (attempt) => Backoff.delayMillis(attempt, backoff)), [
        1_000,
        2_000,
        3_000,
        3_000
      ])
    }))
})
