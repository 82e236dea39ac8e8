/** What a reader is told: items that end (law 4), numbers and offsets (law 5). */
import { textOf } from "@reins/core/Item"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import type { Definition } from "./clause.ts"
import {
  agentOf,
  answers,
  asked,
  atRest,
  begun,
  expect,
  lawful,
  nothingLeft,
  outcomeOf,
  reading,
  turn,
  violated,
  within,
  working
} from "./clause.ts"

type Events = ReadonlyArray<SessionEvent | Lagged>

/** Items that ended by themselves or by the end of their turn, the prompts of the user aside. */
const ended = (events: Events) =>
  events.flatMap((event) => event._tag === "ItemCompleted" && event.item._tag !== "userMessage" ? [event] : [])

const statuses = (events: Events): string =>
  JSON.stringify(ended(events).map(({ item, status }) => `${item._tag} ${status}`))

/** Signs of two code units, and such as are made of several. */
const signs = ["a ship 🚀 ", "and a ", "family 👩‍👩‍👧 ", "in Ü"]

const started = (events: Events) => events.flatMap((event) => event._tag === "TurnStarted" ? [event.turnId] : [])

const interrupted = Effect.fnUntraced(function*(session: Session, handle: Effect.Success<ReturnType<typeof begun>>) {
  yield* session.interrupt
  const outcome = yield* outcomeOf(handle)
  yield* expect(outcome._tag === "interrupted", `the outcome is ${JSON.stringify(outcome)}`)
})

export const clauses: ReadonlyArray<Definition> = [
  {
    name: "a text whose turn is interrupted ends once, before its turn, with what was shown of it",
    group: "turns",
    law: 4,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const events = yield* reading(session)
        yield* interrupted(session, yield* begun(session, subject.agent.hold("half said")))
        yield* atRest(session, events)
        yield* lawful(events)
        // Some agents close a text before they say that it was stopped: as completed.
        const texts = ended(events).filter(({ item, status }) =>
          item._tag === "assistantMessage" && (status === "interrupted" || status === "completed") && item.text !== ""
        )
        yield* expect(texts.length === 1, `its items ended as ${statuses(events)}`)
      })
  },
  {
    name: "a tool that was refused ends as declined, before its turn",
    group: "turns",
    law: 4,
    body: (subject) =>
      Effect.gen(function*() {
        const ask = yield* agentOf(subject, "ask")
        const session = yield* subject.open
        yield* session.attach()
        const events = yield* reading(session)
        const handle = yield* asked(session, ask("it was refused"))
        const [request] = yield* session.requests
        if (request === undefined) return yield* violated("no request is open")
        yield* session.answer(request.id, { _tag: "decline" })
        yield* outcomeOf(handle)
        yield* atRest(session, events)
        yield* lawful(events)
        const refused = ended(events).filter(({ status }) => status === "declined")
        yield* expect(refused.length === 1, `its items ended as ${statuses(events)}`)
      })
  },
  {
    name: "a tool that runs when its turn is interrupted ends before its turn, and does not run on",
    group: "turns",
    law: 4,
    body: (subject) =>
      Effect.gen(function*() {
        yield* agentOf(subject, "work")
        const session = yield* subject.open
        const events = yield* reading(session)
        yield* interrupted(session, yield* working(subject, session))
        yield* atRest(session, events)
        yield* lawful(events)
        const tools = ended(events).filter(({ item, status }) =>
          item._tag !== "assistantMessage" && (status === "interrupted" || status === "failed")
        )
        yield* expect(tools.length === 1, `its items ended as ${statuses(events)}`)
        if (subject.leftovers !== undefined) yield* nothingLeft(subject.leftovers)
      })
  },
  {
    name: "events are numbered from 1 without a gap, also when a turn is taken back; deltas lie by UTF-16 offset",
    group: "turns",
    law: 5,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const events = yield* reading(session, 0)
        const { events: first } = yield* turn(session, subject.agent.say(signs))
        yield* expect(answers(first).at(-1) === signs.join(""), `the answer is ${JSON.stringify(answers(first))}`)
        const { events: second } = yield* turn(session, subject.agent.say(["to be ", "taken back"]))
        yield* within(session.quiescent, "rest")
        const [beforeTurn] = started(second)
        if (subject.capabilities.revert && beforeTurn !== undefined) {
          yield* session.revert({ beforeTurn })
        }
        yield* turn(session, subject.agent.say(["and ", "on"]))
        yield* atRest(session, events)
        const numbers = events.flatMap((event) => event._tag === "Lagged" || event.seq === undefined ? [] : [event.seq])
        yield* expect(numbers[0] === 1, `the first number is ${numbers[0]}`)
        yield* expect(
          numbers.at(-1) === numbers.length && numbers.length === (yield* session.view).seq,
          `${numbers.length} events are numbered up to ${numbers.at(-1)}`
        )
        yield* expect(
          !subject.capabilities.revert || events.some((event) => event._tag === "HistoryReverted"),
          "the taking back is not told"
        )
        yield* lawful(events)
      })
  },
  {
    name: "who joins mid-text goes on from the view, and has the whole text",
    group: "turns",
    law: 5,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const handle = yield* begun(session, subject.agent.hold("half said"))
        const view = yield* session.view
        const joined = yield* reading(session, view.seq)
        yield* interrupted(session, handle)
        yield* atRest(session, joined)
        const laid = new Map(view.items.map(({ item }) => [item.id as string, textOf(item)]))
        for (const event of joined) {
          if (event._tag === "ItemDelta") {
            const before = laid.get(event.itemId) ?? ""
            yield* expect(event.offset <= before.length, `text is missing before ${event.offset}`)
            laid.set(event.itemId, before.slice(0, event.offset) + event.text)
          }
          if (event._tag === "ItemCompleted" && event.status !== "discarded") {
            const text = laid.get(event.itemId) ?? ""
            yield* expect(text === textOf(event.item), `it has ${JSON.stringify(text)} of ${textOf(event.item)}`)
          }
        }
        yield* expect(ended(joined).length > 0, "nothing of the turn was told")
      })
  }
]
