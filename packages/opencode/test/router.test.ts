import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import type { Signal } from "@reins/core/Signal"
import { type Cause, Effect, Exit, Queue } from "effect"
import * as normalise from "../src/internal/normalise.ts"
import type { Route } from "../src/internal/router.ts"
import * as router from "../src/internal/router.ts"

const overflow = AgentError.make(new AgentError.ConnectionLost({ target: "test", description: "overflow" }))

const setup = () => {
  const malformed: Array<string> = []
  const made = router.make({ onOverflow: () => overflow, onMalformed: (data) => malformed.push(data) })
  return { made, malformed }
}

const routeOf = Effect.fnUntraced(
  function*(root: string, capacity = 1_000, onLoop: (session: string) => void = () => {}) {
    const queue = yield* Queue.dropping<Signal, AgentError.AgentError | Cause.Done>(capacity)
    const route: Route = { root, state: normalise.make({ sessionId: root }), queue, looping: new Set(), onLoop }
    return route
  }
)

const frame = (type: string, properties: unknown): string =>
  JSON.stringify({ directory: "/p", payload: { id: "evt_1", type, properties } })

const delta = (sessionID: string, text: string): string =>
  frame("message.part.delta", { sessionID, messageID: "msg_1", partID: `prt_${sessionID}`, field: "text", delta: text })

const busy = (sessionID: string): string => frame("session.status", { sessionID, status: { type: "busy" } })

const child = (id: string, parentID: string): string =>
  frame("session.created", { sessionID: id, info: { id, parentID, title: "Child session - 2026" } })

const step = (sessionID: string, index: number): string =>
  frame("message.part.updated", {
    sessionID,
    part: { id: `prt_${index}`, messageID: "msg_1", sessionID, type: "step-finish", reason: "unknown" }
  })

const tags = (route: Route) => Effect.map(Queue.clear(route.queue), (signals) => signals.map((signal) => signal._tag))

describe("router", () => {
  it.effect("hands each session its own events, in order, and drops those of nobody", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const [a, b] = [yield* routeOf("ses_a"), yield* routeOf("ses_b")]
      made.add(a)
      made.add(b)
      made.push([delta("ses_a", "1"), delta("ses_b", "x"), delta("ses_a", "2"), delta("ses_c", "y"), busy("ses_b")])
      const texts = (yield* Queue.clear(a.queue)).map((signal) => signal._tag === "delta" ? signal.text : signal._tag)
      assert.strictEqual(texts.join(""), "12")
      assert.deepStrictEqual(yield* tags(b), ["delta", "turnBusy"])
    }))

  it.effect("hands the events of subagents, and of their subagents, to the session that they belong to", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const route = yield* routeOf("ses_a")
      made.add(route)
      made.push([child("ses_b", "ses_a"), child("ses_c", "ses_b"), child("ses_x", "ses_y"), busy("ses_c")])
      const signals = yield* Queue.clear(route.queue)
      const paths = signals.flatMap((signal) => signal._tag === "turnBusy" ? [signal.agentPath] : [])
      assert.deepStrictEqual(paths, [["ses_b", "ses_c"]])
      assert.strictEqual(made.owned(), 3)
    }))

  it.effect("hands on what a subagent from before the connection says", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const route = yield* routeOf("ses_a")
      made.add(route)
      made.adopt(route, "ses_old")
      made.push([busy("ses_old")])
      assert.include(yield* tags(route), "turnBusy")
    }))

  it.effect("passes over durable rows, and tells what cannot be read", () =>
    Effect.gen(function*() {
      const { made, malformed } = setup()
      const route = yield* routeOf("ses_a")
      made.add(route)
      const row = { type: "sync", id: "1", properties: { sessionID: "ses_a" } }
      made.push([JSON.stringify({ directory: "/p", payload: row }), "{ half", "[]", "null", "3", busy("ses_a")])
      assert.deepStrictEqual(yield* tags(route), ["turnBusy"])
      assert.deepStrictEqual(malformed, ["{ half", "[]", "null", "3"])
    }))

  it.effect("ends a session that cannot keep up, and no other", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const [slow, quick] = [yield* routeOf("ses_a", 2), yield* routeOf("ses_b")]
      made.add(slow)
      made.add(quick)
      for (let index = 0; index < 4; index++) made.push([busy("ses_a"), busy("ses_b")])
      assert.strictEqual((yield* tags(quick)).length, 4)
      assert.strictEqual(made.size(), 1)
      assert.strictEqual(made.owned(), 1)
      yield* Queue.take(slow.queue)
      yield* Queue.take(slow.queue)
      assert.strictEqual(yield* Effect.flip(Queue.take(slow.queue)), overflow)
    }))

  it.effect("tells once that the model is caught in an endless loop", () =>
    Effect.gen(function*() {
      const { made } = setup()
      let told = 0
      const route = yield* routeOf("ses_a", 1_000, () => told++)
      made.add(route)
      for (let index = 0; index < 8; index++) made.push([step("ses_a", index)])
      assert.strictEqual(told, 1)
    }))

  it.effect("ends every session with the error of the stream that fed them", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const route = yield* routeOf("ses_a")
      made.add(route)
      made.fail(overflow)
      assert.strictEqual(yield* Effect.flip(Queue.take(route.queue)), overflow)
      assert.deepStrictEqual([made.size(), made.owned()], [0, 0])
    }))

  it.effect("keeps a newer route of a session when an older one goes", () =>
    Effect.gen(function*() {
      const { made } = setup()
      const [older, newer] = [yield* routeOf("ses_a"), yield* routeOf("ses_a")]
      made.add(older)
      made.add(newer)
      made.remove(older)
      made.push([busy("ses_a")])
      assert.deepStrictEqual(yield* tags(newer), ["turnBusy"])
    }))

  it.effect("keeps nothing of sessions that are gone", () =>
    Effect.gen(function*() {
      const { made } = setup()
      for (let index = 0; index < 200; index++) {
        const root = `ses_${index}`
        const route = yield* routeOf(root)
        made.add(route)
        made.adopt(route, `${root}_before`)
        made.push([child(`${root}_child`, root), busy(`${root}_child`)])
        assert.strictEqual(made.owned(), 3)
        made.remove(route)
        made.push([busy(root), busy(`${root}_child`)])
        assert.isFalse((yield* tags(route)).length > 2)
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(Queue.end(route.queue))))
      }
      assert.deepStrictEqual([made.size(), made.owned()], [0, 0])
    }))
})
