/** An agent that dies, at every phase of a turn. */
import type { AgentError } from "@reins/core/AgentError"
import type { PromptHandle, Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { NotApplicable, Subject, Violation } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import {
  agentOf,
  answers,
  asked,
  atRest,
  awaiting,
  begun,
  expect,
  lawful,
  nothingLeft,
  outcomeOf,
  reading,
  usable,
  wireOf,
  working
} from "./clause.ts"

/** What runs, or was just sent, when the agent dies, and what waits behind it. */
interface Reached {
  readonly running?: PromptHandle
  /** How its turn may end. */
  readonly outcomes?: ReadonlyArray<string>
  readonly waiting?: ReadonlyArray<PromptHandle>
  /** Done when the agent is dead. */
  readonly after?: Effect.Effect<void>
}

const phases: ReadonlyArray<{
  readonly name: string
  readonly reach: (
    subject: Subject,
    session: Session
  ) => Effect.Effect<Reached, Violation | NotApplicable | AgentError, Scope.Scope>
}> = [
  { name: "idle", reach: () => Effect.succeed({}) },
  {
    name: "just prompted",
    reach: (subject, session) =>
      Effect.map(session.prompt(subject.agent.say(["said ", "in time"])), (running) => ({
        running,
        outcomes: ["completed", "lost", "notRun"]
      }))
  },
  {
    name: "mid-text",
    reach: (subject, session) =>
      Effect.map(begun(session, subject.agent.hold("working on it")), (running) => ({ running }))
  },
  {
    name: "with a request open",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const ask = yield* agentOf(subject, "ask")
        return { running: yield* asked(session, ask("never")) }
      })
  },
  { name: "mid-tool", reach: (subject, session) => Effect.map(working(subject, session), (running) => ({ running })) },
  {
    name: "with prompts waiting",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const running = yield* begun(session, subject.agent.hold("working on it"))
        const waiting = yield* Effect.forEach(["first", "second"], (text) => session.prompt(subject.agent.say([text])))
        return { running, waiting }
      })
  },
  {
    name: "while it is being interrupted",
    reach: (subject, session) =>
      Effect.gen(function*() {
        const running = yield* begun(session, subject.agent.hold("working on it"))
        // Its confirmation must not come first.
        const after = yield* subject.wire?.stall ?? Effect.succeed(Effect.void)
        const { seq } = yield* session.view
        yield* session.interrupt
        yield* awaiting(
          session,
          seq,
          (event) => event._tag === "TurnChanged" && event.state._tag === "interrupting",
          "the interrupt"
        )
        return { running, outcomes: ["interrupted", "lost"], after }
      })
  }
]

export const clauses: ReadonlyArray<Definition> = phases.map((phase) => ({
  name: `an agent that is killed ${phase.name} is told, nothing waits for ever, and the next prompt runs`,
  group: "failures",
  law: 11,
  body: (subject) =>
    Effect.gen(function*() {
      const kill = yield* wireOf(subject, "kill")
      const session = yield* subject.open
      const events = yield* reading(session)
      const { seq } = yield* session.view
      const { after = Effect.void, outcomes = ["lost"], running, waiting = [] } = yield* phase.reach(subject, session)
      yield* kill
      yield* after
      yield* awaiting(
        session,
        seq,
        (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost",
        "the loss of the connection"
      )
      if (running !== undefined) {
        const outcome = yield* outcomeOf(running)
        yield* expect(outcomes.includes(outcome._tag), `a turn that nobody finished is ${JSON.stringify(outcome)}`)
      }
      for (const prompt of waiting) {
        const outcome = yield* outcomeOf(prompt)
        yield* expect(outcome._tag === "completed", `a prompt that waited is ${JSON.stringify(outcome)}`)
      }
      yield* atRest(session, events)
      const said = answers(events).filter((text) => text === "first" || text === "second")
      yield* expect(said.length === waiting.length, `what waited was answered: ${JSON.stringify(said)}`)
      yield* usable(subject, session)
      yield* lawful(events)
      yield* expect((yield* session.requests).length === 0, "a request is still open")
      if (subject.leftovers !== undefined) yield* nothingLeft(subject.leftovers)
    })
}))
