/** Sessions against adapters that misbehave, stores that fail, and hosts that stop at the wrong moment. */
import * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import type { SessionId } from "@reins/core/Ids"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { closedSession, hanging, keyOf, layerOf, open, settle, until, withHand } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"

const storeWith = (replace: Partial<BindingStore.BindingStore["Service"]>) =>
  Layer.effect(
    BindingStore.BindingStore,
    Effect.map(
      BindingStore.BindingStore,
      (store) => BindingStore.BindingStore.of({ ...store, ...replace })
    )
  ).pipe(Layer.provide(BindingStore.layerMemory))

describe("opening", () => {
  it.effect("goes on for the one who waits when the one who asked first is interrupted", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const id = yield* closedSession
        const gate = yield* Deferred.make<void>()
        hand.connect = Deferred.await(gate)
        const first = yield* Effect.forkChild(open({ id }))
        yield* settle
        const second = yield* Effect.forkChild(open({ id }))
        yield* settle
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(second)).id, id)
      })
    ))

  it.effect("that is interrupted while it connects leaves nothing behind", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        let released = 0
        hand.connect = Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => void released++)))
        const opening = yield* Effect.forkChild(open())
        yield* settle
        yield* Fiber.interrupt(opening)
        const sessions = yield* Sessions.Sessions
        assert.strictEqual(released, 1)
        assert.deepStrictEqual(yield* sessions.opened, [])
        assert.deepStrictEqual((yield* sessions.list()).sessions, [])
      })
    ))

  it.effect("in a scope can be interrupted while it connects", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.connect = Effect.never
        const sessions = yield* Sessions.Sessions
        const opening = yield* sessions.openScoped({ provider: "hand", cwd: "/repo" }).pipe(
          Effect.scoped,
          Effect.forkChild
        )
        yield* settle
        const stopping = yield* Effect.forkChild(Fiber.interrupt(opening))
        yield* settle
        assert.isDefined(stopping.pollUnsafe())
      })
    ))

  for (
    const [name, set] of [
      ["fails", Effect.fail(AgentError.make(new AgentError.StoreFailed({ operation: "write the binding" })))],
      ["dies", Effect.die(new Error("disk"))]
    ] as const
  ) {
    it.effect(`without a stored binding is a failure: the store ${name}`, () =>
      withHand(
        (hand) =>
          Effect.gen(function*() {
            const error = yield* Effect.flip(open())
            assert.strictEqual(error.reason._tag, name === "fails" ? "StoreFailed" : "ProtocolError")
            assert.strictEqual(hand.connects.length, 1)
            assert.strictEqual(hand.released, 1)
            assert.deepStrictEqual(yield* Effect.flatMap(Sessions.Sessions, (sessions) => sessions.opened), [])
          }),
        {},
        storeWith({ set: () => set })
      ))
  }

  it.effect("fails when the adapter interrupts itself", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.connect = Effect.interrupt
        const error = yield* Effect.flip(open())
        assert.strictEqual(error.reason._tag, "ConnectionLost")
      })
    ))

  it.effect("of an adapter that never stands ends in time", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.connect = Effect.never
        const opening = yield* Effect.forkChild(Effect.flip(open()))
        yield* settle
        yield* TestClock.adjust("5 minutes")
        assert.strictEqual((yield* Fiber.join(opening)).reason._tag, "StartTimeout")
      })
    ))

  it.effect("is not troubled by a listener that throws", () =>
    withHand(() =>
      Effect.gen(function*() {
        const session = yield* open({
          onProgress: () => {
            throw new Error("listener")
          }
        })
        assert.strictEqual(SubscriptionRef.getUnsafe(session.state).phase, "open")
      })
    ))

  it.effect("does not hold up the list of those that are open", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        hand.connect = Effect.never
        yield* Effect.forkChild(open())
        yield* settle
        const opened = yield* Effect.flatMap(Sessions.Sessions, (sessions) => sessions.opened)
        assert.deepStrictEqual(opened.map((one) => one.id), [session.id])
      })
    ))
})

