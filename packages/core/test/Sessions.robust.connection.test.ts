/** Connections that misbehave, settings that change at the wrong moment, requests that wait, clocks that are set. */
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Option, Scope, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { hanging, keyOf, open, settle, until, withHand } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"

describe("a connection", () => {
  it.effect("whose stream is interrupted from inside counts as lost and is made again", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* until(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.isAtLeast(hand.connects.length, 2)
      }), { connection: () => ({ signals: Stream.fromEffect(Effect.interrupt) }) }))

  it.effect("that ends again and again is given up after a while, and the prompts with it", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* settle
        yield* TestClock.adjust("25 seconds")
        assert.strictEqual((yield* turn.outcome)._tag, "notRun")
        assert.isBelow(hand.connects.length, 10)
      }), { connection: () => ({ signals: Stream.empty, snapshot: () => Effect.never, submit: () => Effect.never }) }))

  it.effect("is replaced although the one before it hangs in its release", () => {
    const stuck = hanging()
    return withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        hand.cut()
        yield* settle
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(hand.connects.length, 2)
        assert.strictEqual(SubscriptionRef.getUnsafe(session.state).connection, "live")
      }).pipe(stuck.end), stuck.bent)
  })

  it.effect("made while the settings change has the new ones", () => {
    const configured: Array<unknown> = []
    return withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open({ model: "m/1" })
        const gate = yield* Deferred.make<void>()
        hand.connect = Deferred.await(gate)
        hand.cut()
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.strictEqual(hand.connects[1]?.model, "m/1")
        yield* session.configure({ model: "m/2", policy: ApprovalPolicy.acceptReads })
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.deepStrictEqual(configured, [{ model: "m/2", policy: ApprovalPolicy.acceptReads }])
        hand.cut()
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.strictEqual(hand.connects[2]?.model, "m/2")
        assert.deepStrictEqual(hand.connects[2]?.policy, ApprovalPolicy.acceptReads)
        assert.strictEqual(configured.length, 1)
      }), { connection: () => ({ configure: (change) => Effect.sync(() => void configured.push(change)) }) })
  })

  it.effect("that hangs when it is configured fails the call in time and changes nothing", () =>
    withHand(
      () =>
        Effect.gen(function*() {
          const session = yield* open({ model: "m/1" })
          const configuring = yield* Effect.forkChild(Effect.flip(session.configure({ model: "m/2" })))
          yield* settle
          yield* TestClock.adjust("30 seconds")
          assert.strictEqual((yield* Fiber.join(configuring)).reason._tag, "ConnectionLost")
          yield* session.close
          const store = yield* BindingStore.BindingStore
          assert.strictEqual(Option.getOrThrow(yield* store.get(session.id)).model, "m/1")
        }),
      { connection: () => ({ configure: () => Effect.never }) }
    ))
})

describe("a request", () => {
  const request = (key: string, turn: string) => ({
    _tag: "requestOpened" as const,
    key,
    turn,
    kind: "command",
    subject: "run echo",
    options: ["accept", "decline", "cancel"] as const,
    facts: { command: "echo hi" }
  })

  it.effect("that nobody answers expires, and interrupts the turn", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open({ approvalExpiresAfter: "1 minute" })
        const turn = yield* session.prompt("hello")
        yield* settle
        hand.say(...Hand.begin(keyOf(hand), "x"), request("r1", keyOf(hand)))
        yield* settle
        yield* TestClock.adjust("59 seconds")
        assert.strictEqual((yield* session.requests).length, 1)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* session.requests).length, 0)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "policy" })
      })
    ))

  it.effect("is told as unanswerable exactly while nobody is attached", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const notices = () =>
          Effect.map(
            session.events({ after: 0 }).pipe(Stream.takeUntil((e) => "seq" in e && e.seq === seq), Stream.runCollect),
            (events) => [...events].filter((event) => event._tag === "Notice" && event.code === "nobodyAttached").length
          )
        let seq = 0
        const ask = (key: string) =>
          Effect.gen(function*() {
            hand.say(request(key, keyOf(hand)))
            yield* settle
            seq = (yield* session.view).seq
            return yield* notices()
          })
        yield* session.prompt("hello")
        yield* settle
        hand.say(...Hand.begin(keyOf(hand), "x"))
        const one = yield* Scope.make()
        const two = yield* Scope.make()
        yield* session.attach().pipe(Scope.provide(one))
        yield* session.attach().pipe(Scope.provide(two))
        yield* session.attach({ answers: false })
        yield* Scope.close(one, Exit.void)
        assert.strictEqual(yield* ask("r1"), 0)
        yield* Scope.close(two, Exit.void)
        assert.strictEqual(yield* ask("r2"), 1)
      })
    ))
})

describe("time", () => {
  it.effect("that is set back by an hour does not make an interrupt wait for an hour", () =>
    Effect.gen(function*() {
      let back = 0
      const inner = yield* Clock.Clock
      const clock: Clock.Clock = {
        ...inner,
        sleep: (duration) => inner.sleep(duration),
        currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe() - back,
        currentTimeMillis: Effect.sync(() => inner.currentTimeMillisUnsafe() - back)
      }
      yield* TestClock.adjust("2 hours")
      yield* withHand((hand) =>
        Effect.gen(function*() {
          hand.interrupt = Effect.never
          hand.snapshot = () => Effect.succeed({ ...Hand.idle, activity: "busy" })
          const session = yield* open()
          const turn = yield* session.prompt("hello")
          yield* settle
          hand.say(...Hand.begin(keyOf(hand), "partial"))
          yield* settle
          back = 3_600_000
          yield* session.interrupt
          yield* settle
          yield* TestClock.adjust("5 seconds")
          yield* settle
          assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        })
      ).pipe(Effect.provideService(Clock.Clock, clock))
    }))
})
