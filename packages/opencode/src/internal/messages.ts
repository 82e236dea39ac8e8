/** Messages and their parts as signals. */
import type { Signal } from "@reins/core/Signal"
import type { StopReason } from "@reins/core/Turn"
import type { Usage } from "@reins/core/Usage"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import * as errors from "./errors.ts"
import * as items from "./items.ts"
import type { ChildRecord, MessageRecord, NormaliserState, PartRecord, WireEvent } from "./state.ts"
import { adopt, callKey, contextOf, limits, nativeOf, remember, turnOf } from "./state.ts"

/** Answers without a finish reason in a row that are taken for the endless loop. */
export const maxUnknownSteps = 3

/** The stop reason behind a finish word; `undefined` for the words after which the agent goes on. */
export const stopReasonOf = (finish: string | undefined): StopReason | undefined => {
  switch (finish) {
    case undefined:
    case "tool-calls":
    case "unknown":
      return undefined
    case "stop":
      return "endTurn"
    case "length":
      return "maxTokens"
    case "content-filter":
    case "content_filter":
      return "refusal"
    default:
      return finish
  }
}

export const isSummary = (message: Wire.Message): boolean =>
  message.role === "assistant" && (message.summary === true || message.mode === "compaction")

/** Finds or makes the record of a message; says nothing. */
export const recordOf = (state: NormaliserState, message: Wire.Message): MessageRecord => {
  const known = state.messages.get(message.id)
  if (known !== undefined) return known
  const root = message.sessionID === state.sessionId
  const turn = !root
    ? state.children.get(message.sessionID)?.turn
    : message.role === "user"
    ? turnOf(state, message.id)
    : message.parentID === undefined
    ? undefined
    : turnOf(state, message.parentID)
  return remember(state.messages, message.id, {
    id: message.id,
    sessionId: message.sessionID,
    role: message.role,
    turn,
    summary: isSummary(message),
    prompt: "unknown",
    seen: false,
    finish: undefined,
    errorTold: false
  }, limits.messages)
}

const tellPrompt = (
  state: NormaliserState,
  record: MessageRecord,
  text: string | undefined,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  if (record.prompt === "told") return
  record.prompt = "told"
  record.turn = record.id
  state.aliases.delete(record.id)
  if (!state.busy || state.turn === undefined) state.turn = record.id
  out.push({
    _tag: "prompt",
    key: record.id,
    turn: record.id,
    ...(text === undefined ? undefined : { text }),
    ...nativeOf(state, event, { session: record.sessionId, message: record.id })
  })
}

/** A user message that the server wrote itself goes on with the turn that runs, if it is one of those that do. */
const goesOn = (
  state: NormaliserState,
  record: MessageRecord,
  certain: boolean,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  if (record.prompt !== "unknown") return
  const turn = state.turn
  if (turn === undefined || turn === record.id || !(certain || state.busy)) {
    tellPrompt(state, record, undefined, event, out)
    return
  }
  record.prompt = "own"
  record.turn = turn
  remember(state.aliases, record.id, turn, limits.aliases)
}

/** First work of a subagent, or work after it had ended. */
export const startChild = (
  state: NormaliserState,
  child: ChildRecord,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  if (child.started) return
  child.started = true
  child.verdict = { _tag: "unfinished" }
  child.unknownSteps = 0
  out.push({
    _tag: "subagentStarted",
    agentPath: child.path,
    ...(child.turn === undefined ? undefined : { turn: child.turn }),
    ...(child.agent === undefined ? undefined : { agent: child.agent }),
    ...(child.title === undefined ? undefined : { title: child.title }),
    ...nativeOf(state, event, { session: child.id })
  })
}

/** The head of a message was created or changed. */
export const seeMessage = (
  state: NormaliserState,
  message: Wire.Message,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  const record = recordOf(state, message)
  const child = state.children.get(message.sessionID)
  const first = !record.seen
  record.seen = true
  if (message.role !== "assistant") {
    if (child === undefined) tellDiff(state, record, message, event, out)
    if (child === undefined || !first) return
    if (!child.started && child.path.length === 1) child.turn = state.turn
    record.turn = child.turn
    startChild(state, child, event, out)
    return
  }
  if (child !== undefined) {
    child.agent ??= message.agent
    startChild(state, child, event, out)
    const judgement = message.error === undefined ? undefined : errors.judge(message.error)
    const stopReason = judgement?._tag === "finish" ? judgement.stopReason : stopReasonOf(message.finish)
    if (judgement?._tag === "aborted") child.verdict = { _tag: "interrupted", by: "provider" }
    else if (judgement?._tag === "error") child.verdict = { _tag: "failed", error: judgement.error }
    else if (stopReason !== undefined && !record.summary) child.verdict = { _tag: "completed", stopReason }
    return
  }
  const turn = record.turn
  if (turn === undefined) return
  if (first) {
    const parent = message.parentID === undefined ? undefined : state.messages.get(message.parentID)
    if (parent?.prompt === "unknown") tellPrompt(state, parent, undefined, event, out)
    state.turn = turn
    out.push(record.summary ? { _tag: "turnCompacting", turn } : { _tag: "turnProgress", turn })
  }
  const judgement = message.error === undefined ? undefined : errors.judge(message.error)
  const stopReason = judgement?._tag === "finish" ? judgement.stopReason : stopReasonOf(message.finish)
  if (stopReason !== undefined && judgement?._tag !== "error" && judgement?._tag !== "aborted") {
    if (!record.summary && record.finish !== stopReason) {
      record.finish = stopReason
      out.push({ _tag: "turnFinish", turn, stopReason })
    }
  }
  if (judgement?._tag === "error" && !record.errorTold) {
    record.errorTold = true
    // Mostly `session.error` told it before the end of the turn, and the message repeats it afterwards.
    const repeats = message.error !== undefined && state.lastError === errors.messageOf(message.error)
    if (!repeats) out.push({ _tag: "turnError", turn, error: judgement.error })
  }
}

