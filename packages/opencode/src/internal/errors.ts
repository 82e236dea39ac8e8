/** What OpenCode's errors mean: by their name, their status, the code inside of the body, and last by their words. */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"

/** Longest excerpt of a body, in characters. */
const maxExcerpt = 2048
const redactor = Redaction.make({ values: [] })

const text = (value: unknown): string | undefined => typeof value === "string" && value.length > 0 ? value : undefined
const int = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) ? value : undefined

/** The head of a text, free of secrets. A secret that the cut would halve is redacted before the cut. */
export const excerptOf = (body: string): string => redactor.redact(body.slice(0, 4 * maxExcerpt)).slice(0, maxExcerpt)

/** The words of an error without the stack trace that some carry. */
export const wordsOf = (message: string): string => {
  const trace = message.search(/\n\s+at /)
  return excerptOf(trace < 0 ? message : message.slice(0, trace)).trim()
}

/** Whether a message is a stack trace: the server's own report of a failure that it told before. */
export const isTrace = (message: string): boolean => /\n\s+at /.test(message)

/** What an error says of itself. */
export const messageOf = (error: Wire.NamedError): string => text(error.data?.["message"]) ?? error.name

interface Facts {
  readonly name: string
  readonly message: string
  readonly status: number | undefined
  readonly body: string | undefined
  readonly headers: Readonly<Record<string, unknown>>
  readonly transient: boolean | undefined
  readonly provider: string | undefined
}

const factsOf = (error: Wire.NamedError): Facts => {
  const data = error.data ?? {}
  return {
    name: error.name,
    message: messageOf(error),
    status: int(data["statusCode"]),
    body: text(data["responseBody"]),
    headers: Predicate.isObject(data["responseHeaders"])
      ? data["responseHeaders"] as Readonly<Record<string, unknown>>
      : {},
    transient: typeof data["isRetryable"] === "boolean" ? data["isRetryable"] : undefined,
    provider: text(data["providerID"])
  }
}

const header = (facts: Facts, ...names: ReadonlyArray<string>): string | undefined => {
  for (const name of names) {
    const value = text(facts.headers[name])
    if (value !== undefined) return value
  }
  return undefined
}

/** Milliseconds to wait. A date is read against the answer's own clock. */
const retryAfter = (facts: Facts): number | undefined => {
  const exact = Number(header(facts, "retry-after-ms") ?? Number.NaN)
  if (Number.isFinite(exact) && exact >= 0) return exact
  const value = header(facts, "retry-after")
  if (value === undefined) return undefined
  const seconds = Number(value)
  if (Number.isFinite(seconds)) return seconds >= 0 ? Math.round(seconds * 1000) : undefined
  const at = Date.parse(value)
  const from = Date.parse(header(facts, "date") ?? "")
  return Number.isFinite(at) && Number.isFinite(from) ? Math.max(0, at - from) : undefined
}

const quota =
  /insufficient[_ ]quota|usage[_ ]limit|exceeded your current quota|credit balance|billing[_ ](?:hard[_ ])?limit|out of credits/i
const overloaded = /\boverloaded(?:_error)?\b|server is busy/i
const rateLimit = /rate[_ -]?limit|too many requests/i
const overflow = /context_length_exceeded|maximum context length|prompt is too long|exceeds? the context/i
/** A provider whose package is not part of OpenCode, and could not be fetched (told after 75 s on 1.18.33). */
const noProvider = /^Failed to initialize provider/
const noModel = /model not found|model_not_found|ProviderModelNotFoundError/i

