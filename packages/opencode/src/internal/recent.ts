/**
 * The newest messages of a conversation, back to what somebody asks about: a long conversation is not read as a whole at
 * each look.
 */
import type * as AgentError from "@reins/core/AgentError"
import type { SnapshotRequest } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
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

/** How often, and after which wait, a message is read again that says that it is over and has no word yet. */
const wordless = { times: 2, wait: "50 millis" } as const

/** The server reads messages and their parts apart: one that has just ended may come with parts from before its end. */
const isWordless = (message: Wire.MessageWithParts | undefined): boolean =>
  message !== undefined && message.info.role === "assistant" && message.info.finish === "stop" &&
  message.info.error === undefined &&
  !message.parts.some((part) =>
    Predicate.isObject(part) && "type" in part && part.type === "text" && "text" in part && part.text !== ""
  )

const newest = Effect.fnUntraced(function*(
  client: Pick<OpenCodeClient.OpenCodeClient, "messagePage">,
  sessionID: string
): Effect.fn.Return<OpenCodeClient.MessagePage, AgentError.AgentError> {
  let page = yield* client.messagePage(sessionID, { limit: chunk })
  for (let times = 0; times < wordless.times && isWordless(page.messages.at(-1)); times++) {
    yield* Effect.sleep(wordless.wait)
    page = yield* client.messagePage(sessionID, { limit: chunk })
  }
  return page
})

export const read = Effect.fnUntraced(function*(
  client: Pick<OpenCodeClient.OpenCodeClient, "message" | "messagePage">,
  sessionID: string,
  { after, prompts, turns }: SnapshotRequest
): Effect.fn.Return<Recent, AgentError.AgentError> {
  let { messages, next } = yield* newest(client, sessionID)
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
