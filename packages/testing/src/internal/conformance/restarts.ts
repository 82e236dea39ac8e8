/** A host that ends and is started again over the same store. */
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Definition } from "./clause.ts"
import {
  answers,
  atRest,
  begun,
  expect,
  lawful,
  nothingLeft,
  outcomeOf,
  reading,
  subjectOf,
  turn,
  usable,
  violated,
  within
} from "./clause.ts"

/** As they are written: what a store gives back need not be the same value. */
const durable = (events: ReadonlyArray<SessionEvent | Lagged>): ReadonlyArray<string> =>
  events.flatMap((event) => event._tag === "ItemDelta" ? [] : [JSON.stringify(event)])

export const clauses: ReadonlyArray<Definition> = [
  {
    name: "a host that is started again gives the same events as before, and goes on in the same conversation",
    group: "restarts",
    law: 7,
    // Two starts of an agent, one after the other.
    factor: 3,
    body: (subject) =>
      Effect.gen(function*() {
        const host = yield* subjectOf(subject, "host")
        const life = yield* Scope.make()
        yield* Effect.addFinalizer((exit) => Scope.close(life, exit))
        const before = yield* Scope.provide(host(), life)
        const live = yield* reading(before, 0)
        yield* turn(before, subject.agent.say(["said ", "before"]))
        const running = yield* begun(before, subject.agent.hold("cut short"))
        yield* before.prompt(subject.agent.say(["still waits"]))
        yield* within(Scope.close(life, Exit.void), "the end of a host")
        yield* outcomeOf(running)
        yield* lawful(live)
        if (live.at(-1)?._tag !== "SessionClosed") return yield* violated("SessionClosed is not the last event")
        if (subject.leftovers !== undefined) yield* nothingLeft(subject.leftovers)

        const again = yield* host(before.id)
        const told = durable(live)
        const read = (after: number) =>
          within(
            again.events({ after, deltas: false }).pipe(Stream.take(told.length - after), Stream.runCollect),
            "a reader after the restart"
          )
        for (const after of [0, Math.floor(told.length / 2)]) {
          yield* expect(
            durable(yield* read(after)).join("\n") === told.slice(after).join("\n"),
            `other events are read after ${after}`
          )
        }
        const all = yield* reading(again, 0)
        yield* usable(subject, again)
        yield* atRest(again, all)
        const opened = all.flatMap((event) => event._tag === "SessionOpened" ? [event.how._tag] : [])
        yield* expect(opened.join() === "new,resumed", `it was opened as ${opened.join()}`)
        yield* expect(
          answers(all).filter((text) => text === "said before").length === 1,
          `the answers are ${JSON.stringify(answers(all))}`
        )
        // The deltas of the first host are not stored.
        yield* lawful([...live, ...all.slice(told.length)])
      })
  }
]
