/**
 * The one error of the library, the reasons it can have, and its plain JSON form.
 *
 * A reason carries facts; the sentence for a person, the advice and whether to retry are derived from them.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  ConnectionLost,
  HandshakeFailed,
  NotInstalled,
  ProcessExited,
  ProtocolError,
  SpawnFailed,
  StartTimeout,
  Unavailable,
  UnsupportedVersion
} from "./internal/reasons/agent.ts"
import { line, messageOf, redact, redactJson, shared, why } from "./internal/reasons/facts.ts"
import {
  AuthRequired,
  BudgetExceeded,
  ContextOverflow,
  InvalidRequest,
  ModelNotFound,
  Overloaded,
  QuotaExceeded,
  RateLimited,
  UpstreamFailed,
  UpstreamSilent
} from "./internal/reasons/provider.ts"
import {
  InvalidConfig,
  RequestNotOpen,
  SessionBusy,
  SessionNotFound,
  StoreFailed,
  TurnLost,
  Unsupported
} from "./internal/reasons/session.ts"

export * from "./internal/reasons/agent.ts"
export * from "./internal/reasons/provider.ts"
export * from "./internal/reasons/session.ts"

/**
 * Every reason an `AgentError` can have.
 *
 * @category errors
 * @since 0.1.0
 */
export const AgentErrorReason = Schema.Union([
  NotInstalled,
  UnsupportedVersion,
  SpawnFailed,
  StartTimeout,
  ProcessExited,
  Unavailable,
  HandshakeFailed,
  ConnectionLost,
  ProtocolError,
  AuthRequired,
  RateLimited,
  QuotaExceeded,
  BudgetExceeded,
  Overloaded,
  ContextOverflow,
  ModelNotFound,
  InvalidRequest,
  UpstreamFailed,
  UpstreamSilent,
  TurnLost,
  SessionNotFound,
  SessionBusy,
  Unsupported,
  RequestNotOpen,
  StoreFailed,
  InvalidConfig
])
/**
 * Every reason an `AgentError` can have.
 *
 * @category models
 * @since 0.1.0
 */
export type AgentErrorReason = typeof AgentErrorReason.Type

/**
 * The error of every operation on an agent; what happened is in its `reason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class AgentError extends Schema.TaggedError<AgentError>()("AgentError", {
  reason: AgentErrorReason,
  provider: Schema.optionalKey(Schema.String),
  sessionId: Schema.optionalKey(Schema.String)
}) {
  override readonly cause = this.reason
  override get message(): string {
    return this.reason.message
  }
  /** What to do next. */
  get advice(): string {
    return this.reason.advice
  }
  /** Whether the same operation may succeed later without anything being changed. */
  get retryable(): boolean {
    return this.reason.retryable
  }
  /** How long to wait before the next try, in milliseconds. */
  get retryAfter(): number | undefined {
    return this.reason.retryAfter
  }
}

/**
 * Makes an error of a reason, and of the provider and session it happened with.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  reason: AgentErrorReason,
  context?: { readonly provider?: string | undefined; readonly sessionId?: string | undefined }
): AgentError =>
  new AgentError({
    reason,
    ...(context?.provider === undefined ? {} : { provider: context.provider }),
    ...(context?.sessionId === undefined ? {} : { sessionId: context.sessionId })
  })

/**
 * Fails with a reason.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fail = (
  reason: AgentErrorReason,
  context?: { readonly provider?: string | undefined; readonly sessionId?: string | undefined }
): Effect.Effect<never, AgentError> => Effect.fail(make(reason, context))

/**
 * The same error with the provider and session it happened with, where it does not name them itself.
 *
 * @category constructors
 * @since 0.1.0
 */
export const withContext = (
  error: AgentError,
  context: { readonly provider?: string | undefined; readonly sessionId?: string | undefined }
): AgentError =>
  make(error.reason, {
    provider: error.provider ?? context.provider,
    sessionId: error.sessionId ?? context.sessionId
  })

/**
 * Whether something is an `AgentError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAgentError = (u: unknown): u is AgentError => u instanceof AgentError

const optional = Schema.optionalKey

/**
 * An error as plain JSON, as it stands in events and on the wire. `retryAfter` is in milliseconds, `resetAt` in
 * milliseconds since the epoch. The set of tags is open: a newer peer may send one that is not known here.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ErrorInfo = Schema.Struct({
  _tag: Schema.String,
  message: Schema.String,
  advice: Schema.String,
  retryable: Schema.Boolean,
  retryAfter: optional(Schema.Finite),
  resetAt: optional(Schema.Finite),
  statusCode: optional(Schema.Int),
  requestId: optional(Schema.String),
  excerpt: optional(Schema.String),
  provider: optional(Schema.String),
  sessionId: optional(Schema.String),
  stderrTail: optional(Schema.String),
  /** The reason's own facts, and its `description`. */
  facts: optional(Schema.Record(Schema.String, Schema.Json))
})
/**
 * An error as plain JSON.
 *
 * @category models
 * @since 0.1.0
 */
export type ErrorInfo = typeof ErrorInfo.Type

const isReason = Schema.is(AgentErrorReason)
const isJson = Schema.is(Schema.Json)
const decodeReason = Schema.decodeUnknownOption(Schema.toCodecJson(AgentErrorReason))

