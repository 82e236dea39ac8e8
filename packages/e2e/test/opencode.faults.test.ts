/** The real OpenCode with a model that fails, in each of the ways that models do. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Clock, Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"
import { answers, assertUsable, assertWhole, discarded, states, turnOf } from "./fixtures/turns.ts"

const isRetrying = (event: Parameters<typeof states>[0][number]) =>
  event._tag === "TurnChanged" && event.state._tag === "retryingUpstream"

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

    it.effect("is cut in the middle of a text and then answers: what it had said is discarded, not doubled", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt(
          "go",
          { do: "cut", text: "the first half of it", chunkSize: 4, after: 4, gate: "cut", gateAfter: 3, times: 1 },
          text("the whole of it")
        ))
        // The agent has read it when the host has: a reset overtakes what was not read.
        yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("the "))
        yield* model.open("cut")
        const events = [...yield* Stream.runCollect(turn.events)]
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["the whole of it"])
        assert.strictEqual(discarded(events), 1)
        assert.include(states(events), "retryingUpstream")
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

    it.effect("limits the rate without Retry-After and then answers: told with the time of the next try", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", { do: "status", code: 429, message: "slow down", times: 1 }, text("fine"))
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["fine"])
        const retry = events.find(isRetrying)
        assert.isTrue(
          retry?._tag === "TurnChanged" && retry.state._tag === "retryingUpstream" &&
            retry.state.until !== undefined && retry.state.until > retry.at
        )
        assertWhole(events)
      }))

    it.effect("fails again and again (503): every retry is told, and the turn fails with the upstream's words", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("storm", {
            do: "status",
            code: 503,
            headers: { "retry-after-ms": "20" },
            message: "no capacity",
            times: 50
          })
        )
        assert.isTrue(
          outcome._tag === "failed" && outcome.error._tag === "UpstreamFailed" && outcome.error.retryable &&
            outcome.error.message.includes("no capacity"),
          JSON.stringify(outcome)
        )
        const attempts = events.flatMap((event) =>
          event._tag === "TurnChanged" && event.state._tag === "retryingUpstream" ? [event.state.attempt] : []
        )
        assert.deepStrictEqual(attempts, [1, 2, 3, 4, 5])
        const calls = (yield* model.requests).filter(({ request }) => request.lastUserText.includes("storm"))
        assert.strictEqual(calls.filter(({ request }) => !request.isTitle).length, 6)
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("is waited for (Retry-After of a day): told until when, left to the host, and its interrupt is no success", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(
          prompt("go", { do: "status", code: 429, headers: { "retry-after": "86400" } }, text("never"))
        )
        const retry = yield* Host.awaitEvent(session, isRetrying)
        const now = yield* Clock.currentTimeMillis
        assert.isTrue(
          retry._tag === "TurnChanged" && retry.state._tag === "retryingUpstream" &&
            retry.state.until !== undefined && retry.state.until - now > 86_000_000
        )
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* assertUsable(session)
      }))

    it.effect("trap 1: never gives a finish reason is stopped at the third answer in a row, as UpstreamFailed", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        // The fourth answer never comes: what ends the turn are the first three.
        const { events, outcome } = yield* turnOf(
          session,
          prompt("endless", { do: "noFinish", text: "…", times: 3 }, { do: "hang" })
        )
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamFailed", JSON.stringify(outcome))
        assert.isTrue(outcome._tag === "failed" && !outcome.error.retryable)
        assertWhole(events)
        const calls = (requests: ReadonlyArray<ScriptedModel.RecordedRequest>) =>
          requests.filter(({ request }) => !request.isTitle && request.lastUserText.includes("endless")).length
        assert.isAtMost(calls(yield* model.requests), 4)
        yield* assertUsable(session)
        assert.isAtMost(calls(yield* model.requests), 4)
        // Two in a row are survived.
        const twice = yield* turnOf(session, prompt("twice", { do: "noFinish", text: "…", times: 2 }, text("finished")))
        assert.deepStrictEqual(twice.outcome, { _tag: "completed", stopReason: "endTurn" })
      }))

    it.effect("sends broken frames, or an error in the stream: failed or retried, never silent", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(session, prompt("go", { do: "malformed", text: "half", after: 1 }))
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamFailed", JSON.stringify(outcome))
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

    it.effect("trap 7: is asked by an agent that is not there: accepted (204), then nothing; the prompt fails and says so", () =>
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

    it.effect("trap 6: overflows its context: the error is no end, the agent compacts, and the turn completes", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", {
            do: "status",
            code: 400,
            times: 1,
            body: {
              error: {
                message: "This model's maximum context length is 8192 tokens.",
                type: "invalid_request_error",
                code: "context_length_exceeded"
              }
            }
          }, text("after the summary"))
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.include(states(events), "compacting")
        assert.isTrue(events.some((event) => event._tag === "ItemCompleted" && event.item._tag === "compaction"))
        assertWhole(events)
        yield* assertUsable(session)
        // And its absence is no success: an abort during a retry ends without any error on the wire.
        const turn = yield* session.prompt(
          prompt("again", { do: "status", code: 500, headers: { "retry-after": "3600" } }, text("never"))
        )
        const receipt = yield* turn.receipt
        yield* Host.awaitEvent(
          session,
          (event) =>
            isRetrying(event) && receipt._tag === "consumed" && event._tag === "TurnChanged" &&
            event.turnId === receipt.turnId
        )
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        assertWhole([...yield* Stream.runCollect(turn.events)])
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

describe("a model that says nothing", () => {
  const impatient = { silence: "500 millis", silenceEnd: "5 seconds" } as const

  it.live(
    "trap 3: from the start, or from the middle of a text: told as silent, then stopped as UpstreamSilent",
    () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        for (const step of [{ do: "hang" }, { do: "stall", text: "half of it", after: 1 }] as const) {
          const { events, outcome } = yield* turnOf(session, prompt("go", step))
          assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamSilent", JSON.stringify(outcome))
          assert.include(states(events), "silent")
          assertWhole(events)
          yield* assertUsable(session)
        }
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, limits: impatient }))),
    60_000
  )

  it.live(
    "is asked again by OpenCode when the time-outs of its provider are over, and what it had said is discarded",
    () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const late = yield* turnOf(session, prompt("go", { do: "hang", times: 1 }, text("there you are")))
        assert.deepStrictEqual(late.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.include(states(late.events), "retryingUpstream")
        const stalled = yield* turnOf(
          session,
          prompt("go", { do: "stall", text: "half of it", after: 1, times: 1 }, text("the whole of it"))
        )
        assert.deepStrictEqual(stalled.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(stalled.events), ["the whole of it"])
        assert.strictEqual(discarded(stalled.events), 1)
        assertWhole(stalled.events)
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          policy: ApprovalPolicy.fullAccess,
          openCode: { modelTimeout: "1500 millis" }
        }))
      ),
    60_000
  )

  it.live(
    "because its package is neither bundled nor to be had: silent, then the configuration is named",
    () =>
      Effect.gen(function*() {
        // With its usual tries npm takes 75 s for this; with one more it waits longer than the silence.
        const session = yield* Host.open({
          env: {
            npm_config_fetch_retries: "1",
            npm_config_fetch_retry_mintimeout: "2000",
            npm_config_fetch_retry_maxtimeout: "2000"
          }
        })
        const { events, outcome } = yield* turnOf(session, prompt("go", text("never")))
        assert.isTrue(
          outcome._tag === "failed" && outcome.error._tag === "InvalidConfig" &&
            outcome.error.message.includes("scripted"),
          JSON.stringify(outcome)
        )
        assert.include(states(events), "silent")
        assertWhole(events)
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          policy: ApprovalPolicy.fullAccess,
          limits: { silence: "500 millis" },
          overrides: { provider: { scripted: { npm: "@reins/no-such-model-provider" } } }
        }))
      ),
    60_000
  )
})
