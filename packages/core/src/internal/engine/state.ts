/** The state of the session engine: plain records that `step` owns and updates in place. */
import type { AgentRequest, Answer, SettledBy } from "../../AgentRequest.ts"
import type { ErrorInfo } from "../../AgentError.ts"
import type { ApprovalPolicy } from "../../ApprovalPolicy.ts"
import type { ItemId, PromptId, RequestId, SessionId, TurnId } from "../../Ids.ts"
import type { ItemContent, ItemStatus, ItemStream } from "../../Item.ts"
import type { Delivery, PromptInput, PromptState } from "../../Prompt.ts"
import * as PromptQueue from "../../PromptQueue.ts"
import type { ConnectionStatus, Opened, Origin, SessionEvent } from "../../SessionEvent.ts"
import type { RequestSignal, Signal, Snapshot, TurnVerdict } from "../../Signal.ts"
import type { Evidence, InterruptedBy, TurnState } from "../../Turn.ts"
import type { Usage } from "../../Usage.ts"

/** Limits and waits, in milliseconds. */
export interface EngineLimits {
  /** Submitting until something of the prompt is seen; then a snapshot asks. */
  readonly promptSeen: number
  /** End seen until settled without a snapshot. */
  readonly settle: number
  /** Interrupt asked until settled locally and the connection replaced. */
  readonly interrupt: number
  /** Turn silence until a snapshot probes and `silent` is told. */
  readonly silence: number
  /** Turn silence without evidence of life until the turn is interrupted. */
  readonly silenceEnd: number
  /** A tool without output until a notice. */
  readonly toolNotice: number
  /** Close asked until the session closes whatever the agent does. */
  readonly close: number
  /** A timer later than due by this much: the machine slept. */
  readonly suspended: number
  /** Wait before a failed snapshot or answer is tried again. */
  readonly retry: number
  /** Prompts that may wait in the queue; one more is refused. */
  readonly queue: number
}

export const defaultLimits: EngineLimits = {
  promptSeen: 10_000,
  settle: 1_000,
  interrupt: 5_000,
  silence: 60_000,
  silenceEnd: 600_000,
  toolNotice: 3_600_000,
  close: 3_000,
  suspended: 5_000,
  retry: 1_000,
  queue: 1_000
}

export interface EngineOptions {
  readonly sessionId: SessionId
  readonly provider: string
  readonly cwd: string
  readonly firstSeq: number
  readonly canSteer: boolean
  readonly promptKey: (promptId: PromptId, now: number) => string
  readonly limits: EngineLimits
  /** Milliseconds until an unanswered request expires; absent: never. */
  readonly expiresAfter?: number
  /** A turn that is lost is followed by one prompt that asks the agent to go on. */
  readonly continueLost?: boolean
  readonly realPath?: (path: string) => string | undefined
  /** Whether the host runs a tool by itself when it is called. */
  readonly runs?: (tool: string) => boolean
}

export interface PromptRecord {
  readonly id: PromptId
  readonly input: PromptInput
  readonly delivery: Delivery
  state: PromptState
  /** The agent's key; set at the first submission and kept. */
  key: string | undefined
  attempts: number
  /** The submission was answered (or failed) before this input; older snapshots do not judge the prompt. */
  fence: number
  /** A submission is on its way and has not been answered. */
  calling: boolean
  /** When to doubt that it arrived. */
  doubtAt: number | undefined
  /** When a snapshot first could not tell what became of it. */
  unknownSince: number | undefined
  /** When it was first found in the conversation with nothing at work on it, after a turn had ended. */
  heldAt: number | undefined
  /** An error without identity that was seen while it was on its way. */
  suspect: ErrorInfo | undefined
  /** For a steered prompt: the turn that it was sent into. */
  target: TurnRecord | undefined
  /** The lost turn that it asks the agent to go on with; the prompt is ours. */
  continues: TurnId | undefined
}

/** Of a prompt that this host has made no call about yet. */
export const untouched = {
  fence: 0,
  calling: false,
  doubtAt: undefined,
  unknownSince: undefined,
  heldAt: undefined,
  suspect: undefined,
  target: undefined,
  continues: undefined
} as const satisfies Partial<PromptRecord>

export interface InterruptRecord {
  readonly by: InterruptedBy
  /** The error that made us interrupt, where it was not asked for. */
  readonly error: ErrorInfo | undefined
  deadline: number
  sent: boolean
  retryAt: number | undefined
}

