/**
 * OpenCode's event stream as signals: synchronous, without clock or I/O, for one session with all its subagents.
 *
 * Text that streams takes a short way through hand-written guards. Everything else is decoded; what does not decode, or
 * is not known here, is told as `unrecognised` with its payload. Nothing throws.
 */
import type { Signal } from "@reins/core/Signal"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import * as errors from "./errors.ts"
import * as items from "./items.ts"
import * as messages from "./messages.ts"
import * as requests from "./requests.ts"
import type { ChildRecord, NormaliserState, PartRecord, WireEvent } from "./state.ts"
import { adopt, contextOf, limits, nativeOf, owns, remember } from "./state.ts"

export { adopt, make, owns } from "./state.ts"
export type { NormaliserState, WireEvent as OpenCodeEvent } from "./state.ts"

type Loose = { readonly [key: string]: unknown }

const object = (value: unknown): Loose | undefined =>
  Predicate.isObject(value) && !Array.isArray(value) ? value as Loose : undefined

/** The event inside of a parsed frame, with the envelope of `/global/event` or without. */
export const fromEnvelope = (frame: unknown): WireEvent | undefined => {
  const outer = object(frame)
  const event = object(outer?.["payload"]) ?? outer
  const type = event?.["type"]
  return event === undefined || typeof type !== "string" ? undefined : { type, properties: event["properties"] }
}

/** The session that an event speaks of. */
export const sessionOf = (event: WireEvent): string | undefined => {
  const id = object(event.properties)?.["sessionID"]
  return typeof id === "string" ? id : undefined
}

/** The subagent's session that an event announces, and the session that it belongs to. */
export const childOf = (event: WireEvent): { readonly child: string; readonly parent: string } | undefined => {
  if (event.type !== "session.created" && event.type !== "session.updated") return undefined
  const info = object(object(event.properties)?.["info"])
  const child = info?.["id"]
  const parent = info?.["parentID"]
  return typeof child === "string" && typeof parent === "string" ? { child, parent } : undefined
}

const none: ReadonlyArray<string> = []

/** The sessions, the root or subagents, that are caught in the endless loop, which only an abort ends. */
export const looping = (state: NormaliserState): ReadonlyArray<string> => {
  let found = none
  if (state.unknownSteps >= messages.maxUnknownSteps) found = [state.sessionId]
  for (const child of state.children.values()) {
    if (child.started && child.unknownSteps >= messages.maxUnknownSteps) found = [...found, child.id]
  }
  return found
}

const sessionID = Schema.String

const decode = {
  session: Schema.decodeUnknownResult(Schema.Struct({ sessionID, info: Wire.Session })),
  message: Schema.decodeUnknownResult(Schema.Struct({ sessionID, info: Wire.Message })),
  part: Schema.decodeUnknownResult(Schema.Struct({ sessionID, part: Wire.AnyPart })),
  text: Schema.decodeUnknownResult(Wire.TextPart),
  tool: Schema.decodeUnknownResult(Wire.ToolPart),
  step: Schema.decodeUnknownResult(Wire.StepFinishPart),
  compaction: Schema.decodeUnknownResult(Wire.CompactionPart),
  status: Schema.decodeUnknownResult(Schema.Struct({ sessionID, status: Wire.SessionStatus })),
  error: Schema.decodeUnknownResult(Schema.Struct({ sessionID, error: Schema.optionalKey(Wire.NamedError) })),
  diff: Schema.decodeUnknownResult(Schema.Struct({ sessionID, diff: Schema.Array(Wire.FileDiff) })),
  todos: Schema.decodeUnknownResult(Schema.Struct({ sessionID, todos: Schema.Unknown })),
  permission: Schema.decodeUnknownResult(Wire.Permission),
  question: Schema.decodeUnknownResult(Wire.Question),
  replied: Schema.decodeUnknownResult(
    Schema.Struct({ sessionID, requestID: Schema.String, reply: Schema.optionalKey(Schema.String) })
  ),
  messageRemoved: Schema.decodeUnknownResult(Schema.Struct({ sessionID, messageID: Schema.String })),
  partRemoved: Schema.decodeUnknownResult(Schema.Struct({ sessionID, partID: Schema.String }))
}

/** Longest reason of an unrecognised frame, in characters. */
const maxReason = 500

