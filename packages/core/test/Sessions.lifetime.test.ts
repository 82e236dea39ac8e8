/** Sessions beyond one host: owners, lists, adoption, removal, and what was told of the agent's record. */
import type * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import * as Capabilities from "@reins/core/Capabilities"
import type { Conversation } from "@reins/core/Conversation"
import { ItemId, SessionId } from "@reins/core/Ids"
import type { ProviderInstance } from "@reins/core/Provider"
import * as Sessions from "@reins/core/Sessions"
import type { SnapshotRequest } from "@reins/core/Signal"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import * as sessionList from "../src/internal/sessionList.ts"
import { keyOf, layerOf, open, settle, until, withHand } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"

/** Notes what is asked of the conversation. */
const asking = (hand: Hand.Hand) => {
  const asked: Array<SnapshotRequest> = []
  const before = hand.snapshot
  hand.snapshot = (request) => {
    asked.push(request)
    return before(request)
  }
  return asked
}

const finished = (hand: Hand.Hand, text: string) =>
  Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    const [session = yield* Effect.die("none is open")] = yield* sessions.opened
    const turn = yield* session.prompt(text)
    hand.say(...Hand.answer(hand.submissions.at(-1)?.key ?? "", "done"))
    assert.strictEqual((yield* turn.outcome)._tag, "completed")
    return hand.submissions.at(-1)?.key ?? ""
  })

/** Breaks the connection; the next one stands after it. */
const cut = (hand: Hand.Hand) =>
  Effect.gen(function*() {
    hand.cut()
    yield* settle
    yield* TestClock.adjust("2 seconds")
  })

const untilLive = (session: Parameters<typeof until>[0], times: number) => {
  let seen = 0
  return until(
    session,
    (event) => event._tag === "ConnectionChanged" && event.status._tag === "live" && ++seen === times
  )
}

describe("what the host was told of the agent's record", () => {
  it.effect("is told to the agent at each resync: the turns that are over, in this life and in the next", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const asked = asking(hand)
        const session = yield* open()
        // One that was never begun knows all that is in it.
        yield* cut(hand)
        yield* untilLive(session, 2)
        assert.deepStrictEqual(asked.map(({ after }) => after), [[]])
        const first = yield* finished(hand, "one")
        yield* cut(hand)
        yield* untilLive(session, 3)
        assert.deepStrictEqual(asked.at(-1)?.after, [first])
        const second = yield* finished(hand, "two")
        yield* session.close
        const again = yield* open({ id: session.id })
        yield* untilLive(again, 1)
        assert.deepStrictEqual(asked.at(-1)?.after, [first, second])
        // A turn that is open is not over: should the host die now, the next one is told of it again.
        yield* again.prompt("three")
        hand.say(...Hand.begin(keyOf(hand, 2), "hal"))
        yield* until(again, (event) => event._tag === "TurnStarted")
        yield* settle
        const store = yield* BindingStore.BindingStore
        assert.deepStrictEqual(Option.getOrThrow(yield* store.get(again.id)).turns, [first, second])
      })
    ))

  it.effect("keeps to the last 64 turns", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const keys: Array<string> = []
        for (let n = 0; n < 70; n++) keys.push(yield* finished(hand, `prompt ${n}`))
        yield* session.close
        const store = yield* BindingStore.BindingStore
        assert.deepStrictEqual(Option.getOrThrow(yield* store.get(session.id)).turns, keys.slice(-64))
      })
    ))

  it.effect("is nothing after the conversation had to be begun anew, which is said and stored", () => {
    let recreated = false
    return withHand((hand) =>
      Effect.gen(function*() {
        const asked = asking(hand)
        const session = yield* open()
        yield* finished(hand, "one")
        recreated = true
        yield* cut(hand)
        yield* untilLive(session, 2)
        const events = [
          ...yield* until(session, (event) => event._tag === "SessionOpened" && event.how._tag === "recreated")
        ]
        assert.strictEqual(events.filter((event) => event._tag === "SessionOpened").length, 2)
        assert.deepStrictEqual(asked.at(-1)?.after?.length, 1)
        yield* settle
        const store = yield* BindingStore.BindingStore
        assert.deepStrictEqual(Option.getOrThrow(yield* store.get(session.id)).cursor, { v: 1, conversation: "c2" })
      }), {
      connection: () =>
        recreated
          ? { how: { _tag: "recreated", reason: "it is gone" }, cursor: { v: 1, conversation: "c2" } }
          : {}
    })
  })
})

