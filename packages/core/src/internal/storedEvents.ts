/** Reads sessions that need not be open, from the journal. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as AgentError from "../AgentError.ts"
import type { BindingStore } from "../BindingStore.ts"
import type { EventJournal } from "../EventJournal.ts"
import type { HistoryPage } from "../History.ts"
import type { SessionId } from "../Ids.ts"
import type { Lagged, SessionEvent } from "../SessionEvent.ts"
import * as journalHistory from "./journalHistory.ts"

/** Events that are read at a time. */
const page = 500

export const make = (options: {
  readonly journal: EventJournal | undefined
  readonly store: BindingStore["Service"]
}) => {
  const { journal, store } = options

  const known = (id: SessionId): Effect.Effect<EventJournal, AgentError.AgentError> =>
    Effect.gen(function*() {
      if (journal === undefined) {
        return yield* AgentError.make(
          new AgentError.Unsupported({
            operation: "reading a session that is not open",
            provider: "sessions",
            description: "no journal was configured"
          }),
          { sessionId: id }
        )
      }
      const { last } = yield* journal.range(id)
      if (last === 0 && Option.isNone(yield* store.get(id))) {
        return yield* AgentError.make(new AgentError.SessionNotFound({ sessionId: id }), { sessionId: id })
      }
      return journal
    })

  return {
    events: (id: SessionId, after: number): Stream.Stream<SessionEvent | Lagged, AgentError.AgentError> =>
      Stream.unwrap(
        Effect.map(
          known(id),
          (journal) =>
            Stream.paginate(
              Math.max(0, after),
              (after) =>
                Effect.map(journal.read(id, { after, limit: page }), (events) => {
                  const out: Array<SessionEvent | Lagged> = []
                  let seq = after
                  for (const event of events) {
                    const next = event.seq ?? seq
                    if (next > seq + 1)
                      out.push({ _tag: "Lagged", from: seq + 1, to: next - 1 })
                    out.push(event)
                    seq = next
                  }
                  return [out, events.length === 0 ? Option.none<number>() : Option.some(seq)] as const
                })
            )
        )
      ),
    history: (
      id: SessionId,
      request?: { readonly before?: string; readonly limit?: number }
    ): Effect.Effect<HistoryPage, AgentError.AgentError> =>
      Effect.flatMap(known(id), (journal) => journalHistory.read(journal, id, request))
  }
}
