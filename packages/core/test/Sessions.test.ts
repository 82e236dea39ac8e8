import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import { RequestId, SessionId } from "@reins/core/Ids"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Layer, ManagedRuntime, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Hand from "./fixtures/handProvider.ts"

const layer = (hand: Hand.Hand, policy = ApprovalPolicy.askAlways) =>
  Sessions.layer.pipe(
    Layer.provideMerge(Providers.layer({ hand: hand.provider, second: hand.provider })),
    Layer.provideMerge(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(policy))
  )

const open = (options: Partial<Sessions.OpenOptions> = {}) =>
  Effect.flatMap(Sessions.Sessions, (sessions) => sessions.open({ provider: "hand", cwd: "/repo", ...options }))

/** Runs with a hand-worked provider. */
const withHand = <A, E>(
  body: (hand: Hand.Hand) => Effect.Effect<A, E, Sessions.Sessions | BindingStore.BindingStore | Scope.Scope>,
  policy?: ApprovalPolicy.ApprovalPolicy
) =>
  Effect.suspend(() => {
    const hand = Hand.make()
    return body(hand).pipe(Effect.scoped, Effect.provide(layer(hand, policy)))
  })

const until = (session: Session, found: (event: SessionEvent | Lagged) => boolean) =>
  session.events().pipe(Stream.takeUntil(found), Stream.runCollect)

const tags = (events: Iterable<SessionEvent | Lagged>) => [...events].map((event) => event._tag)

const request = (key: string, turn: string) => ({
  _tag: "requestOpened" as const,
  key,
  turn,
  kind: "command",
  subject: "run echo",
  options: ["accept", "acceptForSession", "decline", "cancel"] as const,
  facts: { command: "echo hi" }
})

describe("a prompt", () => {
  it.effect("is answered: receipt, text, outcome, in this order and with a gap-free sequence", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.answer(key, "hi there"))
        const outcome = yield* turn.outcome
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.strictEqual((yield* turn.receipt)._tag, "consumed")
        const events = yield* until(session, (event) => event._tag === "TurnSettled")
        const durable = [...events].flatMap((event) => "seq" in event && event.seq !== undefined ? [event.seq] : [])
        assert.deepStrictEqual(durable, durable.map((_, index) => index + 1))
        const order = tags(events)
        assert.isBelow(order.indexOf("SessionOpened"), order.indexOf("PromptChanged"))
        assert.isBelow(order.indexOf("TurnStarted"), order.indexOf("ItemDelta"))
        assert.isBelow(order.indexOf("ItemDelta"), order.indexOf("ItemCompleted"))
      })
    ))

  it.effect("has its own events, which end with its outcome", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        const events = yield* Stream.runCollect(turn.events).pipe(Effect.forkChild)
        yield* Effect.yieldNow
        hand.say(...Hand.answer(hand.submissions[0]?.key ?? "", "hi"))
        assert.strictEqual(tags(yield* Fiber.join(events)).at(-1), "TurnSettled")
      })
    ))

  it.effect("that waits can be withdrawn, and the others keep their order", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.prompt("one")
        const two = yield* session.prompt("two")
        const three = yield* session.prompt("three")
        yield* Effect.yieldNow
        assert.isTrue(yield* session.withdraw(two.id))
        assert.isFalse(yield* session.withdraw(two.id))
        assert.deepStrictEqual(yield* two.outcome, { _tag: "notRun", receipt: { _tag: "withdrawn" } })
        hand.say(...Hand.answer(hand.submissions[0]?.key ?? "", "1"))
        yield* until(session, (event) =>
          event._tag === "PromptChanged" && event.promptId === three.id && event.state._tag === "submitted")
        assert.strictEqual(hand.submissions.length, 2)
      })
    ))

  it.effect("that is empty or holds what the provider cannot take is refused before anything is sent", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const empty = yield* Effect.flip(session.prompt("  "))
        assert.strictEqual(empty.reason._tag, "InvalidRequest")
        const image = yield* Effect.flip(
          session.prompt({ parts: [{ _tag: "Image", mediaType: "image/png", data: "" }] })
        )
        assert.strictEqual(image.reason._tag, "Unsupported")
        assert.strictEqual(hand.submissions.length, 0)
      })
    ))
})

