/** What the agent asks and how long it may try, seen by the host. */
import type { Signal } from "@reins/core/Signal"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { keyOf, open, settle, until, withHand } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"

const begun = (hand: Hand.Hand) =>
  Effect.gen(function*() {
    const session = yield* open()
    const prompt = yield* session.prompt("go")
    yield* settle
    hand.say(...Hand.begin(keyOf(hand), "working"))
    yield* settle
    return { session, prompt }
  })

it.effect("the answer to a question for a secret reaches the agent, and no event shows it", () =>
  withHand((hand) =>
    Effect.gen(function*() {
      const { session } = yield* begun(hand)
      const question = { options: [], multiple: false, freeText: true }
      hand.say({
        _tag: "requestOpened",
        key: "r1",
        turn: keyOf(hand),
        kind: "question",
        subject: "Who are you?",
        options: ["answers", "decline", "cancel"],
        facts: { questions: [{ ...question, text: "Name?" }, { ...question, text: "Key?", secret: true }] }
      })
      yield* settle
      const [request] = yield* session.requests
      const answers = [["Ada"], ["sesame-open"]]
      yield* session.answer(request?.id ?? assert.fail("nothing is asked"), { _tag: "answers", answers })
      yield* settle
      assert.deepStrictEqual(hand.answers.map(({ answer }) => answer), [{ _tag: "answers", answers }])
      const settled = (yield* until(session, (event) => event._tag === "RequestSettled")).at(-1)
      assert.deepStrictEqual(settled?._tag === "RequestSettled" ? settled.decision : undefined, {
        _tag: "answers",
        answers: [["Ada"], ["‹redacted›"]]
      })
    })
  ))

/** Tries for an hour, every minute. */
const retries = (hand: Hand.Hand, until?: (now: number) => number) =>
  Effect.gen(function*() {
    const turns = { [keyOf(hand)]: { _tag: "running" } as const }
    hand.snapshot = () => Effect.succeed({ ...Hand.idle, activity: "busy", complete: false, turns })
    for (let attempt = 1; attempt <= 60; attempt++) {
      const retry: Signal = {
        _tag: "turnRetrying",
        turn: keyOf(hand),
        attempt,
        ...(until === undefined ? undefined : { until: until(attempt * 60_000) })
      }
      hand.say(retry)
      yield* settle
      yield* TestClock.adjust("1 minute")
    }
    // The close at the end of the test waits for no clock.
    hand.snapshot = () => Effect.succeed(Hand.idle)
  })

it.effect("tries without an end that is named are silence, and end as such", () =>
  withHand((hand) =>
    Effect.gen(function*() {
      const { prompt } = yield* begun(hand)
      yield* retries(hand)
      const outcome = yield* prompt.outcome
      assert.strictEqual(outcome._tag === "failed" ? outcome.error._tag : outcome._tag, "UpstreamSilent")
      assert.isAbove(hand.interrupts, 0)
    })
  ))

it.effect("tries whose time is named are waited for", () =>
  withHand((hand) =>
    Effect.gen(function*() {
      const { session } = yield* begun(hand)
      yield* retries(hand, (now) => now + 90_000)
      assert.strictEqual(hand.interrupts, 0)
      assert.strictEqual((yield* session.view).turn?.state._tag, "retryingUpstream")
    })
  ))
