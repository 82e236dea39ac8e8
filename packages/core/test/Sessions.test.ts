import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import { RequestId, SessionId } from "@reins/core/Ids"
import * as Sessions from "@reins/core/Sessions"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, ManagedRuntime, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Hand from "./fixtures/handProvider.ts"
import { layer, open, request, tags, until, withHand } from "./fixtures/sessions.ts"

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

  it.effect("may leave a command behind, whose output and end are told although its turn is over", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const turn = yield* session.prompt("hello")
        yield* Effect.yieldNow
        const key = hand.submissions[0]?.key ?? ""
        const command = (output: string) => ({ _tag: "command" as const, command: "sleep 3; echo late", output })
        hand.say(...Hand.begin(key, "it runs"))
        hand.say({ _tag: "item", key: "c1", turn: key, item: command(""), hasText: false })
        hand.say({ _tag: "item", key: "c1", turn: key, item: command(""), hasText: false, background: true })
        hand.say(...Hand.answer(key, "it runs").slice(4))
        yield* turn.outcome
        hand.say({ _tag: "delta", key: "c1", turn: key, stream: "output", text: "late" })
        hand.say({ _tag: "item", key: "c1", turn: key, item: command("late"), hasText: true, status: "completed" })
        const events = yield* until(session, (event) => event._tag === "ItemCompleted" && event.item._tag === "command")
        const end = [...events].at(-1)
        assert.deepInclude(end?._tag === "ItemCompleted" ? end.item : {}, { output: "late" })
        assert.isTrue([...events].some((event) => event._tag === "ItemUpdated" && event.background === true))
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
        assert.strictEqual((yield* sessions.list()).sessions.length, 0)
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
