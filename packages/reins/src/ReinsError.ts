/**
 * The one error of the facade.
 *
 * @since 0.1.0
 */
import type { ErrorInfo } from "./Model.ts"

/**
 * Why an operation failed. An open set: a newer part of the library may use a word that is not listed.
 *
 * @category models
 * @since 0.1.0
 */
export type ReinsErrorTag =
  | "NotInstalled"
  | "UnsupportedVersion"
  | "SpawnFailed"
  | "StartTimeout"
  | "ProcessExited"
  | "Unavailable"
  | "HandshakeFailed"
  | "ConnectionLost"
  | "ProtocolError"
  | "AuthRequired"
  | "RateLimited"
  | "QuotaExceeded"
  | "BudgetExceeded"
  | "Overloaded"
  | "ContextOverflow"
  | "ModelNotFound"
  | "InvalidRequest"
  | "UpstreamFailed"
  | "UpstreamSilent"
  | "TurnLost"
  | "SessionNotFound"
  | "SessionBusy"
  | "Unsupported"
  | "RequestNotOpen"
  | "StoreFailed"
  | "InvalidConfig"
  | "Aborted"

/** The same in every copy of this module, so that an error is known across copies. */
const brand = Symbol.for("reins/ReinsError")

/**
 * What every promise of the facade rejects with: the facts of one failure, the sentence for a person in `message`, and
 * what to do next in `advice`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReinsError extends Error {
  /** Why it failed. */
  readonly tag: ReinsErrorTag | (string & {})
  /** What to do next, for a person. */
  readonly advice: string
  /** Whether the same operation may succeed later without anything being changed. */
  readonly retryable: boolean
  /** How long to wait before the next try, in milliseconds. */
  readonly retryAfter: number | undefined
  /** When a limit is lifted, in milliseconds since the epoch. */
  readonly resetAt: number | undefined
  /** The HTTP status, where an HTTP answer is what failed. */
  readonly statusCode: number | undefined
  /** The id under which the model provider knows the failed call. */
  readonly requestId: string | undefined
  /** An excerpt of the answer, redacted. */
  readonly excerpt: string | undefined
  /** The name of the provider it happened with. */
  readonly provider: string | undefined
  /** The session it happened in. */
  readonly sessionId: string | undefined
  /** The last lines that the agent's process wrote to standard error, redacted. */
  readonly stderrTail: string | undefined
  /** What else is known, by the tag. */
  readonly facts: Readonly<Record<string, unknown>>

  /** Makes an error of its plain form, and of the error underneath where there is one. */
  constructor(info: ErrorInfo, options?: { readonly cause?: unknown }) {
    super(info.message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = "ReinsError"
    this.tag = info._tag
    this.advice = info.advice
    this.retryable = info.retryable
    this.retryAfter = info.retryAfter
    this.resetAt = info.resetAt
    this.statusCode = info.statusCode
    this.requestId = info.requestId
    this.excerpt = info.excerpt
    this.provider = info.provider
    this.sessionId = info.sessionId
    this.stderrTail = info.stderrTail
    this.facts = info.facts ?? {}
    Object.defineProperty(this, brand, { value: true })
  }

  /** Whether something is a `ReinsError`, and one with this tag where a tag is given. */
  static is<Tag extends ReinsErrorTag>(value: unknown, tag?: Tag): value is ReinsError & { readonly tag: Tag } {
    return value instanceof Error && brand in value &&
      (tag === undefined || (value as { readonly tag?: unknown }).tag === tag)
  }

  /** The plain form, as it stands in events. */
  toJSON(): ErrorInfo {
    const { retryAfter, resetAt, statusCode, requestId, excerpt, provider, sessionId, stderrTail } = this
    const known = { retryAfter, resetAt, statusCode, requestId, excerpt, provider, sessionId, stderrTail }
    return {
      _tag: this.tag,
      message: this.message,
      advice: this.advice,
      retryable: this.retryable,
      ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)),
      ...(Object.keys(this.facts).length === 0 ? undefined : { facts: this.facts as NonNullable<ErrorInfo["facts"]> })
    }
  }
}