/** Names of a reason's own facts, by tag. What a reason shares with all others has its place in `ErrorInfo`. */
const ownFacts: ReadonlyMap<string, ReadonlyArray<string>> = new Map(
  AgentErrorReason.members.map((member) => {
    const tag = member.fields._tag.schema.literal
    // The request of `RequestNotOpen` is the agent's, not the id of a call to the provider.
    const names = Object.keys(member.fields).filter((name) =>
      name !== "_tag" && (!(name in shared) || (tag === "RequestNotOpen" && name === "requestId"))
    )
    return [tag, names]
  })
)

const isInfo = (error: AgentError | ErrorInfo): error is ErrorInfo => !(error instanceof AgentError)

/** Keeps what has a value: numbers that JSON cannot carry count as none. */
const present = <A extends object>(fields: A): { [K in keyof A]?: Exclude<A[K], undefined> } => {
  const kept: { [K in keyof A]?: Exclude<A[K], undefined> } = {}
  for (const key in fields) {
    const value = fields[key]
    if (value === undefined || (typeof value === "number" && !Number.isFinite(value))) continue
    kept[key] = value as Exclude<A[typeof key], undefined>
  }
  return kept
}

/**
 * A reason as plain JSON. The error underneath stays behind, except for what it says.
 *
 * @category getters
 * @since 0.1.0
 */
export const fromReason = (
  reason: AgentErrorReason,
  context?: { readonly provider?: string | undefined; readonly sessionId?: string | undefined }
): ErrorInfo => {
  const facts: Record<string, Schema.Json> = {}
  for (const name of ownFacts.get(reason._tag) ?? []) {
    const value: unknown = reason[name as keyof AgentErrorReason]
    if (value !== undefined && isJson(value)) facts[name] = value
  }
  const description = why(reason)
  if (description !== undefined) facts.description = description
  return {
    _tag: reason._tag,
    message: reason.message,
    advice: redact(reason.advice),
    retryable: reason.retryable,
    ...present({
      retryAfter: reason.retryAfter,
      resetAt: reason.resetAt,
      statusCode: reason.statusCode,
      requestId: reason._tag === "RequestNotOpen" ? undefined : reason.requestId,
      excerpt: reason.excerpt === undefined ? undefined : redact(reason.excerpt),
      provider: context?.provider,
      sessionId: context?.sessionId,
      stderrTail: reason.stderrTail === undefined ? undefined : redact(reason.stderrTail)
    }),
    ...(Object.keys(facts).length === 0 ? {} : { facts: redactJson(facts) })
  }
}

/**
 * An error as plain JSON.
 *
 * @category getters
 * @since 0.1.0
 */
export const toInfo = (error: AgentError): ErrorInfo => fromReason(error.reason, error)

/**
 * The error that plain JSON stands for, as far as it can be told: an unknown tag, or a known one without its facts,
 * becomes `UpstreamFailed` with the sentence as its description.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromInfo = (info: ErrorInfo): AgentError => {
  const common = present({
    retryAfter: info.retryAfter,
    resetAt: info.resetAt,
    statusCode: info.statusCode,
    requestId: info.requestId,
    excerpt: info.excerpt,
    stderrTail: info.stderrTail
  })
  const known = Option.filter(
    decodeReason({ ...common, ...info.facts, _tag: info._tag }),
    (reason) => reason._tag === info._tag
  )
  const reason = Option.getOrElse(
    known,
    () => new UpstreamFailed({ ...common, kind: info._tag, transient: info.retryable, description: info.message })
  )
  return make(reason, info)
}

/**
 * The text for a person: the sentence, what is underneath it, the advice, and the last output of the agent.
 *
 * @category getters
 * @since 0.1.0
 */
export const render = (error: AgentError | ErrorInfo): string => {
  const info = isInfo(error) ? error : toInfo(error)
  const lines = [info.message]
  const details = [
    info.provider === undefined ? "" : `provider ${info.provider}`,
    info.sessionId === undefined ? "" : `session ${info.sessionId}`,
    info.statusCode === undefined ? "" : `status ${info.statusCode}`,
    info.requestId === undefined ? "" : `request ${info.requestId}`
  ].filter((detail) => detail !== "")
  if (details.length > 0) lines.push(`  Where: ${details.join(", ")}`)
  if (!isInfo(error)) { for (const text of causesOf(error.reason, info.message)) lines.push(`  Cause: ${text}`) }
  if (info.excerpt !== undefined) lines.push(`  Answer: ${line(info.excerpt)}`)
  lines.push(`  What to do: ${info.advice}`)
  if (info.stderrTail !== undefined && info.stderrTail.trim() !== "") {
    lines.push("  Last output of the agent:", ...info.stderrTail.trimEnd().split("\n").map((text) => `    ${text}`))
  }
  return redact(lines.join("\n"))
}

/** Deepest chain of causes that is shown. */
const maxCauses = 5

/** What the errors underneath say, as far as the sentence does not say it already. */
const causesOf = (reason: AgentErrorReason, said: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let cause: unknown = reason.cause
  for (let depth = 0; depth < maxCauses && cause !== undefined; depth++) {
    const text = messageOf(cause)
    if (text !== undefined && !said.includes(text) && !found.includes(text)) found.push(text)
    cause = cause instanceof Error ? cause.cause : undefined
  }
  return found
}

/**
 * The error for something thrown. An `AgentError` passes through, a reason is wrapped; anything else is not foreseen by
 * the adapter and so a `ProtocolError`, with what was thrown as its cause.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromUnknown = (cause: unknown): AgentError => {
  if (cause instanceof AgentError) return cause
  if (isReason(cause)) return make(cause)
  if (Cause.isCause(cause)) return fromUnknown(Cause.squash(cause))
  return make(new ProtocolError({ description: messageOf(cause) ?? "an unexpected failure", ...present({ cause }) }))
}
