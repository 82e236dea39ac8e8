/**
 * The messages of `codex app-server` as signals: synchronous, without clock or I/O, for one thread with its subagents.
 *
 * Text that streams takes a short way through hand-written guards. Everything else is decoded; what does not decode, or
 * is not known here, is told as `unrecognised` with its payload. Nothing throws.
 */
import type { ItemContent, PlanEntry } from "@reins/core/Item"
import type { Signal } from "@reins/core/Signal"
import type { Message } from "@reins/transport/JsonRpcPeer"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "../CodexSchema.ts"
import * as diffs from "./diffs.ts"
import * as errors from "./errors.ts"
import * as items from "./items.ts"
import * as requests from "./requests.ts"
import type { ItemRecord, Path, ThreadState } from "./state.ts"
import { askKey, limits, pathOf, remember, verdictOf } from "./state.ts"
import * as turns from "./turns.ts"

export { make, owns } from "./state.ts"
export type { ThreadState } from "./state.ts"

type Method = keyof typeof Wire.Notifications

const decoders: { readonly [M in Method]: (params: unknown) => Result.Result<unknown, { readonly message: string }> } =
  Object.fromEntries(
    Object.entries(Wire.Notifications).map(([method, schema]) => [method, Schema.decodeUnknownResult(schema)])
  ) as never

type Params<M extends Method> = (typeof Wire.Notifications)[M]["Type"]

/** What says nothing that a session has to hear. */
const silent = new Set([
  "thread/status/changed",
  "thread/readState/changed",
  "thread/settings/updated",
  "thread/goal/updated",
  "thread/goal/cleared",
  "thread/queue/changed",
  "thread/unarchived",
  "thread/closed",
  "thread/reverted",
  "thread/compacted",
  "thread/environment/connected",
  "thread/environment/disconnected",
  "item/reasoning/summaryPartAdded",
  "item/commandExecution/terminalInteraction",
  "item/fileChange/outputDelta",
  "item/mcpToolCall/progress",
  "remoteControl/status/changed",
  "skills/changed",
  "app/list/updated",
  "account/updated",
  "hook/started",
  "hook/completed",
  "rawResponseItem/completed",
  "rawResponse/completed",
  "turn/moderationMetadata",
  "mcpServer/oauthLogin/completed"
])

/** Longest reason of an unrecognised frame, in characters. */
const maxReason = 500

const unrecognised = (method: string, reason: string, raw: unknown): Signal => ({
  _tag: "unrecognised",
  method,
  reason: reason.slice(0, maxReason),
  raw
})

// -- text ---------------------------------------------------------------------------------------------------------

const deltaMethods: Readonly<Record<string, "text" | "output">> = {
  "item/agentMessage/delta": "text",
  "item/plan/delta": "text",
  "item/reasoning/summaryTextDelta": "text",
  "item/reasoning/textDelta": "text",
  "item/commandExecution/outputDelta": "output"
}

/** Streamed text; what follows on text of the same item joins it. */
const delta = (
  state: ThreadState,
  method: string,
  stream: "text" | "output",
  params: unknown,
  out: Array<Signal>
): void => {
  if (!Predicate.isObject(params)) return
  const { delta: text, itemId: key, threadId, turnId: turn } = params as { readonly [name: string]: unknown }
  if (typeof key !== "string" || typeof text !== "string" || text === "") return
  const record = state.items.get(key)
  if (record?.voided === true) return
  if (record !== undefined) {
    // The thought itself is not part of an item that has a summary.
    if (method === "item/reasoning/textDelta" && record.spoken === "summary") return
    record.spoken = method === "item/reasoning/summaryTextDelta" ? "summary" : "text"
  }
  const last = out.at(-1)
  if (last !== undefined && last._tag === "delta" && last.key === key && last.stream === stream) {
    out[out.length - 1] = { ...last, text: last.text + text }
    return
  }
  out.push({
    _tag: "delta",
    key,
    stream,
    text,
    ...(typeof turn === "string" ? { turn } : undefined),
    ...pathOf(state, threadId)
  })
}

/** Between two parts of a chain of thought there is an empty line, as in the text that completes it. */
const partAdded = (state: ThreadState, params: unknown, out: Array<Signal>): void => {
  if (!Predicate.isObject(params)) return
  const { itemId } = params as { readonly itemId?: unknown }
  const record = typeof itemId === "string" ? state.items.get(itemId) : undefined
  if (record?.spoken === "summary")
    delta(state, "item/reasoning/summaryTextDelta", "text", { ...params, delta: "\n\n" }, out)
}