const unrecognised = (event: WireEvent, reason: string, out: Array<Signal>): void => {
  out.push({ _tag: "unrecognised", method: event.type, reason: reason.slice(0, maxReason), raw: event.properties })
}

/** The decoded value, or an `unrecognised` signal. */
const take = <A>(
  event: WireEvent,
  result: Result.Result<A, { readonly message: string }>,
  out: Array<Signal>
): A | undefined => {
  if (Result.isSuccess(result)) return result.success
  unrecognised(event, result.failure.message, out)
  return undefined
}

/** Streamed text; what follows on text of the same part joins it. */
const delta = (state: NormaliserState, properties: unknown, out: Array<Signal>): void => {
  const p = object(properties)
  if (p === undefined || p["field"] !== "text") return
  const key = p["partID"]
  const text = p["delta"]
  const session = p["sessionID"]
  if (typeof key !== "string" || typeof text !== "string" || typeof session !== "string") return
  if (text.length === 0) return
  const record = state.parts.get(key)
  if (record !== undefined && (record.voided || record.final)) return
  const stream = record?.kind === "tool" ? "output" : "text"
  const last = out.at(-1)
  if (last !== undefined && last._tag === "delta" && last.key === key && last.stream === stream) {
    out[out.length - 1] = { _tag: "delta", key, stream, text: last.text + text }
    return
  }
  out.push({ _tag: "delta", key, stream, text })
}

/** Voids what a step streamed before it is tried again. */
const voidOpen = (
  state: NormaliserState,
  matches: (part: PartRecord) => boolean,
  event: WireEvent,
  out: Array<Signal>
): void => {
  for (const part of state.parts.values()) {
    if (!part.open || part.voided || !matches(part)) continue
    part.voided = true
    out.push({
      _tag: "itemVoided",
      key: part.id,
      ...contextOf(state, part.sessionId, part.messageId),
      ...nativeOf(state, event, { session: part.sessionId, message: part.messageId, part: part.id })
    })
  }
}

const onStatus = (
  state: NormaliserState,
  id: string,
  status: Wire.SessionStatus,
  event: WireEvent,
  out: Array<Signal>
): void => {
  const child = state.children.get(id)
  const context = contextOf(state, id, undefined)
  const native = nativeOf(state, event, { session: id })
  switch (status.type) {
    case "busy": {
      if (child === undefined) {
        state.busy = true
        state.reverting = false
        state.lastError = undefined
      } else messages.startChild(state, child, event, out)
      out.push({ _tag: "turnBusy", ...context, ...native })
      return
    }
    case "idle": {
      if (child !== undefined) {
        endChild(child, out)
        return
      }
      state.busy = false
      state.unknownSteps = 0
      out.push({ _tag: "turnEnded", fact: "session.status idle", ...native })
      return
    }
    case "retry": {
      // The step begins again with new parts: what it streamed into the open ones is void.
      voidOpen(state, (part) => part.sessionId === id && part.kind !== "tool", event, out)
      out.push({
        _tag: "turnRetrying",
        attempt: status.attempt ?? 1,
        ...(status.next === undefined ? undefined : { until: status.next }),
        ...(status.message === undefined ? undefined : { error: errors.ofRetry(status.message) }),
        ...context,
        ...native
      })
      return
    }
    default:
      unrecognised(event, `unknown status ${status.type}`, out)
  }
}

const endChild = (child: ChildRecord, out: Array<Signal>): void => {
  if (!child.started) return
  child.started = false
  out.push({
    _tag: "subagentEnded",
    agentPath: child.path,
    // The endless loop ends by our abort only, and the abort is not what went wrong.
    verdict: child.unknownSteps >= messages.maxUnknownSteps
      ? { _tag: "failed", error: errors.endlessLoop(child.unknownSteps) }
      : child.verdict,
    ...(child.turn === undefined ? undefined : { turn: child.turn })
  })
}

