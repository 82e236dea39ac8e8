import { assert, describe, it } from "@effect/vitest"
import * as EventLog from "@reins/core/EventLog"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import { Effect, Fiber, Pull, References, Scope, Stream } from "effect"
import { delta, durable, show } from "./fixtures/events.ts"

type Entry = SessionEvent | Lagged

/** A reader that is driven by hand: `next` gives what is available now, without waiting. */
const openReader = Effect.fnUntraced(function*(log: EventLog.EventLog, options?: Parameters<typeof EventLog.read>[1]) {
  const pull = yield* Stream.toPull(EventLog.read(log, options))
  const next: Effect.Effect<ReadonlyArray<Entry>> = Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(pull, { startImmediately: true })
    if (fiber.pollUnsafe() === undefined) {
      yield* Fiber.interrupt(fiber)
      return []
    }
    return yield* Fiber.join(fiber).pipe(Pull.catchDone(() => Effect.succeed<ReadonlyArray<Entry>>([])))
  })
  return { next, shown: Effect.map(next, (events) => events.map(show)) }
})

const collect = (log: EventLog.EventLog, options?: Parameters<typeof EventLog.read>[1]) =>
  Effect.map(Stream.runCollect(EventLog.read(log, options)), (events) => events.map(show))

const settle = Effect.gen(function*() {
  for (let i = 0; i < 5; i++) yield* Effect.yieldNow
})

