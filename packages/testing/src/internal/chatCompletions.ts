/**
 * The chat-completions wire: what a client posts, reduced to what a script needs, and the frames and bodies sent back.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Delta, Envelope, ModelWire, UsageCounts } from "./modelWire.ts"
import { frame } from "./modelWire.ts"

const Part = Schema.Struct({ type: Schema.optionalKey(Schema.String), text: Schema.optionalKey(Schema.String) })
const Content = Schema.optionalKey(Schema.NullOr(Schema.Union([Schema.String, Schema.Array(Part)])))

const Message = Schema.Struct({
  role: Schema.String,
  content: Content,
  tool_call_id: Schema.optionalKey(Schema.String),
  tool_calls: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Struct({
    id: Schema.optionalKey(Schema.String),
    function: Schema.Struct({ name: Schema.String })
  }))))
})

/** A chat-completions request, as far as it is looked at. */
export const Body = Schema.Struct({
  model: Schema.String,
  messages: Schema.Array(Message),
  stream: Schema.optionalKey(Schema.NullOr(Schema.Boolean)),
  stream_options: Schema.optionalKey(Schema.NullOr(Schema.Struct({
    include_usage: Schema.optionalKey(Schema.NullOr(Schema.Boolean))
  }))),
  tools: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Struct({
    function: Schema.Struct({ name: Schema.String })
  }))))
})

/** A decoded request. */
export type Body = typeof Body.Type

const parse = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))
const decodeBody = Schema.decodeUnknownResult(Body)

/** Decodes the text of a request, next to the JSON as it was posted, or says what is wrong with it. */
const decode = (
  text: string
): Result.Result<{ readonly body: Body; readonly raw: unknown }, Schema.SchemaError> =>
  Result.flatMap(parse(text), (raw) => Result.map(decodeBody(raw), (body) => ({ body, raw })))

/** The text of a message, its parts joined by line breaks. */
export const textOf = (message: Body["messages"][number]): string =>
  Predicate.isString(message.content)
    ? message.content
    : (message.content ?? []).flatMap((part) => (part.text === undefined ? [] : [part.text])).join("\n")

/** Index of the last user message that fits, or -1. */
export const lastUserIndex = (body: Body, fits: (text: string) => boolean = () => true): number =>
  body.messages.findLastIndex((message) => message.role === "user" && fits(textOf(message)))

/** Results of tools, after the message with the given index, with the tool's name where the call is known. */
export const toolResultsAfter = (
  body: Body,
  index: number
): ReadonlyArray<{ readonly id: string; readonly name?: string; readonly content: string }> => {
  const names = new Map(
    body.messages.flatMap((message) =>
      (message.tool_calls ?? []).flatMap((
        call
      ) => (call.id === undefined ? [] : [[call.id, call.function.name] as const]))
    )
  )
  return body.messages.slice(index + 1).flatMap((message) => {
    if (message.role !== "tool") {
      return []
    }
    const id = message.tool_call_id ?? ""
    const name = names.get(id)
    return [{ id, ...(name === undefined ? {} : { name }), content: textOf(message) }]
  })
}

/** How many answers of the model stand after the message with the given index. */
export const answersAfter = (body: Body, index: number): number =>
  body.messages.slice(index + 1).filter((message) => message.role === "assistant").length

const usageJson = (usage: UsageCounts) => ({
  prompt_tokens: usage.prompt,
  completion_tokens: usage.completion,
  total_tokens: usage.total,
  prompt_tokens_details: { cached_tokens: usage.cached }
})

const deltaJson = (delta: Delta): unknown => {
  switch (delta.kind) {
    case "text":
      return { content: delta.text }
    case "reasoning":
      return { reasoning_content: delta.text }
    case "call":
      return {
        tool_calls: [{
          index: delta.index,
          id: delta.id,
          type: "function",
          function: { name: delta.name, arguments: "" }
        }]
      }
    case "arguments":
      return { tool_calls: [{ index: delta.index, function: { arguments: delta.text } }] }
  }
}

/** The frame that ends a stream. */
const doneFrame = "data: [DONE]\n\n"

