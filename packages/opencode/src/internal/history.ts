/** A stored conversation in pages of turns. */
import * as AgentError from "@reins/core/AgentError"
import type { HistorySource } from "@reins/core/History"
import type { ItemStatus } from "@reins/core/Item"
import type { Signal } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as OpenCodeClient from "../OpenCodeClient.ts"
import type * as Wire from "../OpenCodeSchema.ts"
import * as normalise from "./normalise.ts"
import * as snapshot from "./snapshot.ts"

type Turn = HistorySource["turns"][number]

/** Messages that are asked for at a time. */
const chunk = 100
/** Messages that are read for one page; a turn that has more of them is told in parts. */
const maxMessages = 1_000

/**
 * Where a page begins: a message, and what the server was asked with when it gave it. `open`: the turn that the message
 * belongs to goes on in the page that follows.
 */
const Place = Schema.Struct({
  before: Schema.optionalKey(Schema.String),
  message: Schema.String,
  open: Schema.optionalKey(Schema.String)
})
type Place = typeof Place.Type

const decodePlace = Schema.decodeEffect(Schema.fromJsonString(Place))

interface Group {
  readonly key: string
  readonly entries: ReadonlyArray<snapshot.Entry>
}

/** A prompt that was merged into the turn of the next one, or got no answer, belongs to the turn that follows. */
const groupsOf = (entries: ReadonlyArray<snapshot.Entry>): ReadonlyArray<Group> => {
  const groups: Array<{ key: string; entries: Array<snapshot.Entry> }> = []
  for (const entry of entries) {
    const last = groups.at(-1)
    if (last !== undefined && last.key === entry.turn) last.entries.push(entry)
    else if (last !== undefined && last.entries.every(({ info }) => info.role === "user")) {
      last.key = entry.turn
      last.entries.push(entry)
    } else groups.push({ key: entry.turn, entries: [entry] })
  }
  return groups
}

type ItemSignal = Extract<Signal, { readonly _tag: "item" }>

const isItem = (signal: Signal): signal is ItemSignal => signal._tag === "item" && signal.agentPath === undefined

const turnOf = (
  state: normalise.NormaliserState,
  group: Group,
  all: ReadonlyArray<snapshot.Entry>,
  status: Readonly<Record<string, Wire.SessionStatus>>
): Turn => {
  const busy = (status[state.sessionId]?.type ?? "idle") !== "idle"
  const verdict = snapshot.verdictOf(state, group.key, all, busy) ?? { _tag: "unfinished" }
  const running = verdict._tag === "running"
  const startedAt = group.entries[0]?.info.time?.created
  const ended = (status: ItemStatus | undefined): { readonly status?: ItemStatus } =>
    status !== undefined ? { status } : running ? {} : { status: "interrupted" }
  return {
    key: group.key,
    verdict,
    items: snapshot.signalsOf(state, group.entries, status).filter(isItem).map(({ item, key, status }) => ({
      key,
      item,
      ...ended(status)
    })),
    ...(startedAt === undefined ? undefined : { startedAt })
  }
}

interface Reading {
  /** Oldest first. */
  readonly messages: ReadonlyArray<Wire.MessageWithParts>
  /** What each message was asked for with. */
  readonly askedWith: ReadonlyMap<string, string | undefined>
  /** Whether there are older ones. */
  readonly more: boolean
}

/** Reads back from a place until there are more turns than asked for, or enough messages. */
const readBack = Effect.fnUntraced(function*(
  client: OpenCodeClient.OpenCodeClient,
  sessionID: string,
  place: Place | undefined,
  limit: number
): Effect.fn.Return<Reading, AgentError.AgentError> {
  const askedWith = new Map<string, string | undefined>()
  let messages: ReadonlyArray<Wire.MessageWithParts> = []
  let before = place?.before
  let behind = place?.message
  let read = 0
  while (true) {
    const page = yield* client.messagePage(sessionID, {
      limit: chunk,
      ...(before === undefined ? undefined : { before })
    })
    for (const { info } of page.messages) askedWith.set(info.id, before)
    const end = behind === undefined ? page.messages.length : page.messages.findIndex(({ info }) => info.id === behind)
    if (end >= 0) {
      behind = undefined
      messages = [...page.messages.slice(0, end), ...messages]
    }
    read += page.messages.length
    before = page.next
    const more = before !== undefined
    const prompts = messages.filter(({ info }) => info.role === "user").length
    // One more than asked for: the oldest may have begun before.
    if (!more || prompts > limit + 1 || read >= maxMessages) return { messages, askedWith, more }
  }
})

const invalid = () =>
  AgentError.make(
    new AgentError.InvalidRequest({ field: "before", description: "It is not the `before` of a page of history." }),
    { provider: "opencode" }
  )

export const read = Effect.fnUntraced(function*(
  client: OpenCodeClient.OpenCodeClient,
  session: { readonly id: string; readonly directory: string },
  request: { readonly before?: string; readonly limit: number }
): Effect.fn.Return<HistorySource, AgentError.AgentError> {
  const place = request.before === undefined
    ? undefined
    : yield* Effect.mapError(decodePlace(request.before), invalid)
  const [status, { askedWith, messages, more }] = yield* Effect.all([
    client.sessionStatus(session.directory),
    readBack(client, session.id, place, request.limit)
  ], { concurrency: 2 })
  const state = normalise.make({ sessionId: session.id })
  const entries = snapshot.learn(state, messages)
  const groups = groupsOf(entries)
  // The first may have begun before what was read; it is told with the page before, unless it is all that there is.
  const whole = more && groups.length > 1 ? groups.slice(1) : groups
  const shown = whole.slice(-request.limit)
  const first = shown[0]
  const begins = first?.entries[0]?.info.id
  const rest = more || groups.length > shown.length
  const cut = more && first !== undefined && first === groups[0]
  const asked = begins === undefined ? undefined : askedWith.get(begins)
  return {
    turns: shown.map((group) => {
      const turn = turnOf(state, group, entries, status)
      // The one that goes on in the page behind has its end there.
      if (group.key === place?.open) return { ...turn, verdict: { _tag: "running" }, partial: true }
      return group === first && cut ? { ...turn, partial: true } : turn
    }),
    ...(rest && begins !== undefined
      ? {
        before: JSON.stringify(
          {
            message: begins,
            ...(asked === undefined ? undefined : { before: asked }),
            ...(cut ? { open: first.key } : undefined)
          } satisfies Place
        )
      }
      : undefined)
  }
})
