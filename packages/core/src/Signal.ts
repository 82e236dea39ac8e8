/**
 * What an adapter reports to the session engine: normalised, unordered across sources, may repeat, may contradict.
 * Signals carry the agent's own keys; the engine gives ids, order and guarantees.
 *
 * @since 0.1.0
 */
import type { AnswerOption, RequestFacts, RequestKind } from "./AgentRequest.ts"
import type { ErrorInfo } from "./AgentError.ts"
import type { FileChange, ItemContent, ItemStatus, ItemStream, PlanEntry } from "./Item.ts"
import type { Native, ProcessStatus } from "./SessionEvent.ts"
import type { InterruptedBy, StopReason } from "./Turn.ts"
import type { Usage } from "./Usage.ts"

/**
 * What every signal may carry. `turn` is the agent's own identity of a turn: its turn id, or the key of the prompt
 * that the work answers. A signal without it belongs to the running turn only after that turn was seen on the same
 * stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface SignalContext {
  readonly turn?: string
  readonly agentPath?: ReadonlyArray<string>
  readonly native?: Native
}

/**
 * How the agent itself judges a turn.
 *
 * @category models
 * @since 0.1.0
 */
export type TurnVerdict =
  | { readonly _tag: "running" }
  | { readonly _tag: "completed"; readonly stopReason: StopReason }
  | { readonly _tag: "failed"; readonly error: ErrorInfo }
  | { readonly _tag: "interrupted"; readonly by: InterruptedBy }
  /** It exists, is not finished, and nothing works on it. */
  | { readonly _tag: "unfinished" }

/**
 * An open request of the agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestSignal extends SignalContext {
  readonly _tag: "requestOpened"
  /**
   * Names the request in the whole session, over all connections: one that is told again is the same. Where an agent
   * numbers its requests anew with each process, the adapter adds what tells them apart.
   */
  readonly key: string
  readonly item?: string
  readonly kind: RequestKind
  readonly subject: string
  readonly options: ReadonlyArray<AnswerOption>
  readonly facts: RequestFacts
}

/**
 * @category models
 * @since 0.1.0
 */