describe("a session that somebody else has", () => {
  it.effect("is busy for another host on the same store until it is closed, and free after an opening that failed", () =>
    Effect.gen(function*() {
      const store = yield* Layer.build(BindingStore.layerMemory)
      const shared = Layer.succeedContext(store)
      const hands = [Hand.make(), Hand.make()] as const
      const [one, two] = yield* Effect.forEach(hands, (hand) => Layer.build(layerOf(hand, {}, shared)))
      if (one === undefined || two === undefined) return assert.fail()
      const here = Context.get(one, Sessions.Sessions)
      const there = Context.get(two, Sessions.Sessions)
      const session = yield* here.open({ provider: "hand", cwd: "/repo" })
      const busy = yield* Effect.flip(there.open({ id: session.id }))
      assert.strictEqual(busy.reason._tag, "SessionBusy")
      assert.strictEqual(busy.sessionId, session.id)
      assert.strictEqual((yield* Effect.flip(there.remove(session.id))).reason._tag, "SessionBusy")
      yield* session.close
      hands[1].connect = Effect.fail(Hand.lost)
      assert.strictEqual((yield* Effect.flip(there.open({ id: session.id }))).reason._tag, "ConnectionLost")
      const again = yield* here.open({ id: session.id })
      yield* again.close
      hands[1].connect = Effect.void
      yield* there.open({ id: session.id })
      yield* Effect.flip(here.open({ id: session.id }))
    }).pipe(Effect.scoped))
})

const binding = (id: string, updatedAt: number, more: Partial<BindingStore.Binding> = {}): BindingStore.Binding => ({
  v: 1,
  sessionId: SessionId.make(id),
  provider: "a",
  cwd: "/repo",
  createdAt: 1,
  updatedAt,
  lastSeq: 0,
  started: true,
  ...more
})

describe("a list of sessions", () => {
  const bindings = [
    binding("f", 9, { title: "Fix the Parser", lastOutcome: "completed" }),
    binding("b", 5, { provider: "b" }),
    binding("c", 5, { cwd: "/other" }),
    binding("d", 5),
    binding("a", 2, { title: "parser tests" })
  ]
  const ids = (filter: Parameters<typeof sessionList.page>[2]) =>
    sessionList.page(bindings, new Map([[SessionId.make("d"), 2]]), filter).sessions.map(({ sessionId }) =>
      String(sessionId)
    )

  it("takes what all of the filter applies to", () => {
    assert.deepStrictEqual(ids({}), ["f", "b", "c", "d", "a"])
    assert.deepStrictEqual(ids({ provider: "b" }), ["b"])
    assert.deepStrictEqual(ids({ cwd: "/other" }), ["c"])
    assert.deepStrictEqual(ids({ title: "PARSER" }), ["f", "a"])
    assert.deepStrictEqual(ids({ title: "parser", provider: "b" }), [])
    assert.deepStrictEqual(ids({ open: true }), ["d"])
    assert.deepStrictEqual(ids({ open: false }), ["f", "b", "c", "a"])
  })

  it("comes in pages of any size, each session once", () => {
    for (let limit = 1; limit <= 6; limit++) {
      const found: Array<string> = []
      let after: string | undefined
      do {
        const page = sessionList.page(bindings, new Map(), { limit, ...(after === undefined ? {} : { after }) })
        found.push(...page.sessions.map(({ sessionId }) => sessionId))
        assert.isAtMost(page.sessions.length, limit)
        after = page.after
      } while (after !== undefined)
      assert.deepStrictEqual(found, ["f", "b", "c", "d", "a"])
    }
  })

  it.effect("shows open ones with their open requests", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* open({ title: "t", model: "m/1" })
        yield* session.prompt("go")
        hand.say(...Hand.begin(keyOf(hand), "x"), {
          _tag: "requestOpened",
          key: "r1",
          turn: keyOf(hand),
          kind: "command",
          subject: "run echo",
          options: ["accept", "decline"],
          facts: { command: "echo" }
        })
        yield* until(session, (event) => event._tag === "RequestOpened")
        const [shown] = (yield* sessions.list()).sessions
        assert.deepStrictEqual([shown?.open, shown?.openRequests, shown?.title, shown?.model], [true, 1, "t", "m/1"])
        yield* session.close
        const [closed] = (yield* sessions.list()).sessions
        assert.deepStrictEqual([closed?.open, closed?.openRequests, closed?.lastOutcome], [false, 0, "interrupted"])
      })
    ))
})

const capable: Partial<ProviderInstance> = {
  capabilities: { ...Capabilities.none, steer: true, interrupt: true, resume: true, list: true, remove: true }
}

const found: Conversation = { cursor: { v: 1, conversation: "c1" }, title: "theirs", cwd: "/theirs" }

