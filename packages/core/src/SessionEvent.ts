/**
 * What a host reads of a session: one event model for all agents.
 *
 * An event on the wire is its JSON, one object a line, with these names. Readers ignore fields that they do not know.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { Answer, AnswerOption, RequestFacts, RequestKind, SettledBy } from "./AgentRequest.ts"
import { ErrorInfo } from "./AgentError.ts"
import { ItemId, PromptId, RequestId, SessionId, TurnId } from "./Ids.ts"
import { FileChange, Item, ItemStatus, ItemStream, PlanEntry } from "./Item.ts"
import { PromptState } from "./Prompt.ts"
import { Evidence, TurnOutcome, TurnState } from "./Turn.ts"
import { Usage } from "./Usage.ts"

const optional = Schema.optionalKey

/**
 * Where an event came from: `native` the agent said it, `derived` we concluded it, `resync` a snapshot told it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Origin = Schema.Literals(["native", "derived", "resync"])
/**
 * @category models
 * @since 0.1.0
 */
export type Origin = typeof Origin.Type

/**
 * The agent's own frame behind an event: its method, ids and, by option, the frame itself.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Native = Schema.Struct({
  provider: optional(Schema.String),
  method: optional(Schema.String),
  ids: optional(Schema.Record(Schema.String, Schema.String)),
  raw: optional(Schema.Unknown)
})
/**
 * @category models
 * @since 0.1.0
 */
export type Native = typeof Native.Type

/**
 * State of the server process behind a session. One server may serve many sessions: each open session hears it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ProcessStatus = Schema.TaggedUnion({
  starting: { stage: optional(Schema.String), elapsed: optional(Schema.Number) },
  ready: { version: optional(Schema.String), protocol: optional(Schema.String), pid: optional(Schema.Int) },
  degraded: { reason: Schema.String },
  exited: {
    code: optional(Schema.Int),
    signal: optional(Schema.String),
    stderrTail: optional(Schema.String)
  },
  restarting: { attempt: Schema.Int, in: Schema.Number },
  unavailable: { error: ErrorInfo }
})
/**
 * @category models
 * @since 0.1.0
 */
export type ProcessStatus = typeof ProcessStatus.Type

/**
 * State of the attachment of a session to its provider. The outcome of every gap is declared in `resynced`:
 * `none` nothing could be missed, `closed` all was recovered, `lossy` something was not.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ConnectionStatus = Schema.TaggedUnion({
  connecting: {},
  live: {},
  silent: { since: Schema.Number },
  lost: { error: ErrorInfo },
  retrying: { attempt: Schema.Int, in: Schema.Number, error: optional(ErrorInfo) },
  resyncing: {},
  resynced: { gap: Schema.Literals(["none", "closed", "lossy"]), detail: optional(Schema.String) }
})
/**
 * @category models
 * @since 0.1.0
 */
export type ConnectionStatus = typeof ConnectionStatus.Type

/**
 * How a session was opened. `recreated` says why the old conversation could not be used; `forked` from which session it
 * was made, and up to which of its turns where it does not go on with all of them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Opened = Schema.TaggedUnion({
  new: {},
  resumed: {},
  recreated: { reason: Schema.String },
  forked: { from: SessionId, at: optional(TurnId) }
})
/**
 * @category models
 * @since 0.1.0
 */
export type Opened = typeof Opened.Type

const envelope = {
  v: Schema.Literal(1),
  /** Durable events only: 1, 2, 3 … without gaps per session. */
  seq: optional(Schema.Int),
  /** Epoch milliseconds. */
  at: Schema.Number,
  sessionId: SessionId,
  turnId: optional(TurnId),
  itemId: optional(ItemId),
  requestId: optional(RequestId),
  promptId: optional(PromptId),
  /** The chain of subagents that it belongs to; absent for the session's own agent. */
  agentPath: optional(Schema.Array(Schema.String)),
  origin: Origin,
  native: optional(Native)
}