const decodeSummary = Schema.decodeUnknownOption(Schema.Struct({ diffs: Schema.Array(Wire.FileDiff) }))

/** The files that a turn changed so far, which the server keeps at the user's message; in a git repository only. */
export const tellDiff = (
  state: NormaliserState,
  record: MessageRecord,
  message: Wire.Message,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  const summary = decodeSummary(message.summary)
  if (summary._tag === "None") return
  const files = items.diffOf(summary.value.diffs)
  const key = `${message.id}${JSON.stringify(files)}`
  if (key === state.diff || (files.length === 0 && !state.diff.startsWith(message.id))) return
  state.diff = key
  const turn = record.turn ?? record.id
  out.push({
    _tag: "diff",
    files,
    // The last one comes behind the end of the turn, and is told all the same.
    ...(state.busy ? { turn } : undefined),
    ...nativeOf(state, event, { session: message.sessionID, message: message.id })
  })
}

/** A part of a user message: what makes the message a prompt, or shows that the server wrote it. */
export const seeUserPart = (
  state: NormaliserState,
  record: MessageRecord,
  part: Wire.AnyPart,
  text: Wire.TextPart | undefined,
  compaction: Wire.CompactionPart | undefined,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  if (record.sessionId !== state.sessionId) return
  if (compaction !== undefined) {
    // One that was asked for by hand stands for itself; an automatic one interrupts the turn that runs.
    if (compaction.auto === true) goesOn(state, record, true, event, out)
    else tellPrompt(state, record, undefined, event, out)
    const turn = record.turn ?? record.id
    out.push({
      _tag: "item",
      key: compaction.id,
      turn,
      ...items.ofCompaction(compaction),
      ...nativeOf(state, event, { session: part.sessionID, message: part.messageID, part: part.id })
    })
    out.push({ _tag: "turnCompacting", turn })
    return
  }
  if (text === undefined) {
    // A file, an agent or a task was named by somebody.
    tellPrompt(state, record, undefined, event, out)
    return
  }
  if (text.synthetic === true || text.ignored === true) {
    if (text.synthetic === true) goesOn(state, record, text.metadata?.["compaction_continue"] === true, event, out)
    return
  }
  tellPrompt(state, record, text.text, event, out)
  if (state.parts.get(text.id)?.final === true) return
  remember(state.parts, text.id, partRecord(text.id, "text", text, "", true), limits.parts)
  out.push({
    _tag: "item",
    key: text.id,
    turn: record.turn ?? record.id,
    ...items.ofUser(text),
    ...nativeOf(state, event, { session: part.sessionID, message: part.messageID, part: part.id })
  })
}

const partRecord = (
  id: string,
  kind: PartRecord["kind"],
  part: { readonly sessionID: string; readonly messageID: string },
  tool: string,
  final: boolean,
  server?: string
): PartRecord => ({
  id,
  kind,
  sessionId: part.sessionID,
  messageId: part.messageID,
  tool,
  server,
  open: !final,
  final,
  voided: false,
  output: "",
  input: undefined
})

/** Finds or makes the record of a text part. */
export const textRecord = (state: NormaliserState, part: Wire.TextPart): PartRecord =>
  state.parts.get(part.id) ??
    remember(state.parts, part.id, partRecord(part.id, part.type, part, "", false), limits.parts)

/** Finds or makes the record of a call of a tool, and notes the call's input while it is open. */
export const toolRecord = (state: NormaliserState, part: Wire.ToolPart): PartRecord => {
  const record = state.parts.get(part.id) ??
    remember(
      state.parts,
      part.id,
      partRecord(part.id, "tool", part, nameOf(part), false, serverOf(state, nameOf(part))),
      limits.parts
    )
  if (part.callID !== undefined) {
    remember(state.calls, callKey(part.messageID, part.callID), part.id, limits.calls)
  }
  const { input, status } = part.state
  // Only while it is open: the inputs of all the calls of a long conversation are too much to keep.
  if (part.tool !== "invalid" && input !== undefined && (status === "pending" || status === "running")) {
    if (record.input === undefined || Object.keys(input).length > 0) record.input = input
  }
  return record
}

