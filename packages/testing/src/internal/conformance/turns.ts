/** Turns, prompts and requests on a wire that is whole. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Definition } from "./clause.ts"
import {
  agentOf,
  answers,
  asked,
  atRest,
  begun,
  expect,
  lawful,
  outcomeOf,
  reading,
  turn,
  violated,
  within
} from "./clause.ts"

export const clauses: ReadonlyArray<Definition> = [
  {
    name: "a turn is told whole: its text in deltas and in its item, all that began has ended",
    group: "turns",
    law: 6,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const { events, outcome } = yield* turn(session, subject.agent.say(["one ", "two ", "three"]))
        yield* expect(outcome._tag === "completed", `the outcome is ${JSON.stringify(outcome)}`)
        yield* expect(answers(events).at(-1) === "one two three", `the answer is ${JSON.stringify(answers(events))}`)
        yield* lawful(events)
      })
  },
  {
    name: "prompts that wait get a turn of their own, in order, and one final receipt",
    group: "turns",
    law: 1,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const events = yield* reading(session)
        const handles = yield* Effect.forEach(["a", "b", "c"], (text) => session.prompt(subject.agent.say([text])))
        for (const handle of handles) {
          const outcome = yield* outcomeOf(handle)
          yield* expect(outcome._tag === "completed", `an outcome is ${JSON.stringify(outcome)}`)
          const receipt = yield* within(handle.receipt, "a receipt")
          yield* expect(receipt._tag === "consumed", `a receipt is ${JSON.stringify(receipt)}`)
        }
        yield* atRest(session, events)
        yield* expect(answers(events).join() === "a,b,c", `the answers are ${JSON.stringify(answers(events))}`)
        yield* lawful(events)
      })
  },
  {
    name: "a queued prompt can be taken back, and is not run",
    group: "turns",
    law: 1,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const events = yield* reading(session)
        const first = yield* begun(session, subject.agent.hold("busy"))
        const second = yield* session.prompt(subject.agent.say(["never said"]))
        yield* expect(yield* session.withdraw(second.id), "it could not be taken back")
        yield* expect((yield* outcomeOf(second))._tag === "notRun", "it has another outcome than notRun")
        yield* session.interrupt
        yield* outcomeOf(first)
        yield* atRest(session, events)
        yield* expect(!answers(events).includes("never said"), "it was run")
      })
  },
  {
    name: "an error of the model fails its turn, and not the session",
    group: "turns",
    law: 2,
    body: (subject) =>
      Effect.gen(function*() {
        const fail = yield* agentOf(subject, "fail")
        const session = yield* subject.open
        const { events, outcome } = yield* turn(session, fail())
        yield* expect(outcome._tag === "failed", `the outcome is ${JSON.stringify(outcome)}`)
        yield* lawful(events)
        const next = yield* turn(session, subject.agent.say(["fine"]))
        yield* expect(next.outcome._tag === "completed", `the next outcome is ${JSON.stringify(next.outcome)}`)
      })
  },
  {
    name: "an approval is asked for, answered once, and the turn goes on",
    group: "turns",
    law: 3,
    body: (subject) =>
      Effect.gen(function*() {
        const ask = yield* agentOf(subject, "ask")
        const session = yield* subject.open
        yield* session.attach()
        const events = yield* reading(session)
        const handle = yield* asked(session, ask("allowed"))
        const [request] = yield* session.requests
        if (request === undefined) return yield* violated("no request is open")
        yield* session.answer(request.id, { _tag: "accept" })
        const again = yield* Effect.result(session.answer(request.id, { _tag: "decline" }))
        yield* expect(
          again._tag === "Failure" && again.failure.reason._tag === "RequestNotOpen",
          "a second answer was taken"
        )
        const outcome = yield* outcomeOf(handle)
        yield* expect(outcome._tag === "completed", `the outcome is ${JSON.stringify(outcome)}`)
        yield* atRest(session, events)
        yield* expect(answers(events).at(-1) === "allowed", `the answer is ${JSON.stringify(answers(events))}`)
        yield* lawful(events)
      })
  },
  {
    name: "a request that is open when its turn is interrupted is settled before the turn",
    group: "turns",
    law: 3,
    body: (subject) =>
      Effect.gen(function*() {
        const ask = yield* agentOf(subject, "ask")
        const session = yield* subject.open
        yield* session.attach()
        const events = yield* reading(session)
        const handle = yield* asked(session, ask("never allowed"))
        yield* expect((yield* session.requests).length === 1, "no request is open")
        yield* session.interrupt
        const outcome = yield* outcomeOf(handle)
        yield* expect(outcome._tag === "interrupted", `the outcome is ${JSON.stringify(outcome)}`)
        yield* atRest(session, events)
        yield* lawful(events)
        yield* expect((yield* session.requests).length === 0, "a request is still open")
      })
  },
  {
    name: "a reader that comes late, or from any place, is given the same durable events",
    group: "turns",
    law: 7,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const { seq: start } = yield* session.view
        const live = yield* reading(session)
        yield* turn(session, subject.agent.say(["one ", "two"]))
        yield* atRest(session, live)
        const { seq } = yield* session.view
        const durable = (events: Iterable<unknown>) =>
          JSON.stringify([...events].filter((event) => (event as { readonly seq?: number }).seq !== undefined))
        const from = (after: number) =>
          within(
            session.events({ after, deltas: false }).pipe(Stream.take(seq - after), Stream.runCollect),
            "a late reader"
          )
        const late = yield* from(start)
        yield* expect(durable(late) === durable(live.slice(0)), "a late reader is given other events")
        const middle = start + Math.floor((seq - start) / 2)
        yield* expect(
          durable(yield* from(middle)) === durable([...late].slice(middle - start)),
          "a place gives other events"
        )
      })
  }
]
