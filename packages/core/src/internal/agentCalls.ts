/** Calls to the agent: each bounded, and with an error of ours whatever the adapter does. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as AgentError from "../AgentError.ts"

/** Reasons after which nobody knows whether a call reached the agent. Any other reason is the agent's own refusal. */
const uncertain = new Set([
  "ConnectionLost",
  "UpstreamSilent",
  "ProcessExited",
  "Unavailable",
  "ProtocolError",
  "StartTimeout",
  "Overloaded"
])

export const noConnection = (provider: string) =>
  AgentError.make(
    new AgentError.ConnectionLost({ target: provider, description: "There is no connection to the agent." })
  )

/** The error for whatever an adapter ends with: its own, a defect, or an interrupt that did not come from us. */
export const errorOf = (cause: Cause.Cause<unknown>, provider: string): AgentError.AgentError =>
  Cause.hasInterruptsOnly(cause)
    ? AgentError.make(
      new AgentError.ConnectionLost({ target: provider, description: "The adapter gave the call up." })
    )
    : AgentError.fromUnknown(cause)

/** Whether the agent does not have what it was sent, for certain. */
export const isRefusal = (error: AgentError.AgentError): boolean => !uncertain.has(error.reason._tag)

/** A defect in the adapter is an error like another. */
export const bounded = <A>(
  provider: string,
  effect: Effect.Effect<A, AgentError.AgentError>,
  limit: number,
  what: string
): Effect.Effect<A, AgentError.AgentError> =>
  effect.pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () =>
        Effect.fail(AgentError.make(
          new AgentError.ConnectionLost({
            target: provider,
            description: `The agent did not answer ${what} within ${limit} ms.`
          })
        ))
    }),
    Effect.catchCause((cause) => Effect.fail(errorOf(cause, provider)))
  )