// -- items --------------------------------------------------------------------------------------------------------

const texts = new Set(["agentMessage", "reasoning", "plan"])

const item = (
  state: ThreadState,
  { item: raw, threadId, turnId: turn }: Params<"item/started">,
  ended: boolean,
  method: string,
  out: Array<Signal>
): void => {
  const path = pathOf(state, threadId)
  if (path === undefined) return
  const said = items.saidOf(raw)
  if (said !== undefined) {
    // A user message is told twice, when it starts and when it is completed, with the same words.
    if (ended || path.agentPath !== undefined) return
    turns.progressed(state)
    const key = items.keyOf(said)
    out.push({ _tag: "prompt", key, turn, ...(said.clientId === undefined ? { text: said.text } : undefined) })
    turns.startTurn(state, turn, path, out, key)
  }
  const result = items.seenOf(raw, ended)
  if (Result.isFailure(result)) {
    out.push(unrecognised(method, result.failure.message, raw))
    return
  }
  const { content, hasText, key, status, type } = result.success
  const before = state.items.get(key)
  const record: ItemRecord = before ?? {
    key,
    type,
    turn,
    content,
    spoken: "no",
    open: true,
    voided: false,
    changes: []
  }
  if (record.voided) return
  record.open = status === undefined
  record.content = record.open ? content : undefined
  if (content._tag === "fileChange") record.changes = content.changes
  remember(state.items, key, record, limits.items)
  if (path.agentPath === undefined) {
    if (texts.has(type)) {
      if (before === undefined) state.attempt.push(key)
    } else if (said === undefined) turns.progressed(state)
  }
  if (content._tag === "subagent") subagents(state, content, path, out)
  out.push({
    _tag: "item",
    key,
    turn,
    item: content,
    // What a command has printed is whole when it ends; what streamed before is at most that.
    hasText,
    // What a user said is whole when it is told.
    ...(said !== undefined ? { status: "completed" as const } : status === undefined ? undefined : { status }),
    ...(status === undefined && state.ended.has(turn) ? { background: true } : undefined),
    ...path
  })
  // After its item: an item alone says that the turn works again.
  if (content._tag === "compaction" && !ended && path.agentPath === undefined)
    out.push({ _tag: "turnCompacting", turn })
}

const subagents = (
  state: ThreadState,
  { agent, path: threads = [] }: Extract<ItemContent, { readonly _tag: "subagent" }>,
  path: Path,
  out: Array<Signal>
): void => {
  for (const thread of threads) {
    if (thread === state.threadId || state.children.has(thread)) continue
    const agentPath = [...path.agentPath ?? [], thread]
    remember(state.children, thread, agentPath, limits.children)
    out.push({ _tag: "subagentStarted", agentPath, ...(agent === undefined ? undefined : { agent }) })
  }
}

/** What a turn leaves open: a command goes on in the background, everything else ends with it. */
const background = (state: ThreadState, turn: string, out: Array<Signal>): void => {
  for (const record of state.items.values()) {
    const { content } = record
    if (!record.open || record.turn !== turn || content?._tag !== "command") continue
    out.push({
      _tag: "item",
      key: record.key,
      turn,
      item: content,
      hasText: false,
      background: true
    })
  }
}

// -- notifications ------------------------------------------------------------------------------------------------

const attemptOf = (message: string): number | undefined => {
  const found = /\b(\d+)\/\d+\b/.exec(message)?.[1]
  return found === undefined ? undefined : Number(found)
}

const planStatus: Readonly<Record<string, PlanEntry["status"]>> = {
  pending: "pending",
  inProgress: "running",
  completed: "completed"
}

const notice = (level: "info" | "warning", code: string, text: string, turn?: string): Signal => ({
  _tag: "notice",
  level,
  code,
  text,
  ...(turn === undefined ? undefined : { turn })
})

const sentence = (summary: string, details: string | null | undefined): string =>
  details === undefined || details === null || details === "" ? summary : `${summary} ${details}`

