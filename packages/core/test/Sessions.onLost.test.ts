/** What follows a turn that was lost, where the host wants the agent to go on. */
import { assert, describe, it } from "@effect/vitest"
import type { Session } from "@reins/core/Session"
import type { SessionEvent } from "@reins/core/SessionEvent"
import { Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import { settle } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"
import * as Hosts from "./fixtures/hosts.ts"
import { open, until, withHand } from "./fixtures/sessions.ts"

const keyOf = (hand: Hand.Hand) => hand.submissions.at(-1)?.key ?? ""
const textOf = (hand: Hand.Hand, index: number) =>
  hand.submissions[index]?.input.parts.map((part) => part._tag === "Text" ? part.text : "").join("")

/** The agent begins with what it was sent last, and its connection breaks for good. */
const lose = Effect.fnUntraced(function*(session: Session, hand: Hand.Hand) {
  const key = keyOf(hand)
  hand.snapshot = () => Effect.succeed({ ...Hand.idle, turns: { [key]: { _tag: "unfinished" } } })
  hand.say(...Hand.begin(key, "Hello "))
  yield* settle
  const { seq } = yield* session.view
  const told = yield* session.events({ after: seq }).pipe(
    Stream.takeUntil((event) => event._tag === "TurnSettled" && event.outcome._tag === "lost"),
    Stream.runDrain,
    Effect.forkChild({ startImmediately: true })
  )
  hand.cut()
  for (let waits = 0; waits < 100 && told.pollUnsafe() === undefined; waits++) {
    yield* settle
    yield* TestClock.adjust("100 millis")
  }
  assert.isDefined(told.pollUnsafe(), "no turn was lost")
  yield* settle
})

const changes = (events: Iterable<{ readonly _tag: string }>) =>
  [...events as Iterable<SessionEvent>].flatMap((event) =>
    event._tag === "PromptChanged" && event.continues !== undefined ? [event] : []
  )

describe("onLost", () => {
  it.effect("report: nothing is sent after a turn that was lost", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* settle
        yield* lose(session, hand)
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        assert.strictEqual(hand.submissions.length, 1)
      })
    ))

  it.effect("continue: one prompt asks the agent to go on, names the turn, and comes before all that wait", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open({ onLost: "continue" })
        const turn = yield* session.prompt("hello")
        yield* settle
        const next = yield* session.prompt("and then this")
        yield* lose(session, hand)
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        assert.strictEqual(hand.submissions.length, 2)
        assert.include(textOf(hand, 1), "go on from there")
        hand.say(...Hand.answer(keyOf(hand), "done"))
        yield* settle
        assert.strictEqual(textOf(hand, 2), "and then this")
        hand.say(...Hand.answer(keyOf(hand), "that too"))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
        const events = yield* until(
          session,
          (event) => event._tag === "PromptChanged" && event.promptId === next.id && event.state._tag === "consumed"
        )
        const own = changes(events)
        assert.strictEqual(new Set(own.map((event) => event.promptId)).size, 1)
        assert.strictEqual(own.at(-1)?.state._tag, "consumed")
        const lost = [...events].find((event) => event._tag === "TurnSettled" && event.outcome._tag === "lost")
        assert.isTrue(own.every((event) => lost?._tag === "TurnSettled" && event.continues === lost.turnId))
      })
    ))

  it.effect("continue: what was sent to go on is not followed when it is lost too", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open({ onLost: "continue" })
        yield* session.prompt("hello")
        yield* settle
        yield* lose(session, hand)
        assert.strictEqual(hand.submissions.length, 2)
        yield* lose(session, hand)
        yield* TestClock.adjust("1 minute")
        yield* settle
        assert.strictEqual(hand.submissions.length, 2)
        // A later turn of the user's is a new one.
        yield* session.prompt("again")
        yield* settle
        yield* lose(session, hand)
        assert.strictEqual(hand.submissions.length, 4)
        hand.say(...Hand.answer(keyOf(hand), "done"))
        yield* settle
      })
    ))

  it.effect("continue: holds for a turn that the last host left, and is asked once over all hosts", () =>
    Effect.scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const first = yield* Hosts.start(machine, hand)
      const session = yield* first.sessions.open({ provider: "hand", cwd: "/repo" })
      yield* session.prompt("hello")
      yield* settle
      const key = keyOf(hand)
      hand.say(...Hand.begin(key, "Hello "))
      yield* settle
      first.kill()
      const unfinished = (key: string) => () =>
        Effect.succeed({
          ...Hand.idle,
          prompts: { [key]: "taken" as const },
          turns: { [key]: { _tag: "unfinished" as const } }
        })
      hand.snapshot = unfinished(key)
      const second = yield* Hosts.start(machine, hand)
      yield* second.sessions.open({ id: session.id, onLost: "continue" })
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle
      assert.strictEqual(hand.submissions.length, 2)
      const follow = keyOf(hand)
      hand.say(...Hand.begin(follow, "I go on"))
      yield* settle
      second.kill()
      hand.snapshot = unfinished(follow)
      const third = yield* Hosts.start(machine, hand)
      const again = yield* third.sessions.open({ id: session.id, onLost: "continue" })
      yield* settle
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.strictEqual((yield* again.view).turn, undefined)
      assert.strictEqual(hand.submissions.length, 2)
    })))
})
