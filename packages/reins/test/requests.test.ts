/** Handlers that answer what an agent asks. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Answer, ReinsSession } from "reins"
import { ReinsError } from "reins"
import * as Hand from "../../core/test/fixtures/handProvider.ts"
import { first, recorder, request, withSession } from "./fixtures/hosts.ts"

/** Every prompt makes the agent ask once. */
const asking = (hand: Hand.Hand) => {
  hand.submit = (submission) =>
    Effect.sync(() => hand.say(...Hand.begin(submission.key, "may I?"), request("r1", submission.key)))
}

const settled = async (session: ReinsSession) => {
  const event = await first(session, "RequestSettled")
  return [event.by, event.decision?._tag]
}

describe("onRequest", () => {
  it("gives the answer of the handler", () =>
    withSession(async (session, hand) => {
      asking(hand)
      const seen: Array<string | undefined> = []
      session.onRequest(async (request): Promise<Answer> => {
        seen.push(request.facts.command)
        return { _tag: "decline", reason: "not now" }
      })
      await session.prompt("go")
      assert.deepStrictEqual(await settled(session), ["user", "decline"])
      assert.deepStrictEqual(seen, ["echo hi"])
      await session.close()
      assert.deepStrictEqual(hand.answers.map(({ answer }) => answer), [{ _tag: "decline", reason: "not now" }])
    }))

  it("gets what is open already, and leaves to others what it does not answer", () =>
    withSession(async (session, hand) => {
      asking(hand)
      await session.prompt("go")
      const opened = await first(session, "RequestOpened")
      assert.deepStrictEqual(session.requests().map((open) => open.id), [opened.requestId])
      const passed: Array<string> = []
      session.onRequest((open) => {
        passed.push(open.id)
        return undefined
      })
      session.onRequest(() => ({ _tag: "accept" }))
      assert.deepStrictEqual(await settled(session), ["user", "accept"])
      assert.deepStrictEqual(passed, [opened.requestId])
      const late = await session.answer(opened.requestId, { _tag: "accept" }).then(() => undefined, (error) => error)
      assert.isTrue(ReinsError.is(late, "RequestNotOpen"))
      assert.strictEqual(late.facts.settledBy, "user")
    }))

  it("attends the session while it is registered, and is not asked after that", () =>
    withSession(async (session, hand) => {
      asking(hand)
      const asked: Array<string> = []
      const stop = session.onRequest((open) => {
        asked.push(open.id)
        return { _tag: "accept" }
      })
      stop()
      stop()
      await session.prompt("go")
      const opened = await first(session, "RequestOpened")
      // Nobody is there, and that is told.
      assert.strictEqual((await first(session, "Notice")).requestId, opened.requestId)
      await session.answer(opened.requestId, { _tag: "accept" })
      assert.deepStrictEqual(asked, [])
    }))

  it("counts as attendance: nothing is said about nobody being there", () =>
    withSession(async (session, hand) => {
      asking(hand)
      session.onRequest(() => ({ _tag: "accept" }))
      await session.prompt("go")
      await settled(session)
      assert.isFalse(await hasNotice(session))
    }))

  it("reports a handler that throws or answers wrongly; the request stays open", async () => {
    const { logger, said } = recorder()
    await withSession(async (session, hand) => {
      asking(hand)
      session.onRequest(() => {
        throw new Error("a bad handler")
      })
      session.onRequest(() => ({ _tag: "answers", answers: [] }))
      await session.prompt("go")
      const opened = await first(session, "RequestOpened")
      while (said.filter((entry) => entry.level === "error").length < 2) await new Promise(setImmediate)
      assert.strictEqual(session.requests().length, 1)
      await session.answer(opened.requestId, { _tag: "accept" })
    }, { logger })
    const errors = said.filter((entry) => entry.level === "error").map(({ fields }) => fields.error)
    assert.isTrue(errors.some((error) => error instanceof Error && error.message === "a bad handler"))
    assert.isTrue(errors.some((error) => ReinsError.is(error, "InvalidRequest")))
  })

  it("is not needed where the policy decides", () =>
    withSession(async (session, hand) => {
      asking(hand)
      await session.prompt("go")
      assert.deepStrictEqual(await settled(session), ["policy", "accept"])
      await session.configure({ approvals: "none" })
    }, { approvals: "all" }))
})

/** Whether a notice came before the request was settled. */
const hasNotice = async (session: ReinsSession): Promise<boolean> => {
  for await (const event of session.events()) {
    if (event._tag === "Notice") return true
    if (event._tag === "RequestSettled") return false
  }
  return false
}
