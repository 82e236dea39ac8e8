/**
 * The Responses wire of OpenAI: what a client posts to `/v1/responses`, reduced to what a script needs, and the events and
 * bodies sent back.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Body } from "./chatCompletions.ts"
import * as chatCompletions from "./chatCompletions.ts"
import type { Delta, Encoder, Envelope, ModelWire, UsageCounts } from "./modelWire.ts"
import { frame } from "./modelWire.ts"

const Part = Schema.Struct({
  type: Schema.optionalKey(Schema.String),
  text: Schema.optionalKey(Schema.String),
  encrypted_content: Schema.optionalKey(Schema.String)
})

const Item = Schema.Struct({
  type: Schema.optionalKey(Schema.String),
  role: Schema.optionalKey(Schema.String),
  content: Schema.optionalKey(Schema.NullOr(Schema.Union([Schema.String, Schema.Array(Part)]))),
  call_id: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  output: Schema.optionalKey(Schema.Unknown)
})

const Posted = Schema.Struct({
  model: Schema.String,
  input: Schema.Union([Schema.String, Schema.Array(Item)]),
  stream: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  tools: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Struct({
    type: Schema.String,
    name: Schema.optionalKey(Schema.String)
  }))))
})

const parse = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))
const decodePosted = Schema.decodeUnknownResult(Posted)

type Message = Body["messages"][number]

const outputText = (output: unknown): string => {
  if (Predicate.isString(output)) return output
  const parts = Array.isArray(output) ? output : []
  const texts = parts.flatMap((part: unknown) =>
    Predicate.hasProperty(part, "text") && Predicate.isString(part.text) ? [part.text] : []
  )
  return texts.length > 0 ? texts.join("\n") : JSON.stringify(output)
}

/** What one agent says to another. A task is a prompt of who gets it; a model of our own has not encrypted it. */
const agentMessage = (content: (typeof Item.Type)["content"]): Message => {
  const parts = Array.isArray(content) ? content as ReadonlyArray<typeof Part.Type> : []
  const task = parts.flatMap(({ encrypted_content: text }) => text ?? [])
  return task.length > 0
    ? { role: "user", content: task.join("\n") }
    : { role: "developer", content: parts.flatMap(({ text }) => text ?? []).join("\n") }
}

/** The items of one answer become one message, as its text and its calls are in chat completions. */
const messagesOf = (items: ReadonlyArray<typeof Item.Type>): ReadonlyArray<Message> => {
  const messages: Array<Message> = []
  let calls: Array<NonNullable<Message["tool_calls"]>[number]> | undefined
  for (const { call_id: id, content, name = "", output, role, type = "message" } of items) {
    if (type === "agent_message") {
      messages.push(agentMessage(content))
      calls = undefined
    } else if (type.endsWith("_output")) {
      messages.push({ role: "tool", tool_call_id: id ?? "", content: outputText(output) })
      calls = undefined
    } else if (type === "message" && role !== "assistant") {
      messages.push({ role: role ?? "user", ...(content === undefined ? undefined : { content }) })
      calls = undefined
    } else {
      if (calls === undefined) {
        calls = []
        messages.push({ role: "assistant", tool_calls: calls })
      }
      if (type === "message" && content !== undefined) {
        const last = messages.at(-1)
        if (last !== undefined) messages[messages.length - 1] = { ...last, content }
      }
      if (id !== undefined) calls.push({ id, function: { name } })
    }
  }
  return messages
}

const decode: ModelWire["decode"] = (text) =>
  Result.flatMap(parse(text), (raw) =>
    Result.map(decodePosted(raw), ({ input, model, stream, tools }) => ({
      raw,
      body: {
        model,
        messages: Predicate.isString(input) ? [{ role: "user", content: input }] : messagesOf(input),
        ...(stream === undefined ? undefined : { stream }),
        stream_options: { include_usage: true },
        tools: (tools ?? []).map(({ name, type }) => ({ function: { name: name ?? type } }))
      }
    })))

const usageJson = (usage: UsageCounts) => ({
  input_tokens: usage.prompt,
  input_tokens_details: { cached_tokens: usage.cached },
  output_tokens: usage.completion,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: usage.total
})

/** An item of the output as it grows. */
type Growing =
  | { readonly type: "message"; readonly id: string; text: string }
  | { readonly type: "reasoning"; readonly id: string; text: string }
  | { readonly type: "call"; readonly id: string; readonly call: Extract<Delta, { kind: "call" }>; text: string }