export type Signal =
  /** The agent has this prompt in its conversation. `text` where the prompt is not ours. */
  | (SignalContext & { readonly _tag: "prompt"; readonly key: string; readonly text?: string })
  /** The agent works on this turn. `prompt` names the prompt that it took. */
  | (SignalContext & { readonly _tag: "turnStarted"; readonly turn: string; readonly prompt?: string })
  /** A new step of the turn began: an error or finish reason seen before no longer stands. */
  | (SignalContext & { readonly _tag: "turnProgress" })
  /** A finish reason; the turn's end has not been seen yet. */
  | (SignalContext & { readonly _tag: "turnFinish"; readonly stopReason: StopReason })
  /** An error that may or may not end the turn. */
  | (SignalContext & { readonly _tag: "turnError"; readonly error: ErrorInfo })
  | (SignalContext & {
    readonly _tag: "turnRetrying"
    readonly attempt: number
    readonly until?: number
    readonly error?: ErrorInfo
  })
  | (SignalContext & { readonly _tag: "turnCompacting" })
  /** The agent works; says nothing of which turn. */
  | (SignalContext & { readonly _tag: "turnBusy" })
  /** The agent stopped working. With a verdict that is the protocol's own terminal frame it needs no confirmation. */
  | (SignalContext & { readonly _tag: "turnEnded"; readonly verdict?: TurnVerdict; readonly fact: string })
  /** An item was seen in this state. `status` absent: still open. `background`: it outlives its turn. */
  | (SignalContext & {
    readonly _tag: "item"
    readonly key: string
    readonly item: ItemContent
    /** Whether the growing text in `item` is the agent's authoritative text so far; else only deltas carry text. */
    readonly hasText: boolean
    readonly status?: ItemStatus
    readonly background?: boolean
  })
  /** Text appended to an item; `offset` where the protocol gives it. */
  | (SignalContext & {
    readonly _tag: "delta"
    readonly key: string
    readonly stream: ItemStream
    readonly text: string
    readonly offset?: number
  })
  /** The agent threw away what it had sent of this item. */
  | (SignalContext & { readonly _tag: "itemVoided"; readonly key: string })
  | RequestSignal
  /** A request was settled on the agent's side, by us or by somebody else. */
  | (SignalContext & { readonly _tag: "requestClosed"; readonly key: string; readonly accepted?: boolean })
  | (SignalContext & { readonly _tag: "plan"; readonly entries: ReadonlyArray<PlanEntry> })
  | (SignalContext & { readonly _tag: "diff"; readonly files: ReadonlyArray<FileChange> })
  | (SignalContext & { readonly _tag: "usage"; readonly usage: Usage; readonly scope: "delta" | "cumulative" })
  | (SignalContext & {
    readonly _tag: "rateLimited"
    readonly window?: string
    readonly resetAt?: number
    readonly retryAfter?: number
  })
  | (SignalContext & { readonly _tag: "account"; readonly auth: "ok" | "missing" | "unknown" })
  | (SignalContext & { readonly _tag: "info"; readonly title: string })
  | (SignalContext & {
    readonly _tag: "commands"
    readonly commands: ReadonlyArray<{ readonly name: string; readonly description?: string }>
  })
  | (SignalContext & {
    readonly _tag: "subagentStarted"
    readonly agentPath: ReadonlyArray<string>
    readonly agent?: string
    readonly title?: string
  })
  | (SignalContext & {
    readonly _tag: "subagentEnded"
    readonly agentPath: ReadonlyArray<string>
    readonly verdict: TurnVerdict
  })
  | (SignalContext & {
    readonly _tag: "notice"
    readonly level: "info" | "warning" | "error"
    readonly code: string
    readonly text: string
  })
  | (SignalContext & {
    readonly _tag: "unrecognised"
    readonly method: string
    readonly reason: string
    readonly raw: unknown
  })
  /** The server process behind the connection. */
  | (SignalContext & { readonly _tag: "process"; readonly status: ProcessStatus })
  /** The connection is silent: no byte since this time. */
  | (SignalContext & { readonly _tag: "silent"; readonly since: number })
  /** The conversation of the agent ended for good (deleted, archived by somebody). */
  | (SignalContext & { readonly _tag: "conversationGone"; readonly reason: string })

/**
 * Whether the agent is at work, as a snapshot saw it.
 *
 * @category models
 * @since 0.1.0
 */
export type Activity = "idle" | "busy" | "unknown"

/**
 * What the engine wants to know of the agent's side.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotRequest {
  /** Keys of prompts whose fate is open. */
  readonly prompts: ReadonlyArray<string>
  /** Turns whose end is open. */
  readonly turns: ReadonlyArray<string>
  /**
   * At a resync: keys of the last turns that the host was told of. What the conversation holds behind the last of them is
   * told and judged too, although nobody asked for it; with an empty list that is all of it. `null`: the conversation was
   * begun elsewhere, and besides what is asked only a turn that runs now is told. Absent: only what is asked.
   */
  readonly after?: ReadonlyArray<string> | null
}

/**
 * The agent's side read at one moment: used for resync and for doubt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly activity: Activity
  /** For each prompt asked about: whether the conversation holds it, and whether the agent has begun with it. */
  readonly prompts: Readonly<Record<string, "taken" | "held" | "absent" | "unknown">>
  /** For each turn asked about: the agent's judgement. Absent: the agent does not know it. */
  readonly turns: Readonly<Record<string, TurnVerdict>>
  /** The items of those turns and of later ones, as signals; the text in them is authoritative. */
  readonly signals: ReadonlyArray<Signal>
  /** All requests open now. */
  readonly requests: ReadonlyArray<RequestSignal>
  /** Whether nothing that happened since can be missing from `signals`. */
  readonly complete: boolean
  /** The newest turn of the conversation that is over; `null` when it has none. Absent: the adapter cannot tell. */
  readonly newest?: string | null
}
