/** The real Codex with a model that fails, in each of the ways that models do. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Clock, Effect } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import { prompt, text } from "./fixtures/script.ts"
import { answers, assertUsable, assertWhole, states, turnOf } from "./fixtures/turns.ts"

const completed = { _tag: "completed", stopReason: "endTurn" } as const
const status = (code: number, message: string, headers: Readonly<Record<string, string>> = {}): ScriptedModel.Step => ({
  do: "status",
  code,
  message,
  headers
})

/** What the model does, and the reason that its turn fails with. */
const failures: ReadonlyArray<readonly [name: string, step: ScriptedModel.Step, reason: string, retryable: boolean]> = [
  ["refuses the key (401)", status(401, "invalid api key"), "AuthRequired", false],
  ["forbids it (403)", status(403, "not yours"), "AuthRequired", false],
  ["refuses the request (400)", status(400, "temperature is not supported"), "InvalidRequest", false],
  ["limits the rate (429)", status(429, "slow down"), "RateLimited", true],
  ["fails (500)", status(500, "an inner error"), "UpstreamFailed", true],
  ["fails before it is reached (502)", status(502, "no upstream"), "UpstreamFailed", true],
  ["has no time (503)", status(503, "overloaded"), "Overloaded", true],
  ["says broken frames", { do: "malformed", text: "half", after: 1 }, "UpstreamFailed", true]
]

layer(Codex.layer(), { excludeTestServices: true, timeout: "60 seconds" })("a model that", (it) => {
  for (const [name, step, reason, retryable] of failures) {
    it.effect(`${name}: failed as ${reason}, and the session goes on`, () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const { events, outcome } = yield* turnOf(session, prompt("go", step))
        assert.deepStrictEqual(
          outcome._tag === "failed" ? [outcome.error._tag, outcome.error.retryable] : outcome,
          [reason, retryable],
          JSON.stringify(outcome)
        )
        assertWhole(events)
        yield* assertUsable(session)
      }))
  }

  it.effect("limits the rate for a second and then answers: told as a retry, and completed", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt(
          "go",
          { do: "status", code: 429, headers: { "retry-after": "1" }, message: "slow down", times: 1 },
          text("fine")
        )
      )
      assert.deepStrictEqual(outcome, completed)
      assert.deepStrictEqual(answers(events), ["fine"])
      assert.include(states(events), "retryingUpstream")
      assertWhole(events)
    }))

  it.effect("codex trap 5: is waited for (Retry-After of a day): told as a retry, left to the host, and its interrupt is no success", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const turn = yield* session.prompt(
        prompt("go", status(429, "slow down", { "retry-after": "86400" }), text("never"))
      )
      yield* Host.awaitEvent(
        session,
        (event) => event._tag === "TurnChanged" && event.state._tag === "retryingUpstream"
      )
      yield* session.interrupt
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
      yield* assertUsable(session)
    }))

  it.effect("hangs: an interrupt ends the turn, and the next prompt works", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Codex.open()
      const turn = yield* session.prompt(prompt("hanging", { do: "hang" }))
      yield* model.awaitRequest((request) => request.lastUserText.includes("hanging"))
      yield* session.interrupt
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
      yield* assertUsable(session)
    }))
})

describe("a model that does not answer", () => {
  const impatient = { silence: "500 millis", silenceEnd: "3 seconds" } as const

  it.live(
    "codex trap 4: not even with its head: told as silent, then stopped as UpstreamSilent",
    () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const { events, outcome } = yield* turnOf(session, prompt("go", { do: "hang" }))
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamSilent", JSON.stringify(outcome))
        assert.include(states(events), "silent")
        assertWhole(events)
        yield* assertUsable(session)
      }).pipe(Effect.scoped, Effect.provide(Codex.layer({ limits: impatient }))),
    60_000
  )

  it.live(
    "codex trap 5: and cannot be reached: the turn fails, it does not try for ever",
    () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const begun = yield* Clock.currentTimeMillis
        const { events, outcome } = yield* turnOf(session, "hello")
        assert.isTrue(outcome._tag === "failed" && outcome.error._tag === "UpstreamFailed", JSON.stringify(outcome))
        assert.isBelow((yield* Clock.currentTimeMillis) - begun, 30_000)
        assertWhole(events)
      }).pipe(
        Effect.scoped,
        // Nothing listens on this port of loopback.
        Effect.provide(Codex.layer({ modelUrl: "http://127.0.0.1:9/v1" }))
      ),
    60_000
  )
})
