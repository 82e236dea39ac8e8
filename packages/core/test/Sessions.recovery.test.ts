/** What becomes of a session when its connection breaks, its agent falls silent or its host sleeps. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import type { Snapshot } from "@reins/core/Signal"
import { Clock, Effect, Fiber, Latch, Stream } from "effect"
import { TestClock } from "effect/testing"
import { settle } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"
import { open, request, until, withHand } from "./fixtures/sessions.ts"

describe("a connection", () => {
  it.effect("that is lost mid-text is made again and the text is whole in the end, nothing doubled", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.snapshot = () =>
          Effect.succeed({
            ...Hand.idle,
            activity: "busy",
            prompts: { [key]: "taken" },
            turns: { [key]: { _tag: "running" } }
          })
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        hand.cut()
        yield* until(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        yield* until(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced")
        const whole = Hand.answer(key, "Hello big world").slice(3)
        hand.say({ _tag: "delta", key: `${key}-text`, stream: "text", text: "rld" }, ...whole.slice(1))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const events = yield* until(session, (event) => event._tag === "TurnSettled")
        let text = ""
        for (const event of events) if (event._tag === "ItemDelta") text = text.slice(0, event.offset) + event.text
        assert.strictEqual(text, "Hello big world")
      })
    ))

  it.effect("that comes back to an agent which knows nothing of a finish: the turn is lost, the session usable", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.snapshot = () => Effect.succeed({ ...Hand.idle, turns: { [key]: { _tag: "unfinished" } } })
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        hand.cut()
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        const outcome = yield* turn.outcome
        assert.isTrue(outcome._tag === "lost" && outcome.error._tag === "TurnLost")
        const next = yield* session.prompt("again")
        yield* Effect.yieldNow
        hand.say(...Hand.answer(hand.submissions[1]?.key ?? "", "fine"))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
      })
    ))

  it.effect("that is read while a text comes and goes whose message was not heard of: it is read again before the end", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* settle
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.answer(key, "").slice(0, 2))
        yield* settle
        const said = {
          _tag: "item",
          key: "text",
          item: { _tag: "assistantMessage", text: "the whole answer" },
          hasText: true,
          status: "completed"
        } as const
        const answered = yield* Latch.make(false)
        let reads = 0
        hand.snapshot = () =>
          Effect.suspend(() => {
            // What is read first is what was stored before the text; later reads have all.
            const first = ++reads === 1
            const read: Snapshot = {
              ...Hand.idle,
              activity: first ? "busy" : "idle",
              turns: { [key]: first ? { _tag: "running" } : { _tag: "completed", stopReason: "endTurn" } },
              signals: [{ _tag: "prompt", key, turn: key }, ...(first ? [] : [{ ...said, turn: key }])]
            }
            return Effect.as(first ? answered.await : Effect.sleep("100 millis"), read)
          })
        hand.cut()
        yield* settle
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual(reads, 1)
        // Of a message whose head was missed the stream does not say the turn.
        hand.say(said, { _tag: "turnFinish", turn: key, stopReason: "endTurn" })
        yield* settle
        yield* answered.open
        yield* settle
        hand.say({ _tag: "turnEnded", fact: "idle" })
        yield* settle
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        const events = yield* until(session, (event) => event._tag === "TurnSettled")
        const texts = [...events].flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" ? [event.item.text] : []
        )
        assert.deepStrictEqual(texts, ["the whole answer"])
      })
    ))

  it.effect("whose gap cannot be read, and whose turn is interrupted meanwhile: interrupted, whatever finish was heard", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* settle
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.answer(key, "").slice(0, 2))
        yield* settle
        let reads = 0
        hand.snapshot = () => Effect.suspend(() => reads++ === 0 ? Effect.never : Effect.succeed(Hand.idle))
        hand.cut()
        yield* settle
        yield* TestClock.adjust("1 second")
        yield* settle
        hand.say({ _tag: "turnFinish", turn: key, stopReason: "endTurn" })
        yield* settle
        yield* session.interrupt
        yield* TestClock.adjust("6 seconds")
        // Its text was said in the gap, and nobody has read it.
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        // What the read that hangs is given up for.
        yield* TestClock.adjust("60 seconds")
      })
    ))

  it.effect("that was lost before the agent had named the turn of a prompt: the record's name of it makes no second turn", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        const verdict = { _tag: "completed", stopReason: "endTurn" } as const
        hand.snapshot = () =>
          Effect.succeed({
            ...Hand.idle,
            prompts: { [key]: "taken" },
            turns: { [key]: verdict, "the agent's name": verdict },
            signals: [
              { _tag: "prompt", key, turn: "the agent's name" },
              { _tag: "turnStarted", turn: "the agent's name", prompt: key },
              {
                _tag: "item",
                key: "text",
                turn: "the agent's name",
                item: { _tag: "assistantMessage", text: "Hello" },
                hasText: true,
                status: "completed"
              }
            ]
          })
        hand.cut()
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* turn.outcome, verdict)
        const events = yield* until(session, (event) =>
          event._tag === "ConnectionChanged" && event.status._tag === "live" && event.seq !== undefined &&
          event.seq > 8)
        const turns = [...events].flatMap((event) =>
          event._tag === "TurnStarted" ? [event.turnId] : []
        )
        assert.strictEqual(turns.length, 1)
        const texts = [...events].flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage"
            ? [[event.turnId, event.item.text]]
            : []
        )
        assert.deepStrictEqual(texts, [[turns[0], "Hello"]])
      })
    ))

  it.effect("that cannot be had gives the prompt an outcome instead of a wait for ever", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        hand.say(...Hand.begin(hand.submissions[0]?.key ?? "", "x"))
        yield* until(session, (event) => event._tag === "ItemDelta")
        hand.connect = Effect.fail(AgentError.make(new AgentError.NotInstalled({ binary: "hand", tried: [] })))
        hand.cut()
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        const outcome = yield* turn.outcome
        assert.isTrue(outcome._tag === "lost" && outcome.error._tag === "NotInstalled")
      })
    ))
})

describe("a session that is closed while its connection is lost", () => {
  it.effect("stops what the agent still does as soon as the agent can be told", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.snapshot = () =>
          Effect.succeed({
            ...Hand.idle,
            activity: hand.interrupts === 0 ? "busy" : "idle",
            turns: { [key]: hand.interrupts === 0 ? { _tag: "running" } : { _tag: "unfinished" } }
          })
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        const back = yield* Latch.make(false)
        hand.connect = back.await
        hand.cut()
        yield* until(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        const closing = yield* Effect.forkChild(session.close)
        yield* Effect.yieldNow
        assert.strictEqual(hand.interrupts, 0)
        yield* back.open
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
        assert.strictEqual(hand.interrupts, 1)
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "host" })
      })
    ))

  it.effect("closes within its limit when the agent cannot be had", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        hand.say(...Hand.begin(hand.submissions[0]?.key ?? "", "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        hand.connect = Effect.never
        hand.cut()
        yield* until(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        const closing = yield* Effect.forkChild(session.close)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(closing)
        assert.strictEqual(hand.interrupts, 0)
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "host" })
      })
    ))
})

describe("a window that reloads mid-text", () => {
  it.effect("draws the view, goes on behind it, and ends with the full text", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        const view = yield* session.view
        const drawn = view.items.find((item) => item.open)
        assert.isTrue(drawn?.item._tag === "assistantMessage" && drawn.item.text === "Hello ")
        hand.say(
          { _tag: "delta", key: `${key}-text`, stream: "text", text: "wide " },
          { _tag: "delta", key: `${key}-text`, stream: "text", text: "world" },
          ...Hand.answer(key, "Hello wide world").slice(4)
        )
        const events = yield* session.events({ after: view.seq }).pipe(
          Stream.takeUntil((event) => event._tag === "TurnSettled"),
          Stream.runCollect
        )
        let text = "Hello "
        for (const event of events) if (event._tag === "ItemDelta") text = text.slice(0, event.offset) + event.text
        assert.strictEqual(text, "Hello wide world")
        assert.deepStrictEqual([...events].flatMap((event) => "seq" in event ? [event.seq] : [])[0], view.seq + 1)
      })
    ))
})

describe("a turn whose connection was lost", () => {
  it.effect("and that had finished meanwhile is completed, with what was missed told once", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.snapshot = () =>
          Effect.succeed({
            ...Hand.idle,
            turns: { [key]: { _tag: "completed", stopReason: "endTurn" } },
            signals: Hand.answer(key, "Hello world").slice(4, 6)
          })
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        hand.cut()
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        const events = yield* until(session, (event) => event._tag === "TurnSettled")
        let text = ""
        for (const event of events) if (event._tag === "ItemDelta") text = text.slice(0, event.offset) + event.text
        assert.strictEqual(text, "Hello world")
      })
    ))
})

describe("silence", () => {
  it.effect("is told after a minute, and ends the turn after ten when nothing says that the agent lives", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.snapshot = () => Effect.succeed({ ...Hand.idle, activity: "busy", turns: { [key]: { _tag: "running" } } })
        hand.say(...Hand.begin(key, "Hello "))
        yield* until(session, (event) => event._tag === "ItemDelta")
        yield* TestClock.adjust("61 seconds")
        assert.strictEqual((yield* session.view).turn?.state._tag, "silent")
        hand.say({ _tag: "delta", key: `${key}-text`, stream: "text", text: "again" })
        yield* Effect.yieldNow
        yield* Effect.yieldNow
        assert.strictEqual((yield* session.view).turn?.state._tag, "running")
        hand.snapshot = () => Effect.succeed({ ...Hand.idle, activity: "busy", turns: { [key]: { _tag: "running" } } })
        for (let minute = 0; minute < 11; minute++) yield* TestClock.adjust("1 minute")
        assert.strictEqual(hand.interrupts > 0, true)
        const outcome = yield* turn.outcome
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamSilent")
      })
    ))

  it.effect("of an agent that waits for an approval is no silence", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.attach()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "x"), request("r1", key))
        yield* until(session, (event) => event._tag === "RequestOpened")
        for (let minute = 0; minute < 30; minute++) yield* TestClock.adjust("1 minute")
        assert.strictEqual(hand.interrupts, 0)
        assert.strictEqual((yield* session.view).turn?.state._tag, "awaitingApproval")
      })
    ))

  it.effect("because the machine slept starts a resync and interrupts nothing", () =>
    Effect.gen(function*() {
      // While a machine sleeps its timers stand still, and the wall clock does not.
      let slept = 0
      const inner = yield* Clock.Clock
      const clock: Clock.Clock = {
        ...inner,
        sleep: (duration) => inner.sleep(duration),
        currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe() + slept,
        currentTimeMillis: Effect.sync(() => inner.currentTimeMillisUnsafe() + slept)
      }
      yield* withHand((hand) =>
        Effect.gen(function*() {
          const session = yield* open()
          yield* session.prompt("hello")
          yield* Effect.yieldNow
          const key = hand.submissions[0]?.key ?? ""
          hand.snapshot = () =>
            Effect.succeed({ ...Hand.idle, activity: "busy", turns: { [key]: { _tag: "running" } } })
          hand.say(...Hand.begin(key, "x"))
          yield* until(session, (event) => event._tag === "ItemDelta")
          slept = 6 * 3_600_000
          yield* TestClock.adjust("60 seconds")
          const events = yield* until(
            session,
            (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
          )
          assert.isTrue([...events].some((event) => event._tag === "Notice" && event.code === "suspended"))
          assert.strictEqual(hand.interrupts, 0)
          assert.strictEqual((yield* session.view).turn?.state._tag, "running")
          hand.say(...Hand.answer(key, "x").slice(4))
          yield* session.quiescent
        })
      ).pipe(Effect.provideService(Clock.Clock, clock))
    }))

  it.effect("of eight hours on the clock, with a turn and an approval open: both are there, and go on", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const worker = yield* open()
        yield* worker.prompt("work")
        yield* settle
        const first = hand.submissions[0]?.key ?? ""
        let second = ""
        hand.say(...Hand.begin(first, "x"))
        yield* until(worker, (event) => event._tag === "ItemDelta")
        hand.snapshot = (asked) =>
          Effect.succeed({
            ...Hand.idle,
            activity: "busy",
            turns: Object.fromEntries(asked.turns.map((key) => [key, { _tag: "running" as const }])),
            requests: asked.turns.includes(second) ? [request("r1", second)] : []
          })
        // A tool at work is no silence: it may take as long as it likes.
        const tool = {
          _tag: "item",
          key: `${first}-tool`,
          turn: first,
          item: { _tag: "command", command: "make", cwd: "/repo", output: "" },
          hasText: false
        } as const
        hand.say(tool)
        yield* until(worker, (event) => event._tag === "ItemStarted" && event.item._tag === "command")
        // The hand works the newest connection: from here on that of the second session.
        const asker = yield* open()
        yield* asker.attach()
        const asked = yield* asker.prompt("ask")
        yield* settle
        second = hand.submissions[1]?.key ?? ""
        hand.say(...Hand.begin(second, "y"), request("r1", second))
        const [opened] = [...yield* until(asker, (event) => event._tag === "RequestOpened")].slice(-1)

        yield* TestClock.adjust("8 hours")
        yield* settle

        assert.strictEqual(hand.interrupts, 0)
        assert.strictEqual((yield* worker.view).turn?.state._tag, "running")
        assert.strictEqual((yield* asker.view).turn?.state._tag, "awaitingApproval")
        const requests = yield* asker.requests
        assert.deepStrictEqual(requests.map(({ id }) => id), [opened?._tag === "RequestOpened" ? opened.requestId : ""])
        yield* asker.answer(requests[0]?.id ?? ("" as never), { _tag: "accept" })
        yield* settle
        assert.strictEqual(hand.answers.length, 1)
        hand.snapshot = () => Effect.succeed(Hand.idle)
        hand.say({ _tag: "requestClosed", key: "r1", accepted: true }, ...Hand.answer(second, "y").slice(4))
        assert.deepStrictEqual(yield* asked.outcome, { _tag: "completed", stopReason: "endTurn" })
      })
    ))
})
