import { assert, describe, it } from "@effect/vitest"
import * as EventLog from "@reins/core/EventLog"
import type { DurableEvent, Lagged, SessionEvent } from "@reins/core/SessionEvent"
import { Effect, Fiber, Pull, Stream } from "effect"
import * as fc from "fast-check"
import { delta, durable } from "./fixtures/events.ts"

type Entry = SessionEvent | Lagged

/** What a test does to a log, step by step. */
type Step =
  | { readonly _tag: "append"; readonly events: ReadonlyArray<Appended> }
  | { readonly _tag: "open"; readonly after: number | undefined; readonly deltas: boolean }
  | { readonly _tag: "read"; readonly reader: number }
  /** Lets readers have all that was appended up to so many durable events before the last. */
  | { readonly _tag: "release"; readonly behind: number }

type Appended =
  | { readonly _tag: "durable" }
  | { readonly _tag: "text"; readonly item: string; readonly text: string }
  /** Sends the last characters of an item again. */
  | { readonly _tag: "replay"; readonly item: string; readonly length: number }

const item = fc.constantFrom("a", "b", "c")

const appended: fc.Arbitrary<Appended> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ _tag: "durable" as const }) },
  { weight: 6, arbitrary: fc.record({ _tag: fc.constant("text" as const), item, text: fc.string({ maxLength: 40 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ _tag: fc.constant("replay" as const), item, length: fc.integer({ min: 1, max: 20 }) })
  }
)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ _tag: fc.constant("append" as const), events: fc.array(appended, { maxLength: 8 }) })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      _tag: fc.constant("open" as const),
      after: fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined }),
      deltas: fc.boolean()
    })
  },
  { weight: 4, arbitrary: fc.record({ _tag: fc.constant("read" as const), reader: fc.nat({ max: 5 }) }) }
)

const heldStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: step },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("release" as const), behind: fc.nat({ max: 3 }) }) }
)

/** Lays deltas by offset, per item; a hole is a hole. */
class Laid {
  private readonly items = new Map<string, Array<string>>()
  /** Characters that were given, those given twice counted twice. */
  given = 0
  lay(item: string, offset: number, text: string): void {
    const chars = this.items.get(item) ?? []
    this.items.set(item, chars)
    for (let i = 0; i < text.length; i++) chars[offset + i] = text.charAt(i)
    this.given += text.length
  }
  snapshot(): Record<string, ReadonlyArray<string | undefined>> {
    return Object.fromEntries(
      [...this.items].filter(([, chars]) => chars.length > 0).sort().map(([item, chars]) => [item, Array.from(chars)])
    )
  }
}

interface Reader {
  readonly after: number | undefined
  readonly deltas: boolean
  /** The oldest seq kept when it started. */
  readonly oldest: number
  readonly next: Effect.Effect<ReadonlyArray<Entry>>
  readonly drain: Effect.Effect<void>
  readonly entries: Array<Entry>
}

/** Runs the steps against a log, ends it, and gives what every reader got and what was appended. */
const run = Effect.fnUntraced(function*(
  log: EventLog.EventLog,
  steps: ReadonlyArray<Step>,
  history: Array<SessionEvent> = []
) {
  const readers: Array<Reader> = []
  const texts = new Map<string, string>()
  let seq = 0
  for (const step of steps) {
    switch (step._tag) {
      case "append": {
        const events = step.events.map((event): SessionEvent => {
          if (event._tag === "durable") return durable(++seq)
          const text = texts.get(event.item) ?? ""
          if (event._tag === "replay") {
            const from = Math.max(0, text.length - event.length)
            return delta(event.item, from, text.slice(from))
          }
          texts.set(event.item, text + event.text)
          return delta(event.item, text.length, event.text)
        })
        history.push(...events)
        EventLog.append(log, events)
        break
      }
      case "open": {
        const entries: Array<Entry> = []
        const pull = yield* Stream.toPull(EventLog.read(log, { after: step.after, deltas: step.deltas }))
        const next = Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(pull, { startImmediately: true })
          if (fiber.pollUnsafe() === undefined) {
            yield* Fiber.interrupt(fiber)
            return []
          }
          const got = yield* Fiber.join(fiber)
          entries.push(...got)
          return got
        }).pipe(Pull.catchDone(() => Effect.succeed<ReadonlyArray<Entry>>([])))
        const drain = Effect.forever(Effect.tap(pull, (got) => Effect.sync(() => entries.push(...got)))).pipe(
          Pull.catchDone(() => Effect.void)
        )
        const oldest = EventLog.oldestSeq(log)
        // The position is taken by the first pull.
        yield* next
        readers.push({ after: step.after, deltas: step.deltas, oldest, next, drain, entries })
        break
      }
      case "read": {
        const reader = readers[step.reader]
        if (reader !== undefined) yield* reader.next
        break
      }
      case "release": {
        EventLog.release(log, seq - step.behind)
      }
    }
  }
  EventLog.end(log)
  EventLog.release(log, seq)
  for (const reader of readers) yield* reader.drain
  assert.strictEqual(EventLog.waiting(log), 0)
  return { readers, history, lastSeq: seq }
})

const isDurable = (event: SessionEvent): event is DurableEvent => event._tag !== "ItemDelta"

