/** The suite itself: a good provider passes it, and each clause can fail. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Conformance from "../src/Conformance.ts"
import { subject } from "./fixtures/conformingSubject.ts"
import { skip } from "./fixtures/skip.ts"

describe("TestProvider conforms", () => {
  for (const clause of Conformance.clauses(subject())) {
    it.live(clause.name, (test) =>
      Effect.catchTag(clause.run, "NotApplicable", ({ message }) => {
        assert.match(message, /^the agent (has the capability|keeps no history)/)
        return skip(test, message)
      }), 120_000)
  }
})

describe("the suite", () => {
  it("asks for each of the laws", () => {
    const laws = new Set(Conformance.clauses(subject()).map(({ law }) => law))
    for (let law = 1; law <= 11; law++) assert.isTrue(laws.has(law), `law ${law}`)
  })

  it("has one name for each clause", () => {
    const names = Conformance.clauses(subject()).map(({ name }) => name)
    assert.lengthOf(new Set(names), names.length)
  })

  it.live(
    "says why a clause is not applicable, in the words of the subject where it has some",
    () =>
      Effect.gen(function*() {
        const bare = subject({
          subject: ({ agent: { hold, say }, capabilities, open }) => ({
            agent: { hold, say },
            capabilities,
            open,
            lacks: { reorder: "its one stream keeps its order" }
          })
        })
        const { notApplicable } = yield* Conformance.run(bare)
        const why = new Map(notApplicable.map((one) => [one.clause, one.why]))
        assert.strictEqual(why.get("what comes in another order is told in order"), "its one stream keeps its order")
        assert.strictEqual(why.get("what is told twice counts once"), "the subject has no \"repeat\"")
        assert.include([...why.values()], "the subject has no \"leftovers\"")
        assert.include([...why.values()], "the subject has no \"host\"")
      }),
    60_000
  )
})