describe("closing", () => {
  it.effect("a session that opens stops the opening", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const id = yield* closedSession
        hand.connect = Effect.never
        const sessions = yield* Sessions.Sessions
        const opening = yield* Effect.forkChild(Effect.flip(open({ id })))
        yield* settle
        yield* sessions.close(id)
        assert.strictEqual((yield* Fiber.join(opening)).reason._tag, "ConnectionLost")
        hand.connect = Effect.void
        assert.strictEqual((yield* open({ id })).id, id)
      })
    ))

  it.effect("takes five seconds in all when agent and adapter hang, and the id is free afterwards", () => {
    const stuck = hanging()
    return withHand((hand) =>
      Effect.gen(function*() {
        hand.interrupt = Effect.uninterruptible(stuck.hang)
        hand.snapshot = () => Effect.never
        const session = yield* open()
        yield* session.prompt("one")
        yield* settle
        hand.say(...Hand.begin(keyOf(hand), "x"))
        yield* until(session, (event) => event._tag === "ItemDelta")
        const closing = yield* Effect.forkChild(Effect.uninterruptible(session.close))
        const again = yield* Effect.forkChild(session.close)
        yield* settle
        yield* TestClock.adjust("5 seconds")
        yield* settle
        assert.isDefined(closing.pollUnsafe())
        assert.isDefined(again.pollUnsafe())
        const reopening = yield* Effect.forkChild(open({ id: session.id }))
        yield* settle
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Fiber.join(reopening)).id, session.id)
      }).pipe(stuck.end), stuck.bent)
  })

  it.effect("the layer ends although adapters hang, and nothing opens afterwards", () =>
    Effect.gen(function*() {
      const hand = Hand.make()
      const stuck = hanging()
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerOf(hand, stuck.bent, BindingStore.layerMemory), scope)
      const session = yield* open().pipe(Effect.provideContext(context))
      const stopping = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.isDefined(stopping.pollUnsafe())
      assert.strictEqual(yield* session.closed, "the host stopped")
      const error = yield* Effect.flip(open()).pipe(Effect.provideContext(context))
      assert.strictEqual(error.reason._tag, "Unavailable")
      yield* Deferred.succeed(stuck.over, undefined)
    }))

  for (const masked of [false, true]) {
    it.effect(`works from inside the adapter's calls and signals${masked ? ", uninterruptibly" : ""}`, () => {
      const mask = masked ? Effect.uninterruptible : <A>(effect: A) => effect
      let session: Session | undefined
      const stop = Effect.suspend(() => mask(session?.close ?? Effect.void))
      return Effect.forEach(["submit", "signals"] as const, (where) =>
        withHand(
          (hand) =>
            Effect.gen(function*() {
              session = yield* open()
              const turn = yield* session.prompt("one")
              yield* settle
              hand.say({ _tag: "notice", level: "info", code: "x", text: "x" })
              yield* settle
              yield* TestClock.adjust("10 seconds")
              assert.strictEqual(yield* session.closed, "closed by the host")
              yield* turn.outcome
              const sessions = yield* Sessions.Sessions
              assert.deepStrictEqual(yield* sessions.opened, [])
            }),
          {
            connection: (connection) =>
              where === "submit"
                ? { submit: () => stop }
                : { signals: Stream.tap(connection.signals, () => stop) }
          }
        ))
    })
  }

  it.effect("ends the changes of the state, whose last is closed", () =>
    withHand(() =>
      Effect.gen(function*() {
        const session = yield* open()
        const changes = yield* SubscriptionRef.changes(session.state).pipe(Stream.runCollect, Effect.forkChild)
        yield* settle
        yield* session.close
        assert.strictEqual((yield* Fiber.join(changes)).at(-1)?.phase, "closed")
        assert.strictEqual(SubscriptionRef.getUnsafe(session.state).phase, "closed")
        const refused = yield* Effect.flip(session.configure({ model: "m/2" }))
        assert.strictEqual(refused.reason._tag, "SessionNotFound")
      })
    ))

  it.effect("is not undone by a store that dies", () =>
    withHand(
      () =>
        Effect.gen(function*() {
          const session = yield* open()
          broken = true
          yield* session.close
          broken = false
          assert.strictEqual((yield* open({ id: session.id })).id, session.id)
        }),
      {},
      Layer.effect(
        BindingStore.BindingStore,
        Effect.map(BindingStore.BindingStore, (store) =>
          BindingStore.BindingStore.of({
            ...store,
            set: (binding) => broken ? Effect.die(new Error("disk")) : store.set(binding)
          }))
      ).pipe(Layer.provide(BindingStore.layerMemory))
    ))
})

let broken = false