/** The reason behind an error that a message or `session.error` carries. */
export const reasonOf = (error: Wire.NamedError): AgentError.AgentErrorReason => {
  const config = configReason(error)
  if (config !== undefined) return config
  const facts = factsOf(error)
  const wait = retryAfter(facts)
  const requestId = header(facts, "x-request-id", "request-id", "cf-ray")
  const shared = {
    description: wordsOf(facts.message),
    ...(facts.status === undefined ? undefined : { statusCode: facts.status }),
    ...(facts.body === undefined ? undefined : { excerpt: excerptOf(facts.body) }),
    ...(requestId === undefined ? undefined : { requestId: requestId.slice(0, 200) }),
    ...(wait === undefined ? undefined : { retryAfter: wait })
  }
  const said = `${facts.message}\n${facts.body ?? ""}`.slice(0, 16_384)
  const status = facts.status ?? 0
  if (quota.test(said)) return new AgentError.QuotaExceeded(shared)
  if (facts.name === "ProviderAuthError" || status === 401 || status === 403) {
    return new AgentError.AuthRequired({
      ...shared,
      ...(facts.provider === undefined ? undefined : { provider: facts.provider })
    })
  }
  if (facts.name === "ContextOverflowError" || overflow.test(said)) {
    const limit = Number(/maximum context length is (\d+)/.exec(said)?.[1] ?? Number.NaN)
    return new AgentError.ContextOverflow({ ...shared, ...(Number.isFinite(limit) ? { limit } : undefined) })
  }
  if (status === 529 || overloaded.test(said)) return new AgentError.Overloaded(shared)
  if (status === 429 || rateLimit.test(said)) return new AgentError.RateLimited(shared)
  if (noModel.test(said)) {
    const model = /model not found: (\S+?)[.,]?(?:\s|$)/i.exec(facts.message)?.[1]
    return new AgentError.ModelNotFound({ ...shared, model: model ?? "unknown" })
  }
  if (noProvider.test(facts.message)) {
    return new AgentError.InvalidConfig({
      issue:
        `${shared.description}. OpenCode could not load its package: see "npm" of this provider, and whether the ` +
        "npm registry can be reached"
    })
  }
  if (/^agent not found/i.test(facts.message)) return new AgentError.InvalidRequest({ ...shared, field: "agent" })
  if (status >= 400 && status < 500 && status !== 408) return new AgentError.InvalidRequest(shared)
  return new AgentError.UpstreamFailed({
    ...shared,
    kind: facts.name,
    ...(facts.transient === undefined ? undefined : { transient: facts.transient })
  })
}

const decodeConfig = Schema.decodeUnknownOption(Wire.ConfigErrorData)

/** A configuration that the server cannot read: the server runs, and every route of the directory answers this. */
export const configReason = (error: Wire.NamedError): AgentError.InvalidConfig | undefined => {
  if (!/^Config\w*Error$/.test(error.name)) return undefined
  const decoded = decodeConfig(error.data ?? {})
  if (decoded._tag === "None") return new AgentError.InvalidConfig({ issue: wordsOf(messageOf(error)) })
  const data = decoded.value
  const issues = (data.issues ?? []).slice(0, 20).map((issue) =>
    [issue.path?.join("."), issue.message].filter((word) => word !== undefined && word !== "").join(": ")
  )
  return new AgentError.InvalidConfig({
    ...(data.path === undefined ? undefined : { file: data.path }),
    issue: issues.length > 0 ? excerptOf(issues.join("; ")) : wordsOf(syntaxOf(data.message) ?? error.name)
  })
}

/** What is wrong with the syntax of a file, without the file itself, which the server repeats as a whole. */
const syntaxOf = (message: string | undefined): string | undefined => {
  const listed = /--- Errors ---\n([\s\S]*?)(?:--- End ---|$)/.exec(message ?? "")?.[1]
  if (listed === undefined) return message
  return listed.split("\n").filter((line) => /^\S.* at line \d+/.test(line)).slice(0, 20).join("; ") || "syntax error"
}

/** A server that ended because it cannot read its global configuration (measured on 1.18.33: it exits, and says so). */
export const ofExit = (error: AgentError.AgentError): AgentError.AgentError => {
  const { reason } = error
  if (reason._tag !== "ProcessExited") return error
  const said = reason.stderrTail ?? ""
  const syntax = /Config file at (.+) is not valid JSON\(C\):([\s\S]*)/.exec(said)
  if (syntax?.[1] !== undefined) {
    return AgentError.make(
      new AgentError.InvalidConfig({ file: syntax[1], issue: wordsOf(syntaxOf(syntax[2]) ?? "syntax error") }),
      { provider: "opencode" }
    )
  }
  const invalid = /Configuration is invalid at (.+?\.jsonc?)(?::[ ]*(.*))?(?:\n|$)((?:\u21b3.*(?:\n|$))*)/.exec(said)
  if (invalid?.[1] === undefined) return error
  const issues = (invalid[3] ?? "").split("\n").slice(0, 20).map((line) => line.replace(/^\u21b3\s*/, ""))
  const issue = [invalid[2] ?? "", ...issues].filter((line) => line !== "").join("; ")
  return AgentError.make(
    new AgentError.InvalidConfig({ file: invalid[1], issue: excerptOf(issue) || "it is not valid" }),
    { provider: "opencode" }
  )
}

