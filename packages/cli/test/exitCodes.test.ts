import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import type { PromptOutcome } from "@reins/core/Turn"
import * as exitCodes from "../src/exitCodes.ts"

const of = (outcome: PromptOutcome, declinedUnasked = false) => exitCodes.ofOutcome(outcome, { declinedUnasked })
const error = AgentError.fromReason(new AgentError.TurnLost({}))

describe("exit codes", () => {
  it("follow the outcome", () => {
    assert.strictEqual(of({ _tag: "completed", stopReason: "endTurn" }), 0)
    assert.strictEqual(of({ _tag: "failed", error }), 1)
    assert.strictEqual(of({ _tag: "lost", error }), 1)
    assert.strictEqual(of({ _tag: "interrupted", by: "user" }), 130)
  })

  it("tell a request declined for lack of anyone to ask, unless the turn failed", () => {
    assert.strictEqual(of({ _tag: "completed", stopReason: "endTurn" }, true), 4)
    assert.strictEqual(of({ _tag: "interrupted", by: "provider" }, true), 4)
    assert.strictEqual(of({ _tag: "failed", error }, true), 1)
  })

  it("tell a wrong call from an agent that is not available", () => {
    const code = (reason: AgentError.AgentErrorReason) => exitCodes.ofError(AgentError.make(reason))
    assert.strictEqual(code(new AgentError.SessionNotFound({ sessionId: "s" })), 2)
    assert.strictEqual(code(new AgentError.InvalidRequest({ field: "model" })), 2)
    assert.strictEqual(code(new AgentError.NotInstalled({ binary: "opencode", tried: [] })), 3)
    assert.strictEqual(code(new AgentError.InvalidConfig({ issue: "bad" })), 3)
    assert.strictEqual(code(new AgentError.RateLimited({})), 1)
  })
})
