/** Sessions over a journal: what a reader is given, what the agent is sent, and what the next host goes on with. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as EventJournal from "@reins/core/EventJournal"
import type { Session } from "@reins/core/Session"
import type { DurableEvent, Lagged, SessionEvent } from "@reins/core/SessionEvent"
import { Effect, Fiber, Latch, Stream, SubscriptionRef } from "effect"
import type { Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Hand from "./fixtures/handProvider.ts"
import * as Hosts from "./fixtures/hosts.ts"
import { request, tags, until } from "./fixtures/sessions.ts"

const settle = Effect.forEach(Array.from({ length: 40 }), () => Effect.yieldNow, { discard: true })

/** Time passes, with all that follows on each other in it. */
const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds }), () => Effect.andThen(TestClock.adjust("1 second"), settle), {
    discard: true
  })

const keyOf = (hand: Hand.Hand, index = -1): string => hand.submissions.at(index)?.key ?? ""

const durable = (events: Iterable<SessionEvent | Lagged>) =>
  [...events].filter((event): event is DurableEvent => event._tag !== "ItemDelta" && event._tag !== "Lagged")

const open = (host: Hosts.Host, id?: Session["id"]) =>
  host.sessions.open(id === undefined ? { provider: "hand", cwd: "/repo" } : { id })

/** All durable events that the journal has. */
const stored = (machine: Hosts.Machine, id: Session["id"]) => machine.journal.read(id, { after: 0, limit: 100_000 })

/** A host, a session and a prompt that the agent has begun with. */
const working = (machine: Hosts.Machine, hand: Hand.Hand) =>
  Effect.gen(function*() {
    const host = yield* Hosts.start(machine, hand)
    const session = yield* open(host)
    const turn = yield* session.prompt("hello")
    yield* settle
    hand.say(...Hand.begin(keyOf(hand), "Hello "))
    yield* until(session, (event) => event._tag === "ItemDelta")
    return { host, session, turn }
  })

const scoped = <A, E>(body: Effect.Effect<A, E, Scope.Scope>) => Effect.scoped(body)

/** A journal whose writes wait for a latch. */
const slow = () => {
  const inner = EventJournal.memory()
  const latch = Latch.makeUnsafe(true)
  const journal: EventJournal.EventJournal = {
    ...inner,
    append: (batch) => Effect.andThen(latch.await, inner.append(batch))
  }
  return { journal, latch }
}

const failing = (from: number) => {
  const inner = EventJournal.memory()
  let writes = 0
  const journal: EventJournal.EventJournal = {
    ...inner,
    append: (batch) =>
      Effect.suspend(() =>
        ++writes >= from
          ? Effect.fail(AgentError.make(new AgentError.StoreFailed({ operation: "write", description: "disk full" })))
          : inner.append(batch)
      )
  }
  return { journal, writes: () => writes }
}