describe("an interrupt", () => {
  it.effect("shows in the step that takes it, and settles locally when the agent never confirms", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.interrupt = Effect.never
        hand.snapshot = () => Effect.succeed({ ...Hand.idle, activity: "busy" })
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        hand.say(...Hand.begin(hand.submissions[0]?.key ?? "", "partial"))
        yield* until(session, (event) => event._tag === "ItemDelta")
        yield* session.interrupt
        assert.strictEqual((yield* session.view).turn?.state._tag, "interrupting")
        yield* Effect.yieldNow
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
      })
    ))

  it.effect("of an idle session does nothing", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.interrupt
        yield* session.interrupt
        assert.strictEqual(hand.interrupts, 0)
        assert.isUndefined((yield* session.view).turn)
      })
    ))
})

describe("a request", () => {
  it.effect("is answered once: the second answer learns who settled it", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.attach()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "x"), request("r1", key))
        yield* until(session, (event) => event._tag === "RequestOpened")
        assert.deepStrictEqual((yield* session.requests).map((open) => open.id), [RequestId.make("r1")])
        yield* session.answer(RequestId.make("r1"), { _tag: "accept" })
        const error = yield* Effect.flip(session.answer(RequestId.make("r1"), { _tag: "decline" }))
        assert.strictEqual(error.reason._tag, "RequestNotOpen")
        assert.include(error.message, "user")
        yield* Effect.yieldNow
        assert.deepStrictEqual(hand.answers.map((sent) => sent.answer._tag), ["accept"])
      })
    ))

  it.effect("nobody can answer is told at once", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "x"), request("r1", key))
        const events = yield* until(session, (event) => event._tag === "Notice")
        assert.include(tags(events), "RequestOpened")
      })
    ))

  it.effect("accepted for the session is not asked again, and another one is", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.attach()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "x"), request("r1", key))
        yield* until(session, (event) => event._tag === "RequestOpened")
        yield* session.answer(RequestId.make("r1"), { _tag: "acceptForSession" })
        hand.say(request("r2", key), { ...request("r3", key), facts: { command: "echo ho" } })
        yield* until(session, (event) => event._tag === "RequestOpened" && event.requestId === "r3")
        assert.deepStrictEqual((yield* session.requests).map((open) => open.id), [RequestId.make("r3")])
        yield* Effect.yieldNow
        assert.deepStrictEqual(hand.answers.map((sent) => sent.answer._tag), ["accept", "accept"])
      })
    ))

  it.effect("is decided by the policy, with the rule that decided", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        hand.say(...Hand.begin(key, "x"), request("r1", key))
        const events = yield* until(session, (event) => event._tag === "RequestSettled")
        const settled = [...events].at(-1)
        assert.isTrue(
          settled?._tag === "RequestSettled" && settled.by === "policy" && settled.decision?._tag === "decline"
        )
      }), ApprovalPolicy.declineAll))
})

describe("closing", () => {
  it.effect("ends every stream normally, gives queued prompts back, and lets go of the connection", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const all = yield* Stream.runCollect(session.events()).pipe(Effect.forkChild)
        yield* session.prompt("one")
        const two = yield* session.prompt("two")
        yield* session.close
        const events = yield* Fiber.join(all)
        assert.strictEqual(tags(events).at(-1), "SessionClosed")
        assert.strictEqual((yield* two.outcome)._tag, "notRun")
        const error = yield* Effect.flip(session.prompt("three"))
        assert.strictEqual(error.reason._tag, "SessionNotFound")
        yield* Effect.yieldNow
        assert.strictEqual(hand.released, 1)
      })
    ))

  it.effect("returns within its grace although the agent hangs in every call", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.interrupt = Effect.never
        hand.snapshot = () => Effect.never
        const session = yield* open()
        const turn = yield* session.prompt("one")
        yield* Effect.yieldNow
        hand.say(...Hand.begin(hand.submissions[0]?.key ?? "", "x"))
        yield* until(session, (event) => event._tag === "ItemDelta")
        const closing = yield* Effect.forkChild(session.close)
        yield* Effect.yieldNow
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "host" })
      })
    ))

  it.effect("works from inside an event handler and from an uninterruptible region", () =>
    withHand(() =>
      Effect.gen(function*() {
        const session = yield* open()
        const reader = yield* session.events().pipe(
          Stream.runForEach((event) =>
            event._tag === "ConnectionChanged" && event.status._tag === "live"
              ? Effect.uninterruptible(session.close)
              : Effect.void
          ),
          Effect.forkChild
        )
        yield* Fiber.join(reader)
        assert.strictEqual(yield* session.closed, "closed by the host")
      })
    ))

  it.effect("of the layer closes all sessions", () =>
    Effect.gen(function*() {
      const hand = Hand.make()
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer(hand), scope)
      const one = yield* open().pipe(Effect.provideContext(context))
      const two = yield* open({ provider: "second" }).pipe(Effect.provideContext(context))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* one.closed, "the host stopped")
      assert.strictEqual(yield* two.closed, "the host stopped")
      assert.strictEqual(hand.released, 2)
    }))
})

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

