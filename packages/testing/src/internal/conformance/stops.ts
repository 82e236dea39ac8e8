/** Every way to stop: each ends in time, settles what is open, and ends every reader normally. */
import type { AgentError } from "@reins/core/AgentError"
import type { PromptHandle, Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { NotApplicable, Subject, Violation } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import {
  agentOf,
  asked,
  begun,
  expect,
  lawful,
  nothingLeft,
  outcomeOf,
  subjectOf,
  usable,
  violated,
  within,
  working
} from "./clause.ts"

/** The grace of a close, with room for a busy machine. */
const grace = 9_000

interface Phase {
  readonly name: string
  /** Gives the prompts that are open then. */
  readonly reach: (
    subject: Subject,
    session: Session
  ) => Effect.Effect<ReadonlyArray<PromptHandle>, Violation | NotApplicable | AgentError, Scope.Scope>
}

const one = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(effect, (handle) => [handle])

const phases: ReadonlyArray<Phase> = [
  { name: "idle", reach: () => Effect.succeed([]) },
  { name: "mid-text", reach: (subject, session) => one(begun(session, subject.agent.hold("working on it"))) },
  {
    name: "with prompts waiting",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const running = yield* begun(session, subject.agent.hold("working on it"))
        const waiting = yield* Effect.forEach(
          ["later", "later still"],
          (text) => session.prompt(subject.agent.say([text]))
        )
        return [running, ...waiting]
      })
  },
  {
    name: "with a request open",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const ask = yield* agentOf(subject, "ask")
        yield* session.attach()
        return [yield* asked(session, ask("never"))]
      })
  },
  { name: "mid-tool", reach: (subject, session) => one(working(subject, session)) },
  {
    name: "while an interrupt is under way",
    reach: (subject, session) =>
      one(Effect.tap(begun(session, subject.agent.hold("working on it")), () => session.interrupt))
  }
]

/** Where the subject cannot tell, one clause says so for all. */
const nothingLeftThere = (subject: Subject) =>
  subject.leftovers === undefined ? Effect.void : nothingLeft(subject.leftovers)

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
      const prompts = yield* phase.reach(subject, session)
      yield* within(session.close, "the end of a close", grace)
      yield* within(session.close, "the end of a second close", grace)
      yield* ended
      for (const prompt of prompts) {
        yield* within(prompt.receipt, "the receipt of a prompt", grace)
        yield* within(prompt.outcome, "the outcome of a prompt", grace)
      }
      const late = yield* Effect.result(session.prompt(subject.agent.say(["too late"])))
      yield* expect(late._tag === "Failure", "a closed session takes a prompt")
      yield* nothingLeftThere(subject)
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
        yield* nothingLeftThere(subject)
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
        yield* nothingLeftThere(subject)
      })
  },
  {
    name: "a session that closed leaves nothing behind: no tool runs on, and its neighbour is undisturbed",
    group: "stops",
    law: 9,
    body: (subject) =>
      Effect.gen(function*() {
        const leftovers = yield* subjectOf(subject, "leftovers")
        const session = yield* subject.open
        yield* working(subject, session)
        const tool = yield* leftovers
        yield* expect(tool.length > 0, "a tool that runs is not among the leftovers")
        const neighbour = yield* subject.open
        const undisturbed = yield* begun(neighbour, subject.agent.hold("next door"))
        yield* within(session.close, "the end of a close", grace)
        yield* nothingLeft(Effect.map(leftovers, (left) => left.filter((line) => tool.includes(line))))
        yield* expect((yield* neighbour.view).turn !== undefined, "the turn of the neighbour ended")
        yield* neighbour.interrupt
        yield* outcomeOf(undisturbed)
        yield* usable(subject, neighbour)
        yield* neighbour.close
        yield* nothingLeft(leftovers)
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
