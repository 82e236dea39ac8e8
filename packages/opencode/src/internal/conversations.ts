/** The conversations that a server keeps, in pages. */
import * as AgentError from "@reins/core/AgentError"
import type { Conversation, ConversationPage } from "@reins/core/Conversation"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Json } from "effect/Schema"
import type * as OpenCodeClient from "../OpenCodeClient.ts"
import type * as Wire from "../OpenCodeSchema.ts"
import * as cursor from "./cursor.ts"

type Client = OpenCodeClient.OpenCodeClient

const defaultLimit = 50
const maxLimit = 200

const conversationOf = (session: Wire.Session): Conversation => ({
  cursor: cursor.make(session.id),
  ...(session.title === undefined ? undefined : { title: session.title }),
  ...(session.directory === undefined ? undefined : { cwd: session.directory }),
  ...(session.time?.created === undefined ? undefined : { createdAt: session.time.created }),
  ...(session.time?.updated === undefined ? undefined : { updatedAt: session.time.updated })
})

/** Where a page ended. Several conversations may have the time of the last one: the server alone would pass over them. */
interface Place {
  readonly time: number
  readonly shown: ReadonlyArray<string>
}

const encodePlace = ({ shown, time }: Place): string => `${time}:${shown.join(",")}`

const decodePlace = (after: string): Effect.Effect<Place, AgentError.AgentError> => {
  const [, time, shown] = /^(\d{1,15}):([\w,]*)$/.exec(after) ?? []
  return time === undefined || shown === undefined
    ? AgentError.fail(
      new AgentError.InvalidRequest({
        field: "after",
        description: "It is not the `after` of a page of conversations."
      }),
      { provider: "opencode" }
    )
    : Effect.succeed({ time: Number(time), shown: shown === "" ? [] : shown.split(",") })
}

/** One page, most recently updated first. */
export const list = Effect.fnUntraced(function*(
  client: Client,
  options: { readonly cwd?: string; readonly after?: string; readonly limit?: number }
): Effect.fn.Return<ConversationPage, AgentError.AgentError> {
  const limit = Math.max(1, Math.min(maxLimit, Math.trunc(options.limit ?? defaultLimit)))
  const place = options.after === undefined ? undefined : yield* decodePlace(options.after)
  const shown = new Set(place?.shown)
  const { more, sessions } = yield* client.sessions({
    limit: limit + shown.size,
    ...(options.cwd === undefined ? undefined : { directory: options.cwd }),
    ...(place === undefined ? undefined : { before: place.time + 1 })
  })
  const fresh = sessions.filter((session) => !shown.has(session.id))
  const page = fresh.slice(0, limit)
  const time = page.at(-1)?.time?.updated
  const ends = time === undefined || (!more && page.length === fresh.length)
  return {
    conversations: page.map(conversationOf),
    ...(ends ? undefined : {
      after: encodePlace({
        time,
        shown: [
          ...(place?.time === time ? place.shown : []),
          ...page.filter((session) => session.time?.updated === time).map((session) => session.id)
        ]
      })
    })
  }
})

/** The conversation behind a cursor, wherever that came from. */
export const find = Effect.fnUntraced(function*(
  client: Client,
  given: Json
): Effect.fn.Return<Conversation, AgentError.AgentError> {
  const { sessionID } = yield* cursor.decode(given)
  const found = yield* client.getSession(sessionID)
  if (Option.isNone(found)) {
    return yield* AgentError.make(new AgentError.SessionNotFound({ sessionId: sessionID }), { provider: "opencode" })
  }
  return conversationOf(found.value)
})

/** Deletes it for good, with those of its subagents. */
export const remove = (client: Client, given: Json): Effect.Effect<"deleted" | "gone", AgentError.AgentError> =>
  Effect.flatMap(cursor.decode(given), ({ sessionID }) => client.deleteSession(sessionID))
