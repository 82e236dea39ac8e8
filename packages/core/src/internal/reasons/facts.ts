/** What all reasons share: their common facts, and how facts become a sentence. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Redaction from "../../Redaction.ts"

const optional = Schema.optionalKey

/** The facts any reason may carry. Times are milliseconds; `resetAt` is since the epoch. */
export const shared = {
  /** The HTTP status, where an HTTP answer is what failed. */
  statusCode: optional(Schema.Int),
  /** The id under which the provider knows the failed call. */
  requestId: optional(Schema.String),
  /** When the limit is lifted, in milliseconds since the epoch. */
  resetAt: optional(Schema.Number),
  /** How long to wait before the next try, in milliseconds. */
  retryAfter: optional(Schema.Number),
  /** An excerpt of the body of the answer, redacted. */
  excerpt: optional(Schema.String),
  /** The last lines that the agent's process wrote to stderr, redacted. */
  stderrTail: optional(Schema.String),
  /** The error underneath. */
  cause: optional(Schema.Defect()),
  /** One sentence of what happened, in the provider's words. */
  description: optional(Schema.String)
}

// What is known by pattern never leaves through an error, even where a caller forgot to redact with its own values.
const redactor = Redaction.make({ values: [] })

/** Text without the credentials that are known by pattern. */
export const redact = redactor.redact

/** A JSON value without the credentials that are known by pattern. */
export const redactJson = redactor.redactJson

interface Explained {
  readonly description?: string
  readonly cause?: unknown
}

/** Longest piece of foreign text in a sentence, in characters. */
const maxForeign = 400

/** Foreign text on one line, without credentials, and of bounded length. */
export const line = (text: string, max: number = maxForeign): string => {
  const flat = redact(text).replace(/\s+/g, " ").trim()
  return flat.length > max ? `${flat.slice(0, max - 1)}…` : flat
}

/** A fact as it is shown inside a sentence. */
export const quote = (text: string): string => `"${line(text, 200)}"`

/** What an unknown error says for itself, if it says something. */
export const messageOf = (cause: unknown): string | undefined => {
  const text = typeof cause === "string" ? cause : cause instanceof Error ? cause.message || cause.name : ""
  const flat = line(text)
  return flat === "" || flat.includes("[object ") ? undefined : flat
}

/** Why it happened: the provider's words, else those of the error underneath. */
export const why = (reason: Explained): string | undefined => {
  const described = reason.description === undefined ? "" : line(reason.description)
  return described === "" ? messageOf(reason.cause) : described
}

/** One sentence: what happened and, where it is known, why. */
export const say = (what: string, reason: Explained): string => {
  const because = why(reason)
  const text = because === undefined ? what : `${what}: ${because}`
  return `${redact(text).replace(/[\s.!]+$/, "")}.`
}

/** Milliseconds for a person. */
export const duration = (millis: number): string => {
  const unit = (count: number, name: string) => `${count} ${name}${count === 1 ? "" : "s"}`
  if (millis < 1000) return unit(Math.max(0, Math.round(millis)), "millisecond")
  if (millis < 120_000) return unit(Math.round(millis / 1000), "second")
  if (millis < 7_200_000) return unit(Math.round(millis / 60_000), "minute")
  return unit(Math.round(millis / 3_600_000), "hour")
}

const instant = (epochMillis: number): string | undefined =>
  Option.getOrUndefined(Option.map(DateTime.make(epochMillis), DateTime.formatIso))

/** When to try again, as the end of an advice. */
export const when = (
  reason: { readonly retryAfter?: number; readonly resetAt?: number },
  otherwise: string
): string => {
  if (reason.retryAfter !== undefined && Number.isFinite(reason.retryAfter)) return `in ${duration(reason.retryAfter)}`
  const at = reason.resetAt === undefined ? undefined : instant(reason.resetAt)
  return at === undefined ? otherwise : `after ${at}`
}
