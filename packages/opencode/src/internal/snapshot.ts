/**
 * OpenCode's side read at one moment. What is stored is judged here; what the stream told stays the stream's: of the
 * state only the knowledge of what belongs to what is completed.
 */
import type { RequestSignal, Signal, Snapshot, SnapshotRequest, TurnVerdict } from "@reins/core/Signal"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import * as errors from "./errors.ts"
import * as items from "./items.ts"
import * as messages from "./messages.ts"
import * as requests from "./requests.ts"
import type { MessageRecord, NormaliserState } from "./state.ts"
import { adopt, limits, nativeOf, owns, remember, turnOf } from "./state.ts"

export interface Read {
  /** `GET /session/status`: the sessions that are not idle. */
  readonly status: Readonly<Record<string, Wire.SessionStatus>>
  /** `GET /session/:id/message`, oldest first. */
  readonly messages: ReadonlyArray<Wire.MessageWithParts>
  /** `unreadable`: the server cannot list them now; those that the stream told are taken to be open. */
  readonly permissions: ReadonlyArray<Wire.Permission> | "unreadable"
  readonly questions: ReadonlyArray<Wire.Question>
  readonly request: SnapshotRequest
  /** `GET /session/:id/todo`, where it was asked. */
  readonly todos?: unknown
  /** `GET /session/:id/children`, where it was asked. */
  readonly children?: ReadonlyArray<Wire.Session>
  /** The messages of subagents' sessions by their id, where they were asked. */
  readonly childMessages?: Readonly<Record<string, ReadonlyArray<Wire.MessageWithParts>>>
  /** Whether `messages` begins with the first of the conversation; default: yes. */
  readonly whole?: boolean
}

const decodeAny = Schema.decodeUnknownOption(Wire.AnyPart)
const decodeText = Schema.decodeUnknownOption(Wire.TextPart)
const decodeTool = Schema.decodeUnknownOption(Wire.ToolPart)
const decodeCompaction = Schema.decodeUnknownOption(Wire.CompactionPart)

type Part =
  | { readonly type: "text"; readonly part: Wire.TextPart }
  | { readonly type: "tool"; readonly part: Wire.ToolPart }
  | { readonly type: "compaction"; readonly part: Wire.CompactionPart }
  | { readonly type: "named" }
  | { readonly type: "step" }
  | { readonly type: "other" }

const partOf = (value: unknown): Part => {
  const any = decodeAny(value)
  if (any._tag === "None") return { type: "other" }
  switch (any.value.type) {
    case "text":
    case "reasoning": {
      const text = decodeText(value)
      return text._tag === "Some" ? { type: "text", part: text.value } : { type: "other" }
    }
    case "tool": {
      const tool = decodeTool(value)
      return tool._tag === "Some" ? { type: "tool", part: tool.value } : { type: "other" }
    }
    case "compaction": {
      const compaction = decodeCompaction(value)
      return compaction._tag === "Some" ? { type: "compaction", part: compaction.value } : { type: "other" }
    }
    case "file":
    case "agent":
    case "subtask":
      return { type: "named" }
    case "step-start":
      return { type: "step" }
    default:
      return { type: "other" }
  }
}

export interface Entry {
  readonly info: Wire.Message
  readonly record: MessageRecord
  readonly parts: ReadonlyArray<Part>
  readonly turn: string
}

/** Whether a user message was written by the server to go on with the turn before it. */
const isOwn = (parts: ReadonlyArray<Part>, unfinished: boolean): boolean => {
  let own = false
  for (const entry of parts) {
    if (entry.type === "named") return false
    if (entry.type === "compaction") {
      if (entry.part.auto !== true) return false
      own = true
    }
    if (entry.type === "text") {
      if (entry.part.synthetic === true) {
        own ||= unfinished || entry.part.metadata?.["compaction_continue"] === true
      } else if (entry.part.ignored !== true) return false
    }
  }
  return own
}

/** Whether the agent goes on after a message by itself. */
const isUnfinished = (info: Wire.Message | undefined): boolean =>
  info !== undefined && (messages.isSummary(info) ||
    (info.error === undefined && messages.stopReasonOf(info.finish) === undefined))

