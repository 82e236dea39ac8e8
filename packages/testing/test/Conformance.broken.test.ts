/** Providers that are broken on purpose: each clause of the suite is failed by one of them, and says why. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Conformance from "../src/Conformance.ts"
import { subject } from "./fixtures/conformingSubject.ts"
import { type Defect, defects } from "./fixtures/defects.ts"

const late = /does not (come|end) within/

/** Which defect fails a clause, and what the clause then says. Each clause is in one line. */
const failedBy: ReadonlyArray<readonly [clause: RegExp, defect: Defect, why: RegExp]> = [
  [/^a turn is told whole/, "crops texts", /the answer is/],
  [/^prompts that wait/, "takes one prompt only", late],
  [/^a queued prompt/, "cannot take a prompt back", /could not be taken back/],
  [/^an error of the model/, "hides errors", /the outcome is .*completed/],
  [/^an approval is asked for/, "says that it delivers answers, and does not", late],
  [/^a request that is open/, "shows requests that are settled", /a request is still open/],
  [/^a reader that comes late/, "gives who comes late other events", /other events/],
  [/^a text whose turn/, "throws away a text that was stopped", /ended as .*discarded/],
  [/^a tool that runs/, "says of all that has ended that it is complete", /ended as .* completed/],
  [/^a tool that was refused/, "says of all that has ended that it is complete", /ended as .* completed/],
  [/^events are numbered/, "skips events", /is .*told|has the number|are numbered up to/],
  [/^who joins mid-text/, "tells who joins nothing of the text so far", /it has "" of/],

  [/^a close idle/, "keeps its readers for ever", late],
  [/^a close with a request open/, "keeps its readers for ever", late],
  [/^a close (mid-|with prompts|while )/, "does not interrupt", /left behind/],
  [/^a close from inside/, "does not interrupt", /left behind/],
  [/^closing its scope/, "does not interrupt", /left behind/],
  [/^a session that closed leaves/, "does not interrupt", /left behind/],
  [/^an interrupt ends the turn/, "does not interrupt", late],
  [/^an interrupt with nothing running/, "closes when there is nothing to interrupt", /closed/],

  [
    /^a connection that (breaks|ends) mid/,
    "knows of every turn that it is completed, and of nothing else",
    /nothing says/
  ],
  [/^a connection that breaks while/, "does not hear that its agent is gone", late],
  [/^a session that is opened as/, "can be reached once", late],
  [/^a wire that is silent/, "takes a silence for the end of a turn", /the answer is/],
  [/^a wire that is dead/, "cannot say how a turn stands", late],
  [/^what is told twice/, "sums what it is told, so that what is told twice is there twice", /word0 word0/],
  [
    /^what comes in another order/,
    "knows only the item that began last, so that what ends after it is not told",
    /instead of/
  ],
  [/^what nobody knows/, "drops what it does not know", late],
  [/^a reader that does not read/, "skips events", /has the number|never began/],

  [/ that is cut at any frame/, "knows of every turn that it is completed, and of nothing else", /cut after frame/],
  [/^an agent that is killed/, "does not hear that its agent is gone", late],
  [/^a host that is started again/, "begins each conversation anew", /opened as new,new/],

  [/ is refused as Unsupported/, "does what it says it cannot", /it is (taken|InvalidRequest)/],
  [/^a prompt that is steered/, "does not answer who steers", late],
  [/^the history/, "has an empty history", /the history has \[\]/]
]

const run = (name: string, defect: Defect) =>
  Effect.suspend(() =>
    Effect.result(
      Conformance.clauses(subject(defects[defect]), { limit: "6 seconds" })
        .find((clause) => clause.name === name)?.run ?? Effect.die(name)
    )
  )

/** Those that no turn survives; every other defect is found by the clauses that ask for it, and by no plain turn. */
const fatal = new Set<Defect>(["crops texts", "is silent"])

describe("a broken provider", { concurrent: true }, () => {
  for (const { name } of Conformance.clauses(subject())) {
    const entries = failedBy.filter(([clause]) => clause.test(name))
    it.live(`that ${entries[0]?.[1]} fails: ${name}`, () =>
      Effect.gen(function*() {
        assert.lengthOf(entries, 1, "one defect is named for it")
        for (const [, defect, why] of entries) {
          const result = yield* run(name, defect)
          assert.isTrue(result._tag === "Failure", "it passes")
          if (result._tag !== "Failure") return
          assert.strictEqual(result.failure._tag, "Violation", result.failure.message)
          assert.match(result.failure.message, why)
        }
      }), 100_000)
  }

  const [plain] = Conformance.clauses(subject())
  for (const defect of Object.keys(defects) as ReadonlyArray<Defect>) {
    if (fatal.has(defect)) continue
    it.live(`that ${defect} passes a plain turn`, () =>
      Effect.gen(function*() {
        const result = yield* run(plain?.name ?? "", defect)
        assert.strictEqual(result._tag, "Success", result._tag === "Failure" ? result.failure.message : "")
      }), 100_000)
  }

  it("is known by a clause that it fails", () => {
    const used = new Set<string>(failedBy.map(([, defect]) => defect))
    assert.deepStrictEqual(Object.keys(defects).filter((defect) => !used.has(defect)), ["is silent"])
  })
})

describe("a report", () => {
  it.live("says what failed and why, and what was not applicable", () =>
    Effect.gen(function*() {
      const report = yield* Conformance.run(subject(defects["is silent"]), { limit: "100 millis", every: 1_000 })
      assert.isAbove(report.failed.length, 10)
      assert.isTrue(report.failed.every(({ why }) => why !== ""))
      assert.isAbove(report.notApplicable.length, 0)
      assert.strictEqual(
        report.passed.length + report.failed.length + report.notApplicable.length,
        Conformance.clauses(subject()).length
      )
    }), 100_000)
})
