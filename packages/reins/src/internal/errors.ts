/** What failed below, as the error of the facade. */
import * as AgentError from "@reins/core/AgentError"
import * as Cause from "effect/Cause"
import type { ReinsErrorTag } from "../ReinsError.ts"
import { ReinsError } from "../ReinsError.ts"

/** The error for something thrown; a `ReinsError` passes through, a defect is a `ProtocolError`. */
export const fromUnknown = (thrown: unknown): ReinsError => {
  if (ReinsError.is(thrown)) return thrown
  const error = AgentError.fromUnknown(thrown)
  return new ReinsError(AgentError.toInfo(error), { cause: error.reason.cause })
}

/** The error for a cause; a plain interrupt has only one source here. */
export const fromCause = (cause: Cause.Cause<unknown>): ReinsError =>
  Cause.hasInterruptsOnly(cause) ? closed() : fromUnknown(Cause.squash(cause))

/** The host is closed, or was closed before the operation was done. */
export const closedError = AgentError.make(
  new AgentError.InvalidRequest({ description: "Reins is closed; make a new one with Reins.create." })
)

/** The same, as the error of the facade. */
export const closed = (): ReinsError => fromUnknown(closedError)

/** A setting that cannot be used. */
export const invalidConfig = (issue: string): ReinsError => fromUnknown(new AgentError.InvalidConfig({ issue }))

/** A value that cannot be used. */
export const invalidRequest = (field: string, description: string): ReinsError =>
  fromUnknown(new AgentError.InvalidRequest({ field, description }))

const abortedTag: ReinsErrorTag = "Aborted"

/** A prompt whose signal was aborted before it was sent. */
export const aborted = (sessionId: string, reason: unknown): ReinsError =>
  new ReinsError({
    _tag: abortedTag,
    message: "The prompt was aborted before it was sent.",
    advice: "Send it again with a signal that is not aborted.",
    retryable: false,
    sessionId
  }, { cause: reason })
