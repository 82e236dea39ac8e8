/** Every way to stop: each ends in time, settles what is open, and ends every reader normally. */
import type { AgentError } from "@reins/core/AgentError"
import type { Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { NotApplicable, Subject, Violation } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import { asked, begun, expect, lawful, needs, outcomeOf, usable, violated, within } from "./clause.ts"

/** The grace of a close, with room for a busy machine. */
const grace = 9_000

interface Phase {
  readonly name: string
  readonly reach: (
    subject: Subject,
    session: Session
  ) => Effect.Effect<unknown, Violation | NotApplicable | AgentError, Scope.Scope>
}

const phases: ReadonlyArray<Phase> = [
  { name: "idle", reach: () => Effect.void },
  { name: "mid-text", reach: (subject, session) => begun(session, subject.agent.hold("working on it")) },
  {
    name: "with prompts waiting",
    reach: (subject, session) =>
      Effect.gen(function*() {
        yield* begun(session, subject.agent.hold("working on it"))
        yield* session.prompt(subject.agent.say(["later"]))
        yield* session.prompt(subject.agent.say(["later still"]))
      })
  },
  {
    name: "with a request open",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const ask = yield* needs(subject.agent.ask, "the agent cannot be made to ask")
        yield* session.attach()
        yield* asked(session, ask("never"))
      })
  }
]

const nothingLeft = (subject: Subject) =>
  Effect.gen(function*() {
    if (subject.leftovers === undefined) return
    let left: ReadonlyArray<string> = []
    // The agent needs a moment to end what it was told to end.
    for (let wait = 0; wait < 60; wait++) {
      left = yield* subject.leftovers
      if (left.length === 0) return
      yield* Effect.sleep(50)
    }
    yield* expect(false, `left behind: ${left.join(", ")}`)
  })

/** Readers of every kind; gives what waits for their end, which has to be a normal one. */
const readers = Effect.fnUntraced(function*(session: Session) {
  const all = yield* Effect.forEach(
    [session.events(), session.events({ after: 0 })],
    (stream) => Effect.forkScoped(Stream.runCollect(stream), { startImmediately: true })
  )
  const closed = yield* Effect.forkScoped(session.closed, { startImmediately: true })
  const ended = Effect.gen(function*() {
    const read = yield* Effect.forEach(
      all,
      (fiber) =>
        Effect.catchCause(
          within(Fiber.join(fiber), "the end of a reader"),
          () => violated("a reader does not end normally")
        )
    )
    yield* within(Fiber.join(closed), "why the session closed")
    const events = read[0] ?? []
    yield* lawful(events)
    yield* expect(events.at(-1)?._tag === "SessionClosed", "SessionClosed is not the last event")
  })
  return { ended }
})

const closing = (phase: Phase): Definition => ({
  name: `a close ${phase.name} ends in time, with every reader and every prompt`,
  group: "stops",
  law: phase.name === "idle" ? 8 : 9,
  body: (subject) =>
    Effect.gen(function*() {
      const session = yield* subject.open
      const { ended } = yield* readers(session)
      yield* phase.reach(subject, session)
      yield* within(session.close, "the end of a close", grace)
      yield* within(session.close, "the end of a second close", grace)
      yield* ended
      const late = yield* Effect.result(session.prompt(subject.agent.say(["too late"])))
      yield* expect(late._tag === "Failure", "a closed session takes a prompt")
      yield* nothingLeft(subject)
    })
})

export const clauses: ReadonlyArray<Definition> = [
  ...phases.map(closing),
  {
    name: "a close from inside an event handler ends",
    group: "stops",
    law: 9,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const handler = yield* Effect.forkScoped(
          session.events().pipe(Stream.runForEach((event) => event._tag === "ItemDelta" ? session.close : Effect.void))
        )
        yield* session.prompt(subject.agent.hold("close me"))
        yield* within(Fiber.join(handler), "the end of the handler")
        yield* nothingLeft(subject)
      })
  },
  {
    name: "closing its scope closes a session",
    group: "stops",
    law: 9,
    body: (subject) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(subject.open, scope)
        const { ended } = yield* readers(session)
        yield* begun(session, subject.agent.hold("working on it"))
        yield* within(Scope.close(scope, Exit.void), "the end of the scope", grace)
        yield* ended
        yield* nothingLeft(subject)
      })
  },
  {
    name: "an interrupt ends the turn, not the session, and what waited runs",
    group: "stops",
    law: 8,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const handle = yield* begun(session, subject.agent.hold("stop me"))
        const next = yield* session.prompt(subject.agent.say(["next"]))
        yield* session.interrupt
        const outcome = yield* outcomeOf(handle)
        yield* expect(outcome._tag === "interrupted", `the outcome is ${JSON.stringify(outcome)}`)
        const after = yield* outcomeOf(next)
        yield* expect(after._tag === "completed", `what waited is ${JSON.stringify(after)}`)
        yield* usable(subject, session)
      })
  },
  {
    name: "an interrupt with nothing running changes nothing",
    group: "stops",
    law: 8,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        yield* session.interrupt
        yield* usable(subject, session)
        yield* session.interrupt
        yield* usable(subject, session)
      })
  }
]
