/** Providers that are broken on purpose: each clause of the suite is failed by one of them. */
import { assert, describe, it } from "@effect/vitest"
import type { Connection, ProviderInstance } from "@reins/core/Provider"
import type { Signal } from "@reins/core/Signal"
import { Effect, Stream } from "effect"
import * as Conformance from "../src/Conformance.ts"
import { subject } from "./fixtures/conformingSubject.ts"

type Spoil = (instance: ProviderInstance) => ProviderInstance

const connections = (change: (connection: Connection) => Connection): Spoil => (instance) => ({
  ...instance,
  connect: (options) => Effect.map(instance.connect(options), change)
})

const signals = (change: (signal: Signal) => ReadonlyArray<Signal>): Spoil =>
  connections((connection) => ({
    ...connection,
    signals: connection.signals.pipe(Stream.flatMap((signal) => Stream.fromIterable(change(signal))))
  }))

/** The end of each text is missing, in the deltas, in the item and in the snapshot. */
const cropped = (signal: Signal): ReadonlyArray<Signal> =>
  signal._tag === "delta"
    ? [{ ...signal, text: signal.text.slice(0, -1) }]
    : signal._tag === "item" && signal.item._tag === "assistantMessage"
    ? [{ ...signal, item: { ...signal.item, text: signal.item.text.slice(0, -1) } }]
    : [signal]

const defects: Readonly<Record<string, Spoil>> = {
  "crops texts": signals(cropped),
  "does not interrupt": connections((connection) => ({ ...connection, interrupt: Effect.void })),
  "says that it delivers answers, and does not": connections((connection) => ({
    ...connection,
    settle: () => Effect.succeed("delivered")
  })),
  "knows of every turn that it is completed, and of nothing else": connections((connection) => ({
    ...connection,
    snapshot: ({ prompts, turns }) =>
      Effect.succeed({
        activity: "idle",
        prompts: Object.fromEntries(prompts.map((key) => [key, "taken" as const])),
        turns: Object.fromEntries(turns.map((key) => [key, { _tag: "completed" as const, stopReason: "endTurn" }])),
        signals: [],
        requests: [],
        complete: true
      })
  })),
  "does not hear that its agent is gone": connections((connection) => ({
    ...connection,
    signals: Stream.catch(connection.signals, () => Stream.never)
  })),
  "drops what it does not know": signals((signal) => signal._tag === "unrecognised" ? [] : [signal]),
  "hides errors": signals((signal) =>
    signal._tag === "turnError"
      ? []
      : signal._tag === "turnEnded"
      ? [{ _tag: "turnEnded", fact: "idle", verdict: { _tag: "completed", stopReason: "endTurn" } }]
      : [signal]
  ),
  "is silent": connections((connection) => ({ ...connection, signals: Stream.never })),
  "cannot be reached": (instance) => ({ ...instance, connect: () => Effect.never }),
  "has an empty history": (instance) => ({
    ...connections((connection) => ({ ...connection, history: () => Effect.succeed({ turns: [] }) }))(instance),
    capabilities: { ...instance.capabilities, history: true }
  })
}

/** Which defect fails a clause; the first that applies. */
const failedBy: ReadonlyArray<readonly [clause: RegExp, defect: keyof typeof defects]> = [
  [/^a close (idle|with a request open)/, "cannot be reached"],
  [/^(a close|closing its scope|an interrupt ends)/, "does not interrupt"],
  [/^an error of the model/, "hides errors"],
  [/^an approval is asked for/, "says that it delivers answers, and does not"],
  [/^a (text|turn with a request) that is cut/, "knows of every turn that it is completed, and of nothing else"],
  [/^a connection that (breaks mid|ends mid)/, "knows of every turn that it is completed, and of nothing else"],
  [/^a connection that breaks while/, "does not hear that its agent is gone"],
  [/^an agent that is killed/, "does not hear that its agent is gone"],
  [/^what nobody knows/, "drops what it does not know"],
  [/^the history/, "has an empty history"],
  [/^(a queued prompt|a request that is open|a reader that|a prompt that is steered)/, "is silent"],
  [/./, "crops texts"]
]

/** Clauses that ask for a refusal need an agent that cannot do it; this one can. */
const notHere = /^(a change of the (model|mode)|a prompt that is steered)/

describe("a broken provider", () => {
  for (const { name } of Conformance.clauses(subject())) {
    const defect = failedBy.find(([clause]) => clause.test(name))?.[1] ?? "crops texts"
    it.live(`that ${defect} fails: ${name}`, () =>
      Effect.gen(function*() {
        const spoiled = Conformance.clauses(subject(defects[defect]), { limit: "2 seconds" })
        const clause = spoiled.find((one) => one.name === name)
        const result = clause === undefined ? undefined : yield* Effect.result(clause.run)
        if (result?._tag === "Failure" && result.failure._tag === "NotApplicable") {
          assert.match(name, notHere)
          return
        }
        assert.isTrue(result?._tag === "Failure", "it passes")
      }), 100_000)
  }
})

describe("a report", () => {
  it.live("says what failed and why, and what was not applicable", () =>
    Effect.gen(function*() {
      const report = yield* Conformance.run(subject(defects["is silent"]), { limit: "100 millis", every: 1_000 })
      assert.isAbove(report.failed.length, 10)
      assert.isTrue(report.failed.every(({ why }) => why !== ""))
      assert.isAbove(report.notApplicable.length, 1)
      assert.strictEqual(
        report.passed.length + report.failed.length + report.notApplicable.length,
        Conformance.clauses(subject()).length
      )
    }), 100_000)
})
