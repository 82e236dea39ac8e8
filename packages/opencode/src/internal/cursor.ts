/** What a binding keeps of a conversation: its id, with the version of this shape. */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const version = 1

/** Ids of OpenCode; anything else could lead a call elsewhere. */
const sessionId = Schema.String.check(Schema.isPattern(/^ses_?[0-9A-Za-z]{1,128}$/))

const Cursor = Schema.Struct({ v: Schema.Literal(version), sessionID: sessionId })
type Cursor = typeof Cursor.Type

const decodeCursor = Schema.decodeUnknownOption(Cursor)
const decodeVersion = Schema.decodeUnknownOption(Schema.Struct({ v: Schema.Int }))

export const make = (sessionID: string): Cursor => ({ v: version, sessionID })

/** Fails with `InvalidRequest` for a cursor of another provider, of another shape, or of a newer version. */
export const decode = (cursor: unknown): Effect.Effect<Cursor, AgentError.AgentError> => {
  const found = decodeCursor(cursor)
  if (Option.isSome(found)) return Effect.succeed(found.value)
  const other = decodeVersion(cursor)
  return AgentError.fail(
    new AgentError.InvalidRequest({
      field: "cursor",
      description: Option.isSome(other) && other.value.v > version
        ? `The cursor has version ${other.value.v}, and only ${version} is known here: it was made by a newer release.`
        : `The cursor is none of OpenCode's: one is like {"v":${version},"sessionID":"ses_…"}.`
    }),
    { provider: "opencode" }
  )
}