/**
 * One event of a session. `ItemDelta` is the only ephemeral one: it has no `seq`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionEvent = Schema.TaggedUnion({
  ProcessChanged: { ...envelope, status: ProcessStatus },
  ConnectionChanged: { ...envelope, status: ConnectionStatus },

  SessionOpened: { ...envelope, how: Opened, provider: Schema.String, cwd: Schema.String },
  SessionConfigured: {
    ...envelope,
    model: optional(Schema.String),
    mode: optional(Schema.String),
    options: optional(Schema.Record(Schema.String, Schema.Json))
  },
  SessionInfo: { ...envelope, title: Schema.String },
  CommandsUpdated: {
    ...envelope,
    commands: Schema.Array(Schema.Struct({ name: Schema.String, description: optional(Schema.String) }))
  },
  /** Turns from `beforeTurn` on were taken back; without it, the last taking back was undone. */
  HistoryReverted: { ...envelope, beforeTurn: optional(TurnId) },
  SessionClosed: { ...envelope, why: Schema.String },

  /** `continues`: the session itself sends it, because this turn was lost (`onLost: "continue"`). */
  PromptChanged: { ...envelope, promptId: PromptId, state: PromptState, continues: optional(TurnId) },

  TurnStarted: { ...envelope, turnId: TurnId },
  TurnChanged: { ...envelope, turnId: TurnId, state: TurnState },
  TurnSettled: {
    ...envelope,
    turnId: TurnId,
    outcome: TurnOutcome,
    usage: optional(Usage),
    evidence: Schema.Array(Evidence)
  },

  ItemStarted: { ...envelope, itemId: ItemId, item: Item },
  /** `offset` counts UTF-16 code units from the start of the item's text; laying deltas by offset is idempotent. */
  ItemDelta: { ...envelope, itemId: ItemId, stream: ItemStream, offset: Schema.Int, text: Schema.String },
  ItemUpdated: { ...envelope, itemId: ItemId, item: Item, background: optional(Schema.Boolean) },
  ItemCompleted: { ...envelope, itemId: ItemId, item: Item, status: ItemStatus },

  PlanUpdated: { ...envelope, entries: Schema.Array(PlanEntry) },
  DiffUpdated: { ...envelope, files: Schema.Array(FileChange) },

  RequestOpened: {
    ...envelope,
    requestId: RequestId,
    kind: RequestKind,
    subject: Schema.String,
    options: Schema.Array(AnswerOption),
    facts: RequestFacts
  },
  RequestSettled: {
    ...envelope,
    requestId: RequestId,
    by: SettledBy,
    decision: optional(Answer),
    /** The rule of the policy that decided. */
    rule: optional(Schema.String)
  },

  SubagentStarted: { ...envelope, agent: optional(Schema.String), title: optional(Schema.String) },
  SubagentChanged: { ...envelope, state: Schema.String },
  SubagentSettled: { ...envelope, outcome: TurnOutcome },

  UsageUpdated: { ...envelope, usage: Usage, scope: Schema.Literals(["delta", "cumulative"]) },
  RateLimited: {
    ...envelope,
    window: optional(Schema.String),
    resetAt: optional(Schema.Number),
    retryAfter: optional(Schema.Number)
  },
  AccountChanged: { ...envelope, auth: Schema.Literals(["ok", "missing", "unknown"]) },

  Notice: {
    ...envelope,
    level: Schema.Literals(["info", "warning", "error"]),
    code: Schema.String,
    text: Schema.String
  },
  Unrecognised: { ...envelope, method: Schema.String, reason: Schema.String, raw: Schema.Unknown }
})
/**
 * @category models
 * @since 0.1.0
 */
export type SessionEvent = typeof SessionEvent.Type

/**
 * The events that have a `seq` and are kept.
 *
 * @category models
 * @since 0.1.0
 */
export type DurableEvent = Exclude<SessionEvent, { readonly _tag: "ItemDelta" }>

/**
 * The one ephemeral event.
 *
 * @category models
 * @since 0.1.0
 */
export type ItemDelta = Extract<SessionEvent, { readonly _tag: "ItemDelta" }>

/**
 * A reader fell behind the memory window and missed these; local to that reader, no event of the session.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Lagged = Schema.TaggedStruct("Lagged", { from: Schema.Int, to: Schema.Int })
/**
 * @category models
 * @since 0.1.0
 */
export type Lagged = typeof Lagged.Type

/**
 * Reads one event from its JSON value.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = Schema.decodeUnknownEffect(SessionEvent)

/**
 * Writes one event as a JSON value.
 *
 * @category decoding
 * @since 0.1.0
 */
export const encode = Schema.encodeEffect(SessionEvent)