describe("what is told", () => {
  it.effect("is in the journal before a reader is given it, and a prompt before the agent", () =>
    scoped(Effect.gen(function*() {
      const { journal, latch } = slow()
      const hand = Hand.make()
      const machine = yield* Hosts.machine(journal)
      const host = yield* Hosts.start(machine, hand)
      const session = yield* open(host)
      const seen: Array<SessionEvent | Lagged> = []
      yield* session.events().pipe(
        Stream.runForEach((event) => Effect.sync(() => seen.push(event))),
        Effect.forkScoped
      )
      yield* settle
      const before = seen.length
      assert.strictEqual(before, (yield* stored(machine, session.id)).length)
      Latch.closeUnsafe(latch)
      const prompting = yield* Effect.forkChild(session.prompt("hello"))
      yield* settle
      assert.strictEqual(seen.length, before)
      assert.strictEqual(hand.submissions.length, 0)
      assert.isUndefined(prompting.pollUnsafe())
      Latch.openUnsafe(latch)
      const turn = yield* Fiber.join(prompting)
      yield* settle
      assert.strictEqual(hand.submissions.length, 1)
      Latch.closeUnsafe(latch)
      const outcome = yield* Effect.forkChild(turn.outcome)
      hand.say(...Hand.answer(keyOf(hand), "fine"))
      yield* settle
      assert.isUndefined(outcome.pollUnsafe())
      assert.isFalse(seen.some((event) => event._tag === "TurnStarted" || event._tag === "ItemDelta"))
      // A view waits for what it shows; the current one does not.
      const view = yield* Effect.forkChild(session.view)
      yield* settle
      assert.isUndefined(view.pollUnsafe())
      const last = durable(seen).at(-1)
      assert.isAbove((yield* session.current).seq, last?.seq ?? 0)
      Latch.openUnsafe(latch)
      assert.strictEqual((yield* Fiber.join(view)).seq, (yield* session.current).seq)
      assert.strictEqual((yield* Fiber.join(outcome))._tag, "completed")
      yield* settle
      assert.isTrue(seen.some((event) => event._tag === "TurnSettled"))
      assert.deepStrictEqual(durable(seen), [...yield* stored(machine, session.id)])
    })))

  it.effect("can be read by the next host as it was read live, from any place, and goes on without a gap", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session, turn } = yield* working(machine, hand)
      hand.say(...Hand.answer(keyOf(hand), "Hello world").slice(3))
      yield* turn.outcome
      const live = durable(yield* until(session, (event) => event._tag === "TurnSettled"))
      host.kill()
      const next = yield* Hosts.start(machine, hand)
      const again = yield* open(next, session.id)
      const late = durable(
        yield* again.events({ after: 0 }).pipe(
          Stream.takeUntil((event) => event._tag === "SessionOpened" && event.how._tag === "resumed"),
          Stream.runCollect
        )
      )
      assert.deepStrictEqual(late.slice(0, live.length), live)
      assert.deepStrictEqual(late.map((event) => event.seq), late.map((_, index) => index + 1))
      const middle = yield* again.events({ after: 3 }).pipe(Stream.take(4), Stream.runCollect)
      assert.deepStrictEqual(durable(middle), late.slice(3, 7))
      assert.strictEqual(late.filter((event) => event._tag === "TurnStarted").length, 1)
    })))

  it.effect("is written out when the session closes", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const host = yield* Hosts.start(machine, hand)
      const session = yield* open(host)
      yield* session.close
      assert.strictEqual((yield* stored(machine, session.id)).at(-1)?._tag, "SessionClosed")
      assert.deepStrictEqual(
        tags(yield* Stream.runCollect(host.sessions.events(session.id, { after: 1 }))).at(-1),
        "SessionClosed"
      )
    })))
})

