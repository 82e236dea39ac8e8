/** Law 10: a turn that is cut anywhere is told as the uncut one, or the difference is declared. */
import * as Effect from "effect/Effect"
import type { NotApplicable, Subject } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import { agentOf, expect, wireOf } from "./clause.ts"
import { isDeclared, normal, play, wasCut } from "./played.ts"

/** Boundaries that are tried at most. */
const maxFrames = 400

const pieces = ["Here ", "is ", "an answer ", "in pieces."]

const cutting = (
  every: number,
  name: string,
  textOf: (subject: Subject) => Effect.Effect<string, NotApplicable>
): Definition => ({
  name,
  group: "cuts",
  law: 10,
  factor: 20,
  body: (subject) =>
    Effect.gen(function*() {
      const cutAfter = yield* wireOf(subject, "cutAfter")
      const text = yield* textOf(subject)
      const whole = normal(yield* play(subject, [text]))
      let cuts = 0
      for (let n = 1; n <= maxFrames; n += every) {
        const events = yield* play(subject, [text], cutAfter(n))
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
  cutting(
    every,
    "a text that is cut at any frame is told as the uncut one",
    (subject) => Effect.succeed(subject.agent.say(pieces))
  ),
  cutting(
    every,
    "a turn with a request that is cut at any frame is told as the uncut one",
    (subject) => Effect.map(agentOf(subject, "ask"), (ask) => ask("allowed"))
  )
]
