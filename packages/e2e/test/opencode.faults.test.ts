/** The real OpenCode with a model that fails, in each of the ways that models do. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"

type Events = ReadonlyArray<SessionEvent | Lagged>

const turnOf = Effect.fnUntraced(function*(session: Session, words: string) {
  const turn = yield* session.prompt(words)
  const events = yield* Stream.runCollect(turn.events)
  return { events: [...events] as Events, outcome: yield* turn.outcome }
})

const answers = (events: Events): ReadonlyArray<string> =>
  events.flatMap((event) =>
    event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" && event.status !== "discarded"
      ? [event.item.text]
      : []
  )

/** One start and one end for each item, one settlement for the turn. */
const assertWhole = (events: Events) => {
  const started = events.filter(Host.isTag("ItemStarted")).map((event) => event.itemId)
  const ended = events.filter(Host.isTag("ItemCompleted")).map((event) => event.itemId)
  assert.deepStrictEqual(ended.toSorted(), started.toSorted())
  assert.strictEqual(events.filter(Host.isTag("TurnSettled")).length, 1)
}

const assertUsable = Effect.fnUntraced(function*(session: Session) {
  const { events, outcome } = yield* turnOf(session, prompt("next", text("fresh answer")))
  assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
  assert.deepStrictEqual(answers(events), ["fresh answer"])
})

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "a model that",
  (it) => {
    it.effect("refuses the key (401): failed, authentication required, and the session goes on", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", { do: "status", code: 401, message: "invalid api key" })
        )
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "AuthRequired", JSON.stringify(outcome))
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("refuses the request (400): failed, with the words of the model", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", { do: "status", code: 400, message: "temperature is not supported" })
        )
        assert.isTrue(
          outcome._tag === "failed" && outcome.error._tag === "InvalidRequest" &&
            outcome.error.message.includes("temperature"),
          JSON.stringify(outcome)
        )
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("limits the rate (429 with Retry-After) and then answers: told, and completed", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "go",
            { do: "status", code: 429, headers: { "retry-after": "1" }, message: "slow down", times: 1 },
            text("fine")
          )
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["fine"])
        const retry = events.flatMap((event) =>
          event._tag === "TurnChanged" && event.state._tag === "retryingUpstream" ? [event.state] : []
        )
        assert.strictEqual(retry[0]?.attempt, 1)
        assert.isNumber(retry[0]?.until)
        assert.isString(retry[0]?.error?.message)
        assertWhole(events)
      }))

    it.effect("fails (500) and then answers: completed", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", { do: "status", code: 500, headers: { "retry-after": "1" }, times: 1 }, text("fine"))
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["fine"])
        assertWhole(events)
      }))

    it.effect("is cut in the middle of a text and then answers: the text is not doubled", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "go",
            { do: "cut", text: "the first half of it", chunkSize: 4, after: 3, times: 1 },
            text("the whole of it")
          )
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["the whole of it"])
        const laid = Host.lay(events)
        for (const event of events) {
          if (event._tag !== "ItemCompleted" || event.status === "discarded" || !("text" in event.item)) continue
          assert.strictEqual(laid.get(event.itemId) ?? "", event.item.text)
        }
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("hangs: an interrupt ends the turn, and the next prompt works", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("hanging", { do: "hang" }))
        yield* model.awaitRequest((request) => request.lastUserText.includes("hanging"))
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* assertUsable(session)
      }))

    it.effect("is waited for (Retry-After of an hour): an interrupt ends the turn, which is no success", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(
          prompt("go", { do: "status", code: 429, headers: { "retry-after": "3600" } }, text("never"))
        )
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "TurnChanged" && event.state._tag === "retryingUpstream"
        )
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* assertUsable(session)
      }))

    it.effect("never gives a finish reason is stopped after a few calls", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(session, prompt("endless", { do: "noFinish", text: "…", times: 500 }))
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamFailed", JSON.stringify(outcome))
        assertWhole(events)
        const calls = (yield* model.requests).filter(({ request }) => request.lastUserText.includes("endless"))
        assert.isAtLeast(calls.length, 3)
        assert.isBelow(calls.length, 40)
        yield* assertUsable(session)
        const after = (yield* model.requests).filter(({ request }) => request.lastUserText.includes("endless"))
        assert.strictEqual(after.length, calls.length)
      }))

    it.effect("sends broken frames, or an error in the stream: failed or retried, never silent", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(session, prompt("go", { do: "malformed", text: "half", after: 1 }))
        assert.strictEqual(outcome._tag, "failed")
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("stops at its limit, or refuses: a stop reason, no failure", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const long = yield* turnOf(session, prompt("go", { do: "finish", reason: "length", text: "cut sh" }))
        assert.deepStrictEqual(long.outcome, { _tag: "completed", stopReason: "maxTokens" })
        const refused = yield* turnOf(session, prompt("go", { do: "finish", reason: "content_filter", text: "" }))
        assert.deepStrictEqual(refused.outcome, { _tag: "completed", stopReason: "refusal" })
        yield* assertUsable(session)
      }))

    it.effect("is not there: an unknown model fails the prompt's turn, and names it", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ model: "scripted/nothing" })
        const turn = yield* session.prompt(prompt("go", text("never")))
        const outcome = yield* turn.outcome
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "ModelNotFound", JSON.stringify(outcome))
        yield* session.configure({ model: "scripted/scripted-1" })
        yield* assertUsable(session)
      }))

    it.effect("is asked by an agent that is not there: the prompt fails and says so", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ mode: "no-such-agent" })
        const turn = yield* session.prompt(prompt("go", text("never")))
        const receipt = yield* turn.receipt
        assert.isTrue(
          receipt._tag === "failed" && receipt.error._tag === "InvalidRequest" &&
            receipt.error.message.includes("no-such-agent"),
          JSON.stringify(receipt)
        )
        assert.strictEqual((yield* turn.outcome)._tag, "notRun")
        yield* session.configure({ mode: "build" })
        yield* assertUsable(session)
      }))

    it.effect("is stopped, with a prompt right behind: the prompt gets its own answer", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", gatedText("a long answer that stops", "behind-1")))
        yield* model.awaitGate("behind-1")
        const [, next] = yield* Effect.all([
          session.interrupt,
          session.prompt(prompt("behind", text("its own answer")))
        ], { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        const events = [...yield* Stream.runCollect(next.events)]
        assert.deepStrictEqual(yield* next.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.include(answers(events), "its own answer")
      }))
  }
)
