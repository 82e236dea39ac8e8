/** An agent that dies, at every phase of a turn. */
import type { PromptHandle, Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import type { Subject } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import { asked, atRest, awaiting, begun, expect, lawful, needs, outcomeOf, reading, usable, wireOf } from "./clause.ts"

const phases: ReadonlyArray<{
  readonly name: string
  readonly reach: (subject: Subject, session: Session) => Effect.Effect<PromptHandle | undefined, never>
}> = [
  { name: "idle", reach: () => Effect.undefined },
  {
    name: "just prompted",
    reach: (subject, session) => Effect.orDie(session.prompt(subject.agent.say(["said ", "in time"])))
  },
  { name: "mid-text", reach: (subject, session) => Effect.orDie(begun(session, subject.agent.hold("working on it"))) },
  {
    name: "with a request open",
    reach: (subject, session) => Effect.orDie(asked(session, subject.agent.ask?.("never") ?? ""))
  }
]

export const clauses: ReadonlyArray<Definition> = phases.map((phase) => ({
  name: `an agent that is killed ${phase.name} is told, nothing waits for ever, and the next prompt runs`,
  group: "failures",
  law: 11,
  body: (subject) =>
    Effect.gen(function*() {
      const kill = yield* wireOf(subject, "kill")
      if (phase.name === "with a request open") yield* needs(subject.agent.ask, "the agent cannot be made to ask")
      const session = yield* subject.open
      const events = yield* reading(session)
      const { seq } = yield* session.view
      const handle = yield* phase.reach(subject, session)
      yield* kill
      yield* awaiting(
        session,
        seq,
        (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost",
        "the loss of the connection"
      )
      if (handle !== undefined) {
        const outcome = yield* outcomeOf(handle)
        yield* expect(
          phase.name === "just prompted" || outcome._tag === "lost",
          `a turn that nobody finished is ${JSON.stringify(outcome)}`
        )
      }
      yield* atRest(session, events)
      yield* usable(subject, session)
      yield* lawful(events)
      yield* expect((yield* session.requests).length === 0, "a request is still open")
    })
}))