/** Reads the messages in order and learns which turn each belongs to. */
export const learn = (state: NormaliserState, read: ReadonlyArray<Wire.MessageWithParts>): ReadonlyArray<Entry> => {
  const entries: Array<Entry> = []
  let last: Wire.Message | undefined
  let turn: string | undefined
  for (const message of read) {
    const { info } = message
    const parts = message.parts.map(partOf)
    const record = messages.recordOf(state, info)
    if (info.role === "user" && record.prompt === "unknown" && turn !== undefined) {
      if (isOwn(parts, isUnfinished(last))) {
        record.prompt = "own"
        record.turn = turn
        remember(state.aliases, info.id, turn, limits.aliases)
      }
    }
    const own = record.turn ?? turnOf(state, info.role === "user" ? info.id : info.parentID ?? info.id)
    if (info.role === "assistant") {
      last = info
      turn = own
    } else if (!isUnfinished(last) || !isComplete(last)) {
      // A prompt that came while a step ran joins that turn; one after a step that died with its server does not.
      turn = own
    }
    for (const entry of parts) {
      if (entry.type === "tool") messages.toolRecord(state, entry.part)
      // A retry voids it, if it still streams.
      if (entry.type === "text" && info.role === "assistant" && entry.part.time?.end === undefined) {
        messages.textRecord(state, entry.part)
      }
    }
    entries.push({ info, record, parts, turn: own })
  }
  state.turn ??= turn
  return entries
}

const isComplete = (info: Wire.Message | undefined): boolean => info?.time?.completed !== undefined

/** What the stored messages say of a turn. */
export const verdictOf = (
  state: NormaliserState,
  key: string,
  entries: ReadonlyArray<Entry>,
  busy: boolean
): TurnVerdict | undefined => {
  let asked: Entry | undefined
  let last: Entry | undefined
  let answer: Entry | undefined
  let newest: Entry | undefined
  for (const entry of entries) {
    if (entry.info.role === "assistant") newest = entry
    if (entry.turn !== key) continue
    if (entry.info.role === "assistant") {
      last = entry
      if (!entry.record.summary) answer = entry
    } else asked = entry
  }
  if (last === undefined) {
    if (asked === undefined) return undefined
    return busy && asked === entries.at(-1) ? { _tag: "running" } : { _tag: "unfinished" }
  }
  // The newest work of a busy session is not over, whatever it says of itself: errors are survived, steps follow.
  if (busy && last === newest) return { _tag: "running" }
  // A summary made by hand is the whole turn; any other stands for nothing.
  const { info } = last.record.summary && last.info.error === undefined ? answer ?? last : last
  const judgement = info.error === undefined ? undefined : errors.judge(info.error)
  if (judgement?._tag === "error") return { _tag: "failed", error: judgement.error }
  if (judgement?._tag === "finish") return { _tag: "completed", stopReason: judgement.stopReason }
  const loop = state.loops.get(key)
  if (judgement?._tag === "aborted") {
    // The endless loop ends by an abort only, and the abort is not what went wrong.
    return loop === undefined
      ? { _tag: "interrupted", by: "provider" }
      : { _tag: "failed", error: errors.endlessLoop(loop) }
  }
  const stopReason = messages.stopReasonOf(info.finish)
  if (stopReason !== undefined && isComplete(info)) return { _tag: "completed", stopReason }
  // The session is idle before the message that was aborted says so.
  return loop === undefined || busy ? { _tag: "unfinished" } : { _tag: "failed", error: errors.endlessLoop(loop) }
}

const fateOf = (key: string, entries: ReadonlyArray<Entry>, busy: boolean): "taken" | "held" | "absent" => {
  let found = false
  let newest: string | undefined
  for (const { info } of entries) {
    if (info.role === "assistant") {
      if (info.parentID === key) return "taken"
    } else {
      newest = info.id
      found ||= info.id === key
    }
  }
  if (!found) return "absent"
  return busy && newest === key ? "taken" : "held"
}

