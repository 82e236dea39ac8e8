/**
 * What a list of sessions shows of each.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { SessionId } from "./Ids.ts"

const optional = Schema.optionalKey

/**
 * A session, open or not. Times are epoch milliseconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionSummary = Schema.Struct({
  sessionId: SessionId,
  provider: Schema.String,
  cwd: Schema.String,
  title: optional(Schema.String),
  model: optional(Schema.String),
  mode: optional(Schema.String),
  createdAt: Schema.Int,
  updatedAt: Schema.Int,
  /** How its last turn ended: `completed`, `interrupted`, `failed` or `lost`; absent: it had none. */
  lastOutcome: optional(Schema.String),
  /** Whether this host has it open. */
  open: Schema.Boolean,
  /** Requests that wait for an answer; 0 when it is not open here. */
  openRequests: Schema.Int
})
/**
 * @category models
 * @since 0.1.0
 */
export type SessionSummary = typeof SessionSummary.Type

/**
 * Which sessions, and how many. All that is given has to apply.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionFilter = Schema.Struct({
  provider: optional(Schema.String),
  cwd: optional(Schema.String),
  /** Part of the title, whatever its case. */
  title: optional(Schema.String),
  /** Whether this host has it open. */
  open: optional(Schema.Boolean),
  /** `after` of the page before. */
  after: optional(Schema.String),
  /** Sessions in a page: 50, and 1,000 at the most. */
  limit: optional(Schema.Int)
})
/**
 * @category models
 * @since 0.1.0
 */
export type SessionFilter = typeof SessionFilter.Type

/**
 * One page, most recently updated first. `after` asks for the next one; absent: there is none.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionPage = Schema.Struct({ sessions: Schema.Array(SessionSummary), after: optional(Schema.String) })
/**
 * @category models
 * @since 0.1.0
 */
export type SessionPage = typeof SessionPage.Type
