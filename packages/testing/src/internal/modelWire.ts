/** What the wires of a model have in common: an answer is laid out once, and each wire says it in its own words. */
import type * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Body } from "./chatCompletions.ts"

/** What an answer is called on the wire. */
export interface Envelope {
  readonly id: string
  readonly model: string
  /** Seconds since the epoch. */
  readonly created: number
}

/** One piece of a streamed answer. */
export type Delta =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "reasoning"; readonly text: string }
  | {
    readonly kind: "call"
    readonly index: number
    readonly id: string
    readonly name: string
    readonly namespace?: string
    /** A tool that takes plain text. */
    readonly custom: boolean
  }
  | { readonly kind: "arguments"; readonly index: number; readonly text: string }

/** Token counts. */
export interface UsageCounts {
  readonly prompt: number
  readonly completion: number
  readonly total: number
  readonly cached: number
}

/** The text of one streamed answer, piece by piece. */
export interface Encoder {
  readonly begin: () => string
  readonly deltas: (deltas: ReadonlyArray<Delta>) => string
  /** `usage` is absent where the client did not ask for it. */
  readonly finish: (reason: string, usage: UsageCounts | undefined) => string
  /** An end that gives no reason; with `done` the stream is still ended as it should be. */
  readonly noFinish: (done: boolean, usage: UsageCounts | undefined) => string
  readonly streamError: (message: string, code: string | undefined) => string
  /** An event whose JSON breaks off. */
  readonly malformed: string
}

/** One way in which a client talks to a model. */
export interface ModelWire {
  /** A request, reduced to the shape of chat completions, next to the JSON as it was posted; or what is wrong with it. */
  readonly decode: (
    text: string
  ) => Result.Result<{ readonly body: Body; readonly raw: unknown }, Schema.SchemaError>
  readonly errorBody: (status: number, message?: string) => string
  readonly encoder: (envelope: Envelope) => Encoder
  /** The whole answer as one body, for a client that does not stream. */
  readonly whole: (
    envelope: Envelope,
    deltas: ReadonlyArray<Delta>,
    reason: string | null,
    usage: UsageCounts
  ) => string
}

/** One server-sent event. */
export const frame = (data: unknown, event?: string): string =>
  `${event === undefined ? "" : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`