const handlers: { readonly [M in Method]: (state: ThreadState, params: Params<M>, out: Array<Signal>) => void } = {
  "turn/started": (state, { threadId, turn }, out) => {
    const path = pathOf(state, threadId)
    if (path !== undefined) turns.startTurn(state, turn.id, path, out)
  },
  "turn/completed": (state, { threadId, turn }, out) => {
    const path = pathOf(state, threadId)
    if (path === undefined) return
    const verdict = verdictOf(turn.status, () => errors.infoOf(turn.error ?? { message: "It did not say why." }))
    if (path.agentPath !== undefined) {
      out.push({ _tag: "subagentEnded", agentPath: path.agentPath, verdict })
      return
    }
    state.ended.delete(turn.id)
    state.ended.add(turn.id)
    for (const oldest of state.ended) {
      if (state.ended.size <= limits.ended) break
      state.ended.delete(oldest)
    }
    if (state.turn === turn.id) state.turn = undefined
    if (turn.status === "completed") background(state, turn.id, out)
    turns.progressed(state)
    out.push({ _tag: "turnEnded", turn: turn.id, verdict, fact: "turn/completed" })
  },
  "item/started": (state, params, out) => item(state, params, false, "item/started", out),
  "item/completed": (state, params, out) => item(state, params, true, "item/completed", out),
  error: (state, { error, threadId, turnId: turn, willRetry }, out) => {
    const path = pathOf(state, threadId)
    if (path === undefined || path.agentPath !== undefined) return
    if (!willRetry) {
      out.push({ _tag: "turnError", turn, error: errors.infoOf(error) })
      return
    }
    turns.voidAttempt(state, out)
    state.retries++
    out.push({
      _tag: "turnRetrying",
      turn,
      attempt: attemptOf(error.message) ?? state.retries,
      error: errors.infoOf(error)
    })
  },
  "thread/tokenUsage/updated": (state, { threadId, tokenUsage: { modelContextWindow, total }, turnId: turn }, out) => {
    // What a subagent used is not part of its parent's total.
    if (threadId !== state.threadId) return
    out.push({
      _tag: "usage",
      turn,
      scope: "cumulative",
      usage: {
        input: total.inputTokens,
        output: total.outputTokens,
        cacheRead: total.cachedInputTokens,
        total: total.totalTokens,
        ...(total.reasoningOutputTokens === undefined ? undefined : { reasoning: total.reasoningOutputTokens }),
        ...(modelContextWindow === undefined || modelContextWindow === null
          ? undefined
          : { window: modelContextWindow })
      }
    })
  },
  "account/rateLimits/updated": (_, { rateLimits: { limitId, primary, rateLimitReachedType, secondary } }, out) => {
    if (rateLimitReachedType === undefined || rateLimitReachedType === null) return
    const windows = [primary, secondary].flatMap((window) => window ?? [])
    const full = windows.filter(({ usedPercent = 0 }) => usedPercent >= 100)
    // The one that is used up says when it goes on; where none says so, the last of them.
    const resets = (full.length > 0 ? full : windows).flatMap(({ resetsAt }) => resetsAt ?? [])
    out.push({
      _tag: "rateLimited",
      ...(limitId === undefined || limitId === null ? undefined : { window: limitId }),
      // Seconds since the epoch on the wire.
      ...(resets.length === 0 ? undefined : { resetAt: Math.max(...resets) * 1_000 })
    })
  },
  "turn/plan/updated": (state, { plan, threadId, turnId: turn }, out) => {
    const path = pathOf(state, threadId)
    if (path === undefined) return
    out.push({
      _tag: "plan",
      turn,
      entries: plan.map(({ status, step }) => ({ text: step, status: planStatus[status] ?? "pending" })),
      ...path
    })
  },
  "turn/diff/updated": (state, { diff, threadId, turnId: turn }, out) => {
    const path = pathOf(state, threadId)
    if (path !== undefined) out.push({ _tag: "diff", turn, files: diffs.parse(diff), ...path })
  },
  "item/fileChange/patchUpdated": (state, { changes, itemId, threadId, turnId: turn }, out) => {
    const path = pathOf(state, threadId)
    const record = state.items.get(itemId)
    if (path === undefined || record?.voided === true) return
    const files = items.changesOf(changes)
    if (record !== undefined) record.changes = files
    out.push({
      _tag: "item",
      key: itemId,
      turn,
      item: { _tag: "fileChange", tool: "apply_patch", changes: files, output: "" },
      hasText: false,
      ...path
    })
  },
  "thread/name/updated": (state, { threadId, threadName }, out) => {
    if (threadId === state.threadId && threadName !== undefined && threadName !== null) {
      out.push({ _tag: "info", title: threadName })
    }
  },
  "model/rerouted": (state, { fromModel, threadId, toModel, turnId }, out) => {
    if (threadId === state.threadId) {
      out.push(
        notice("warning", "modelRerouted", `The provider answers with ${toModel} instead of ${fromModel}.`, turnId)
      )
    }
  },
  warning: (state, { message, threadId }, out) => {
    if (threadId === undefined || threadId === null || threadId === state.threadId) {
      out.push(notice("warning", "codexWarning", message))
    }
  },
  configWarning: (_, { details, path, summary }, out) => {
    out.push(
      notice("warning", "configWarning", sentence(path === undefined ? summary : `${path}: ${summary}`, details))
    )
  },
  deprecationNotice: (_, { details, summary }, out) => {
    out.push(notice("info", "deprecation", sentence(summary, details)))
  },
  "mcpServer/startupStatus/updated": (state, { error, name, status, threadId }, out) => {
    if (threadId !== undefined && threadId !== null && threadId !== state.threadId) return
    if (status === "ready") out.push(notice("info", "mcpConnected", `The MCP server "${name}" is connected.`))
    if (status === "failed" || status === "cancelled") {
      const text = `The MCP server "${name}" failed, and the session does without it.`
      out.push(notice("warning", "mcpFailed", sentence(text, error)))
    }
  },
  "serverRequest/resolved": (state, { requestId, threadId }, out) => {
    if (pathOf(state, threadId) === undefined) return
    const key = askKey(state, requestId)
    if (state.asks.delete(key)) out.push({ _tag: "requestClosed", key })
  },
  "thread/started": (state, { thread }, out) => {
    const parent = thread.parentThreadId
    if (parent === undefined || parent === null || thread.id === state.threadId) return
    const path = pathOf(state, parent)
    if (path === undefined || state.children.has(thread.id)) return
    const agentPath = [...path.agentPath ?? [], thread.id]
    remember(state.children, thread.id, agentPath, limits.children)
    const agent = thread.agentRole ?? thread.agentNickname
    out.push({
      _tag: "subagentStarted",
      agentPath,
      ...(agent === undefined || agent === null ? undefined : { agent })
    })
  }
}

