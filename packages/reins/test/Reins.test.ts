/** What a host without Effect can do with sessions. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DurableEvent, SessionEntry } from "reins"
import { Reins, ReinsError } from "reins"
import * as Hand from "../../core/test/fixtures/handProvider.ts"
import { complaint } from "../src/internal/nodeVersion.ts"
import { answering, beginning, first, recorder, withSession } from "./fixtures/hosts.ts"

/** What a promise rejects with. */
const refusal = async (promise: Promise<unknown>): Promise<ReinsError> => {
  const thrown: unknown = await promise.then(() => undefined, (error: unknown) => error)
  if (!ReinsError.is(thrown)) return assert.fail(`not a ReinsError: ${String(thrown)}`)
  return thrown
}

const collect = async <A>(iterable: AsyncIterable<A>): Promise<Array<A>> => {
  const all: Array<A> = []
  for await (const one of iterable) all.push(one)
  return all
}

describe("a prompt", () => {
  it("gives its receipt, its events, its text and its outcome", () =>
    withSession(async (session, hand) => {
      answering(hand, "Hello there.")
      const prompt = await session.prompt("hi")
      const tags = (await collect(prompt.events)).map((event) => event._tag)
      assert.include(tags, "ItemDelta")
      assert.strictEqual(tags.at(-1), "TurnSettled")
      assert.strictEqual((await prompt.receipt)._tag, "consumed")
      assert.deepStrictEqual(await prompt.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.strictEqual(await prompt.text, "Hello there.")
      await session.quiescent()
      assert.isUndefined(session.state.turn)
      assert.strictEqual(session.view().queue.length, 0)
    }))

  it("gets the text of its own turn, and none without a turn", () =>
    withSession(async (session, hand) => {
      hand.submit = (submission) =>
        Effect.sync(() => {
          const part = submission.input.parts[0]
          const text = part?._tag === "Text" ? part.text : ""
          hand.say(...Hand.answer(submission.key, `re: ${text}`))
        })
      const prompts = await Promise.all(["one", "two", "three"].map((text) => session.prompt(text)))
      assert.deepStrictEqual(await Promise.all(prompts.map((prompt) => prompt.text)), [
        "re: one",
        "re: two",
        "re: three"
      ])
      beginning(hand)
      const running = await session.prompt("four")
      await running.receipt
      const waiting = await session.prompt("five")
      assert.isTrue(await session.withdraw(waiting.id))
      assert.isFalse(await session.withdraw(waiting.id))
      assert.strictEqual(await waiting.text, "")
      assert.deepStrictEqual(await waiting.outcome, { _tag: "notRun", receipt: { _tag: "withdrawn" } })
    }))

  it("is not sent with a signal that was aborted before", () =>
    withSession(async (session, hand) => {
      const error = await refusal(session.prompt("hi", { signal: AbortSignal.abort("no more") }))
      assert.isTrue(ReinsError.is(error, "Aborted"))
      assert.strictEqual(error.cause, "no more")
      assert.strictEqual(hand.submissions.length, 0)
    }))

  it("is taken back by its signal while it waits, and its turn is interrupted by its signal once it runs", () =>
    withSession(async (session, hand) => {
      beginning(hand)
      hand.interrupt = Effect.sync(() => hand.say({ _tag: "turnEnded", fact: "idle" }))
      const runs = new AbortController()
      const waits = new AbortController()
      const running = await session.prompt("one", { signal: runs.signal })
      await running.receipt
      const waiting = await session.prompt("two", { signal: waits.signal })
      waits.abort()
      assert.strictEqual((await waiting.receipt)._tag, "withdrawn")
      assert.strictEqual(hand.interrupts, 0)
      runs.abort()
      assert.deepStrictEqual(await running.outcome, { _tag: "interrupted", by: "user" })
      assert.strictEqual(await running.text, "well")
    }))

  it("is over for its signal when its outcome is known: the next turn runs on", () =>
    withSession(async (session, hand) => {
      const signal = new AbortController()
      hand.submit = (submission) =>
        Effect.sync(() => {
          if (hand.submissions.length === 1) return hand.say(...Hand.answer(submission.key, "done"))
          // The next turn begins: the first one is over, and no promise has told it yet.
          signal.abort()
          hand.say(...Hand.begin(submission.key, "well"))
        })
      const [prompt, next] = await Promise.all([
        session.prompt("one", { signal: signal.signal }),
        session.prompt("two")
      ])
      assert.strictEqual((await prompt.outcome)._tag, "completed")
      assert.strictEqual((await next.receipt)._tag, "consumed")
      assert.isTrue(signal.signal.aborted)
      assert.strictEqual(hand.interrupts, 0)
      hand.say(...Hand.answer(next.id, "well").slice(4))
      assert.strictEqual((await next.outcome)._tag, "completed")
    }))
})

describe("sessions", () => {
  it("are found, listed and forgotten", async () => {
    const hand = Hand.make()
    const reins = await Reins.create({ providers: { hand: hand.provider } })
    const progress: Array<DurableEvent["_tag"]> = []
    const session = await reins.open({
      provider: "hand",
      cwd: "/repo",
      title: "a title",
      onProgress: (event) => {
        progress.push(event._tag)
        throw new Error("a bad listener")
      }
    })
    assert.isAbove(progress.length, 0)
    assert.strictEqual(await reins.get(session.id), session)
    assert.deepStrictEqual(await reins.sessions(), [session])
    assert.strictEqual(await reins.open({ id: session.id }), session)
    assert.deepStrictEqual(
      (await reins.list()).sessions.map((stored) => [stored.sessionId, stored.cwd, stored.title]),
      [
        [session.id, "/repo", "a title"]
      ]
    )
    assert.isTrue(session.capabilities.steer)
    await reins.quiescent()
    await reins.remove(session.id)
    assert.strictEqual(await session.closed, "closed by the host")
    assert.strictEqual(session.state.phase, "closed")
    assert.deepStrictEqual((await reins.list()).sessions, [])
    assert.strictEqual((await refusal(reins.get(session.id))).tag, "SessionNotFound")
    assert.strictEqual((await refusal(session.prompt("hi"))).tag, "SessionNotFound")
    await reins.close()
  })

  it("are told of their providers before one is opened", async () => {
    const hand = Hand.make()
    await using reins = await Reins.create({
      providers: { hand: hand.provider, nowhere: Reins.openCode({ binary: "/nowhere/opencode" }) }
    })
    assert.deepStrictEqual(await reins.probe("hand"), { installed: true, support: "tested", auth: "ok" })
    assert.deepStrictEqual(await reins.models("hand", { cwd: "/repo" }), [])
    const probed = await reins.probe("nowhere")
    assert.isFalse(probed.installed)
    assert.include(probed.advice ?? "", "/nowhere/opencode")
    assert.strictEqual((await refusal(reins.models("nowhere", { cwd: "/" }))).tag, "NotInstalled")
    assert.strictEqual((await refusal(reins.probe("nobody"))).tag, "InvalidRequest")
    assert.strictEqual(hand.connects.length, 0)
  })

  it("are kept in a directory and go on in another host", async () => {
    const directory = mkdtempSync(join(tmpdir(), "reins-store-"))
    try {
      const hand = Hand.make()
      answering(hand, "first")
      const { logger, said } = recorder()
      const options = { providers: { hand: hand.provider }, store: { directory }, logger }
      let id = ""
      {
        await using reins = await Reins.create(options)
        const session = await reins.open({ provider: "hand", cwd: "/repo" })
        id = session.id
        await (await session.prompt("hi")).outcome
      }
      await using reins = await Reins.create(options)
      const session = await reins.open({ id })
      assert.strictEqual(session.provider, "hand")
      assert.deepStrictEqual(hand.connects.at(-1)?.cursor, { v: 1, conversation: "c1" })
      writeFileSync(join(directory, "broken.json"), "{")
      assert.strictEqual((await reins.list()).sessions.length, 1)
      assert.isTrue(said.some(({ level, message }) => level === "warn" && message.includes("left out")))
      writeFileSync(join(directory, "file"), "")
      const error = await refusal(Reins.create({ ...options, store: { directory: join(directory, "file") } }))
      assert.strictEqual(error.tag, "StoreFailed")
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it("are kept in a file with their events, which can be read without an agent", async () => {
    const directory = mkdtempSync(join(tmpdir(), "reins-store-"))
    try {
      const hand = Hand.make()
      answering(hand, "first")
      const options = { providers: { hand: hand.provider }, store: { file: join(directory, "state", "reins.db") } }
      let id = ""
      let live: ReadonlyArray<SessionEntry> = []
      {
        await using reins = await Reins.create(options)
        const session = await reins.open({ provider: "hand", cwd: "/repo" })
        id = session.id
        const reading = collect(reins.events(id))
        const turn = await session.prompt("hi")
        // The view never waits for the store.
        assert.strictEqual(session.view().sessionId, id)
        await turn.outcome
        await session.close()
        live = (await reading).filter((entry) => entry._tag !== "ItemDelta")
        assert.strictEqual(live.at(-1)?._tag, "SessionClosed")
        assert.strictEqual((await refusal(reins.history("ses_nowhere"))).tag, "SessionNotFound")
      }
      const reins = await Reins.create(options)
      const connects = hand.connects.length
      assert.deepStrictEqual(await collect(reins.events(id, { after: 2 })), live.slice(2))
      const page = await reins.history(id)
      assert.deepStrictEqual(
        page.turns.flatMap((turn) => turn.items.map(({ item }) => "text" in item ? item.text : item._tag)),
        ["first"]
      )
      assert.strictEqual(hand.connects.length, connects)
      const session = await reins.open({ id, queued: "return" })
      assert.deepStrictEqual(hand.connects.at(-1)?.cursor, { v: 1, conversation: "c1" })
      assert.isAbove(session.view().seq, live.length)
      await reins.close()
      const late = reins.events(id)[Symbol.asyncIterator]()
      assert.strictEqual((await refusal(late.next())).tag, "InvalidRequest")
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  it("cannot be read later without a file", async () => {
    await using reins = await Reins.create({ providers: { hand: Hand.make().provider } })
    const { id } = await reins.open({ provider: "hand", cwd: "/repo" })
    await (await reins.get(id)).close()
    assert.strictEqual((await refusal(reins.events(id)[Symbol.asyncIterator]().next())).tag, "Unsupported")
    assert.strictEqual((await refusal(reins.history(id))).tag, "Unsupported")
  })
})

describe("listeners", () => {
  it("hear events by tag from their registration on, until they unsubscribe", () =>
    withSession(async (session, hand) => {
      answering(hand, "one")
      await (await session.prompt("before")).outcome
      const settled: Array<number | undefined> = []
      const all: Array<SessionEntry["_tag"]> = []
      const stop = session.on("TurnSettled", (event) => settled.push(event.seq))
      const stopAll = session.on((event) => all.push(event._tag))
      await (await session.prompt("now")).outcome
      await session.close()
      await session.closed
      stop()
      stopAll()
      assert.strictEqual(settled.length, 1)
      assert.include(all, "ItemDelta")
      assert.notInclude(all, "SessionOpened")
      assert.strictEqual(all.at(-1), "SessionClosed")
    }))

  it("hear nothing after they unsubscribed, also from inside themselves", () =>
    withSession(async (session, hand) => {
      answering(hand, "one")
      const heard: Array<string> = []
      const stop = session.on((event) => {
        heard.push(event._tag)
        stop()
      })
      const state: Array<string> = []
      session.onState((now) => state.push(now.phase))()
      await (await session.prompt("now")).outcome
      await session.close()
      assert.strictEqual(heard.length, 1)
      assert.deepStrictEqual(state, [])
    }))

  it("hear the state, the last of which is closed", () =>
    withSession(async (session, hand) => {
      answering(hand, "one")
      const phases: Array<string> = []
      const done = new Promise<void>((resolve) => {
        session.onState((state) => {
          phases.push(state.phase)
          if (state.phase === "closed") resolve()
        })
      })
      await (await session.prompt("now")).outcome
      await session.close()
      await done
      assert.strictEqual(phases[0], "open")
      assert.strictEqual(phases.filter((phase) => phase === "closed").length, 1)
    }))

  it("that throw or reject are reported to the logger and hear on", async () => {
    const { logger, said } = recorder()
    await withSession(async (session, hand) => {
      answering(hand, "one")
      let heard = 0
      session.on("TurnSettled", () => {
        heard++
        throw new Error("thrown")
      })
      session.on("TurnSettled", async () => {
        throw new Error("rejected")
      })
      session.onState(() => {
        throw new Error("state")
      })
      await (await session.prompt("one")).outcome
      await (await session.prompt("two")).outcome
      await session.close()
      await session.closed
      assert.strictEqual(heard, 2)
    }, { logger })
    const errors = said.filter((entry) => entry.level === "error").map(({ fields }) => (fields.error as Error).message)
    assert.strictEqual(errors.filter((message) => message === "thrown").length, 2)
    assert.strictEqual(errors.filter((message) => message === "rejected").length, 2)
    assert.include(errors, "state")
  })

  it("may be told by a logger that throws", () =>
    withSession(async (session, hand) => {
      answering(hand, "one")
      session.on(() => {
        throw new Error("thrown")
      })
      assert.strictEqual((await (await session.prompt("one")).outcome)._tag, "completed")
    }, {
      logger: {
        debug: () => assert.fail("a bad logger"),
        info: () => assert.fail("a bad logger"),
        warn: () => assert.fail("a bad logger"),
        error: () => assert.fail("a bad logger")
      }
    }))
})

describe("errors", () => {
  it("are instances with the facts of the failure", () =>
    withSession(async (_session, hand, reins) => {
      const unknown = await refusal(reins.open({ provider: "other", cwd: "/repo" }))
      assert.strictEqual(unknown.tag, "InvalidRequest")
      assert.include(unknown.message, "other")
      hand.connect = Effect.fail(AgentError.make(
        new AgentError.RateLimited({
          retryAfter: 1_500,
          statusCode: 429,
          requestId: "req_1",
          cause: new Error("below")
        })
      ))
      const error = await refusal(reins.open({ provider: "hand", cwd: "/repo" }))
      assert.instanceOf(error, Error)
      assert.isTrue(ReinsError.is(error, "RateLimited"))
      assert.isFalse(ReinsError.is(error, "NotInstalled"))
      assert.isFalse(ReinsError.is(new Error("other")))
      assert.strictEqual(error.retryAfter, 1_500)
      assert.strictEqual(error.statusCode, 429)
      assert.strictEqual(error.requestId, "req_1")
      assert.strictEqual(error.provider, "hand")
      assert.isTrue(error.retryable)
      assert.isAbove(error.advice.length, 0)
      assert.strictEqual((error.cause as Error).message, "below")
      const json = error.toJSON()
      assert.strictEqual(json._tag, "RateLimited")
      assert.deepStrictEqual(new ReinsError(json).toJSON(), json)
    }))

  it("of adapters that break are ReinsErrors too", () =>
    withSession(async (session, hand, reins) => {
      hand.connect = Effect.die(new Error("a bug"))
      await refusal(reins.open({ provider: "hand", cwd: "/repo" }))
      const wrong = undefined as never
      assert.strictEqual((await refusal(reins.open(wrong))).tag, "ProtocolError")
      assert.strictEqual((await refusal(session.prompt(wrong))).tag, "ProtocolError")
      assert.strictEqual((await refusal(session.answer("req", wrong))).tag, "RequestNotOpen")
    }))

  it("name a setting that cannot be used", async () => {
    const providers = { hand: Hand.make().provider }
    const wrong = async (options: object) =>
      refusal(Reins.create({ providers, ...options } as Parameters<typeof Reins.create>[0]))
    for (
      const options of [
        { approvals: "everything" },
        { approvals: { rules: "none" } },
        { approvals: "toString" },
        { store: "disk" },
        { store: { file: 1 } },
        { store: { file: "state.db", retention: { events: -1 } } },
        { store: { file: ":memory:" } },
        { limits: { queue: Number.NaN } },
        { providers: { a: { kind: "other" } } },
        { providers: { a: { kind: "other", make: () => ({}) } } },
        { providers: { a: Reins.openCode({ startTimeout: -1 }) } }
      ]
    ) {
      assert.strictEqual((await wrong(options)).tag, "InvalidConfig", JSON.stringify(options))
    }
    assert.strictEqual((await wrong({ providers: undefined })).tag, "ProtocolError")
    await withSession(async (session) => {
      assert.strictEqual((await refusal(session.configure({ approvals: "some" as "all" }))).tag, "InvalidConfig")
    })
  })

  it("say that Node is too old", () => {
    for (const version of ["20.20.2", "22.18.9", "18.0.0", "21.99.0"]) {
      const info = complaint(version)
      assert.include(info?.message ?? "", version)
      assert.include(info?.message ?? "", "22.19")
    }
    for (const version of ["22.19.0", "22.23.3", "24.0.0", "23.1.0"]) assert.isUndefined(complaint(version))
  })

  it("come from the first event to the last: a session that failed to begin says so", () =>
    withSession(async (session, hand) => {
      hand.submit = () => AgentError.fail(new AgentError.AuthRequired({}))
      const prompt = await session.prompt("hi")
      const outcome = await prompt.outcome
      assert.strictEqual(outcome._tag, "notRun")
      assert.strictEqual(outcome._tag === "notRun" && outcome.receipt._tag, "failed")
      const event = await first(session, "SessionOpened")
      assert.strictEqual(event.cwd, "/repo")
    }))
})