/** OpenCode puts the server's name before the names of its tools. The longest that fits is meant. */
const serverOf = (state: NormaliserState, tool: string): string | undefined =>
  state.mcpServers.filter((name) => tool.startsWith(`${name}_`)).toSorted((a, b) => b.length - a.length)[0]

const nameOf = (part: Wire.ToolPart): string => {
  const asked = part.state.input?.["tool"]
  return part.tool === "invalid" && typeof asked === "string" && asked.length > 0 ? asked : part.tool
}

/** Text or reasoning of the model. */
export const seeText = (
  state: NormaliserState,
  part: Wire.TextPart,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  const record = textRecord(state, part)
  if (record.final) return
  const message = state.messages.get(part.messageID)
  const shown = items.ofText(part, message?.summary === true)
  record.open = shown.status === undefined
  record.final = !record.open
  const context = contextOf(state, part.sessionID, part.messageID)
  out.push({
    _tag: "item",
    key: part.id,
    ...shown,
    ...context,
    ...nativeOf(state, event, { session: part.sessionID, message: part.messageID, part: part.id })
  })
  // The summary is written while the turn compacts, and is no progress of the turn itself.
  if (record.open && message?.summary === true && context.turn !== undefined && context.agentPath === undefined) {
    out.push({ _tag: "turnCompacting", turn: context.turn })
  }
}

/** The path of the subagent behind a `task` tool. */
export const pathOfTask = (state: NormaliserState, part: Wire.ToolPart): ReadonlyArray<string> | undefined => {
  const id = items.childOfTask(part)
  return id === undefined ? undefined : adopt(state, { id, parentID: part.sessionID })?.path
}

/** A call of a tool. */
export const seeTool = (
  state: NormaliserState,
  part: Wire.ToolPart,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  const record = toolRecord(state, part)
  // The server thins out the outputs of old calls later; what was told stands.
  if (record.final || part.state.time?.compacted !== undefined) return
  const shown = items.ofTool(part, record, pathOfTask(state, part))
  const context = contextOf(state, part.sessionID, part.messageID)
  const native = nativeOf(state, event, {
    session: part.sessionID,
    message: part.messageID,
    part: part.id,
    call: part.callID
  })
  out.push({ _tag: "item", key: part.id, ...shown, ...context, ...native })
  if (record.tool === "todowrite" && part.tool === "todowrite" && part.state.input !== undefined) {
    tellPlan(state, part.state.input["todos"], part.sessionID, part.messageID, event, out)
  }
  if (shown.status !== undefined) {
    record.open = false
    record.final = true
    record.output = ""
    record.input = undefined
  }
}

/** The list of work, once per change. */
export const tellPlan = (
  state: NormaliserState,
  todos: unknown,
  sessionId: string,
  messageId: string | undefined,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  const entries = items.planOf(todos)
  if (entries === undefined) return
  const key = JSON.stringify([sessionId, entries])
  state.planSeen = true
  if (key === state.plan) return
  state.plan = key
  out.push({
    _tag: "plan",
    entries,
    ...contextOf(state, sessionId, messageId),
    ...nativeOf(state, event, { session: sessionId, message: messageId })
  })
}

const usageOf = (part: Wire.StepFinishPart): Usage => {
  const tokens = part.tokens ?? {}
  return {
    ...(tokens.input === undefined ? undefined : { input: tokens.input }),
    ...(tokens.output === undefined ? undefined : { output: tokens.output }),
    ...(tokens.reasoning === undefined ? undefined : { reasoning: tokens.reasoning }),
    ...(tokens.cache?.read === undefined ? undefined : { cacheRead: tokens.cache.read }),
    ...(tokens.cache?.write === undefined ? undefined : { cacheWrite: tokens.cache.write }),
    ...(tokens.total === undefined ? undefined : { total: tokens.total }),
    ...(part.cost === undefined ? undefined : { cost: { amount: part.cost, currency: "USD" } })
  }
}

/** The end of one answer of the model: what it used, and whether it is caught in the endless loop. */
export const seeStep = (
  state: NormaliserState,
  part: Wire.StepFinishPart,
  event: WireEvent | undefined,
  out: Array<Signal>
): void => {
  if (state.steps.has(part.id)) return
  remember(state.steps, part.id, true, limits.steps)
  const context = contextOf(state, part.sessionID, part.messageID)
  const native = nativeOf(state, event, { session: part.sessionID, message: part.messageID, part: part.id })
  out.push({ _tag: "usage", usage: usageOf(part), scope: "delta", ...context, ...native })
  const counter = state.children.get(part.sessionID) ?? state
  counter.unknownSteps = part.reason === "unknown" ? counter.unknownSteps + 1 : 0
  if (counter.unknownSteps < maxUnknownSteps) return
  const error = errors.endlessLoop(counter.unknownSteps)
  if (counter !== state) {
    if (counter.unknownSteps === maxUnknownSteps) {
      out.push({ _tag: "notice", level: "warning", code: "endlessLoop", text: error.message, ...context, ...native })
    }
    return
  }
  if (context.turn !== undefined) remember(state.loops, context.turn, counter.unknownSteps, limits.loops)
  out.push({ _tag: "turnError", error, ...context, ...native })
}
