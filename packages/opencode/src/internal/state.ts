/** What the normaliser remembers of a session and its subagents: whose message, whose part, whose turn. */
import type { Native } from "@reins/core/SessionEvent"
import type { SignalContext, TurnVerdict } from "@reins/core/Signal"
import type { Permission } from "../OpenCodeSchema.ts"

export interface MessageRecord {
  readonly id: string
  readonly sessionId: string
  readonly role: string
  /** The root's turn that it belongs to. */
  turn: string | undefined
  /** The summary of a compaction: it ends no turn. */
  readonly summary: boolean
  /** For a user message: whether it was told as a prompt, is known to be the server's own, or is not known yet. */
  prompt: "unknown" | "told" | "own"
  /** Whether the stream showed it; a snapshot alone tells nothing but whose it is. */
  seen: boolean
  /** The stop reason that was told. */
  finish: string | undefined
  errorTold: boolean
}

export interface PartRecord {
  readonly id: string
  readonly kind: "text" | "reasoning" | "tool"
  readonly sessionId: string
  readonly messageId: string
  /** The tool's name at first sight: `invalid` later is a fate, not a name. */
  readonly tool: string
  /** The MCP server that the tool belongs to. */
  readonly server: string | undefined
  /** It may grow. */
  open: boolean
  /** Its end was told. */
  final: boolean
  voided: boolean
  /** The output told so far, while the tool runs. */
  output: string
  input: Readonly<Record<string, unknown>> | undefined
}

export interface ChildRecord {
  readonly id: string
  readonly path: ReadonlyArray<string>
  /** The root's turn that its work belongs to. */
  turn: string | undefined
  agent: string | undefined
  title: string | undefined
  started: boolean
  verdict: TurnVerdict
  unknownSteps: number
}

/** An ask that waits for the frame that follows it and tells the input of the call. */
export interface HeldAsk {
  readonly ask: Permission
  readonly event: WireEvent
}

/** A frame of the event stream, its payload parsed. */
export interface WireEvent {
  readonly type: string
  readonly properties: unknown
}

export interface NormaliserState {
  readonly sessionId: string
  readonly raw: boolean
  /** MCP servers whose tools are told from others by their names. */
  readonly mcpServers: ReadonlyArray<string>
  readonly children: Map<string, ChildRecord>
  readonly messages: Map<string, MessageRecord>
  readonly parts: Map<string, PartRecord>
  /** The part of a call of a tool, by message and call. */
  readonly calls: Map<string, string>
  /** User messages that the server wrote itself, and the turn that they go on with. */
  readonly aliases: Map<string, string>
  readonly held: Array<HeldAsk>
  /** Asks for permission that the stream told and nobody answered yet. */
  readonly asks: Map<string, Permission>
  /** Requests that we answered ourselves. */
  readonly answered: Map<string, true>
  /** Steps whose usage was told. */
  readonly steps: Map<string, true>
  /** The turn that runs, or ran last. */
  turn: string | undefined
  busy: boolean
  /** Answers of the model in a row that ended without a finish reason. */
  unknownSteps: number
  /** Turns that were caught in the endless loop, and how many such answers they had. */
  readonly loops: Map<string, number>
  title: string | undefined
  diff: string
  /** The list of work that was told last, also on an earlier connection of the same session. */
  plan: string
  /** The list of work was told on this connection: what a snapshot reads of it may be older. */
  planSeen: boolean
  /** Turns are being taken back: the diffs told of that are those of what is gone. */
  reverting: boolean
  /** The words of the last `session.error` since the session was seen to work. */
  lastError: string | undefined
}

/** How much is remembered; what is older is judged by the engine and by snapshots. */
export const limits = {
  messages: 1024,
  parts: 4096,
  calls: 4096,
  aliases: 256,
  steps: 4096,
  children: 256,
  loops: 64,
  asks: 256,
  answered: 256
}