export interface TurnRecord {
  readonly id: TurnId
  readonly key: string
  startedAt: number
  /** The first input after which a snapshot may judge this turn. */
  fence: number
  /** Its own identity was seen on this generation's stream. */
  anchored: boolean
  /** Its own identity was seen on the stream itself, not only in a snapshot: what the stream says next comes after it. */
  streamed: boolean
  /** The agent was seen at work on it. */
  active: boolean
  /** The connection was lost while it ran. */
  gap: boolean
  shown: TurnState
  retrying: { readonly attempt: number; readonly until?: number; readonly error?: ErrorInfo } | undefined
  compacting: boolean
  interrupt: InterruptRecord | undefined
  /** A person or policy cancelled a request, which ends the turn at the agent. */
  cancelledBy: InterruptedBy | undefined
  finish: string | undefined
  error: ErrorInfo | undefined
  /** The agent was seen to stop; settles when confirmed or at this time. */
  settleAt: number | undefined
  /** The agent's own name of the turn, where it names turns. */
  named: string | undefined
  /** The verdict of the protocol's own terminal frame. */
  heard: TurnVerdict | undefined
  /** The input that showed its end; an older snapshot does not gainsay it. */
  endedBy: number
  /** Snapshots in a row that saw nothing working on it although no end was seen. */
  idleSnapshots: number
  lastLife: number
  silentSince: number | undefined
  probeAt: number
  readonly evidence: Array<Evidence>
  usage: Usage | undefined
  /** It goes on with a turn that was lost: when it is lost as well, that is told and no more. */
  followsLost: boolean
}

export interface ItemRecord {
  id: ItemId
  readonly key: string
  turn: TurnRecord | undefined
  content: ItemContent
  stream: ItemStream | undefined
  /** The text given to readers so far. */
  sent: string
  /** A gap may have eaten deltas: only authoritative text counts until the item completes. */
  withheld: boolean
  status: ItemStatus | undefined
  declined: boolean
  background: boolean
  restarts: number
  startedAt: number
  noticed: boolean
  readonly agentPath: ReadonlyArray<string> | undefined
}

export interface RequestRecord {
  readonly id: RequestId
  readonly signal: RequestSignal
  readonly request: AgentRequest
  readonly turn: TurnRecord | undefined
  readonly fence: number
  expiresAt: number | undefined
  settledBy: SettledBy | undefined
  answer: Answer | undefined
  /** `none`: nothing to tell the agent. */
  delivery: "none" | "calling" | "delivered" | "failed"
  attempts: number
  retryAt: number | undefined
}

export interface SubagentRecord {
  readonly path: ReadonlyArray<string>
  readonly turn: TurnRecord | undefined
  open: boolean
}

export interface SnapshotRecord {
  readonly id: number
  readonly fence: number
  readonly generation: number
  readonly resync: boolean
  /** Turns that the agent was asked to judge. */
  readonly turns: ReadonlyArray<string>
}

/** Effects that the driver carries out and reports back as inputs. */
export type EngineCommand =
  | { readonly _tag: "submit"; readonly prompt: PromptRecord; readonly steer: boolean }
  | { readonly _tag: "interrupt" }
  | { readonly _tag: "settle"; readonly record: RequestRecord; readonly answer: Answer }
  /** Tell the agent no for a request that is not shown to anybody. */
  | { readonly _tag: "refuse"; readonly signal: RequestSignal }
  | {
    readonly _tag: "snapshot"
    readonly record: SnapshotRecord
    readonly prompts: ReadonlyArray<string>
    readonly turns: ReadonlyArray<string>
  }
  | { readonly _tag: "reconnect" }
  | { readonly _tag: "finished" }

export type EngineInput =
  | { readonly _tag: "opened"; readonly how: Opened }
  | { readonly _tag: "prompt"; readonly id: PromptId; readonly input: PromptInput; readonly delivery: Delivery }
  | { readonly _tag: "withdraw"; readonly id: PromptId }
  /** Gives back what waits in the queue. */
  | { readonly _tag: "giveBack"; readonly reason: string }
  | { readonly _tag: "interrupt"; readonly by: InterruptedBy }
  | { readonly _tag: "answer"; readonly id: RequestId; readonly answer: Answer; readonly by: "user" | "host" }
  | { readonly _tag: "attached"; readonly count: number }
  | { readonly _tag: "policy"; readonly policy: ApprovalPolicy }
  | { readonly _tag: "configured"; readonly model?: string; readonly mode?: string; readonly variant?: string }
  | { readonly _tag: "reverted"; readonly beforeTurn?: TurnId }
  | { readonly _tag: "signals"; readonly generation: number; readonly signals: ReadonlyArray<Signal> }
  | { readonly _tag: "connecting" }
  /** A connection stands; `resync` unless nothing can have been missed. */
  | { readonly _tag: "connected"; readonly generation: number; readonly resync: boolean }
  | { readonly _tag: "lost"; readonly generation: number; readonly error: ErrorInfo }
  | { readonly _tag: "retrying"; readonly attempt: number; readonly in: number; readonly error: ErrorInfo }
  /** The provider gave up for now. */
  | { readonly _tag: "unavailable"; readonly error: ErrorInfo }
  | {
    readonly _tag: "submitted"
    readonly id: PromptId
    readonly attempt: number
    readonly error?: ErrorInfo
    /** The agent refused it for certain: it does not have the prompt. */
    readonly refused?: boolean
  }
  | { readonly _tag: "interruptSent"; readonly error?: ErrorInfo }
  | {
    readonly _tag: "delivered"
    readonly id: RequestId
    readonly result: "delivered" | "gone" | "failed"
  }
  | {
    readonly _tag: "snapshot"
    readonly id: number
    readonly result: Snapshot | undefined
    readonly error?: ErrorInfo
  }
  | { readonly _tag: "tick" }
  | { readonly _tag: "close"; readonly why: string }

