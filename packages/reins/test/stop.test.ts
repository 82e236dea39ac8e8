/** Every way of stopping against every kind of reader: all complete, nothing is thrown. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { PromptHandle, Reins, ReinsSession, SessionEntry } from "reins"
import { Reins as ReinsOf, ReinsError } from "reins"
import * as Hand from "../../core/test/fixtures/handProvider.ts"
import { beginning } from "./fixtures/hosts.ts"

const ways = [
  "session.close",
  "session.close in the loop",
  "reins.close",
  "reins.close in the loop",
  "reins.remove",
  "both closes at once",
  "break",
  "throw in the loop"
] as const
type Way = typeof ways[number]

const readers = ["session.events", "prompt.events"] as const

const stop = async (way: Way, reins: Reins, session: ReinsSession): Promise<void> => {
  switch (way) {
    case "session.close":
    case "session.close in the loop":
      return session.close()
    case "reins.close":
    case "reins.close in the loop":
      return reins.close()
    case "reins.remove":
      return reins.remove(session.id)
    case "both closes at once":
      await Promise.all([session.close(), reins.close(), session.close(), reins.close()])
  }
}

const run = async (way: Way, reader: typeof readers[number]) => {
  const hand = Hand.make()
  beginning(hand)
  const reins = await ReinsOf.create({ providers: { hand: hand.provider } })
  const session = await reins.open({ provider: "hand", cwd: "/repo" })
  const running = await session.prompt("one")
  const waiting = await session.prompt("two")
  const seen: Array<SessionEntry["_tag"]> = []
  const inLoop = way.endsWith("in the loop") && !way.startsWith("throw")
  let mid = () => {}
  const reached = new Promise<void>((resolve) => mid = resolve)
  const loop = async (source: AsyncIterable<SessionEntry>) => {
    for await (const entry of source) {
      seen.push(entry._tag)
      if (entry._tag !== "ItemDelta") continue
      mid()
      if (way === "break") break
      if (way === "throw in the loop") throw new Error("mine")
      if (inLoop) await stop(way, reins, session)
    }
    return "completed"
  }
  const iterable = reader === "session.events" ? session.events() : running.events
  const done = loop(iterable).catch((error: unknown) => `threw ${String(error)}`)
  await reached
  if (!inLoop) await stop(way, reins, session)
  const outcome = await done
  // A loop that was left can be entered again; and the session is stopped at last in every case.
  await reins.close()
  const again = await loop(session.events({ deltas: false })).catch((error: unknown) => `threw ${String(error)}`)
  return { outcome, again, seen, running: await settle(running), waiting: await settle(waiting), session, reins }
}

const settle = async (prompt: PromptHandle) => {
  const [receipt, outcome] = await Promise.all([prompt.receipt, prompt.outcome, prompt.text])
  return `${receipt._tag} ${outcome._tag}`
}

describe("stopping", () => {
  for (const reader of readers) {
    for (const way of ways) {
      it(`${reader}: ${way}`, async () => {
        const result = await run(way, reader)
        assert.strictEqual(result.outcome, way === "throw in the loop" ? "threw Error: mine" : "completed")
        assert.strictEqual(result.again, "completed")
        assert.strictEqual(result.running, "consumed interrupted")
        assert.strictEqual(result.waiting, "returned notRun")
        if (reader === "session.events") assert.strictEqual(result.seen.at(-1), "SessionClosed")
        assert.strictEqual(result.session.state.phase, "closed")
        assert.isString(await result.session.closed)
      })
    }
  }

  it("everything after the close of the host is answered", async () => {
    const hand = Hand.make()
    const reins = await ReinsOf.create({ providers: { hand: hand.provider } })
    const session = await reins.open({ provider: "hand", cwd: "/repo" })
    await reins.close()
    await reins.close()
    assert.strictEqual(hand.released, 1)
    for (
      const refused of [
        reins.open({ provider: "hand", cwd: "/repo" }),
        reins.get(session.id),
        reins.list(),
        reins.sessions(),
        reins.remove(session.id)
      ]
    ) {
      const error = await refused.then(() => undefined, (error: unknown) => error)
      assert.isTrue(ReinsError.is(error, "InvalidRequest"), String(error))
      assert.include(String(error), "Reins is closed")
    }
    const error = await session.prompt("hi").then(() => undefined, (error: unknown) => error)
    assert.isTrue(ReinsError.is(error, "SessionNotFound"))
    await Promise.all([reins.quiescent(), session.quiescent(), session.close(), session.interrupt()])
    assert.isFalse(await session.withdraw("prm_none"))
    assert.deepStrictEqual(session.requests(), [])
    session.on(() => assert.fail("nothing happens any more"))()
    session.onRequest(() => undefined)()
    const phases = await new Promise((resolve) => session.onState((state) => resolve(state.phase)))
    assert.strictEqual(phases, "closed")
  })

  it("a session that is being opened is taken back", async () => {
    const hand = Hand.make()
    let connecting = () => {}
    const reached = new Promise<void>((resolve) => connecting = resolve)
    hand.connect = Effect.andThen(Effect.sync(() => connecting()), Effect.never)
    const reins = await ReinsOf.create({ providers: { hand: hand.provider } })
    const opening = reins.open({ provider: "hand", cwd: "/repo" }).then(() => undefined, (error: unknown) => error)
    await reached
    await reins.close()
    const error = await opening
    assert.isTrue(ReinsError.is(error, "InvalidRequest"))
    assert.include(String(error), "closed")
  })
})