const gone: Readonly<Record<string, string>> = {
  "thread/archived": "it was archived",
  "thread/deleted": "it was deleted"
}

const request = (state: ThreadState, message: Message & { readonly id: number | string }, out: Array<Signal>): void => {
  const { id, method, params } = message
  const thread = requests.threadOf(params)
  const path = pathOf(state, thread)
  if (path === undefined) return
  const result = requests.opened(state, message)
  if (result === undefined) {
    out.push(unrecognised(method, "This request is not known, and is left to the other clients of the server.", params))
    return
  }
  if (Result.isFailure(result)) {
    out.push(unrecognised(method, result.failure.message, params))
    return
  }
  const signal = { ...result.success, ...path }
  state.asks.set(askKey(state, id), { id, method, params, signal })
  out.push(signal)
}

/** Reads messages of one thread, in the order of the wire. */
export const read = (state: ThreadState, messages: ReadonlyArray<Message>): ReadonlyArray<Signal> => {
  const out: Array<Signal> = []
  for (const message of messages) {
    const { id, method, params } = message
    if (id !== undefined) {
      request(state, { ...message, id }, out)
      continue
    }
    const stream = deltaMethods[method]
    if (stream !== undefined) {
      delta(state, method, stream, params, out)
      continue
    }
    if (method === "item/reasoning/summaryPartAdded") partAdded(state, params, out)
    if (silent.has(method)) continue
    if (Object.hasOwn(gone, method)) {
      if (requests.threadOf(params) === state.threadId) {
        out.push({ _tag: "conversationGone", reason: gone[method] ?? method })
      }
      continue
    }
    if (!Object.hasOwn(handlers, method)) {
      out.push(unrecognised(method, "This notification is not known.", params))
      continue
    }
    const decoded = decoders[method as Method](params)
    if (Result.isFailure(decoded)) {
      out.push(unrecognised(method, decoded.failure.message, params))
      continue
    }
    const handle = handlers[method as Method] as (state: ThreadState, params: unknown, out: Array<Signal>) => void
    handle(state, decoded.success, out)
  }
  return out
}