export const make = (options: {
  readonly sessionId: string
  readonly raw?: boolean
  readonly mcpServers?: ReadonlyArray<string>
  /** The state of the connection before this one: the asks that it knew are still open until told otherwise. */
  readonly after?: NormaliserState
}): NormaliserState => ({
  sessionId: options.sessionId,
  raw: options.raw === true,
  mcpServers: options.mcpServers ?? [],
  children: new Map(),
  messages: new Map(),
  parts: new Map(),
  calls: new Map(),
  aliases: new Map(),
  held: [],
  asks: new Map(options.after?.asks),
  answered: new Map(options.after?.answered),
  steps: new Map(),
  turn: undefined,
  busy: false,
  unknownSteps: 0,
  loops: new Map(),
  title: undefined,
  diff: "[]",
  plan: "",
  planSeen: false,
  reverting: false,
  lastError: undefined
})

/** Keeps an entry and forgets the oldest beyond the limit. */
export const remember = <V>(map: Map<string, V>, key: string, value: V, limit: number): V => {
  map.set(key, value)
  if (map.size > limit) {
    for (const oldest of map.keys()) {
      map.delete(oldest)
      break
    }
  }
  return value
}

export const callKey = (messageId: string, callId: string): string => `${messageId}/${callId}`

/** Whether frames of this session are for this state. */
export const owns = (state: NormaliserState, sessionId: string): boolean =>
  sessionId === state.sessionId || state.children.has(sessionId)

/** The turn that a user message belongs to: its own, or the one that it goes on with. */
export const turnOf = (state: NormaliserState, messageId: string): string => state.aliases.get(messageId) ?? messageId

/** Whose signal it is: turn and, for a subagent, its path. */
export const contextOf = (
  state: NormaliserState,
  sessionId: string,
  messageId: string | undefined
): Pick<SignalContext, "turn" | "agentPath"> => {
  const child = state.children.get(sessionId)
  if (child !== undefined) {
    return { agentPath: child.path, ...(child.turn === undefined ? undefined : { turn: child.turn }) }
  }
  const turn = messageId === undefined ? undefined : state.messages.get(messageId)?.turn
  return turn === undefined ? {} : { turn }
}

/** The frame behind a signal: its type and ids, and itself only where that was asked for. */
export const nativeOf = (
  state: NormaliserState,
  event: WireEvent | undefined,
  ids: Readonly<Record<string, string | undefined>>
): { readonly native: Native } => {
  const present: Record<string, string> = {}
  for (const [name, id] of Object.entries(ids)) {
    if (id !== undefined) present[name] = id
  }
  return {
    native: {
      ids: present,
      ...(event === undefined ? undefined : { method: event.type }),
      ...(state.raw && event !== undefined ? { raw: event.properties } : undefined)
    }
  }
}

/** Registers a subagent's session below its parent; `undefined` when the parent is not of this tree. */
export const adopt = (
  state: NormaliserState,
  session: {
    readonly id: string
    readonly parentID?: string
    readonly title?: string
    readonly agent?: string
  }
): ChildRecord | undefined => {
  const known = state.children.get(session.id)
  if (known !== undefined) {
    known.title = session.title ?? known.title
    known.agent ??= agentOf(session)
    return known
  }
  if (session.parentID === undefined || session.id === state.sessionId) return undefined
  const parent = state.children.get(session.parentID)
  if (parent === undefined && session.parentID !== state.sessionId) return undefined
  return remember(state.children, session.id, {
    id: session.id,
    path: [...(parent?.path ?? []), session.id],
    turn: parent === undefined ? state.turn : parent.turn,
    agent: agentOf(session),
    title: session.title,
    started: false,
    verdict: { _tag: "unfinished" },
    unknownSteps: 0
  }, limits.children)
}

/** A subagent's session names its agent in its title when it does not name it itself. */
const agentOf = (session: { readonly title?: string; readonly agent?: string }): string | undefined =>
  session.agent ?? /\(@([\w./-]+) subagent\)\s*$/.exec(session.title ?? "")?.[1]