/** A frame whose JSON breaks off. */
const malformedFrame = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\n\n"

const chunk = (envelope: Envelope, choices: ReadonlyArray<unknown>, extra: object = {}): string =>
  frame({ ...envelope, object: "chat.completion.chunk", choices, ...extra })

/** The first frame: it only names the role. */
const roleFrame = (envelope: Envelope): string =>
  chunk(envelope, [{ index: 0, delta: { role: "assistant" }, finish_reason: null }])

/** A frame with one piece of the answer. */
const deltaFrame = (envelope: Envelope, delta: Delta): string =>
  chunk(envelope, [{ index: 0, delta: deltaJson(delta), finish_reason: null }])

/** The frame that says why the answer ends. */
const finishFrame = (envelope: Envelope, reason: string): string =>
  chunk(envelope, [{ index: 0, delta: {}, finish_reason: reason }])

/** The frame with token counts; it has no choice. */
const usageFrame = (envelope: Envelope, usage: UsageCounts): string => chunk(envelope, [], { usage: usageJson(usage) })

/** The whole answer as one body, for a client that does not stream. */
const completion = (
  envelope: Envelope,
  deltas: ReadonlyArray<Delta>,
  reason: string | null,
  usage: UsageCounts
): string => {
  const joined = (kind: "text" | "reasoning") =>
    deltas.flatMap((delta) => (delta.kind === kind ? [delta.text] : [])).join("")
  const calls = deltas.flatMap((delta) =>
    delta.kind === "call"
      ? [{
        id: delta.id,
        type: "function",
        function: {
          name: delta.name,
          arguments: deltas
            .flatMap((other) => (other.kind === "arguments" && other.index === delta.index ? [other.text] : []))
            .join("")
        }
      }]
      : []
  )
  const text = joined("text")
  const reasoning = joined("reasoning")
  return JSON.stringify({
    ...envelope,
    object: "chat.completion",
    choices: [{
      index: 0,
      message: {
        role: "assistant",
        content: text === "" && calls.length > 0 ? null : text,
        ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
        ...(calls.length === 0 ? {} : { tool_calls: calls })
      },
      finish_reason: reason
    }],
    usage: usageJson(usage)
  })
}

const errorKinds: Readonly<Record<number, readonly [type: string, code: string | null, message: string]>> = {
  400: ["invalid_request_error", null, "The request is invalid"],
  401: ["invalid_request_error", "invalid_api_key", "Incorrect API key provided"],
  403: ["permission_error", null, "The key may not use this model"],
  404: ["invalid_request_error", "not_found", "Not found"],
  413: ["invalid_request_error", null, "The request is too large"],
  429: ["rate_limit_error", "rate_limit_exceeded", "Rate limit reached"]
}

/** An error as the API words it. */
export const errorBody = (status: number, message?: string): string => {
  const [type, code, text] = errorKinds[status] ?? ["server_error", null, `The server answered ${status}`]
  return JSON.stringify({ error: { message: message ?? text, type, param: null, code } })
}

/** The error object that may appear inside a stream. */
const errorFrame = (message: string): string =>
  frame({ error: { message, type: "server_error", param: null, code: null } })

/** The list of models. */
export const modelList = (models: ReadonlyArray<string>): string =>
  JSON.stringify({
    object: "list",
    data: models.map((id) => ({ id, object: "model", created: 0, owned_by: "scripted" }))
  })

const usageText = (envelope: Envelope, usage: UsageCounts | undefined): string =>
  usage === undefined ? "" : usageFrame(envelope, usage)

/** The chat-completions wire. */
export const wire: ModelWire = {
  decode,
  errorBody,
  encoder: (envelope) => ({
    begin: () => roleFrame(envelope),
    deltas: (deltas) => deltas.map((delta) => deltaFrame(envelope, delta)).join(""),
    finish: (reason, usage) => finishFrame(envelope, reason) + usageText(envelope, usage) + doneFrame,
    noFinish: (done, usage) => usageText(envelope, usage) + (done ? doneFrame : ""),
    streamError: errorFrame,
    malformed: malformedFrame
  }),
  whole: completion
}
