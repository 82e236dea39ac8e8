import { assert, describe, it } from "@effect/vitest"
import * as history from "../history.ts"
import * as invariance from "../invariance.ts"
import { play } from "../verify.ts"
import type { Engine } from "../world.ts"
import { realEngine } from "../world.ts"
import { mutants } from "./mutants.ts"

const histories = 2_000

/** The first seed with which a law fails; undefined: with none. */
const firstFailure = (law: number, engine: Engine): number | undefined => {
  for (let seed = 1; seed <= histories; seed++) {
    const failed = law === 10
      ? invariance.check(invariance.generate(seed), engine) !== undefined
      : play(history.generate(seed), { engine, only: [law] }).failure !== undefined
    if (failed) return seed
  }
  return undefined
}

describe("each law is kept by its checker", () => {
  it("has a mutant for each of the eleven laws", () => {
    assert.deepStrictEqual(mutants.map(({ law }) => law), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  })

  for (const { engine, law, mistake } of mutants) {
    it(`law ${law} fails when ${mistake}, and holds otherwise`, () => {
      const seed = firstFailure(law, engine)
      assert.isDefined(seed, `the mutant of law ${law} survived ${histories} histories`)
      assert.isUndefined(firstFailure(law, realEngine), `law ${law} fails on the engine itself`)
    })
  }

  it("the dropped tail of law 6 is seen by nobody who compares deltas and items only", () => {
    const mutant = mutants.find(({ law }) => law === 6)
    assert.isDefined(mutant)
    for (let seed = 1; seed <= 200; seed++) {
      const { failure } = play(history.generate(seed), { engine: mutant.engine, only: [6] })
      if (failure !== undefined) assert.match(failure.message, /the agent said/)
    }
  })
})
