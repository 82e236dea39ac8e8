/**
 * The newest messages of a conversation, back to what somebody asks about: a long conversation is not read as a whole at
 * each look.
 */
import type * as AgentError from "@reins/core/AgentError"
import type { SnapshotRequest } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as OpenCodeClient from "../OpenCodeClient.ts"
import type * as Wire from "../OpenCodeSchema.ts"

/** Messages that are asked for at a time. */
const chunk = 100
/** Messages that are read to find where the host was told to. */
const maxMessages = 2_000
/** Messages that are read for a prompt or turn which the server says that it has. */
const maxForAsked = 20_000

export interface Recent {
  /** Oldest first. */
  readonly messages: ReadonlyArray<Wire.MessageWithParts>
  /** Whether the first of them is the first of the conversation. */
  readonly whole: boolean
}

export const read = Effect.fnUntraced(function*(
  client: Pick<OpenCodeClient.OpenCodeClient, "message" | "messagePage">,
  sessionID: string,
  { after, prompts, turns }: SnapshotRequest
): Effect.fn.Return<Recent, AgentError.AgentError> {
  let { messages, next } = yield* client.messagePage(sessionID, { limit: chunk })
  const seen = new Set<string>()
  const note = (page: ReadonlyArray<Wire.MessageWithParts>) => {
    for (const { info } of page) seen.add(info.id)
  }
  note(messages)
  if (next === undefined) return { messages, whole: true }

  // What the server does not have is not looked for in all of the conversation.
  const missing = [...new Set([...prompts, ...turns])].filter((key) => !seen.has(key))
  const there = yield* Effect.forEach(
    missing,
    (key) => Effect.map(client.message(sessionID, key), (found) => Option.isSome(found) ? [key] : []),
    { concurrency: 4 }
  )
  const asked = there.flat()
  const placed = () => after === undefined || after === null || after.some((key) => seen.has(key))
  while (next !== undefined) {
    const open = asked.some((key) => !seen.has(key))
    if (messages.length >= (open ? maxForAsked : maxMessages)) break
    if (!open && placed()) break
    const page: OpenCodeClient.MessagePage = yield* client.messagePage(sessionID, { limit: chunk, before: next })
    messages = [...page.messages, ...messages]
    note(page.messages)
    next = page.next
  }
  return { messages, whole: next === undefined }
})