const itemJson = (item: Growing, status: "in_progress" | "completed") => {
  switch (item.type) {
    case "message":
      return {
        type: "message",
        id: item.id,
        role: "assistant",
        status,
        content: status === "completed" ? [{ type: "output_text", text: item.text, annotations: [] }] : []
      }
    case "reasoning":
      return {
        type: "reasoning",
        id: item.id,
        summary: status === "completed" ? [{ type: "summary_text", text: item.text }] : []
      }
    case "call":
      return {
        type: item.call.custom ? "custom_tool_call" : "function_call",
        id: item.id,
        call_id: item.call.id,
        name: item.call.name,
        ...(item.call.namespace === undefined ? undefined : { namespace: item.call.namespace }),
        status,
        [item.call.custom ? "input" : "arguments"]: item.text
      }
  }
}

/** Reasons that the wire calls otherwise. */
const incomplete: Readonly<Record<string, string>> = { length: "max_output_tokens" }
const complete = new Set(["stop", "tool_calls"])

const statusOf = (reason: string | null) =>
  reason === null || complete.has(reason)
    ? { status: "completed" }
    : { status: "incomplete", incomplete_details: { reason: incomplete[reason] ?? reason } }

const encoder = (envelope: Envelope): Encoder => {
  const done: Array<object> = []
  let sequence = 0
  let current: Growing | undefined
  let serial = 0

  const event = (type: string, fields: object): string => frame({ type, sequence_number: sequence++, ...fields }, type)
  const response = (fields: object) => ({
    response: { id: envelope.id, object: "response", created_at: envelope.created, model: envelope.model, ...fields }
  })

  const close = (): string => {
    if (current === undefined) return ""
    const item = itemJson(current, "completed")
    const text = event("response.output_item.done", { output_index: done.length, item })
    done.push(item)
    current = undefined
    return text
  }

  const open = (item: Growing): string => {
    const text = close()
    current = item
    const place = { item_id: item.id, output_index: done.length }
    return text +
      event("response.output_item.added", { output_index: done.length, item: itemJson(item, "in_progress") }) +
      (item.type === "message"
        ? event("response.content_part.added", {
          ...place,
          content_index: 0,
          part: { type: "output_text", text: "", annotations: [] }
        })
        : item.type === "reasoning"
        ? event("response.reasoning_summary_part.added", {
          ...place,
          summary_index: 0,
          part: { type: "summary_text", text: "" }
        })
        : "")
  }

  const nextId = (prefix: string) => `${prefix}_${envelope.id}_${serial++}`

  const deltaText = (delta: Delta): string => {
    if (delta.kind === "call") return open({ type: "call", id: nextId("fc"), call: delta, text: "" })
    let head = ""
    if (delta.kind === "text" && current?.type !== "message")
      head = open({ type: "message", id: nextId("msg"), text: "" })
    if (delta.kind === "reasoning" && current?.type !== "reasoning") {
      head = open({ type: "reasoning", id: nextId("rs"), text: "" })
    }
    if (current === undefined) return head
    current.text += delta.text
    const place = { item_id: current.id, output_index: done.length, delta: delta.text }
    switch (current.type) {
      case "message":
        return head + event("response.output_text.delta", { ...place, content_index: 0 })
      case "reasoning":
        return head + event("response.reasoning_summary_text.delta", { ...place, summary_index: 0 })
      case "call":
        return event(
          current.call.custom ? "response.custom_tool_call_input.delta" : "response.function_call_arguments.delta",
          place
        )
    }
  }

  return {
    begin: () => event("response.created", response({ status: "in_progress", output: [] })),
    deltas: (deltas) => deltas.map(deltaText).join(""),
    finish: (reason, usage) => {
      const closed = close()
      const end = statusOf(reason)
      return closed + event(
        `response.${end.status}`,
        response({ ...end, output: done, ...(usage === undefined ? undefined : { usage: usageJson(usage) }) })
      )
    },
    noFinish: close,
    streamError: (message, code) =>
      event("response.failed", response({ status: "failed", error: { code: code ?? "server_error", message } })),
    malformed: "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\n\n"
  }
}

const whole: ModelWire["whole"] = (envelope, deltas, reason, usage) => {
  const items: Array<Growing> = []
  for (const delta of deltas) {
    const last = items.at(-1)
    const id = `item_${envelope.id}_${items.length}`
    if (delta.kind === "call") items.push({ type: "call", id, call: delta, text: "" })
    else if (delta.kind === "arguments" || last?.type === (delta.kind === "text" ? "message" : "reasoning")) {
      if (last !== undefined) last.text += delta.text
    } else items.push({ type: delta.kind === "text" ? "message" : "reasoning", id, text: delta.text })
  }
  return JSON.stringify({
    id: envelope.id,
    object: "response",
    created_at: envelope.created,
    model: envelope.model,
    ...statusOf(reason),
    output: items.map((item) => itemJson(item, "completed")),
    usage: usageJson(usage)
  })
}

/** The Responses wire. */
export const wire: ModelWire = { decode, encoder, whole, errorBody: chatCompletions.errorBody }