describe("adopting", () => {
  it.effect("binds a session to the conversation, which is never begun anew", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const asked = asking(hand)
        const [one, two] = yield* Effect.all([
          sessions.adopt({ provider: "hand", cursor: { v: 1, conversation: "c1" } }),
          sessions.adopt({ provider: "hand", cursor: { conversation: "c1", v: 1 } })
        ], { concurrency: "unbounded" })
        // Both have the same session.
        assert.strictEqual(one, two)
        assert.strictEqual(hand.connects.length, 1)
        assert.deepStrictEqual(
          hand.connects.map(({ cursor, cwd, recreate, title }) => ({ cursor, cwd, recreate, title })),
          [{ cursor: found.cursor, cwd: "/theirs", recreate: false, title: "theirs" }]
        )
        yield* untilLive(one, 1)
        // It is not known what is in it: nothing of it is told.
        assert.deepStrictEqual(asked.map(({ after }) => after), [null])
        const elsewhere = yield* sessions.adopt({ provider: "hand", cursor: null, cwd: "/mine" })
        assert.strictEqual(elsewhere.cwd, "/theirs")
      }), { instance: { ...capable, conversation: () => Effect.succeed(found) } }))

  it.effect("is Unsupported where the provider cannot look a conversation up", () =>
    withHand(() =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const adopting = yield* Effect.flip(sessions.adopt({ provider: "hand", cursor: null }))
        assert.strictEqual(adopting.reason._tag, "Unsupported")
        const listing = yield* Effect.flip(sessions.conversations({ provider: "hand" }))
        assert.strictEqual(listing.reason._tag, "Unsupported")
        const session = yield* open()
        assert.strictEqual((yield* Effect.flip(session.history())).reason._tag, "Unsupported")
      })
    ))
})

describe("removing with the agent's conversation", () => {
  it.effect("forgets nothing before the agent has deleted it", () => {
    let answer: Effect.Effect<"deleted" | "gone", AgentError.AgentError> = Effect.fail(Hand.lost)
    const deleted: Array<unknown> = []
    return withHand(() =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* open()
        const failed = yield* Effect.flip(sessions.remove(session.id, { provider: true }))
        assert.strictEqual(failed.reason._tag, "ConnectionLost")
        assert.strictEqual((yield* sessions.list()).sessions.length, 1)
        answer = Effect.succeed("gone")
        yield* sessions.remove(session.id, { provider: true })
        assert.deepStrictEqual((yield* sessions.list()).sessions, [])
        assert.deepStrictEqual(deleted.at(-1), { cursor: { v: 1, conversation: "c1" }, cwd: "/repo" })
      }), {
      instance: {
        ...capable,
        removeConversation: (options) =>
          Effect.suspend(() => {
            deleted.push(options)
            return answer
          })
      }
    })
  })

  it.effect("is Unsupported where the provider cannot, and forgets nothing", () =>
    withHand(() =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* open()
        const error = yield* Effect.flip(sessions.remove(session.id, { provider: true }))
        assert.strictEqual(error.reason._tag, "Unsupported")
        assert.strictEqual((yield* sessions.list()).sessions.length, 1)
        yield* sessions.remove(session.id)
        assert.deepStrictEqual((yield* sessions.list()).sessions, [])
      })
    ))
})

describe("history", () => {
  it.effect("has the ids of the events, outcomes in the host's words, and limits of its own", () => {
    const limits: Array<number> = []
    return withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* open()
        const key = yield* finished(hand, "one")
        const started = [...yield* until(session, (event) => event._tag === "TurnStarted")].at(-1)
        const page = yield* session.history({ limit: 100_000, before: "p" })
        yield* session.history()
        yield* session.history({ limit: 0 })
        assert.deepStrictEqual(limits, [200, 20, 1])
        assert.deepStrictEqual(page.turns.map(({ id, outcome }) => [String(id), outcome?._tag]), [
          [started?._tag === "TurnStarted" ? started.turnId : "", "completed"],
          ["trn_of others", "lost"],
          ["trn_now", undefined]
        ])
        assert.deepStrictEqual(page.turns[0]?.items, [
          { item: { _tag: "assistantMessage", id: ItemId.make(`${key}-text`), text: "done" }, status: "completed" }
        ])
        assert.strictEqual(page.before, "older")
        yield* session.close
        assert.strictEqual((yield* Effect.flip(session.history())).reason._tag, "SessionNotFound")
      }), (hand) => ({
        instance: { capabilities: { ...Capabilities.none, steer: true, interrupt: true, resume: true, history: true } },
        connection: () => ({
          history: ({ before, limit }) =>
            Effect.sync(() => {
              limits.push(limit)
              const key = keyOf(hand)
              return {
                turns: [
                  {
                    key,
                    verdict: { _tag: "completed" as const, stopReason: "endTurn" },
                    items: [{
                      key: `${key}-text`,
                      item: { _tag: "assistantMessage" as const, text: "done" },
                      status: "completed" as const
                    }]
                  },
                  { key: "of others", verdict: { _tag: "unfinished" as const }, items: [] },
                  { key: "now", verdict: { _tag: "running" as const }, items: [] }
                ],
                ...(before === undefined ? undefined : { before: "older" })
              }
            })
        })
      }))
  })
})