describe("opening", () => {
  it.effect("stores the binding before the session is ready, and finds it again by id", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const store = yield* BindingStore.BindingStore
        const session = yield* open({ model: "m/1" })
        const binding = Option.getOrThrow(yield* store.get(session.id))
        assert.deepStrictEqual(binding.cursor, { v: 1, conversation: "c1" })
        assert.strictEqual(binding.model, "m/1")
        const lastSeq = (yield* session.view).seq
        yield* session.close
        yield* Effect.yieldNow
        const again = yield* open({ id: session.id })
        assert.deepStrictEqual(hand.connects[1]?.cursor, { v: 1, conversation: "c1" })
        const first = Option.getOrThrow(yield* Stream.runHead(again.events()))
        assert.isTrue("seq" in first && (first.seq ?? 0) > lastSeq)
      })
    ))

  it.effect("fails with what the provider says, and leaves nothing behind", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        hand.connect = Effect.fail(
          AgentError.make(new AgentError.InvalidConfig({ file: "opencode.json", issue: "bad" }))
        )
        const error = yield* Effect.flip(open())
        assert.strictEqual(error.reason._tag, "InvalidConfig")
        const sessions = yield* Sessions.Sessions
        assert.strictEqual((yield* sessions.opened).length, 0)
        assert.strictEqual((yield* sessions.list).length, 0)
      })
    ))

  it.effect("of an unknown id, without a directory or with an unknown provider is refused with a sentence", () =>
    withHand(() =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const unknown = yield* Effect.flip(sessions.open({ id: SessionId.make("ses_x") }))
        assert.strictEqual(unknown.reason._tag, "SessionNotFound")
        const nowhere = yield* Effect.flip(sessions.open({ provider: "hand" }))
        assert.strictEqual(nowhere.reason._tag, "InvalidRequest")
        const stranger = yield* Effect.flip(open({ provider: "nobody" }))
        assert.include(stranger.message, "hand")
      })
    ))

  it.effect("starts at most eight at once, and one that hangs does not hold up the others beyond that", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        hand.connect = Deferred.await(gate)
        const fibers = yield* Effect.forEach(Array.from({ length: 12 }), () => Effect.forkChild(open()))
        yield* Effect.yieldNow
        yield* Effect.yieldNow
        assert.strictEqual(hand.connects.length, 8)
        yield* Deferred.succeed(gate, undefined)
        yield* Effect.forEach(fibers, (fiber) => Fiber.join(fiber))
        assert.strictEqual(hand.connects.length, 12)
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
})

describe("quiescence", () => {
  it.effect("waits for queued prompts and the running turn", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        yield* session.quiescent
        yield* session.prompt("one")
        const quiet = yield* Effect.forkChild(session.quiescent)
        yield* Effect.yieldNow
        assert.isUndefined(quiet.pollUnsafe())
        hand.say(...Hand.answer(hand.submissions[0]?.key ?? "", "1"))
        yield* Fiber.join(quiet)
      })
    ))
})

it("a runtime that is disposed ends an async iterable without a throw", async () => {
  const hand = Hand.make()
  const runtime = ManagedRuntime.make(layer(hand))
  const session = await runtime.runPromise(open())
  const seen: Array<string> = []
  const reading = (async () => {
    for await (const event of Stream.toAsyncIterable(session.events())) seen.push(event._tag)
  })()
  await runtime.dispose()
  await reading
  assert.strictEqual(seen.at(-1), "SessionClosed")
})
