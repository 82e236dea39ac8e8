/** What a binding keeps of a conversation: its id, with the version of this shape. */
import * as CursorOf from "@reins/core/Cursor"
import * as Schema from "effect/Schema"

const version = 1

/** Ids of OpenCode; anything else could lead a call elsewhere. */
const sessionId = Schema.String.check(Schema.isPattern(/^ses_?[0-9A-Za-z]{1,128}$/))

const Cursor = Schema.Struct({ v: Schema.Literal(version), sessionID: sessionId })
type Cursor = typeof Cursor.Type

export const make = (sessionID: string): Cursor => ({ v: version, sessionID })

/** Fails with `InvalidRequest` for a cursor of another provider, of another shape, or of a newer version. */
export const decode = CursorOf.decoder({
  schema: Cursor,
  version,
  provider: "opencode",
  name: "OpenCode",
  example: `{"v":${version},"sessionID":"ses_…"}`
})
