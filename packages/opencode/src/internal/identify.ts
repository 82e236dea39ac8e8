/** What answers at an address: OpenCode 1.x, another version, or something else. */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import type * as OpenCodeClient from "../OpenCodeClient.ts"

const supported = "1.x"

const unsupported = (found: string, description: string) =>
  AgentError.make(new AgentError.UnsupportedVersion({ found, supported, description }), { provider: "opencode" })

/** A gateway in front of a server that is down, or a server in trouble: it may be OpenCode for all we know. */
const isTrouble = (reason: AgentError.AgentErrorReason): boolean => (reason.statusCode ?? 0) >= 500

/** The version of the server; fails with `UnsupportedVersion`, which says what was found instead of 1.x. */
export const identify = (client: OpenCodeClient.OpenCodeClient): Effect.Effect<string, AgentError.AgentError> =>
  client.health.pipe(
    Effect.catch((error) => {
      const { reason } = error
      if (isTrouble(reason)) {
        const description = `GET /global/health was answered with status ${reason.statusCode}`
        return AgentError.fail(new AgentError.ConnectionLost({ target: client.url, description }), {
          provider: "opencode"
        })
      }
      if (reason._tag !== "ProtocolError" && reason._tag !== "InvalidRequest") return Effect.fail(error)
      return Effect.matchEffect(client.secondHealth, {
        onSuccess: () =>
          Effect.fail(unsupported(
            "2.x",
            `${client.url} answers /api/health and not /global/health, as OpenCode 2.x does, which speaks another protocol`
          )),
        onFailure: () =>
          Effect.fail(unsupported(
            "none that is known",
            `${client.url} is no OpenCode server: ${reason.description ?? reason.message}`
          ))
      })
    }),
    Effect.flatMap(({ version }) =>
      version.startsWith("1.") ? Effect.succeed(version) : Effect.fail(
        unsupported(version, `${client.url} says that it is OpenCode ${version}`)
      )
    )
  )
