/** What a journal has of a session, for the host that opens it again. */
import * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"
import type * as AgentError from "../AgentError.ts"
import type { EventJournal } from "../EventJournal.ts"
import type { SessionId } from "../Ids.ts"
import type { DurableEvent } from "../SessionEvent.ts"
import * as checkpoint from "./engine/checkpoint.ts"

/** Events of open items that are read at a time. */
const concurrency = 8

export interface KeptSession extends checkpoint.Kept {
  readonly open: ReadonlyMap<string, Json>
  /** The seq of the newest event that was ever written. */
  readonly last: number
}

export const nothing: KeptSession = { open: new Map(), items: new Map(), last: 0 }

export const load = (
  journal: EventJournal,
  sessionId: SessionId
): Effect.Effect<KeptSession, AgentError.AgentError> =>
  Effect.gen(function*() {
    const { last } = yield* journal.range(sessionId)
    if (last === 0) return nothing
    const open = yield* journal.open(sessionId)
    const found = yield* Effect.forEach(
      checkpoint.itemSeqs(open),
      (seq) => journal.read(sessionId, { after: seq - 1, limit: 1 }),
      { concurrency }
    )
    const items = new Map<number, DurableEvent>()
    for (const [event] of found) if (event?.seq !== undefined) items.set(event.seq, event)
    return { open, items, last }
  })

/** Whether the conversation was ever begun, whatever a binding says that was stored before a crash. */
export const wasBegun = (kept: KeptSession): boolean => kept.open.has("turn") || kept.open.has(checkpoint.toldName)

/** The keys of the turns that were told. */
export const toldKeys = (kept: KeptSession): ReadonlyArray<string> | undefined =>
  kept.open.get(checkpoint.toldName) as ReadonlyArray<string> | undefined