export interface EngineState {
  readonly options: EngineOptions
  policy: ApprovalPolicy
  now: number
  /** Counts inputs: the clock of fences. */
  inputNo: number
  seq: number
  origin: Origin
  phase: "opening" | "open" | "closing" | "closed"
  closing: { readonly why: string; readonly deadline: number } | undefined
  connection: ConnectionStatus["_tag"]
  live: boolean
  generation: number
  prompts: Map<PromptId, PromptRecord>
  promptByKey: Map<string, PromptRecord>
  readonly queue: PromptQueue.PromptQueue<PromptRecord>
  inflight: PromptRecord | undefined
  steering: Array<PromptRecord>
  turn: TurnRecord | undefined
  /** Keys of the open turn and of the last settled ones. */
  turnByKey: Map<string, TurnRecord>
  settled: Map<TurnRecord, { noticed: boolean }>
  /** A turn that we settled while the agent may still work on it: nothing new is sent until it stopped. */
  zombie: { probeAt: number; attempts: number } | undefined
  items: Map<string, ItemRecord>
  /** Keys of items that are not known, whose deltas were dropped. */
  missed: Set<string>
  /** Keys of the last items that were completed and forgotten: one that is told again is not new. */
  readonly doneItems: Set<string>
  requests: Map<RequestId, RequestRecord>
  requestByKey: Map<string, RequestRecord>
  grants: Set<string>
  snapshot: SnapshotRecord | undefined
  /** The snapshot that is being applied in this very input. */
  reading: SnapshotRecord | undefined
  snapshotWanted: boolean
  /** The last input with work that had no place: a snapshot asked for later tells of it. */
  passedBy: number
  /** Snapshots in a row that ended before all was told. */
  rereads: number
  /** The input that ended a turn last, other than a snapshot. */
  endedAt: number
  /** The input that ended a turn last. */
  settledAt: number
  snapshotRetryAt: number | undefined
  snapshotNo: number
  resyncing: boolean
  attached: number
  /** By their path; the newest are remembered after their end, so that a repetition is known as one. */
  subagents: Map<string, SubagentRecord>
  usage: Usage | undefined
  wakeAt: number | undefined
  events: Array<SessionEvent>
  commands: Array<EngineCommand>
}

export const make = (options: EngineOptions, policy: ApprovalPolicy): EngineState => ({
  options,
  policy,
  now: 0,
  inputNo: 0,
  seq: options.firstSeq,
  origin: "native",
  phase: "opening",
  closing: undefined,
  connection: "connecting",
  live: false,
  generation: 0,
  prompts: new Map(),
  promptByKey: new Map(),
  queue: PromptQueue.make(options.limits.queue),
  inflight: undefined,
  steering: [],
  turn: undefined,
  turnByKey: new Map(),
  settled: new Map(),
  zombie: undefined,
  items: new Map(),
  missed: new Set(),
  doneItems: new Set(),
  requests: new Map(),
  requestByKey: new Map(),
  grants: new Set(),
  snapshot: undefined,
  reading: undefined,
  snapshotWanted: false,
  passedBy: 0,
  rereads: 0,
  endedAt: 0,
  settledAt: 0,
  snapshotRetryAt: undefined,
  snapshotNo: 0,
  resyncing: false,
  attached: 0,
  subagents: new Map(),
  usage: undefined,
  wakeAt: undefined,
  events: [],
  commands: []
})

/** How many settled turns, final prompts and settled requests are remembered, to judge late frames by. */
export const remembered = 256
