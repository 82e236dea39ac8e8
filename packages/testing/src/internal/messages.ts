/**
 * The Messages wire of Anthropic: what a client posts to `/v1/messages`, reduced to what a script needs, and the events and
 * bodies sent back.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Body } from "./chatCompletions.ts"
import type { Delta, Encoder, Envelope, ModelWire, UsageCounts } from "./modelWire.ts"
import { frame } from "./modelWire.ts"

const optional = Schema.optionalKey
const Text = Schema.Struct({ type: Schema.String, text: optional(Schema.String) })

/** A block of a message, as far as it is looked at. */
const Block = Schema.Struct({
  type: Schema.String,
  text: optional(Schema.String),
  id: optional(Schema.String),
  name: optional(Schema.String),
  tool_use_id: optional(Schema.String),
  content: optional(Schema.NullOr(Schema.Union([Schema.String, Schema.Array(Text)])))
})
type Block = typeof Block.Type

const Posted = Schema.Struct({
  model: Schema.String,
  system: optional(Schema.NullOr(Schema.Union([Schema.String, Schema.Array(Text)]))),
  messages: Schema.Array(Schema.Struct({
    role: Schema.String,
    content: Schema.Union([Schema.String, Schema.Array(Block)])
  })),
  stream: optional(Schema.NullOr(Schema.Boolean)),
  tools: optional(Schema.NullOr(Schema.Array(Schema.Struct({ name: Schema.String }))))
})

const parse = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Unknown))
const decodePosted = Schema.decodeUnknownResult(Posted)

type Message = Body["messages"][number]

const textOf = (content: Block["content"]): string =>
  Predicate.isString(content) ? content : (content ?? []).flatMap(({ text }) => text ?? []).join("\n")

/** Results of tools come as blocks of a user message; on the other wires each is a message of its own. */
const ofUser = (blocks: ReadonlyArray<Block>): ReadonlyArray<Message> => {
  const results = blocks.filter(({ type }) => type === "tool_result").map((block): Message => ({
    role: "tool",
    tool_call_id: block.tool_use_id ?? "",
    content: textOf(block.content)
  }))
  const said = blocks.filter(({ type }) => type !== "tool_result")
  return said.length === 0
    ? results
    : [...results, { role: "user", content: said.map(({ text, type }) => ({ type, ...given("text", text) })) }]
}

const given = <K extends string, V>(key: K, value: V | undefined) =>
  (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V }

const ofAssistant = (blocks: ReadonlyArray<Block>): Message => ({
  role: "assistant",
  content: blocks.flatMap(({ text }) => text ?? []).join("\n"),
  tool_calls: blocks.flatMap(({ id, name, type }) =>
    type === "tool_use" && name !== undefined ? [{ ...given("id", id), function: { name } }] : []
  )
})

const decode: ModelWire["decode"] = (text) =>
  Result.flatMap(parse(text), (raw) =>
    Result.map(decodePosted(raw), ({ messages, model, stream, system, tools }) => ({
      raw,
      body: {
        model,
        messages: [
          ...(system === undefined || system === null ? [] : [{ role: "system", content: textOf(system) }]),
          ...messages.flatMap(({ content, role }): ReadonlyArray<Message> =>
            Predicate.isString(content)
              ? [{ role, content }]
              : role === "assistant"
              ? [ofAssistant(content)]
              : ofUser(content)
          )
        ],
        ...(stream === undefined ? undefined : { stream }),
        stream_options: { include_usage: true },
        tools: (tools ?? []).map(({ name }) => ({ function: { name } }))
      }
    })))

const usageJson = ({ cached, completion, prompt }: UsageCounts) => ({
  input_tokens: Math.max(0, prompt - cached),
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: cached,
  output_tokens: completion
})

/** Reasons that the wire calls otherwise. */
const reasons: Readonly<Record<string, string>> = {
  stop: "end_turn",
  tool_calls: "tool_use",
  length: "max_tokens",
  content_filter: "refusal"
}
const reasonOf = (reason: string | null): string | null => reason === null ? null : reasons[reason] ?? reason

/** A block of the answer as it grows. */
interface Growing {
  readonly kind: "text" | "reasoning" | "call"
  readonly call: Extract<Delta, { readonly kind: "call" }> | undefined
  text: string
}

/** What a thought is signed with; nobody checks it. */
const signature = "scripted"

