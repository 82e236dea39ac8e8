/**
 * The work from the first prompt taken up to one settlement.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ErrorInfo } from "./AgentError.ts"
import { Receipt } from "./Prompt.ts"

/**
 * Who interrupted a turn.
 *
 * @category schemas
 * @since 0.1.0
 */
export const InterruptedBy = Schema.Literals(["user", "host", "policy", "provider"])
/**
 * @category models
 * @since 0.1.0
 */
export type InterruptedBy = typeof InterruptedBy.Type

/**
 * Why an agent stopped by itself. An open set: `endTurn`, `maxTokens`, `maxTurns`, `refusal`, or the agent's own word.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StopReason = Schema.String
/**
 * @category models
 * @since 0.1.0
 */
export type StopReason = "endTurn" | "maxTokens" | "maxTurns" | "refusal" | (string & {})

/**
 * What a running turn is doing. Times are epoch milliseconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TurnState = Schema.TaggedUnion({
  running: {},
  awaitingApproval: {},
  awaitingInput: {},
  retryingUpstream: {
    attempt: Schema.Int,
    until: Schema.optionalKey(Schema.Number),
    error: Schema.optionalKey(ErrorInfo)
  },
  compacting: {},
  silent: { since: Schema.Number },
  interrupting: { by: InterruptedBy }
})
/**
 * @category models
 * @since 0.1.0
 */
export type TurnState = typeof TurnState.Type

/**
 * How a turn ended.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TurnOutcome = Schema.TaggedUnion({
  /** The agent finished by itself. */
  completed: { stopReason: StopReason },
  /** Somebody stopped it. */
  interrupted: { by: InterruptedBy },
  /** It ended with an error. */
  failed: { error: ErrorInfo },
  /** Its server or host died, and no evidence says that it had finished. It is never run again by itself. */
  lost: { error: ErrorInfo }
})
/**
 * @category models
 * @since 0.1.0
 */
export type TurnOutcome = typeof TurnOutcome.Type

/**
 * What became of a prompt: the outcome of its turn, or `notRun` with the receipt that says why there was no turn.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PromptOutcome = Schema.TaggedUnion({
  completed: { stopReason: StopReason },
  interrupted: { by: InterruptedBy },
  failed: { error: ErrorInfo },
  lost: { error: ErrorInfo },
  notRun: { receipt: Receipt }
})
/**
 * @category models
 * @since 0.1.0
 */
export type PromptOutcome = typeof PromptOutcome.Type

/**
 * One observation that led to a settlement, in the order seen.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Evidence = Schema.Struct({
  at: Schema.Number,
  source: Schema.Literals(["stream", "snapshot", "process", "connection", "host", "timer"]),
  fact: Schema.String
})
/**
 * @category models
 * @since 0.1.0
 */
export type Evidence = typeof Evidence.Type