const onError = (
  state: NormaliserState,
  id: string,
  error: Wire.NamedError | undefined,
  event: WireEvent,
  out: Array<Signal>
): void => {
  if (error === undefined) return
  const judgement = errors.judge(error)
  const child = state.children.get(id)
  if (child !== undefined) {
    // The parent goes on: to it this is the failure of one tool.
    if (judgement._tag === "aborted") child.verdict = { _tag: "interrupted", by: "provider" }
    else if (judgement._tag === "error") child.verdict = { _tag: "failed", error: judgement.error }
    return
  }
  if (judgement._tag !== "error") return
  const message = errors.messageOf(error)
  // The server repeats some failures as its own stack trace, after the end of the turn that failed.
  if (state.lastError !== undefined && errors.isTrace(message)) return
  state.lastError = message
  out.push({ _tag: "turnError", error: judgement.error, ...nativeOf(state, event, { session: id }) })
}

/** Titles that the server gives until it knows a better one. */
const placeholder = /^(?:New|Child) session - \d{4}-/

/** Whether nobody has given a title yet. */
export const isPlaceholder = (title: string): boolean => placeholder.test(title)

const onSession = (state: NormaliserState, session: Wire.Session, event: WireEvent, out: Array<Signal>): void => {
  if (session.id !== state.sessionId) {
    const child = adopt(state, session)
    if (child !== undefined && event.type === "session.created") messages.startChild(state, child, event, out)
    return
  }
  if (session.title === undefined || session.title === state.title || isPlaceholder(session.title)) return
  state.title = session.title
  out.push({ _tag: "info", title: session.title, ...nativeOf(state, event, { session: session.id }) })
}

const onPart = (state: NormaliserState, event: WireEvent, out: Array<Signal>): void => {
  const any = take(event, decode.part(event.properties), out)
  if (any === undefined) return
  const part = any.part
  const raw = object(event.properties)?.["part"]
  const message = state.messages.get(part.messageID)
  switch (part.type) {
    case "text":
    case "reasoning": {
      const text = take(event, decode.text(raw), out)
      if (text === undefined) return
      // Only the model's text has a time; it tells the two apart where the message itself was missed.
      const user = message === undefined ? text.time === undefined : message.role === "user"
      if (!user) messages.seeText(state, text, event, out)
      else if (message !== undefined) messages.seeUserPart(state, message, part, text, undefined, event, out)
      return
    }
    case "tool": {
      const tool = take(event, decode.tool(raw), out)
      if (tool !== undefined) messages.seeTool(state, tool, event, out)
      return
    }
    case "step-finish": {
      const step = take(event, decode.step(raw), out)
      if (step !== undefined) messages.seeStep(state, step, event, out)
      return
    }
    case "compaction": {
      const compaction = take(event, decode.compaction(raw), out)
      if (compaction === undefined || message === undefined) return
      messages.seeUserPart(state, message, part, undefined, compaction, event, out)
      return
    }
    case "file":
    case "agent":
    case "subtask": {
      if (message?.role === "user") messages.seeUserPart(state, message, part, undefined, undefined, event, out)
      return
    }
    case "step-start": {
      // A second step inside of one message is the first one tried again.
      voidOpen(state, (open) => open.messageId === part.messageID && open.kind !== "tool", event, out)
      return
    }
    case "snapshot":
    case "patch":
    case "retry":
      return
    default:
      unrecognised(event, `unknown part ${part.type}`, out)
  }
}

/** Frames of a session that say nothing new. */
const silent = new Set(["command.executed", "session.idle", "server.connected", "server.heartbeat", "sync"])

/**
 * Feeds one event of the session or of one of its subagents. What it means is appended to `out`; text that goes on with
 * the text at the end of `out` joins it.
 */
export const apply = (state: NormaliserState, event: WireEvent, out: Array<Signal>): void => {
  if (event.type === "message.part.delta") return delta(state, event.properties, out)
  const id = sessionOf(event)
  if (id === undefined || silent.has(event.type)) return
  if (state.held.length === 0) return dispatch(state, id, event, out)
  // What was asked before the input of its call was told: the very next frame tells it, or nothing will.
  const held = state.held.splice(0)
  const release = () => {
    for (const { ask, event } of held) out.push(requests.ofPermission(state, ask, event))
  }
  if (event.type !== "message.part.updated") release()
  dispatch(state, id, event, out)
  if (event.type === "message.part.updated") release()
}

