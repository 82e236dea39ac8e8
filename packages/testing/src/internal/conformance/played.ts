/** Turns that are played under a fault, and what of their events has to be the same as without it. */
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Subject } from "../../Conformance.ts"
import { atRest, awaiting, finals, lawful, outcomeOf, reading } from "./clause.ts"

/**
 * Groups 4 to 9 of the event model as they have to be equal: without numbers, times, ids, origins and states in between.
 */
export const normal = (events: ReadonlyArray<SessionEvent | Lagged>): string => {
  const lines = events.flatMap((event): ReadonlyArray<string> => {
    switch (event._tag) {
      case "PromptChanged":
        return finals.has(event.state._tag)
          ? [`prompt ${event.state._tag}`]
          : []
      case "TurnStarted":
        return ["turn"]
      case "TurnSettled":
        return [`settled ${event.outcome._tag}`]
      case "ItemCompleted": {
        if (event.status === "discarded") return []
        const { id: _id, promptId: _promptId, ...item } = event.item as typeof event.item & {
          readonly promptId?: string
        }
        return [`item ${event.status} ${JSON.stringify(item)}`]
      }
      case "RequestOpened":
        return [`request ${event.kind} ${event.subject}`]
      case "RequestSettled":
        return [`answered ${event.by} ${event.decision?._tag ?? ""}`]
      default:
        return []
    }
  })
  // A snapshot tells items in the order of the conversation, the wire in the order of their end.
  return lines.sort().join("\n")
}

export const isDeclared = (events: ReadonlyArray<SessionEvent | Lagged>): boolean =>
  events.some((event) =>
    (event._tag === "ConnectionChanged" && event.status._tag === "resynced" && event.status.gap === "lossy") ||
    (event._tag === "TurnSettled" && event.outcome._tag === "lost") ||
    (event._tag === "RequestSettled" && (event.by === "unknown" || event.by === "teardown")) ||
    (event._tag === "Notice" && event.code === "textIncomplete")
  )

export const wasCut = (events: ReadonlyArray<SessionEvent | Lagged>): boolean =>
  events.some((event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")

/**
 * Turns one after the other in a session of their own, with their requests answered, until all is at rest. The fault lasts
 * until the session has closed.
 */
export const play = (
  subject: Subject,
  texts: ReadonlyArray<string>,
  fault: Effect.Effect<void, never, Scope.Scope> = Effect.void
) =>
  Effect.scoped(Effect.gen(function*() {
    const outer = yield* Effect.scope
    return yield* Effect.scoped(Effect.gen(function*() {
      const session = yield* subject.open
      yield* session.attach()
      const events = yield* reading(session)
      const { seq } = yield* session.view
      yield* Scope.provide(fault, outer)
      const answering = Effect.forever(Effect.gen(function*() {
        for (const request of yield* session.requests)
          yield* Effect.ignore(session.answer(request.id, { _tag: "accept" }))
        yield* Effect.sleep(15)
      }))
      for (const text of texts) {
        const handle = yield* session.prompt(text)
        yield* Effect.raceFirst(outcomeOf(handle), answering)
      }
      yield* atRest(session, events)
      if (wasCut(events)) {
        yield* awaiting(
          session,
          seq,
          (event) => event._tag === "ConnectionChanged" && event.status._tag === "live",
          "the next connection"
        )
      }
      yield* lawful(events)
      return events
    }))
  }))