interface Telling {
  readonly state: NormaliserState
  readonly read: Pick<Read, "childMessages" | "status">
  readonly out: Array<Signal>
  complete: boolean
}

/** Whether a text is void: it has no end, and its step is or was tried again, or its message is over. */
const isVoid = (read: Telling["read"], entry: Entry, index: number, part: Wire.TextPart): boolean => {
  if (part.time?.end !== undefined || part.text.length > 0) return false
  return isComplete(entry.info) || read.status[entry.info.sessionID]?.type === "retry" ||
    entry.parts.slice(index + 1).some((later) => later.type === "step")
}

/** The items of a message. A text that is still "" says nothing: it is streaming, or was lost with a server. */
const tell = (telling: Telling, entry: Entry, context: { readonly turn?: string }): void => {
  const { out, state } = telling
  const { info } = entry
  const native = (id: string | undefined) =>
    nativeOf(state, undefined, { session: info.sessionID, message: info.id, part: id })
  const push = (id: string, shown: items.Shown) =>
    out.push({ _tag: "item", key: id, ...context, ...shown, ...native(id) })
  if (info.role === "user") {
    if (info.sessionID !== state.sessionId) return
    if (!state.aliases.has(info.id)) out.push({ _tag: "prompt", key: info.id, ...context, ...native(undefined) })
    messages.tellDiff(state, entry.record, info, undefined, out)
    for (const value of entry.parts) {
      if (value.type === "text" && value.part.synthetic !== true && value.part.ignored !== true) {
        push(value.part.id, items.ofUser(value.part))
      }
      if (value.type === "compaction") push(value.part.id, items.ofCompaction(value.part))
    }
    return
  }
  for (const [index, value] of entry.parts.entries()) {
    if (value.type === "text") {
      const { part } = value
      if (isVoid(telling.read, entry, index, part))
        out.push({ _tag: "itemVoided", key: part.id, ...context, ...native(part.id) })
      else push(part.id, items.ofText(part, entry.record.summary))
    }
    if (value.type === "tool") tellTool(telling, value.part, entry, push)
  }
}

const tellTool = (
  telling: Telling,
  part: Wire.ToolPart,
  entry: Entry,
  push: (id: string, shown: items.Shown) => void
): void => {
  const { state } = telling
  const record = messages.toolRecord(state, part)
  const path = messages.pathOfTask(state, part)
  // The stream told its end already: what was read is the same or older. A copy, for what was read may be older than
  // what the stream tells next.
  if (!record.final) push(part.id, items.ofTool(part, { ...record }, path))
  if (path !== undefined) tellChild(telling, path, part, entry)
}

/** A subagent that a tool of the turn started. */
const tellChild = (telling: Telling, path: ReadonlyArray<string>, part: Wire.ToolPart, entry: Entry): void => {
  const { out, read, state } = telling
  const child = state.children.get(path.at(-1) ?? "")
  if (child === undefined) return
  child.turn ??= entry.turn
  const input = part.state.input ?? {}
  const agent = child.agent ?? (typeof input["subagent_type"] === "string" ? input["subagent_type"] : undefined)
  out.push({
    _tag: "subagentStarted",
    agentPath: path,
    turn: entry.turn,
    ...(agent === undefined ? undefined : { agent }),
    ...(child.title === undefined ? undefined : { title: child.title })
  })
  const stored = read.childMessages?.[child.id]
  if (stored === undefined) telling.complete = false
  else {
    const context = { turn: entry.turn, agentPath: path }
    for (const message of stored) {
      const parts = message.parts.map(partOf)
      const record = messages.recordOf(state, message.info)
      tell(telling, { info: message.info, record, parts, turn: entry.turn }, context)
    }
  }
  const shown = items.ofTool(part, { ...messages.toolRecord(state, part) }, path)
  if (shown.status === undefined) return
  out.push({
    _tag: "subagentEnded",
    agentPath: path,
    turn: entry.turn,
    verdict: shown.status === "completed"
      ? { _tag: "completed", stopReason: "endTurn" }
      : shown.status === "interrupted"
      ? { _tag: "interrupted", by: "provider" }
      : { _tag: "failed", error: errors.ofSubagent(part.state.error ?? "The subagent failed.") }
  })
}

