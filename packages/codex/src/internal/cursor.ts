/** What a binding keeps of a conversation: the id of its thread, with the version of this shape. */
import * as CursorOf from "@reins/core/Cursor"
import * as Schema from "effect/Schema"

const version = 1

/** Codex names its threads by UUIDs; anything else could lead a call elsewhere. */
const threadId = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/)
)

const Cursor = Schema.Struct({ v: Schema.Literal(version), threadId })
type Cursor = typeof Cursor.Type

export const make = (threadId: string): Cursor => ({ v: version, threadId })

/** Fails with `InvalidRequest` for a cursor of another provider, of another shape, or of a newer version. */
export const decode = CursorOf.decoder({
  schema: Cursor,
  version,
  provider: "codex",
  name: "Codex",
  example: `{"v":${version},"threadId":"<uuid>"}`
})