const dispatch = (state: NormaliserState, id: string, event: WireEvent, out: Array<Signal>): void => {
  // Whoever feeds this has decided whose events these are. A session that was not announced is a subagent from before.
  if (!owns(state, id) && childOf(event) === undefined) adopt(state, { id, parentID: state.sessionId })
  switch (event.type) {
    case "session.created":
    case "session.updated": {
      const value = take(event, decode.session(event.properties), out)
      if (value !== undefined) onSession(state, value.info, event, out)
      return
    }
    case "session.deleted": {
      const child = state.children.get(id)
      if (child !== undefined) endChild(child, out)
      else {
        out.push({
          _tag: "conversationGone",
          reason: "The session was deleted on the OpenCode server.",
          ...nativeOf(state, event, { session: id })
        })
      }
      return
    }
    case "session.status": {
      const value = take(event, decode.status(event.properties), out)
      if (value !== undefined) onStatus(state, id, value.status, event, out)
      return
    }
    case "session.error": {
      const value = take(event, decode.error(event.properties), out)
      if (value !== undefined) onError(state, id, value.error, event, out)
      return
    }
    case "session.diff": {
      const value = take(event, decode.diff(event.properties), out)
      if (value === undefined || id !== state.sessionId || state.reverting) return
      const files = items.diffOf(value.diff)
      const key = JSON.stringify(files)
      // It stays empty while the diffs of the messages grow (measured on 1.18.33), and takes nothing back.
      if (key === state.diff || (files.length === 0 && !state.diff.startsWith("["))) return
      state.diff = key
      out.push({ _tag: "diff", files, ...nativeOf(state, event, { session: id }) })
      return
    }
    case "session.compacted": {
      out.push({
        _tag: "notice",
        level: "info",
        code: "compacted",
        text: "The agent replaced the conversation so far by a summary.",
        ...contextOf(state, id, undefined),
        ...nativeOf(state, event, { session: id })
      })
      return
    }
    case "message.updated": {
      const value = take(event, decode.message(event.properties), out)
      if (value !== undefined) messages.seeMessage(state, value.info, event, out)
      return
    }
    case "message.part.updated":
      return onPart(state, event, out)
    case "message.removed": {
      const value = take(event, decode.messageRemoved(event.properties), out)
      if (value !== undefined) voidOpen(state, (part) => part.messageId === value.messageID, event, out)
      return
    }
    case "message.part.removed": {
      const value = take(event, decode.partRemoved(event.properties), out)
      if (value !== undefined) voidOpen(state, (part) => part.id === value.partID, event, out)
      return
    }
    case "todo.updated": {
      const value = take(event, decode.todos(event.properties), out)
      if (value !== undefined) messages.tellPlan(state, value.todos, id, undefined, event, out)
      return
    }
    case "permission.asked": {
      const ask = take(event, decode.permission(event.properties), out)
      if (ask === undefined) return
      remember(state.asks, ask.id, ask, limits.asks)
      if (requests.isEarly(state, ask)) state.held.push({ ask, event })
      else out.push(requests.ofPermission(state, ask, event))
      return
    }
    case "question.asked": {
      const ask = take(event, decode.question(event.properties), out)
      if (ask !== undefined) out.push(requests.ofQuestion(state, ask, event))
      return
    }
    case "permission.replied":
    case "question.replied":
    case "question.rejected": {
      const value = take(event, decode.replied(event.properties), out)
      if (value === undefined) return
      const accepted = event.type !== "question.rejected" && value.reply !== "reject"
      const ask = state.asks.get(value.requestID)
      if (accepted && ask !== undefined && !state.answered.has(value.requestID)) {
        out.push({
          _tag: "notice",
          level: "warning",
          code: "answeredElsewhere",
          text: `Not this host accepted what the agent asked for, but another client of its server: ${
            requests.ofPermission(state, ask, undefined).subject
          }`,
          ...contextOf(state, id, undefined),
          ...nativeOf(state, event, { session: id, request: value.requestID })
        })
      }
      state.asks.delete(value.requestID)
      out.push({
        _tag: "requestClosed",
        key: value.requestID,
        accepted,
        ...contextOf(state, id, undefined),
        ...nativeOf(state, event, { session: id, request: value.requestID })
      })
      return
    }
    default:
      unrecognised(event, "unknown event", out)
  }
}

/** Feeds events that arrived together. */
export const applyAll = (state: NormaliserState, events: Iterable<WireEvent>): Array<Signal> => {
  const out: Array<Signal> = []
  for (const event of events) apply(state, event, out)
  return out
}
