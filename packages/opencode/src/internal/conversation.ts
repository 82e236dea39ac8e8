/** Turns of a stored conversation: where they begin and end, for a host that names them by their ids. */
import * as AgentError from "@reins/core/AgentError"
import type { TurnReference } from "@reins/core/Provider"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { OpenCodeClient } from "../OpenCodeClient.ts"
import type * as Wire from "../OpenCodeSchema.ts"

type Messages = ReadonlyArray<Wire.MessageWithParts>

/** The end of an id, which a prompt, its message here and its turn have in common: see `promptKey`. */
const tail = 14
const keyed = /^msg_[0-9a-f]{12}[0-9A-Za-z]{14}$/
const derived = /^trn_[0-9a-f]{12}[0-9A-Za-z]{14}$/

/**
 * Whether a message began, or joined, the turn. Without remembered keys the id itself tells: that of a turn of ours ends
 * as its message does, and that of anybody else's holds the message's id.
 */
const isOf = (turn: TurnReference, messageID: string): boolean =>
  turn.keys.includes(messageID) || turn.id === `trn_${messageID}` ||
  (derived.test(turn.id) && keyed.test(messageID) && messageID.slice(-tail) === turn.id.slice(-tail))

const decodePart = Schema.decodeUnknownOption(
  Schema.Struct({
    type: Schema.String,
    synthetic: Schema.optionalKey(Schema.Boolean),
    auto: Schema.optionalKey(Schema.Boolean)
  })
)

/** Whether the server wrote a user message itself, to go on with the turn before it. */
const isOwn = (parts: ReadonlyArray<unknown>): boolean =>
  parts.length > 0 && parts.every((value) => {
    const part = Option.getOrUndefined(decodePart(value))
    return part !== undefined && ((part.type === "text" && part.synthetic === true) ||
      (part.type === "compaction" && part.auto === true))
  })

/** The messages that count: those behind a revert are still listed until the next prompt removes them. */
export const counted = (messages: Messages, revert: Wire.Session["revert"]): Messages => {
  if (revert === undefined) return messages
  const at = messages.findIndex(({ info }) => info.id === revert.messageID)
  return at < 0 ? messages : messages.slice(0, at)
}

/** Where the turn begins. */
export const firstOf = (messages: Messages, turn: TurnReference): number =>
  messages.findIndex(({ info }) => info.role === "user" && isOf(turn, info.id))

/** Where the next turn begins, or the conversation ends. */
export const endOf = (messages: Messages, turn: TurnReference): number => {
  const first = firstOf(messages, turn)
  if (first < 0) return -1
  let answer: Wire.Message | undefined
  for (let at = first + 1; at < messages.length; at++) {
    const message = messages[at]
    if (message === undefined) break
    const { info, parts } = message
    if (info.role !== "user") {
      answer = info
      continue
    }
    // A prompt that came while an answer was being written joined its turn.
    const completed = answer?.time?.completed
    const created = info.time?.created
    const joined = answer !== undefined && completed !== undefined && created !== undefined && created < completed
    if (!isOf(turn, info.id) && !isOwn(parts) && !joined) return at
  }
  return messages.length
}

const unknown = (turn: TurnReference) =>
  AgentError.make(
    new AgentError.InvalidRequest({ field: "turn", description: `The conversation has no turn "${turn.id}".` }),
    { provider: "opencode" }
  )

const read = (client: OpenCodeClient, sessionID: string) =>
  Effect.all([
    Effect.flatMap(
      client.getSession(sessionID),
      Option.match({
        onNone: () =>
          Effect.fail(
            AgentError.make(new AgentError.SessionNotFound({ sessionId: sessionID }), { provider: "opencode" })
          ),
        onSome: (session) => Effect.succeed(session)
      })
    ),
    client.messages(sessionID)
  ], { concurrency: 2 })

/** Copies a conversation and gives the id of the copy. */
export const fork = Effect.fnUntraced(function*(
  client: OpenCodeClient,
  sessionID: string,
  options: { readonly through?: TurnReference; readonly before?: TurnReference }
): Effect.fn.Return<string, AgentError.AgentError> {
  const [session, all] = yield* read(client, sessionID)
  const messages = counted(all, session.revert)
  let end = messages.length
  if (options.before !== undefined) {
    const first = firstOf(messages, options.before)
    if (first >= 0) end = first
  }
  if (options.through !== undefined) {
    const last = endOf(messages, options.through)
    if (last < 0) return yield* unknown(options.through)
    end = Math.min(end, last)
  }
  return (yield* client.fork(sessionID, all[end]?.info.id)).id
})

/** Takes a turn and all behind it back. Files follow only where the server keeps snapshots: in a git repository. */
export const revert = Effect.fnUntraced(function*(
  client: OpenCodeClient,
  sessionID: string,
  turn: TurnReference
): Effect.fn.Return<{ readonly files: "restored" | "kept" }, AgentError.AgentError> {
  const [, messages] = yield* read(client, sessionID)
  const first = messages[firstOf(messages, turn)]
  if (first === undefined) return yield* unknown(turn)
  const session = yield* client.revert(sessionID, first.info.id)
  return { files: session.revert?.snapshot === undefined ? "kept" : "restored" }
})

/** `false`: nothing is taken back. */
export const unrevert = Effect.fnUntraced(function*(
  client: OpenCodeClient,
  sessionID: string
): Effect.fn.Return<boolean, AgentError.AgentError> {
  const session = yield* client.getSession(sessionID)
  if (Option.isNone(session) || session.value.revert === undefined) return false
  yield* client.unrevert(sessionID)
  return true
})
