/**
 * The tape of an agent that is an HTTP server, read back as calls and events: for the `TapeReader` of its adapter.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as sseDecoder from "./internal/sseDecoder.ts"
import type * as WireTape from "./WireTape.ts"

/**
 * A request. `origin` tells servers apart, `query` has the last value of each name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly id: number
  readonly method: string
  readonly origin: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly body?: Schema.Json
}

/**
 * What happened, in the order of the tape; `t` is in milliseconds since the tape began.
 *
 * - `called`: a request was sent.
 * - `answered`: its answer arrived: once with the status alone, or with the whole body once that is there.
 * - `events`: the `data:` payloads of one read of an event stream.
 * - `ended`: an exchange ended: `done`, `failed`, or `interrupted` by the host.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry =
  | { readonly _tag: "called"; readonly t: number; readonly call: Call }
  | {
    readonly _tag: "answered"
    readonly t: number
    readonly call: Call
    readonly status: number
    readonly body?: Schema.Json
  }
  | { readonly _tag: "events"; readonly t: number; readonly call: Call; readonly events: ReadonlyArray<string> }
  | {
    readonly _tag: "ended"
    readonly t: number
    readonly call: Call
    /** The status, if there was one. */
    readonly status?: number
    readonly how: string
  }

const optional = Schema.optionalKey

const Request = Schema.Struct({
  id: Schema.Int,
  method: Schema.String,
  url: Schema.String,
  body: optional(Schema.Json)
})
const Response = Schema.Struct({
  id: Schema.Int,
  status: optional(Schema.Int),
  body: optional(Schema.Json),
  end: optional(Schema.String)
})
const Meta = Schema.Struct({ id: Schema.Int })

const decodeRequest = Schema.decodeUnknownOption(Request)
const decodeResponse = Schema.decodeUnknownOption(Response)
const decodeMeta = Schema.decodeUnknownOption(Meta)

const unreadable = (frame: WireTape.Frame, description: string): AgentError.AgentError =>
  AgentError.make(
    new AgentError.InvalidRequest({
      field: "tape",
      description: `the frame ${frame.t} ms after the start of the tape ${description}`
    })
  )

const callOf = ({ body, id, method, url }: typeof Request.Type): Call | undefined => {
  if (!URL.canParse(url)) return undefined
  const parsed = new URL(url)
  return {
    id,
    method,
    origin: parsed.origin,
    path: parsed.pathname,
    query: Object.fromEntries(parsed.searchParams),
    ...(body === undefined ? undefined : { body })
  }
}

/** An exchange as far as the tape was read. */
interface Exchange {
  readonly call: Call
  readonly decoder: sseDecoder.SseDecoder
  status: number | undefined
}

/**
 * Reads the frames that `WireTape.httpClient` recorded; other channels are passed over. Fails with `InvalidRequest`
 * where a frame was cut because of its length, or is none of an HTTP tape.
 *
 * @category reading
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(
  frames: ReadonlyArray<WireTape.Frame>
): Effect.fn.Return<ReadonlyArray<Entry>, AgentError.AgentError> {
  const encoder = new TextEncoder()
  const exchanges = new Map<number, Exchange>()
  const entries: Array<Entry> = []
  for (const frame of frames) {
    const { channel, dir, t } = frame
    if (channel !== "http" && channel !== "sse") continue
    if (frame.truncated !== undefined) {
      return yield* unreadable(frame, "was cut because of its length; record with a larger maxFrameChars")
    }
    if (dir === "out") {
      const request = decodeRequest(frame.frame)
      const call = Option.isSome(request) ? callOf(request.value) : undefined
      if (call === undefined) return yield* unreadable(frame, "is no request")
      exchanges.set(call.id, { call, decoder: sseDecoder.make(), status: undefined })
      entries.push({ _tag: "called", t, call })
      continue
    }
    if (channel === "sse") {
      const meta = decodeMeta(frame.meta)
      // The tape may have begun in the middle of an exchange.
      const exchange = Option.isSome(meta) ? exchanges.get(meta.value.id) : undefined
      if (exchange === undefined) continue
      if (typeof frame.frame !== "string") return yield* unreadable(frame, "is no text of an event stream")
      const events = exchange.decoder.push(encoder.encode(frame.frame))
      if (events.length > 0) entries.push({ _tag: "events", t, call: exchange.call, events })
      continue
    }
    const response = decodeResponse(frame.frame)
    const exchange = Option.isSome(response) ? exchanges.get(response.value.id) : undefined
    if (exchange === undefined || Option.isNone(response)) continue
    const { call } = exchange
    const { body, end } = response.value
    exchange.status = response.value.status ?? exchange.status
    const { status } = exchange
    if (end !== undefined) {
      entries.push({ _tag: "ended", t, call, how: end, ...(status === undefined ? undefined : { status }) })
    } else if (status !== undefined) {
      entries.push({ _tag: "answered", t, call, status, ...(body === undefined ? undefined : { body }) })
    }
  }
  return entries
})
