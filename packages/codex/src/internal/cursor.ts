/** What a binding keeps of a conversation: the id of its thread, with the version of this shape. */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const version = 1

/** Codex names its threads by UUIDs; anything else could lead a call elsewhere. */
const threadId = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
)

const Cursor = Schema.Struct({ v: Schema.Literal(version), threadId })
type Cursor = typeof Cursor.Type

const decodeCursor = Schema.decodeUnknownOption(Cursor)
const decodeVersion = Schema.decodeUnknownOption(Schema.Struct({ v: Schema.Int }))

export const make = (threadId: string): Cursor => ({ v: version, threadId })

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
        : `The cursor is none of Codex's: one is like {"v":${version},"threadId":"<uuid>"}.`
    }),
    { provider: "codex" }
  )
}
