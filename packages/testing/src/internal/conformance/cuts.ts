/** Law 10: a turn that is cut anywhere is told as the uncut one, or the difference is declared. */
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Definition } from "./clause.ts"
import { atRest, awaiting, expect, finals, lawful, outcomeOf, reading, wireOf } from "./clause.ts"
import type { Subject } from "../../Conformance.ts"

/** Boundaries that are tried at most. */
const maxFrames = 400

const pieces = ["Here ", "is ", "an answer ", "in pieces."]

/**
 * Groups 4 to 9 of the event model as they have to be equal: without numbers, times, ids, origins and states in between.
 */
const normal = (events: ReadonlyArray<SessionEvent | Lagged>): string => {
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

const isDeclared = (events: ReadonlyArray<SessionEvent | Lagged>): boolean =>
  events.some((event) =>
    (event._tag === "ConnectionChanged" && event.status._tag === "resynced" && event.status.gap === "lossy") ||
    (event._tag === "TurnSettled" && event.outcome._tag === "lost") ||
    (event._tag === "RequestSettled" && (event.by === "unknown" || event.by === "teardown")) ||
    (event._tag === "Notice" && event.code === "textIncomplete")
  )

const wasCut = (events: ReadonlyArray<SessionEvent | Lagged>): boolean =>
  events.some((event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")

/** One turn, with its request answered; from its prompt until all is at rest. */
const play = (subject: Subject, text: string, cutAfter?: Effect.Effect<void, never, never>) =>
  Effect.scoped(Effect.gen(function*() {
    const session = yield* subject.open
    yield* session.attach()
    const events = yield* reading(session)
    const { seq } = yield* session.view
    if (cutAfter !== undefined) yield* cutAfter
    const handle = yield* session.prompt(text)
    const answering = Effect.forever(Effect.gen(function*() {
      for (const request of yield* session.requests)
        yield* Effect.ignore(session.answer(request.id, { _tag: "accept" }))
      yield* Effect.sleep(15)
    }))
    yield* Effect.raceFirst(outcomeOf(handle), answering)
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

const cutting = (every: number, name: string, textOf: (subject: Subject) => string | undefined): Definition => ({
  name,
  group: "cuts",
  law: 10,
  factor: 20,
  body: (subject) =>
    Effect.gen(function*() {
      const cutAfter = yield* wireOf(subject, "cutAfter")
      const text = textOf(subject) ?? subject.agent.say(pieces)
      const whole = normal(yield* play(subject, text))
      let cuts = 0
      for (let n = 1; n <= maxFrames; n += every) {
        const events = yield* Effect.scoped(Effect.gen(function*() {
          const scope = yield* Effect.scope
          return yield* play(subject, text, Effect.provideService(cutAfter(n), Scope.Scope, scope))
        }))
        const told = normal(events)
        yield* expect(
          told === whole || isDeclared(events),
          `cut after frame ${n}:\n${told}\ninstead of\n${whole}`
        )
        // The turn ended before it.
        if (!wasCut(events)) break
        cuts++
      }
      yield* expect(cuts > 0, "no cut hit the turn")
    })
})

export const clauses = (every: number): ReadonlyArray<Definition> => [
  cutting(every, "a text that is cut at any frame is told as the uncut one", (subject) => subject.agent.say(pieces)),
  cutting(
    every,
    "a turn with a request that is cut at any frame is told as the uncut one",
    (subject) => subject.agent.ask?.("allowed")
  )
]
