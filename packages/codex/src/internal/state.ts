/** What is remembered of one thread while its messages are read. All of it is bounded. */
import type { FileChange, ItemContent } from "@reins/core/Item"
import type { RequestSignal, TurnVerdict } from "@reins/core/Signal"

export interface ItemRecord {
  readonly key: string
  readonly type: string
  readonly turn: string
  /** As it was seen last, while it is open. */
  content: ItemContent | undefined
  /** Whether text of it was told: of a chain of thought its summary, or itself. */
  spoken: "no" | "text" | "summary"
  open: boolean
  voided: boolean
  changes: ReadonlyArray<FileChange>
}

/** A request of the agent that is open. */
export interface AskRecord {
  readonly id: number | string
  readonly method: string
  readonly params: unknown
  readonly signal: RequestSignal
}

export interface ThreadState {
  readonly threadId: string
  /** Names the process: each numbers its requests from 0. */
  readonly life: string
  /** The turn that runs. */
  turn: string | undefined
  /** The prompt that was sent last, and the turn that took it, once Codex has answered. */
  sent: { readonly key: string; readonly turn: string | undefined } | undefined
  /** A turn that began before that answer: whose it is will be known with it. */
  held: string | undefined
  /** Turns that are over: what their background commands say still belongs to them. Newest last. */
  readonly ended: Set<string>
  readonly items: Map<string, ItemRecord>
  /** Text items of the attempt that runs: they are void when it is tried again. */
  attempt: Array<string>
  /** Attempts of the model call that failed in a row. */
  retries: number
  readonly asks: Map<string, AskRecord>
  /** Threads of subagents, with the path to each. */
  readonly children: Map<string, ReadonlyArray<string>>
}

/** Bounds of what is remembered. */
export const limits = { items: 4_096, ended: 256, children: 256 }

/** `asks`: requests that the connection before this one has left open. */
export const make = (
  threadId: string,
  asks: ReadonlyMap<string, AskRecord> = new Map(),
  life = ""
): ThreadState => ({
  threadId,
  life,
  turn: undefined,
  sent: undefined,
  held: undefined,
  ended: new Set(),
  items: new Map(),
  attempt: [],
  retries: 0,
  asks: new Map(asks),
  children: new Map()
})

/** The newest stays, the oldest leaves. */
export const remember = <K, V>(map: Map<K, V>, key: K, value: V, max: number): void => {
  map.delete(key)
  map.set(key, value)
  if (map.size <= max) return
  const [oldest] = map.keys()
  if (oldest !== undefined) map.delete(oldest)
}

/** The name of a request, over all processes of a session: numbers and texts are apart. */
export const askKey = ({ life }: Pick<ThreadState, "life">, id: number | string): string =>
  typeof id === "number" ? `${life}#${id}` : `${life}:${id}`

export const verdictOf = (
  status: string,
  error: () => Extract<TurnVerdict, { _tag: "failed" }>["error"]
): TurnVerdict => {
  switch (status) {
    case "completed":
      return { _tag: "completed", stopReason: "endTurn" }
    case "interrupted":
      return { _tag: "interrupted", by: "provider" }
    case "failed":
      return { _tag: "failed", error: error() }
    case "inProgress":
      return { _tag: "running" }
    default:
      return { _tag: "unfinished" }
  }
}

/** Spread over a signal of a subagent: its turns are told as part of the turn that runs, as nobody else knows them. */
export type Path = { readonly agentPath?: ReadonlyArray<string>; readonly turn?: string }

/** Where a message belongs: to the thread itself, or to one of its subagents. */
export const pathOf = (state: ThreadState, threadId: unknown): Path | undefined => {
  if (threadId === state.threadId) return {}
  const agentPath = typeof threadId === "string" ? state.children.get(threadId) : undefined
  if (agentPath === undefined) return undefined
  return state.turn === undefined ? { agentPath } : { agentPath, turn: state.turn }
}

/** Whether a message is of this thread or of a subagent of it. */
export const owns = (state: ThreadState, threadId: string): boolean =>
  threadId === state.threadId || state.children.has(threadId)