describe("the next host", () => {
  it.effect("settles the turn by evidence, its items with it, and never runs it again", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session } = yield* working(machine, hand)
      const key = keyOf(hand)
      hand.say(request("ask", key))
      yield* until(session, (event) => event._tag === "RequestOpened")
      host.kill()
      hand.snapshot = () => Effect.succeed({ ...Hand.idle, turns: { [key]: { _tag: "unfinished" } } })
      const next = yield* Hosts.start(machine, hand)
      const again = yield* open(next, session.id)
      const events = durable(yield* until(again, (event) => event._tag === "TurnSettled"))
      const settled = events.at(-1)
      assert.isTrue(settled?._tag === "TurnSettled" && settled.outcome._tag === "lost")
      assert.isTrue(tags(events).includes("ItemCompleted"))
      assert.isTrue(tags(events).includes("RequestSettled"))
      yield* again.quiescent
      assert.strictEqual(hand.submissions.length, 1)
      const all = yield* stored(machine, session.id)
      assert.deepStrictEqual(all.map((event) => event.seq), all.map((_, index) => index + 1))
    })))

  it.effect("completes the turn that the agent went on with, with its whole text", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session } = yield* working(machine, hand)
      const key = keyOf(hand)
      host.kill()
      hand.snapshot = () =>
        Effect.succeed({
          ...Hand.idle,
          activity: "busy",
          prompts: { [key]: "taken" },
          turns: { [key]: { _tag: "running" } }
        })
      const next = yield* Hosts.start(machine, hand)
      const again = yield* open(next, session.id)
      yield* until(again, (event) => event._tag === "ConnectionChanged" && event.status._tag === "live")
      assert.strictEqual(
        (yield* again.view).turn?.id,
        (yield* stored(machine, session.id)).find((event) => event._tag === "TurnStarted")?.turnId
      )
      hand.say(...Hand.answer(key, "Hello big world").slice(4))
      const events = yield* until(again, (event) => event._tag === "TurnSettled")
      let text = ""
      for (const event of events) if (event._tag === "ItemDelta") text = text.slice(0, event.offset) + event.text
      assert.strictEqual(text, "Hello big world")
      assert.isFalse(tags(events).includes("TurnStarted"))
    })))

  it.effect("has the queued prompts still queued, in order, and runs each once", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session } = yield* working(machine, hand)
      const key = keyOf(hand)
      const two = yield* session.prompt("two")
      const three = yield* session.prompt("three")
      const four = yield* session.prompt("four")
      assert.isTrue(yield* session.withdraw(three.id))
      yield* settle
      host.kill()
      hand.snapshot = ({ prompts }) =>
        Effect.succeed({
          ...Hand.idle,
          prompts: Object.fromEntries(prompts.map((prompt) => [prompt, prompt === key ? "taken" : "absent"])),
          turns: { [key]: { _tag: "completed", stopReason: "endTurn" } }
        })
      const next = yield* Hosts.start(machine, hand)
      const again = yield* open(next, session.id)
      yield* settle
      for (const [id, text] of [[two.id, "two"], [four.id, "four"]] as const) {
        yield* settle
        assert.strictEqual(hand.submissions.at(-1)?.promptId, id)
        assert.deepStrictEqual(hand.submissions.at(-1)?.input, { parts: [{ _tag: "Text", text }] })
        hand.say(...Hand.answer(keyOf(hand), "fine"))
      }
      yield* again.quiescent
      assert.strictEqual(hand.submissions.length, 3)
    })))

  it.effect("gives them back where it is asked to", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session } = yield* working(machine, hand)
      const two = yield* session.prompt("two")
      host.kill()
      const next = yield* Hosts.start(machine, hand)
      const again = yield* next.sessions.open({ id: session.id, queued: "return" })
      const events = durable(
        yield* until(again, (event) => event._tag === "PromptChanged" && event.promptId === two.id)
      )
      const last = events.at(-1)
      assert.isTrue(last?._tag === "PromptChanged" && last.state._tag === "returned")
    })))

  it.effect("sends a prompt again that the agent never got, under the same key, and not one that it has", () =>
    scoped(Effect.gen(function*() {
      for (const fate of ["absent", "taken"] as const) {
        const hand = Hand.make()
        const machine = yield* Hosts.machine()
        const host = yield* Hosts.start(machine, hand)
        const session = yield* open(host)
        yield* session.prompt("hello")
        yield* settle
        const key = keyOf(hand)
        host.kill()
        hand.snapshot = ({ prompts }) =>
          Effect.succeed({
            ...Hand.idle,
            prompts: Object.fromEntries(prompts.map((prompt) => [prompt, fate])),
            turns: fate === "taken" ? { [key]: { _tag: "unfinished" as const } } : {}
          })
        const next = yield* Hosts.start(machine, hand)
        const again = yield* open(next, session.id)
        yield* settle
        assert.deepStrictEqual(hand.submissions.map((one) => one.key), fate === "absent" ? [key, key] : [key])
        if (fate === "taken") {
          const settled = durable(yield* until(again, (event) => event._tag === "TurnSettled")).at(-1)
          assert.isTrue(settled?._tag === "TurnSettled" && settled.outcome._tag === "lost")
        }
      }
    })))

  it.effect("sends an answer again that may not have arrived", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session } = yield* working(machine, hand)
      const key = keyOf(hand)
      const ask = request("ask", key)
      hand.say(ask)
      yield* until(session, (event) => event._tag === "RequestOpened")
      const [first] = yield* session.requests
      if (first !== undefined) yield* session.answer(first.id, { _tag: "accept" })
      yield* settle
      assert.strictEqual(hand.answers.length, 1)
      host.kill()
      hand.snapshot = () =>
        Effect.succeed({
          ...Hand.idle,
          activity: "busy",
          prompts: { [key]: "taken" },
          turns: { [key]: { _tag: "running" } },
          requests: [ask]
        })
      const next = yield* Hosts.start(machine, hand)
      const again = yield* open(next, session.id)
      yield* until(again, (event) => event._tag === "ConnectionChanged" && event.status._tag === "live")
      yield* settle
      assert.deepStrictEqual(hand.answers.map(({ answer }) => answer._tag), ["accept", "accept"])
      assert.strictEqual((yield* again.requests).length, 0)
      hand.say(...Hand.answer(key, "Hello world").slice(4))
      yield* again.quiescent
    })))

  it.effect("knows turns that were told, also when the binding was not stored after them", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session, turn } = yield* working(machine, hand)
      const key = keyOf(hand)
      const binding = yield* machine.bindings.get(session.id)
      hand.say(...Hand.answer(key, "Hello world").slice(3))
      yield* turn.outcome
      host.kill()
      if (binding._tag === "Some") yield* machine.bindings.set(binding.value)
      const next = yield* Hosts.start(machine, hand)
      let after: ReadonlyArray<string> | null | undefined
      hand.snapshot = (asked) => {
        after = asked.after
        return Effect.succeed(Hand.idle)
      }
      const again = yield* open(next, session.id)
      yield* until(again, (event) => event._tag === "ConnectionChanged" && event.status._tag === "live")
      assert.deepStrictEqual(after, [key])
      // What is still told of it is not a turn of somebody else.
      hand.say({ _tag: "turnProgress", turn: key })
      yield* settle
      assert.isFalse(
        tags(durable(yield* Stream.runCollect(Stream.take(again.events({ after: 0 }), 12)))).lastIndexOf(
          "TurnStarted"
        ) >
          tags(yield* stored(machine, session.id)).indexOf("TurnSettled")
      )
    })))

  it.effect("gives turns from the journal, of sessions that are open or not", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine()
      const { host, session, turn } = yield* working(machine, hand)
      hand.say(...Hand.answer(keyOf(hand), "Hello world").slice(3))
      yield* turn.outcome
      const second = yield* session.prompt("more")
      yield* settle
      hand.say(...Hand.answer(keyOf(hand), "Bye"))
      yield* second.outcome
      const page = yield* session.history({ limit: 1 })
      assert.deepStrictEqual(page.turns.map(({ items }) => items.map(({ item }) => "text" in item ? item.text : "")), [[
        "Bye"
      ]])
      host.kill()
      const next = yield* Hosts.start(machine, hand)
      const stored = yield* next.sessions.history(session.id, { limit: 1 })
      assert.deepStrictEqual(stored, page)
      const before = yield* next.sessions.history(session.id, { limit: 1, before: stored.before ?? "" })
      assert.deepStrictEqual(before.turns.map(({ outcome }) => outcome?._tag), ["completed"])
      assert.isUndefined(before.before)
      const foreign = yield* Effect.flip(next.sessions.history(session.id, { before: "nowhere" }))
      assert.strictEqual(foreign.reason._tag, "InvalidRequest")
    })))
})