const inputOf = ({ call, text }: Growing): unknown => {
  if (call?.custom === true) return { input: text }
  const parsed = parse(text === "" ? "{}" : text)
  return Result.isSuccess(parsed) ? parsed.success : {}
}

const blockJson = (block: Growing, whole: boolean): object => {
  switch (block.kind) {
    case "text":
      return { type: "text", text: whole ? block.text : "" }
    case "reasoning":
      return { type: "thinking", thinking: whole ? block.text : "", signature: whole ? signature : "" }
    case "call":
      return { type: "tool_use", id: block.call?.id, name: block.call?.name, input: whole ? inputOf(block) : {} }
  }
}

const message = (envelope: Envelope, content: ReadonlyArray<object>, reason: string | null, usage: UsageCounts) => ({
  id: envelope.id,
  type: "message",
  role: "assistant",
  model: envelope.model,
  content,
  stop_reason: reasonOf(reason),
  stop_sequence: null,
  usage: usageJson(usage)
})

const nothing: UsageCounts = { prompt: 0, completion: 0, total: 0, cached: 0 }

const encoder = (envelope: Envelope): Encoder => {
  let index = -1
  let current: Growing | undefined
  const event = (type: string, fields: object): string => frame({ type, ...fields }, type)
  const piece = (delta: object): string => event("content_block_delta", { index, delta })

  const close = (): string => {
    if (current === undefined) return ""
    const signed = current.kind === "reasoning" ? piece({ type: "signature_delta", signature }) : ""
    current = undefined
    return signed + event("content_block_stop", { index })
  }
  const open = (kind: Growing["kind"], call?: Growing["call"]): string => {
    const closed = close()
    current = { kind, call, text: "" }
    index++
    return closed + event("content_block_start", { index, content_block: blockJson(current, false) })
  }

  const deltaText = (delta: Delta): string => {
    if (delta.kind === "call") return open("call", delta)
    const kind = delta.kind === "arguments" ? "call" : delta.kind
    const head = current?.kind === kind ? "" : open(kind)
    return head + piece(
      kind === "text"
        ? { type: "text_delta", text: delta.text }
        : kind === "reasoning"
        ? { type: "thinking_delta", thinking: delta.text }
        : { type: "input_json_delta", partial_json: delta.text }
    )
  }

  return {
    begin: () => event("message_start", { message: message(envelope, [], null, nothing) }),
    deltas: (deltas) => deltas.map(deltaText).join(""),
    finish: (reason, usage) =>
      close() + event("message_delta", {
        delta: { stop_reason: reasonOf(reason), stop_sequence: null },
        usage: usageJson(usage ?? nothing)
      }) + event("message_stop", {}),
    noFinish: (done) => close() + (done ? event("message_stop", {}) : ""),
    streamError: (text, code) => event("error", { error: { type: code ?? "api_error", message: text } }),
    malformed:
      "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\n\n"
  }
}

const whole: ModelWire["whole"] = (envelope, deltas, reason, usage) => {
  const blocks: Array<Growing> = []
  for (const delta of deltas) {
    const last = blocks.at(-1)
    if (delta.kind === "call") blocks.push({ kind: "call", call: delta, text: "" })
    else if (last !== undefined && (delta.kind === "arguments" || last.kind === delta.kind)) last.text += delta.text
    else if (delta.kind !== "arguments") blocks.push({ kind: delta.kind, call: undefined, text: delta.text })
  }
  return JSON.stringify(message(envelope, blocks.map((block) => blockJson(block, true)), reason, usage))
}

const kinds: Readonly<Record<number, readonly [type: string, message: string]>> = {
  400: ["invalid_request_error", "The request is invalid"],
  401: ["authentication_error", "invalid x-api-key"],
  403: ["permission_error", "The key may not use this model"],
  404: ["not_found_error", "Not found"],
  413: ["request_too_large", "The request is too large"],
  429: ["rate_limit_error", "Rate limit reached"],
  529: ["overloaded_error", "Overloaded"]
}

const errorBody: ModelWire["errorBody"] = (status, text) => {
  const [type, usual] = kinds[status] ?? ["api_error", `The server answered ${status}`]
  return JSON.stringify({ type: "error", error: { type, message: text ?? usual } })
}

/** The Messages wire. */
export const wire: ModelWire = { decode, encoder, whole, errorBody }
