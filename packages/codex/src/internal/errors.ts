/** What Codex's errors mean: by their status first, then by the word of `codexErrorInfo`, last by what they say. */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { JsonRpcError } from "@reins/transport/JsonRpcPeer"
import * as Predicate from "effect/Predicate"
import type * as Wire from "../CodexSchema.ts"

/** Longest excerpt of what an error says, in characters. */
const maxExcerpt = 2_048
const redactor = Redaction.make({ values: [] })

const excerpt = (text: string): string => redactor.redact(text.slice(0, 4 * maxExcerpt)).slice(0, maxExcerpt).trim()

interface Kind {
  readonly word: string
  readonly status: number | undefined
}

/** `"serverOverloaded"` or `{ httpConnectionFailed: { httpStatusCode: 401 } }`; other shapes have no word. */
const kindOf = (info: unknown): Kind => {
  if (typeof info === "string") return { word: info, status: undefined }
  if (!Predicate.isObject(info)) return { word: "", status: undefined }
  const [entry] = Object.entries(info)
  const code: unknown = Predicate.isObject(entry?.[1])
    ? (entry[1] as { httpStatusCode?: unknown }).httpStatusCode
    : undefined
  return {
    word: entry?.[0] ?? "",
    status: typeof code === "number" && Number.isSafeInteger(code) ? code : undefined
  }
}

const quota = /insufficient[_ ]quota|usage[_ ]limit|exceeded your current quota|credit balance|out of credits/i
const overflow = /context_length_exceeded|maximum context length|context window/i
const noModel = /model_not_found|model .{1,200}(?:does not exist|not found)/i
/** For how long it was silent is not said. */
const idle = /idle timeout waiting for SSE/
/** The body of a 400, which is told without its status. */
const invalid = /invalid_request_error|invalid_prompt/
const noKey = /^Missing environment variable/
const statusInWords = /(?:unexpected status|status:?|last status:?) (\d{3})\b/i
const retryInWords = /try again in (\d+(?:\.\d+)?) ?(ms|s|seconds?|minutes?)/i

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, second: 1_000, minute: 60_000 }

const retryAfterOf = (said: string): number | undefined => {
  const [, amount, unit = ""] = retryInWords.exec(said) ?? []
  const factor = units[unit.toLowerCase()] ?? units[unit.toLowerCase().replace(/s$/, "")]
  return amount === undefined || factor === undefined ? undefined : Math.round(Number(amount) * factor)
}

/** The reason behind an error that ends a turn, or that is tried again. */
export const reasonOf = (error: Wire.TurnError): AgentError.AgentErrorReason => {
  const kind = kindOf(error.codexErrorInfo)
  const said = `${error.message}\n${error.additionalDetails ?? ""}`.slice(0, 16_384)
  const spoken = statusInWords.exec(said)?.[1]
  // A 401 is told as a connection that failed: the status says more than the word.
  const status = kind.status ?? (spoken === undefined ? undefined : Number(spoken))
  const wait = retryAfterOf(said)
  const details = error.additionalDetails ?? ""
  const shared = {
    description: excerpt(error.message),
    ...(details === "" ? undefined : { excerpt: excerpt(details) }),
    ...(status === undefined ? undefined : { statusCode: status }),
    ...(wait === undefined ? undefined : { retryAfter: wait })
  }
  // Words decide only where the status leaves it open.
  const unsaid = status === undefined || status === 400
  if (kind.word === "usageLimitExceeded" || ((unsaid || status === 402 || status === 429) && quota.test(said))) {
    return new AgentError.QuotaExceeded(shared)
  }
  if (kind.word === "sessionBudgetExceeded") return new AgentError.QuotaExceeded(shared)
  if (status === 401 || status === 403 || kind.word === "unauthorized" || noKey.test(error.message)) {
    return new AgentError.AuthRequired(shared)
  }
  if (kind.word === "contextWindowExceeded" || ((unsaid || status === 413) && overflow.test(said)))
    return new AgentError.ContextOverflow(shared)
  if (kind.word === "modelNotFound" || noModel.test(said)) {
    return new AgentError.ModelNotFound({ ...shared, model: /[`"']([^`"']{1,200})[`"']/.exec(said)?.[1] ?? "unknown" })
  }
  if (kind.word === "rateLimitExceeded" || status === 429) return new AgentError.RateLimited(shared)
  if (
    kind.word === "serverOverloaded" || kind.word === "flexUnavailable" || kind.word === "policyCapacityUnavailable" ||
    status === 503 || status === 529
  ) return new AgentError.Overloaded(shared)
  if (idle.test(said)) return new AgentError.UpstreamFailed({ ...shared, kind: "silent", transient: true })
  if (kind.word === "badRequest" || status === 400 || status === 422 || invalid.test(said)) {
    return new AgentError.InvalidRequest(shared)
  }
  if (kind.word === "sandboxError") return new AgentError.InvalidConfig({ issue: shared.description })
  return new AgentError.UpstreamFailed({ ...shared, ...(kind.word === "" ? undefined : { kind: kind.word }) })
}

/** The same, as it is told. */
export const infoOf = (error: Wire.TurnError): AgentError.ErrorInfo =>
  AgentError.fromReason(reasonOf(error), { provider: "codex" })

const gone = /no rollout found|thread not found|invalid session id|unknown thread/i
const archived = /is archived/i
const busy = /active writer/i
const config = /failed to load configuration/i
const experimental = /requires experimentalApi capability/
const unknownMethod = /unknown variant `([^`]+)`, expected one of/

/** Whether a conversation was not found because it lies in the archive. */
export const isArchived = ({ message, reason }: AgentError.AgentError): boolean =>
  reason._tag === "SessionNotFound" && archived.test(message)

/** What a refused call means. `sessionId` is the agent's own name of the conversation that it was about. */
export const ofCall = (error: JsonRpcError, sessionId?: string): AgentError.AgentError => {
  const said = excerpt(error.message)
  const reason = gone.test(said)
    ? new AgentError.SessionNotFound({ sessionId: sessionId ?? "unknown", description: said })
    : archived.test(said)
    ? new AgentError.SessionNotFound({ sessionId: sessionId ?? "unknown", description: said })
    : busy.test(said)
    ? new AgentError.SessionBusy({ holder: "another codex process", description: said })
    : config.test(said)
    ? new AgentError.InvalidConfig({ issue: said })
    : experimental.test(said) || (unknownMethod.test(said) && error.message.includes(`\`${error.method}\``))
    ? new AgentError.Unsupported({ operation: error.method, provider: "codex" })
    : new AgentError.InvalidRequest({ description: said, excerpt: `${error.method}: ${error.code}` })
  return AgentError.make(reason, { provider: "codex" })
}
