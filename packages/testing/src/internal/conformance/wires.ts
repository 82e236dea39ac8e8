/** A wire that breaks, repeats, reorders or says what nobody knows; and readers that do not read. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Definition } from "./clause.ts"
import {
  answers,
  atRest,
  awaiting,
  begun,
  expect,
  lawful,
  outcomeOf,
  reading,
  turn,
  usable,
  violated,
  wireOf,
  within
} from "./clause.ts"
import { normal, play } from "./played.ts"

const words = Array.from({ length: 12 }, (_, n) => `word${n} `)

/** The turn has to complete with its whole text whatever happens to the wire meanwhile. */
const during = (name: string, fault: "cut" | "end"): Definition => ({
  name,
  group: "wire",
  law: 10,
  body: (subject) =>
    Effect.gen(function*() {
      const happen = yield* wireOf(subject, fault)
      const session = yield* subject.open
      const events = yield* reading(session)
      const { seq } = yield* session.view
      const handle = yield* begun(session, subject.agent.say(words))
      yield* happen
      yield* outcomeOf(handle)
      yield* awaiting(
        session,
        seq,
        (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced",
        "what came of the gap"
      )
      yield* atRest(session, events)
      yield* lawful(events)
      const whole = answers(events).includes(words.join(""))
      const declared = events.some((event) =>
        (event._tag === "TurnSettled" && event.outcome._tag !== "completed") ||
        (event._tag === "ConnectionChanged" && event.status._tag === "resynced" && event.status.gap === "lossy")
      )
      yield* expect(whole || declared, `the answer is ${JSON.stringify(answers(events))}, and nothing says why`)
      yield* usable(subject, session)
    })
})

/** What the fault does to a text, to a tool with its request and to what follows them is not to be seen in what is told. */
const untouched = (name: string, fault: "repeat" | "reorder"): Definition => ({
  name,
  group: "wire",
  law: 6,
  body: (subject) =>
    Effect.gen(function*() {
      const happen = yield* wireOf(subject, fault)
      const { ask, say } = subject.agent
      const texts = [say(words), ...(ask === undefined ? [] : [ask("allowed")]), say(["still ", "here"])]
      const whole = normal(yield* play(subject, texts))
      const told = normal(yield* play(subject, texts, happen))
      yield* expect(told === whole, `it is told as\n${told}\ninstead of\n${whole}`)
    })
})

export const clauses: ReadonlyArray<Definition> = [
  during("a connection that breaks mid-text is made again, and the gap declared", "cut"),
  during("a connection that ends mid-text is made again, and the gap declared", "end"),
  {
    name: "a connection that breaks while nothing runs is made again by itself",
    group: "wire",
    law: 11,
    body: (subject) =>
      Effect.gen(function*() {
        const cut = yield* wireOf(subject, "cut")
        const session = yield* subject.open
        yield* usable(subject, session)
        const { seq } = yield* session.view
        yield* cut
        yield* awaiting(
          session,
          seq,
          (event) => event._tag === "ConnectionChanged" && event.status._tag === "live",
          "the next connection"
        )
        yield* usable(subject, session)
      })
  },
  {
    name: "a session that is opened as the connection breaks waits for the next one",
    group: "wire",
    law: 11,
    body: (subject) =>
      Effect.gen(function*() {
        const cut = yield* wireOf(subject, "cut")
        const session = yield* subject.open
        yield* usable(subject, session)
        yield* cut
        const other = yield* subject.open
        yield* usable(subject, other)
        yield* usable(subject, session)
      })
  },
  {
    name: "a wire that is silent for a while loses nothing",
    group: "wire",
    law: 11,
    body: (subject) =>
      Effect.gen(function*() {
        const stall = yield* wireOf(subject, "stall")
        const session = yield* subject.open
        const events = yield* reading(session)
        const handle = yield* begun(session, subject.agent.say(words))
        const resume = yield* stall
        yield* Effect.sleep(400)
        yield* resume
        const outcome = yield* outcomeOf(handle)
        yield* expect(outcome._tag === "completed", `the outcome is ${JSON.stringify(outcome)}`)
        yield* atRest(session, events)
        yield* expect(answers(events).includes(words.join("")), `the answer is ${JSON.stringify(answers(events))}`)
        yield* lawful(events)
      })
  },
  {
    name: "a wire that is dead for good is noticed: the turn ends, and the session goes on",
    group: "wire",
    law: 11,
    body: (subject) =>
      Effect.gen(function*() {
        const stall = yield* wireOf(subject, "stall")
        const session = yield* subject.open
        const events = yield* reading(session)
        const { seq } = yield* session.view
        const handle = yield* begun(session, subject.agent.say(words))
        const resume = yield* stall
        // Not a byte comes before the loss is told, or the turn has ended without it.
        yield* awaiting(
          session,
          seq,
          (event) =>
            event._tag === "TurnSettled" || (event._tag === "ConnectionChanged" && event.status._tag === "lost"),
          "the end of a turn whose wire is dead"
        )
        yield* resume
        const outcome = yield* outcomeOf(handle)
        const error = outcome._tag === "failed" || outcome._tag === "lost"
        yield* expect(error || outcome._tag === "completed", `the outcome is ${JSON.stringify(outcome)}`)
        yield* atRest(session, events)
        yield* expect(
          error || answers(events).includes(words.join("")),
          `the answer is ${JSON.stringify(answers(events))}, and nothing says why`
        )
        yield* usable(subject, session)
        yield* lawful(events)
      })
  },
  untouched("what is told twice counts once", "repeat"),
  untouched("what comes in another order is told in order", "reorder"),
  {
    name: "what nobody knows is told as Unrecognised, and does no harm",
    group: "wire",
    body: (subject) =>
      Effect.gen(function*() {
        const unknown = yield* wireOf(subject, "unknown")
        const session = yield* subject.open
        const { seq } = yield* session.view
        yield* unknown
        yield* awaiting(session, seq, (event) => event._tag === "Unrecognised", "the unknown frame")
        yield* usable(subject, session)
      })
  },
  {
    name: "a reader that does not read holds up nobody, and is told what it missed",
    group: "wire",
    law: 8,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const { seq } = yield* session.view
        const neighbour = yield* subject.open
        // It takes one event and then none for as long as the turns last.
        let taken = 0
        const all = yield* Effect.forkScoped(
          session.events({ after: seq }).pipe(
            Stream.tap(() => taken++ === 0 ? Effect.sleep(1_000) : Effect.void),
            Stream.takeUntil((event) => event._tag === "SessionClosed"),
            Stream.runCollect
          )
        )
        for (let n = 0; n < 3; n++) {
          const { outcome } = yield* turn(session, subject.agent.say(words))
          if (outcome._tag !== "completed") return yield* violated(`the outcome is ${JSON.stringify(outcome)}`)
        }
        yield* usable(subject, neighbour)
        yield* session.close
        const events = yield* within(Fiber.join(all), "the end of the reader")
        yield* lawful(events)
        yield* expect(
          answers(events).length === 3 || events.some((event) => event._tag === "Lagged"),
          "it missed something, and was not told"
        )
      })
  }
]