describe("a journal that fails", () => {
  it.effect("at the opening is a failure of the opening, and leaves no session behind", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const machine = yield* Hosts.machine(failing(1).journal)
      const host = yield* Hosts.start(machine, hand)
      const error = yield* Effect.flip(open(host))
      assert.strictEqual(error.reason._tag, "StoreFailed")
      assert.deepStrictEqual(yield* machine.bindings.list, [])
      assert.strictEqual((yield* host.sessions.opened).length, 0)
    })))

  it.effect("later is tried again, then the session ends and says why; nobody waits for ever", () =>
    scoped(Effect.gen(function*() {
      const hand = Hand.make()
      const { journal, writes } = failing(3)
      const machine = yield* Hosts.machine(journal)
      const host = yield* Hosts.start(machine, hand)
      const session = yield* open(host)
      const all = yield* Effect.forkChild(Stream.runCollect(session.events()))
      const prompting = yield* Effect.forkChild(session.prompt("hello"))
      yield* settle
      yield* pass(40)
      const turn = yield* Fiber.join(prompting)
      yield* pass(10)
      assert.notStrictEqual((yield* turn.receipt)._tag, "consumed")
      const last = [...yield* Fiber.join(all)].at(-1)
      assert.isTrue(last?._tag === "SessionClosed" && last.why.includes("disk full"))
      assert.isAbove(writes(), 5)
      assert.strictEqual(SubscriptionRef.getUnsafe(session.state).phase, "closed")
    })))

  it.effect("to answer at a close keeps neither the close nor a reader", () =>
    scoped(Effect.gen(function*() {
      const { journal, latch } = slow()
      const hand = Hand.make()
      const machine = yield* Hosts.machine(journal)
      const host = yield* Hosts.start(machine, hand)
      const session = yield* open(host)
      const all = yield* Effect.forkChild(Stream.runCollect(session.events()))
      yield* settle
      Latch.closeUnsafe(latch)
      const closing = yield* Effect.forkChild(session.close)
      yield* settle
      yield* pass(20)
      yield* Fiber.join(closing)
      Latch.openUnsafe(latch)
      assert.strictEqual([...yield* Fiber.join(all)].at(-1)?._tag, "SessionClosed")
    })))
})
