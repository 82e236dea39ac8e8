import { assert, describe, it } from "@effect/vitest"
import type { Step } from "../../src/internal/modelScript.ts"
import * as turns from "../../src/internal/turns.ts"

const a: Step = { do: "text", text: "a" }
const b: Step = { do: "text", text: "b" }
const twice: Step = { do: "status", code: 500, times: 2 }
const cutOnce: Step = { do: "cut", times: 1 }

describe("steps of a turn", () => {
  it("follow the answers in the conversation and end with done", () => {
    const { next } = turns.make()
    assert.deepStrictEqual([0, 1, 2, 7].map((answers) => next(["k"], [a, b], answers)), [
      a,
      b,
      turns.exhausted,
      turns.exhausted
    ])
  })

  it("hand out a counted fault that often, then the step after it", () => {
    const { next } = turns.make()
    const steps = [a, twice, b]
    assert.deepStrictEqual([0, 1, 1, 1, 2].map((answers) => next(["k"], steps, answers)), [
      a,
      twice,
      twice,
      b,
      turns.exhausted
    ])
  })

  it("repeat a fault without a count", () => {
    const { next } = turns.make()
    const forever: Step = { do: "status", code: 500 }
    assert.deepStrictEqual([0, 0, 0].map((answers) => next(["k"], [forever, b], answers)), [forever, forever, forever])
  })

  it("do not skip a step when a fault left an answer behind", () => {
    const { next } = turns.make()
    const steps = [cutOnce, a, b]
    assert.deepStrictEqual([0, 1, 2, 3].map((answers) => next(["k"], steps, answers)), [cutOnce, a, b, turns.exhausted])
  })

  it("count each conversation on its own", () => {
    const { next } = turns.make()
    const steps = [cutOnce, a]
    assert.deepStrictEqual(next(["one"], steps, 0), cutOnce)
    assert.deepStrictEqual(next(["two"], steps, 0), cutOnce)
    assert.deepStrictEqual(next(["one"], steps, 0), a)
  })
})
