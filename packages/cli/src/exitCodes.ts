/**
 * What the exit code of `reins` says.
 *
 * @since 0.1.0
 */
import type { AgentError, ErrorInfo } from "@reins/core/AgentError"
import type { PromptOutcome } from "@reins/core/Turn"

/**
 * The turn was completed.
 *
 * @category models
 * @since 0.1.0
 */
export const completed = 0

/**
 * The turn failed, or what became of it is not known.
 *
 * @category models
 * @since 0.1.0
 */
export const failed = 1

/**
 * The command was called in a wrong way; nothing was sent to an agent.
 *
 * @category models
 * @since 0.1.0
 */
export const wrongUsage = 2

/**
 * The agent is not installed, cannot be started or reached, or has a broken configuration.
 *
 * @category models
 * @since 0.1.0
 */
export const unavailable = 3

/**
 * A request of the agent was declined because nobody was there to ask.
 *
 * @category models
 * @since 0.1.0
 */
export const unattended = 4

/**
 * The time given with `--timeout` was over.
 *
 * @category models
 * @since 0.1.0
 */
export const timedOut = 124

/**
 * The turn was interrupted.
 *
 * @category models
 * @since 0.1.0
 */
export const interrupted = 130

/** Reasons that only another call of the command mends. */
const usage: ReadonlySet<string> = new Set(["InvalidRequest", "SessionNotFound", "Unsupported"])

/** Reasons that lie with the model's provider: the agent itself was there. */
const upstream: ReadonlySet<string> = new Set([
  "RateLimited",
  "QuotaExceeded",
  "BudgetExceeded",
  "Overloaded",
  "ContextOverflow",
  "UpstreamFailed",
  "UpstreamSilent",
  "TurnLost",
  "RequestNotOpen"
])

/**
 * The exit code for an error before any turn ran.
 *
 * @category getters
 * @since 0.1.0
 */
export const ofError = (error: AgentError | ErrorInfo): number => {
  const tag = "reason" in error ? error.reason._tag : error._tag
  return usage.has(tag) ? wrongUsage : upstream.has(tag) ? failed : unavailable
}

/**
 * The exit code for what became of the prompt. That a request had to be declined counts unless the turn failed anyway.
 *
 * @category getters
 * @since 0.1.0
 */
export const ofOutcome = (outcome: PromptOutcome, options: { readonly declinedUnasked: boolean }): number => {
  switch (outcome._tag) {
    case "completed":
      return options.declinedUnasked ? unattended : completed
    case "interrupted":
      return options.declinedUnasked ? unattended : interrupted
    case "failed":
    case "lost":
      return failed
    case "notRun":
      return outcome.receipt._tag === "failed" && ofError(outcome.receipt.error) === unavailable ? unavailable : failed
  }
}