/**
 * What an error of a message says of the turn. An abort is no error of the turn: who aborted decides. A content filter
 * and an output limit are reasons to stop, which have names of their own.
 */
export type Judgement =
  | { readonly _tag: "aborted" }
  | { readonly _tag: "finish"; readonly stopReason: "refusal" | "maxTokens" }
  | { readonly _tag: "error"; readonly error: AgentError.ErrorInfo }

export const judge = (error: Wire.NamedError): Judgement => {
  switch (error.name) {
    case "MessageAbortedError":
      return { _tag: "aborted" }
    case "ContentFilterError":
      return { _tag: "finish", stopReason: "refusal" }
    case "MessageOutputLengthError":
      return { _tag: "finish", stopReason: "maxTokens" }
    default:
      return { _tag: "error", error: AgentError.fromReason(reasonOf(error), { provider: "opencode" }) }
  }
}

/** The error behind a retry, of which only the words are told. */
export const ofRetry = (message: string): AgentError.ErrorInfo =>
  AgentError.fromReason(reasonOf({ name: "APIError", data: { message, isRetryable: true } }), { provider: "opencode" })

/** What a subagent's tool says of its failure. */
export const ofSubagent = (message: string): AgentError.ErrorInfo =>
  AgentError.fromReason(
    new AgentError.UpstreamFailed({ kind: "subagent", description: wordsOf(message) }),
    { provider: "opencode" }
  )

/** The endless loop: without a finish reason the server asks the model again and again. */
export const endlessLoop = (steps: number): AgentError.ErrorInfo =>
  AgentError.fromReason(
    new AgentError.UpstreamFailed({
      kind: "noFinishReason",
      transient: false,
      description: `The model ended ${steps} answers in a row without a finish reason, and the agent asks it again.`
    }),
    { provider: "opencode" }
  )

const decodeNamed = Schema.decodeUnknownOption(Wire.NamedError)
const decodeTagged = Schema.decodeUnknownOption(Wire.TaggedError)

/** The body of a refused call, in one of its shapes. */
export const bodyOf = (body: unknown): Wire.NamedError | undefined => {
  const named = decodeNamed(body)
  if (named._tag === "Some") return named.value
  const tagged = decodeTagged(body)
  if (tagged._tag === "None") return undefined
  return {
    name: tagged.value._tag,
    ...(tagged.value.message === undefined ? undefined : { data: { message: tagged.value.message } })
  }
}

/** Whether the server itself says that what was asked for does not exist. A bare 404 says it of the route only. */
export const isNotFound = (status: number, error: Wire.NamedError | undefined): boolean =>
  status === 404 && error !== undefined && /NotFound(?:Error)?$/.test(error.name)

/** Whether the server failed to write its own answer, which it reports like a bad request. */
export const isUnwritable = (status: number, error: Wire.NamedError | undefined): boolean =>
  status === 400 && error?.name === "BadRequest" && error.data?.["kind"] === "Body"

/** The reason behind a refused call. */
export const ofResponse = (
  call: string,
  status: number,
  body: string,
  error: Wire.NamedError | undefined
): AgentError.AgentErrorReason => {
  const excerpt = body.length === 0 ? undefined : { excerpt: excerptOf(body) }
  const message = error === undefined ? undefined : wordsOf(messageOf(error))
  const shared = { statusCode: status, ...excerpt, ...(message === undefined ? undefined : { description: message }) }
  if (status === 401) {
    return new AgentError.AuthRequired({
      statusCode: status,
      description: `The OpenCode server does not accept the user name and password (${call}).`,
      how: "the password that the server was started with (OPENCODE_SERVER_PASSWORD)"
    })
  }
  if (error !== undefined) {
    const config = configReason(error)
    if (config !== undefined) return config
    if (error.name === "SessionBusyError") return new AgentError.SessionBusy({ ...shared, holder: "OpenCode" })
    // What the server cannot place it answers as an unknown error with status 500; the words still tell some apart.
    const reason = reasonOf(error)
    if (reason._tag === "ModelNotFound" || (reason._tag === "InvalidRequest" && reason.field !== undefined)) {
      return reason
    }
  }
  if (status === 429) return new AgentError.RateLimited(shared)
  if (status >= 400 && status < 500 && status !== 404) return new AgentError.InvalidRequest(shared)
  return new AgentError.ProtocolError({ ...shared, method: call })
}