const requestsOf = (state: NormaliserState, read: Read): ReadonlyArray<RequestSignal> => {
  const asks = read.permissions === "unreadable" ? [...state.asks.values()] : read.permissions
  return [
    ...asks.filter((ask) => owns(state, ask.sessionID)).map((ask) => requests.ofPermission(state, ask, undefined)),
    ...read.questions.filter((ask) => owns(state, ask.sessionID)).map((ask) =>
      requests.ofQuestion(state, ask, undefined)
    )
  ]
}

/** Where that begins which nobody was told of; `found`: whether that is certain. */
const placeOf = (
  entries: ReadonlyArray<Entry>,
  { request, whole = true }: Read,
  busy: boolean
): { readonly from: number; readonly found: boolean } => {
  const { after } = request
  if (after === undefined) return { from: entries.length, found: true }
  if (after === null) {
    // Of a conversation that is taken over, the turn that runs now is told.
    const running = entries.at(-1)?.turn
    return { from: busy ? entries.findIndex((entry) => entry.turn === running) : entries.length, found: true }
  }
  if (after.length === 0) return { from: 0, found: whole }
  const told = new Set(after)
  const last = entries.findLastIndex((entry) => told.has(entry.turn) || told.has(entry.info.id))
  return last >= 0 ? { from: last + 1, found: true } : { from: entries.length, found: entries.length === 0 }
}

/** The newest turn that is over. */
const newestOf = (entries: ReadonlyArray<Entry>, busy: boolean): Pick<Snapshot, "newest"> => {
  const running = busy ? entries.at(-1)?.turn : undefined
  return { newest: entries.findLast((entry) => entry.turn !== running)?.turn ?? null }
}

/** What stored messages tell, without those of subagents. */
export const signalsOf = (
  state: NormaliserState,
  entries: ReadonlyArray<Entry>,
  status: Read["status"]
): ReadonlyArray<Signal> => {
  const telling: Telling = { state, read: { status }, out: [], complete: true }
  for (const entry of entries) tell(telling, entry, { turn: entry.turn })
  return telling.out
}
const isEmpty = (todos: unknown): boolean => Array.isArray(todos) && todos.length === 0

/** Judges what was read. */
export const build = (state: NormaliserState, read: Read): Snapshot => {
  const { request } = read
  const status = read.status[state.sessionId]?.type ?? "idle"
  const busy = status !== "idle"
  for (const child of read.children ?? []) adopt(state, child)
  const entries = learn(state, read.messages)

  const prompts: Record<string, "taken" | "held" | "absent"> = {}
  for (const key of request.prompts) prompts[key] = fateOf(key, entries, busy)

  const turns: Record<string, TurnVerdict> = {}
  const asked = new Set<string>([...request.turns, ...request.prompts])
  for (const key of request.turns) {
    const verdict = verdictOf(state, key, entries, busy)
    if (verdict !== undefined) turns[key] = verdict
  }

  const telling: Telling = { state, read, out: [], complete: true }
  const place = placeOf(entries, read, busy)
  let newer = false
  for (const [index, entry] of entries.entries()) {
    if (asked.has(entry.turn) || index >= place.from) newer = true
    if (!newer) continue
    tell(telling, entry, { turn: entry.turn })
    if (request.after === undefined || Object.hasOwn(turns, entry.turn)) continue
    const verdict = verdictOf(state, entry.turn, entries, busy)
    if (verdict !== undefined) turns[entry.turn] = verdict
  }
  // The stream's own word is newer than what was read, or the same.
  if (read.todos !== undefined && !state.planSeen && !(state.plan === "" && isEmpty(read.todos))) {
    messages.tellPlan(state, read.todos, state.sessionId, undefined, undefined, telling.out)
  }
  return {
    activity: busy ? "busy" : "idle",
    prompts,
    turns,
    signals: telling.out,
    requests: requestsOf(state, read),
    complete: telling.complete && place.found && read.permissions !== "unreadable",
    ...newestOf(entries, busy)
  }
}