const seqOf = (event: SessionEvent): number => {
  if (event._tag === "ItemDelta" || event.seq === undefined) throw new Error("no durable event")
  return event.seq
}

/** What was appended after the durable event `after`, in order. */
const following = (history: ReadonlyArray<SessionEvent>, after: number): ReadonlyArray<SessionEvent> => {
  if (after <= 0) return history
  const index = history.findIndex((event) => event._tag !== "ItemDelta" && event.seq === after)
  return index < 0 ? [] : history.slice(index + 1)
}

/** The durable seqs, and what is laid when each of them is reached. */
const states = (entries: ReadonlyArray<Entry>) => {
  const laid = new Laid()
  const durables: Array<{ readonly seq: number; readonly laid: unknown }> = []
  for (const event of entries) {
    if (event._tag === "Lagged") continue
    if (event._tag === "ItemDelta") laid.lay(event.itemId, event.offset, event.text)
    else durables.push({ seq: seqOf(event), laid: laid.snapshot() })
  }
  return { durables, end: laid.snapshot(), given: laid.given }
}

describe("EventLog (properties)", () => {
  it("any interleaving: deltas laid by offset are the appended text, durable events are complete and in order", () =>
    fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), (steps) =>
        run(EventLog.make(), steps).pipe(
          Effect.map(({ history, readers }) => {
            for (const reader of readers) {
              const expected = following(history, reader.after ?? 0)
              const wanted = reader.deltas ? expected : expected.filter((event) => event._tag !== "ItemDelta")
              // The same text lies there at each durable event: no delta passed one, in either direction.
              assert.deepStrictEqual(states(reader.entries), states(wanted))
            }
          }),
          Effect.scoped,
          Effect.runPromise
        )),
      { numRuns: 400 }
    ))

  it("any interleaving with a small window: what is missing is told, and nothing else is", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 400 }),
        (steps, maxDurable, maxDeltaChars) => {
          const log = EventLog.make({ maxDurable, maxDeltaChars })
          return run(log, steps).pipe(
            Effect.map(({ history, lastSeq, readers }) => {
              assert.isAtMost(EventLog.size(log), maxDurable)
              assert.isAtMost(EventLog.deltaChars(log), maxDeltaChars)
              let lagged = 0
              for (const reader of readers) {
                const start = reader.after ?? reader.oldest - 1
                // Durable events and the ranges of Lagged are together all seqs, each once and in order.
                let seq = start
                let told = false
                for (const event of reader.entries) {
                  if (event._tag === "ItemDelta") continue
                  if (event._tag === "Lagged") {
                    told = true
                    lagged++
                    assert.strictEqual(event.from, seq + 1)
                    assert.isAtLeast(event.to, seq)
                    seq = event.to
                  } else {
                    assert.strictEqual(seqOf(event), seq + 1)
                    seq++
                  }
                }
                assert.strictEqual(seq, Math.max(start, lastSeq))

                // Text that was given is right, wherever it lies.
                const full = states(history).end
                for (const [item, chars] of Object.entries(states(reader.entries).end)) {
                  for (const [i, char] of chars.entries()) {
                    if (char !== undefined) assert.strictEqual(char, full[item]?.[i])
                  }
                }

                // A reader with a position that was told of nothing misses nothing.
                if (!told && reader.after !== undefined) {
                  const expected = following(history, reader.after)
                  const wanted = reader.deltas ? expected : expected.filter((event) => event._tag !== "ItemDelta")
                  assert.deepStrictEqual(states(reader.entries), states(wanted))
                }
                // And nobody is told who was given everything.
                if (told && reader.after !== undefined && reader.deltas) {
                  assert.notDeepEqual(states(reader.entries), states(following(history, reader.after)))
                }
              }
              assert.strictEqual(EventLog.lagged(log), lagged)
            }),
            Effect.scoped,
            Effect.runPromise
          )
        }
      ),
      { numRuns: 600 }
    ))

  it("any interleaving with a journal: durable events are all given, and text that left is told", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(heldStep, { maxLength: 60 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 400 }),
        (steps, maxDurable, maxDeltaChars) => {
          const history: Array<SessionEvent> = []
          const log = EventLog.make({
            maxDurable,
            maxDeltaChars,
            held: true,
            earlier: (after, limit) =>
              Effect.sync(() => history.filter(isDurable).filter((event) => (event.seq ?? 0) > after).slice(0, limit))
          })
          return run(log, steps, history).pipe(
            Effect.map(({ lastSeq, readers }) => {
              for (const reader of readers) {
                const start = reader.after ?? reader.oldest - 1
                assert.deepStrictEqual(
                  states(reader.entries).durables.map((at) => at.seq),
                  Array.from({ length: Math.max(0, lastSeq - start) }, (_, i) => start + 1 + i)
                )
                const lags = reader.entries.filter((event) => event._tag === "Lagged")
                for (const lag of lags) assert.strictEqual(lag.to, lag.from - 1)
                if (reader.after === undefined) continue
                const expected = following(history, reader.after)
                if (!reader.deltas) assert.deepStrictEqual(lags, [])
                else if (lags.length === 0) assert.deepStrictEqual(states(reader.entries), states(expected))
                else assert.notDeepEqual(states(reader.entries), states(expected))
              }
            }),
            Effect.scoped,
            Effect.runPromise
          )
        }
      ),
      { numRuns: 600 }
    ))
})