describe("a prompt", () => {
  const defects: ReadonlyArray<readonly [string, () => Effect.Effect<void>]> = [
    ["throws", () => {
      throw new Error("adapter")
    }],
    ["dies", () => Effect.die(new Error("adapter"))],
    ["interrupts itself", () => Effect.interrupt]
  ]
  for (const [name, submit] of defects) {
    it.effect(`gets its outcome although the adapter ${name} in every call`, () =>
      withHand(() =>
        Effect.gen(function*() {
          const session = yield* open()
          const turn = yield* session.prompt("hello")
          for (let i = 0; i < 4; i++) {
            yield* settle
            yield* TestClock.adjust("1 minute")
          }
          assert.strictEqual((yield* turn.outcome)._tag, "notRun")
          yield* session.quiescent
        }), { connection: () => ({ submit }) }))
  }

  it.effect("gets its outcome when the engine has a defect, and everything ends normally", () =>
    withHand(
      () =>
        Effect.gen(function*() {
          const session = yield* open()
          const reader = yield* Effect.forkChild(Stream.runDrain(session.events()))
          const quiet = yield* Effect.forkChild(session.quiescent)
          yield* settle
          const turn = yield* session.prompt("hello")
          assert.strictEqual((yield* turn.receipt)._tag, "failed")
          assert.strictEqual((yield* turn.outcome)._tag, "notRun")
          yield* Fiber.join(reader)
          yield* Fiber.join(quiet)
          assert.strictEqual(SubscriptionRef.getUnsafe(session.state).phase, "closed")
          const error = yield* Effect.flip(session.prompt("again"))
          assert.strictEqual(error.reason._tag, "SessionNotFound")
        }),
      {
        instance: {
          promptKey: () => {
            throw new Error("defect")
          }
        }
      }
    ))

  it.effect("given from where an outcome arrives has taken effect when it returns", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const one = yield* session.prompt("one")
        const seen = yield* Effect.gen(function*() {
          yield* one.outcome
          const two = yield* session.prompt("two")
          return (yield* session.view).queue.some((queued) => queued.promptId === two.id)
        }).pipe(Effect.forkChild)
        yield* settle
        hand.say(...Hand.answer(keyOf(hand), "1"))
        assert.isTrue(yield* Fiber.join(seen))
      })
    ))

  it.effect("has events that end although the reader fell behind the window", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("one")
        yield* settle
        hand.say(...Hand.answer(keyOf(hand), "1"))
        yield* turn.outcome
        const notice = { _tag: "notice", level: "info", code: "x", text: "x" } as const
        hand.say(...Array.from({ length: 5000 }, () => notice))
        yield* settle
        const tags = [...(yield* Stream.runCollect(turn.events))].map((event) => event._tag)
        assert.deepStrictEqual(tags, ["Lagged"])
      })
    ))
})

describe("quiescence", () => {
  it.effect("is told to everybody who waits for it, also when one of them gave up", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const sessions = yield* Sessions.Sessions
        yield* session.prompt("one")
        yield* settle
        const waiters = yield* Effect.forEach(
          [session.quiescent, session.quiescent, sessions.quiescent],
          (quiet) => Effect.forkChild(quiet)
        )
        yield* settle
        const [gaveUp] = waiters
        if (gaveUp !== undefined) yield* Fiber.interrupt(gaveUp)
        hand.say(...Hand.answer(keyOf(hand), "1"))
        yield* settle
        assert.deepStrictEqual(
          waiters.map((waiter) => {
            const exit = waiter.pollUnsafe()
            return exit === undefined ? "waits" : Exit.isSuccess(exit) ? "told" : Cause.hasInterruptsOnly(exit.cause)
          }),
          [true, "told", "told"]
        )
      })
    ))
})

it.effect("many sessions open and close at once, also under one id", () =>
  withHand((hand) =>
    Effect.gen(function*() {
      const ids: Array<SessionId> = []
      for (let i = 0; i < 5; i++) ids.push(yield* closedSession)
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        (i) =>
          Effect.gen(function*() {
            const id = ids[i % ids.length] ?? ids[0]
            if (id === undefined) return
            const opening = yield* Effect.forkChild(open({ id }))
            for (let n = 0; n < i % 7; n++) yield* Effect.yieldNow
            const mayBeInterrupted = i % 3 === 0
            if (mayBeInterrupted) yield* Fiber.interrupt(opening)
            const exit = yield* Fiber.await(opening)
            assert.isTrue(mayBeInterrupted || Exit.isSuccess(exit))
            if (Exit.isSuccess(exit)) yield* exit.value.close
          }),
        { concurrency: 16 }
      )
      yield* settle
      const sessions = yield* Sessions.Sessions
      assert.deepStrictEqual(yield* sessions.opened, [])
      assert.strictEqual(hand.released, hand.connects.length)
    })
  ))
