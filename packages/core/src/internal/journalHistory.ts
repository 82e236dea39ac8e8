/** The turns of a session from its own events: for an agent that keeps no record, or cannot be asked now. */
import * as Effect from "effect/Effect"
import * as AgentError from "../AgentError.ts"
import type { EventJournal } from "../EventJournal.ts"
import type { HistoryItem, HistoryPage, HistoryTurn } from "../History.ts"
import type { SessionId } from "../Ids.ts"
import type { DurableEvent } from "../SessionEvent.ts"
import { limitOf } from "./sessionHistory.ts"

/** Events that are read at a time, from the newest back. */
const window = 2_000
/** Places in this history, so that one of the agent's own is not taken for one. */
const prefix = "event:"

interface Draft {
  readonly turn: HistoryTurn
  /** The seq of its beginning. */
  readonly from: number
}

/** The turns that begin in these events, oldest first; those that were taken back are left out. */
export const turnsOf = (events: ReadonlyArray<DurableEvent>): ReadonlyArray<Draft> => {
  let drafts: Array<Draft> = []
  let reverted: Array<Draft> = []
  const byId = new Map<string, { items: Map<string, HistoryItem>; outcome?: HistoryTurn["outcome"] }>()
  for (const event of events) {
    switch (event._tag) {
      case "TurnStarted": {
        const items = new Map<string, HistoryItem>()
        const record = { items }
        byId.set(event.turnId, record)
        reverted = []
        drafts.push({
          from: event.seq ?? 0,
          turn: {
            id: event.turnId,
            startedAt: event.at,
            get items() {
              return [...items.values()]
            }
          }
        })
        break
      }
      case "ItemStarted":
      case "ItemUpdated":
      case "ItemCompleted": {
        const items = event.turnId === undefined ? undefined : byId.get(event.turnId)?.items
        if (items === undefined) break
        if (event._tag === "ItemCompleted" && event.status === "discarded") items.delete(event.itemId)
        else {
          items.set(event.itemId, {
            item: event.item,
            ...(event._tag === "ItemCompleted" ? { status: event.status } : undefined)
          })
        }
        break
      }
      case "TurnSettled": {
        const record = byId.get(event.turnId)
        if (record !== undefined) record.outcome = event.outcome
        break
      }
      case "HistoryReverted": {
        if (event.beforeTurn === undefined) {
          drafts.push(...reverted)
          reverted = []
          break
        }
        const at = drafts.findIndex(({ turn }) => turn.id === event.beforeTurn)
        reverted = at < 0 ? drafts : drafts.slice(at)
        drafts = at < 0 ? [] : drafts.slice(0, at)
        break
      }
    }
  }
  return drafts.map(({ from, turn }) => {
    const record = byId.get(turn.id)
    return {
      from,
      turn: {
        ...turn,
        items: [...turn.items],
        ...(record?.outcome === undefined ? undefined : { outcome: record.outcome })
      }
    }
  })
}

const placeOf = (before: string): number | undefined => {
  const seq = before.startsWith(prefix) ? Number(before.slice(prefix.length)) : Number.NaN
  return Number.isSafeInteger(seq) ? seq : undefined
}

/** Whether a place in a history is one of a journal's. */
export const isPlace = (before: string): boolean => placeOf(before) !== undefined

/** One page, read from the newest events back until it is full. */
export const read = (
  journal: EventJournal,
  sessionId: SessionId,
  request: { readonly before?: string; readonly limit?: number } = {}
): Effect.Effect<HistoryPage, AgentError.AgentError> =>
  Effect.gen(function*() {
    const limit = limitOf(request.limit)
    const range = yield* journal.range(sessionId)
    const place = request.before === undefined ? range.last + 1 : placeOf(request.before)
    if (place === undefined) {
      return yield* AgentError.make(
        new AgentError.InvalidRequest({ field: "before", description: "It is no place in this history." }),
        { sessionId }
      )
    }
    let events: Array<DurableEvent> = []
    let from = place
    while (from > range.first) {
      const after = Math.max(range.first - 1, from - 1 - window)
      const page = yield* journal.read(sessionId, { after, limit: from - 1 - after })
      events = [...page, ...events]
      from = after + 1
      if (turnsOf(events).length > limit) break
    }
    const all = turnsOf(events)
    const turns = all.slice(-limit)
    const first = turns[0]
    return {
      turns: turns.map(({ turn }) => turn),
      ...(first !== undefined && all.length > turns.length ? { before: `${prefix}${first.from}` } : undefined)
    }
  })