describe("EventLog", () => {
  describe("append", () => {
    it("refuses a gap in the sequence and appends nothing of that call", () => {
      const log = EventLog.make()
      EventLog.append(log, [durable(1)])
      assert.throws(() => EventLog.append(log, [durable(2), delta("a", 0, "x"), durable(4)]), /seq 4, expected 3/)
      assert.throws(() => EventLog.append(log, [durable(1)]), /expected 2/)
      assert.strictEqual(EventLog.lastSeq(log), 1)
      assert.strictEqual(EventLog.deltaChars(log), 0)
    })

    it("numbers go on from firstSeq", () => {
      const log = EventLog.make({ firstSeq: 41 })
      assert.strictEqual(EventLog.lastSeq(log), 40)
      assert.strictEqual(EventLog.oldestSeq(log), 41)
      assert.throws(() => EventLog.append(log, [durable(1)]), /expected 41/)
      EventLog.append(log, [durable(41)])
      assert.strictEqual(EventLog.lastSeq(log), 41)
    })

    it.effect("is ignored after end", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [durable(1)])
        EventLog.end(log)
        EventLog.append(log, [durable(2)])
        assert.deepStrictEqual(yield* collect(log), ["1"])
        assert.isTrue(EventLog.isEnded(log))
      }))

    it.effect("wakes a reader once for a batch, and never runs it inside the call", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const batches: Array<Array<string>> = []
        const fiber = yield* EventLog.read(log).pipe(
          Stream.runForEachArray((events) => Effect.sync(() => void batches.push(events.map(show)))),
          Effect.forkChild({ startImmediately: true })
        )
        assert.strictEqual(EventLog.waiting(log), 1)
        EventLog.append(log, [durable(1), durable(2), delta("a", 0, "x")])
        assert.deepStrictEqual(batches, [])
        EventLog.append(log, [durable(3)])
        yield* settle
        assert.deepStrictEqual(batches, [["1", "2", "a@0:x", "3"]])
        EventLog.end(log)
        yield* Fiber.join(fiber)
      }))
  })

  describe("read", () => {
    it.effect("gives durable events and deltas in order, and completes after the backlog", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [durable(1), delta("a", 0, "x"), durable(2), delta("a", 1, "y"), delta("b", 0, "z")])
        EventLog.append(log, [durable(3)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log), ["1", "a@0:x", "2", "a@1:y", "b@0:z", "3"])
      }))

    it.effect("after: n gives what follows n, a segment from its start", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [durable(1), delta("a", 0, "x"), delta("a", 1, "y"), durable(2), durable(3)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log, { after: 1 }), ["a@0:xy", "2", "3"])
        assert.deepStrictEqual(yield* collect(log, { after: 2 }), ["3"])
        assert.deepStrictEqual(yield* collect(log, { after: 3 }), [])
        assert.deepStrictEqual(yield* collect(log, { after: 0 }), ["1", "a@0:xy", "2", "3"])
        assert.deepStrictEqual(yield* collect(log, { after: -7 }), ["1", "a@0:xy", "2", "3"])
      }))

    it.effect("after a seq that does not exist yet waits for what follows it", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const reader = yield* openReader(log, { after: 2 })
        EventLog.append(log, [durable(1), delta("a", 0, "x")])
        assert.deepStrictEqual(yield* reader.shown, [])
        EventLog.append(log, [durable(2), delta("a", 1, "y"), durable(3)])
        assert.deepStrictEqual(yield* reader.shown, ["a@1:y", "3"])
      }))

    it.effect("resolves its position when the stream starts", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDurable: 2 })
        const stream = EventLog.read(log)
        EventLog.append(log, [durable(1), durable(2), durable(3), durable(4)])
        EventLog.end(log)
        assert.deepStrictEqual((yield* Stream.runCollect(stream)).map(show), ["3", "4"])
      }))

    it.effect("without deltas it is not even woken by them", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const fiber = yield* Effect.forkChild(collect(log, { deltas: false }), { startImmediately: true })
        EventLog.append(log, [delta("a", 0, "x")])
        assert.strictEqual(EventLog.waiting(log), 1)
        EventLog.append(log, [durable(1), delta("a", 1, "y"), durable(2)])
        assert.strictEqual(EventLog.waiting(log), 0)
        EventLog.end(log)
        assert.deepStrictEqual(yield* Fiber.join(fiber), ["1", "2"])
      }))

    it.effect("gives at most 1,024 events per pull", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const reader = yield* openReader(log)
        EventLog.append(log, Array.from({ length: 1500 }, (_, i) => durable(i + 1)))
        EventLog.append(log, Array.from({ length: 1500 }, (_, i) => delta(`i${i}`, 0, "x")))
        EventLog.append(log, [durable(1501)])
        const sizes: Array<number> = []
        const all: Array<string> = []
        for (let batch = yield* reader.shown; batch.length > 0; batch = yield* reader.shown) {
          sizes.push(batch.length)
          all.push(...batch)
        }
        assert.deepStrictEqual(sizes, [1024, 1024, 953])
        assert.deepStrictEqual(all, [
          ...Array.from({ length: 1500 }, (_, i) => `${i + 1}`),
          ...Array.from({ length: 1500 }, (_, i) => `i${i}@0:x`),
          "1501"
        ])
      }))

    it.effect("many readers each have their own pace", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const fast = yield* Effect.forEach(Array.from({ length: 50 }), () => openReader(log))
        const slow = yield* openReader(log)
        const seen = fast.map((): Array<string> => [])
        for (let seq = 1; seq <= 20; seq++) {
          EventLog.append(log, [durable(seq), delta("a", seq - 1, "x")])
          for (const [i, reader] of fast.entries()) seen[i]?.push(...yield* reader.shown)
        }
        const expected = Array.from({ length: 20 }, (_, i) => [`${i + 1}`, `a@${i}:x`]).flat()
        for (const events of seen) assert.deepStrictEqual(events, expected)
        assert.deepStrictEqual(yield* slow.shown, expected)
        assert.strictEqual(EventLog.lagged(log), 0)
      }))
  })

  describe("coalescing", () => {
    it.effect("a slow reader is given what gathered as one delta, a reader that keeps up each as it was", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const slow = yield* openReader(log)
        const fast = yield* openReader(log)
        const given: Array<Entry> = []
        const deltas = Array.from(
          { length: 100 },
          (_, i) => delta("a", i, String.fromCharCode(97 + i % 26), { native: { method: `m${i}` } })
        )
        for (const one of deltas) {
          EventLog.append(log, [one])
          given.push(...yield* fast.next)
        }
        assert.deepStrictEqual(given, deltas)
        assert.strictEqual(EventLog.coalesced(log), 0)
        const text = deltas.map((one) => one.text).join("")
        const joined = yield* slow.next
        assert.deepStrictEqual(joined.map(show), [`a@0:${text}`])
        assert.isUndefined(joined[0]?._tag === "ItemDelta" ? joined[0].native : "no delta")
        assert.strictEqual(EventLog.coalesced(log), 1)
        EventLog.append(log, [delta("a", 100, "1"), delta("a", 101, "2")])
        assert.deepStrictEqual(yield* slow.shown, ["a@100:12"])
        assert.deepStrictEqual(yield* fast.shown, ["a@100:12"])
      }))

    it.effect("the rest of a segment is given before the durable event that closes it", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const reader = yield* openReader(log)
        EventLog.append(log, [durable(1), delta("a", 0, "one"), delta("b", 0, "1")])
        assert.deepStrictEqual(yield* reader.shown, ["1", "a@0:one", "b@0:1"])
        EventLog.append(log, [delta("b", 1, "2"), delta("a", 3, "two"), delta("b", 2, "3"), durable(2)])
        EventLog.append(log, [delta("a", 6, "three")])
        assert.deepStrictEqual(yield* reader.shown, ["a@3:two", "b@1:23", "2", "a@6:three"])
      }))

    it.effect("streams of one item, origins and offsets that do not continue are kept apart", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [
          delta("a", 0, "x"),
          delta("a", 0, "o", { stream: "output" }),
          delta("a", 1, "y"),
          delta("a", 9, "jump"),
          delta("a", 0, "xy"),
          delta("a", 2, "z", { origin: "resync" })
        ])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log), ["a@0:o", "a@0:xy", "a@9:jump", "a@0:xy", "a@2:z"])
      }))

    it.effect("a long segment is read piece by piece without loss", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const reader = yield* openReader(log)
        let written = ""
        let given = ""
        for (let i = 0; i < 3000; i++) {
          const text = `${i} `.repeat(1 + i % 3)
          EventLog.append(log, [delta("a", written.length, text)])
          written += text
          if (i % 7 !== 0) continue
          for (const event of yield* reader.next) {
            if (event._tag !== "ItemDelta") continue
            assert.strictEqual(event.offset, given.length)
            given += event.text
          }
          assert.strictEqual(given, written)
        }
      }))

    it.effect("a delta without text is nothing", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [delta("a", 0, ""), durable(1)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log), ["1"])
      }))
  })

  describe("eviction", () => {
    it.effect("a reader that fell behind is told the missed seqs and goes on at the oldest kept", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDurable: 3 })
        const reader = yield* openReader(log)
        EventLog.append(log, [durable(1)])
        assert.deepStrictEqual(yield* reader.shown, ["1"])
        EventLog.append(log, [2, 3, 4, 5, 6, 7].map((seq) => durable(seq)))
        assert.strictEqual(EventLog.size(log), 3)
        assert.strictEqual(EventLog.oldestSeq(log), 5)
        assert.deepStrictEqual(yield* reader.shown, ["Lagged 2-4", "5", "6", "7"])
        assert.strictEqual(EventLog.lagged(log), 1)
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log, { after: 2 }), ["Lagged 3-4", "5", "6", "7"])
        assert.deepStrictEqual(yield* collect(log, { after: 4 }), ["5", "6", "7"])
        assert.deepStrictEqual(yield* collect(log), ["5", "6", "7"])
        assert.deepStrictEqual(yield* collect(log, { after: 0, deltas: false }), ["Lagged 1-4", "5", "6", "7"])
      }))

    it.effect("what was before firstSeq counts as missed for after", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ firstSeq: 11 })
        EventLog.append(log, [durable(11)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log, { after: 4 }), ["Lagged 5-10", "11"])
        assert.deepStrictEqual(yield* collect(log, { after: 10 }), ["11"])
      }))

    it.effect("text that follows the newest evicted event stays", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDurable: 1 })
        EventLog.append(log, [durable(1), delta("a", 0, "x"), durable(2), delta("a", 1, "y"), durable(3)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log), ["a@1:y", "3"])
        assert.deepStrictEqual(yield* collect(log, { after: 2 }), ["a@1:y", "3"])
        assert.deepStrictEqual(yield* collect(log, { after: 1 }), ["Lagged 2-2", "a@1:y", "3"])
        assert.strictEqual(EventLog.deltaChars(log), 65)
      }))

    it.effect("too much text: the oldest text leaves, durable events stay, one Lagged with an empty range tells", () =>
      Effect.gen(function*() {
        // Room for two segments of ten characters.
        const log = EventLog.make({ maxDeltaChars: 2 * 74 })
        const reader = yield* openReader(log, { after: 0 })
        const text = "0123456789"
        for (let seq = 1; seq <= 5; seq++) EventLog.append(log, [durable(seq), delta("a", (seq - 1) * 10, text)])
        assert.strictEqual(EventLog.deltaChars(log), 148)
        assert.strictEqual(EventLog.size(log), 5)
        assert.deepStrictEqual(yield* reader.shown, [
          "1",
          "Lagged 2-1",
          "2",
          "3",
          "4",
          `a@30:${text}`,
          "5",
          `a@40:${text}`
        ])
        EventLog.end(log)
        // What had left before it started is not missed by a reader without a position.
        assert.deepStrictEqual(yield* collect(log), ["1", "2", "3", "4", `a@30:${text}`, "5", `a@40:${text}`])
        assert.deepStrictEqual(yield* collect(log, { after: 3 }), [
          "Lagged 4-3",
          "4",
          `a@30:${text}`,
          "5",
          `a@40:${text}`
        ])
        assert.deepStrictEqual(yield* collect(log, { after: 4 }), [`a@30:${text}`, "5", `a@40:${text}`])
        assert.deepStrictEqual(yield* collect(log, { deltas: false }), ["1", "2", "3", "4", "5"])
      }))

    it.effect("a growing segment loses its head: who had taken it misses nothing", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDeltaChars: 64 + 10 })
        const fast = yield* openReader(log)
        const slow = yield* openReader(log)
        EventLog.append(log, [durable(1), delta("a", 0, "01234567")])
        assert.deepStrictEqual(yield* fast.shown, ["1", "a@0:01234567"])
        EventLog.append(log, [delta("a", 8, "89abcdef")])
        assert.strictEqual(EventLog.deltaChars(log), 74)
        assert.deepStrictEqual(yield* fast.shown, ["a@8:89abcdef"])
        assert.deepStrictEqual(yield* slow.shown, ["1", "Lagged 2-1", "a@6:6789abcdef"])
        EventLog.append(log, [delta("a", 16, "gh")])
        assert.deepStrictEqual(yield* slow.shown, ["a@16:gh"])
        EventLog.append(log, [delta("a", 18, "ijklmnopqrst"), durable(2)])
        assert.deepStrictEqual(yield* slow.shown, ["Lagged 2-1", "a@20:klmnopqrst", "2"])
        assert.strictEqual(EventLog.lagged(log), 2)
      }))

    it.effect("half a surrogate pair is never kept", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDeltaChars: 64 + 3 })
        EventLog.append(log, [delta("a", 0, "\u{1F600}\u{1F601}")])
        EventLog.append(log, [durable(1)])
        EventLog.end(log)
        assert.deepStrictEqual(yield* collect(log), ["a@2:\u{1F601}", "1"])
        assert.strictEqual(EventLog.deltaChars(log), 66)
      }))

    it.effect("segments are bounded in number too, and one that left whole may go on growing as a new one", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDeltaChars: 650 })
        const reader = yield* openReader(log, { after: 0 })
        for (let i = 0; i < 1000; i++) EventLog.append(log, [delta(`i${i}`, 0, "x")])
        assert.strictEqual(EventLog.deltaChars(log), 650)
        EventLog.append(log, [delta("i0", 1, "y")])
        assert.deepStrictEqual(yield* reader.shown, [
          "Lagged 1-0",
          ...Array.from({ length: 9 }, (_, i) => `i${i + 991}@0:x`),
          "i0@1:y"
        ])
      }))
  })

  describe("a log with a journal", () => {
    const stored = (events: ReadonlyArray<SessionEvent>): EventLog.Earlier => (after, limit) =>
      Effect.succeed(
        events.filter((event) => event._tag !== "ItemDelta").filter((event) => (event.seq ?? 0) > after).slice(0, limit)
      )

    it.effect("what was released last stays until the next release, and what is held does not count", () =>
      Effect.gen(function*() {
        const log = EventLog.make({ maxDurable: 2, held: true, earlier: () => Effect.die("not from the journal") })
        const reader = yield* openReader(log)
        EventLog.append(log, [durable(1), durable(2), delta("a", 0, "x"), durable(3), durable(4)])
        assert.deepStrictEqual(yield* reader.shown, [])
        EventLog.release(log, 3)
        assert.strictEqual(EventLog.oldestSeq(log), 1)
        assert.deepStrictEqual(yield* reader.shown, ["1", "2", "a@0:x", "3"])
        EventLog.append(log, [durable(5), durable(6)])
        assert.strictEqual(EventLog.oldestSeq(log), 1)
        EventLog.release(log, 6)
        assert.strictEqual(EventLog.oldestSeq(log), 4)
        assert.deepStrictEqual(yield* reader.shown, ["4", "5", "6"])
      }))

    it.effect("text that left with its durable events is told once, before them", () =>
      Effect.gen(function*() {
        const events: ReadonlyArray<SessionEvent> = [
          durable(1),
          delta("a", 0, "x"),
          durable(2),
          delta("a", 1, "y"),
          durable(3),
          durable(4),
          durable(5),
          delta("b", 0, "z")
        ]
        const log = EventLog.make({ maxDurable: 2, earlier: stored(events) })
        EventLog.append(log, events)
        EventLog.end(log)
        const kept = ["3", "4", "5", "b@0:z"]
        assert.deepStrictEqual(yield* collect(log, { after: 0 }), ["Lagged 1-0", "1", "2", ...kept])
        assert.deepStrictEqual(yield* collect(log, { after: 2 }), ["Lagged 3-2", ...kept])
        assert.deepStrictEqual(yield* collect(log, { after: 3 }), kept.slice(1))
        assert.deepStrictEqual(yield* collect(log, { after: 0, deltas: false }), ["1", "2", "3", "4", "5"])
      }))

    it.effect("a reader that had taken the text that left is told of nothing", () =>
      Effect.gen(function*() {
        const events: ReadonlyArray<SessionEvent> = [durable(1), delta("a", 0, "x"), durable(2), durable(3)]
        const log = EventLog.make({ maxDurable: 1, earlier: stored(events) })
        const reader = yield* openReader(log, { after: 0 })
        EventLog.append(log, events.slice(0, 2))
        assert.deepStrictEqual(yield* reader.shown, ["1", "a@0:x"])
        EventLog.append(log, events.slice(2))
        assert.deepStrictEqual(yield* reader.shown, ["2"])
        assert.deepStrictEqual(yield* reader.shown, ["3"])
      }))
  })

  describe("readers that leave", () => {
    const cycles = 1000

    it.effect("leave nothing behind after take", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [durable(1), durable(2)])
        for (let i = 0; i < cycles; i++) {
          yield* EventLog.read(log).pipe(Stream.take(1), Stream.runDrain)
        }
        assert.strictEqual(EventLog.waiting(log), 0)
      }))

    it.effect("leave nothing behind after an interrupt", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        EventLog.append(log, [durable(1)])
        for (let i = 0; i < cycles; i++) {
          const fiber = yield* EventLog.read(log).pipe(
            Stream.runDrain,
            Effect.forkChild({ startImmediately: true })
          )
          assert.strictEqual(EventLog.waiting(log), 1)
          yield* Fiber.interrupt(fiber)
          assert.strictEqual(EventLog.waiting(log), 0)
        }
      }))

    it("leave nothing behind after break", async () => {
      const log = EventLog.make()
      EventLog.append(log, [durable(1)])
      for (let i = 0; i < cycles; i++) {
        for await (const event of Stream.toAsyncIterable(EventLog.read(log))) {
          assert.strictEqual(show(event), "1")
          break
        }
      }
      assert.strictEqual(EventLog.waiting(log), 0)
    })

    it.effect("a thousand that wait at once are all woken by end", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const fibers = yield* Effect.forEach(
          Array.from({ length: cycles }),
          () => Effect.forkChild(Stream.runDrain(EventLog.read(log)), { startImmediately: true })
        )
        assert.strictEqual(EventLog.waiting(log), cycles)
        EventLog.end(log)
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(EventLog.waiting(log), 0)
      }))

    it.effect("what is appended while a reader is about to wait wakes it", () =>
      Effect.gen(function*() {
        // The reader gives way after every few operations, so the append falls into every gap there is.
        for (let gap = 0; gap < 40; gap++) {
          const log = EventLog.make()
          const fiber = yield* collect(log).pipe(
            Effect.provideService(References.MaxOpsBeforeYield, 3),
            Effect.forkChild({ startImmediately: true })
          )
          for (let i = 0; i < gap; i++) yield* Effect.yieldNow
          EventLog.append(log, [durable(1)])
          EventLog.end(log)
          assert.deepStrictEqual(yield* Fiber.join(fiber), ["1"])
        }
      }))

    it.effect("an interrupt between the wake and the read loses nothing for the others", () =>
      Effect.gen(function*() {
        const log = EventLog.make()
        const scope = yield* Scope.make()
        const one = yield* Effect.forkChild(collect(log), { startImmediately: true })
        const other = yield* Effect.forkIn(collect(log), scope, { startImmediately: true })
        EventLog.append(log, [durable(1)])
        yield* Fiber.interrupt(one)
        EventLog.end(log)
        assert.deepStrictEqual(yield* Fiber.join(other), ["1"])
        assert.strictEqual(EventLog.waiting(log), 0)
      }))
  })
})
