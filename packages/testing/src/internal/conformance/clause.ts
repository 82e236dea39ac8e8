/** What the clauses have in common: a turn that is read to its end, and what has to be true of any events. */
import type { AgentError } from "@reins/core/AgentError"
import { textOf } from "@reins/core/Item"
import type { PromptHandle, Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import type { PromptOutcome } from "@reins/core/Turn"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Clause, Subject, Wire } from "../../Conformance.ts"
import { NotApplicable, Violation } from "../../Conformance.ts"

export interface Definition extends Omit<Clause, "run"> {
  readonly body: (subject: Subject) => Effect.Effect<void, Violation | NotApplicable | AgentError, Scope.Scope>
  /** Times the limit of a clause. */
  readonly factor?: number
}

/** No single wait of a clause is longer, in milliseconds. */
const patience = 45_000

export const violated = (message: string) => Effect.fail(new Violation({ message }))

export const expect = (condition: boolean, message: string): Effect.Effect<void, Violation> =>
  condition ? Effect.void : violated(message)

export const needs = <A>(value: A | undefined, what: string): Effect.Effect<A, NotApplicable> =>
  value === undefined ? Effect.fail(new NotApplicable({ message: what })) : Effect.succeed(value)

export const wireOf = <K extends keyof Wire>(
  subject: Subject,
  fault: K
): Effect.Effect<NonNullable<Wire[K]>, NotApplicable> =>
  Effect.flatMap(
    needs(subject.wire?.[fault], `the wire of this subject has no "${fault}"`),
    (value) => Effect.succeed(value as NonNullable<Wire[K]>)
  )

export const within = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  what: string,
  limit = patience
): Effect.Effect<A, E | Violation, R> =>
  Effect.timeoutOrElse(effect, {
    duration: limit,
    orElse: () => violated(`${what} does not come within ${limit} ms`)
  })

export const outcomeOf = (handle: PromptHandle): Effect.Effect<PromptOutcome, Violation> =>
  within(handle.outcome, "the outcome of a prompt")

/** Reads a session from here on; what was read is in the array. */
export const reading = Effect.fnUntraced(function*(session: Session) {
  const events: Array<SessionEvent | Lagged> = []
  const { seq } = yield* session.view
  yield* session.events({ after: seq }).pipe(
    Stream.runForEachArray((some) =>
      Effect.sync(() => {
        for (const event of some) events.push(event)
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )
  return events
})

/** Waits until nothing runs, and until what is read has come up to it. */
export const atRest = Effect.fnUntraced(function*(session: Session, events: ReadonlyArray<SessionEvent | Lagged>) {
  yield* within(session.quiescent, "rest")
  const { seq } = yield* session.view
  const last = () => {
    const newest = events.findLast((event) => event._tag !== "ItemDelta")
    return newest === undefined ? 0 : newest._tag === "Lagged" ? newest.to : newest.seq ?? 0
  }
  for (let wait = 0; wait < 200 && last() < seq; wait++) yield* Effect.sleep(10)
})

export const awaiting = (
  session: Session,
  after: number,
  found: (event: SessionEvent | Lagged) => boolean,
  what: string
) =>
  within(
    session.events({ after }).pipe(Stream.filter(found), Stream.take(1), Stream.runDrain),
    what
  )

/** Sends a prompt and waits for what it leads to. */
const promptUntil = Effect.fnUntraced(function*(
  session: Session,
  text: string,
  found: (event: SessionEvent | Lagged) => boolean,
  what: string
) {
  const { seq } = yield* session.view
  const handle = yield* session.prompt(text)
  yield* awaiting(session, seq, found, what)
  return handle
})

/** Sends a prompt and waits until the text has begun. */
export const begun = (session: Session, text: string) =>
  promptUntil(
    session,
    text,
    (event) => event._tag === "ItemDelta" && event.stream === "text",
    "the first text of a turn"
  )

/** Sends a prompt and waits until its request is open. */
export const asked = (session: Session, text: string) =>
  promptUntil(session, text, (event) => event._tag === "RequestOpened", "the request")

/** A turn from its prompt to its outcome, with everything that was told of it. */
export const turn = Effect.fnUntraced(function*(session: Session, text: string) {
  const handle = yield* session.prompt(text)
  const read = yield* Effect.forkScoped(Stream.runCollect(handle.events), { startImmediately: true })
  const outcome = yield* outcomeOf(handle)
  const events: ReadonlyArray<SessionEvent | Lagged> = yield* within(Fiber.join(read), "the end of a prompt's events")
  return { events, outcome }
})

/** The whole answers of the agent, in their order. */
export const answers = (events: ReadonlyArray<SessionEvent | Lagged>): ReadonlyArray<string> =>
  events.flatMap((event) =>
    event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" && event.status !== "discarded"
      ? [event.item.text]
      : []
  )

/** The states in which a prompt stays. */
export const finals = new Set(["consumed", "withdrawn", "returned", "failed"])

/** Laws 1 to 6 over events that a reader was given: what is wrong with them, or nothing. */
export const problem = (events: ReadonlyArray<SessionEvent | Lagged>): string | undefined => {
  const open = new Map<string, string | undefined>()
  const ended = new Set<string>()
  const laid = new Map<string, string>()
  let seq: number | undefined
  let wrong: string | undefined
  const begin = (what: string, of?: string) => {
    if (open.has(what) || ended.has(what)) wrong ??= `${what} began twice`
    open.set(what, of)
  }
  const end = (what: string) => {
    if (ended.has(what)) wrong ??= `${what} ended twice`
    open.delete(what)
    ended.add(what)
  }
  for (const event of events) {
    if (event._tag === "Lagged") continue
    if (event._tag === "ItemDelta") {
      const before = laid.get(event.itemId) ?? ""
      if (event.offset > before.length) wrong ??= `text of ${event.itemId} is missing before ${event.offset}`
      laid.set(event.itemId, before.slice(0, event.offset) + event.text)
      continue
    }
    if (seq !== undefined && event.seq !== seq + 1) wrong ??= `${event._tag} has the number ${event.seq} after ${seq}`
    seq = event.seq
    if (event._tag === "TurnStarted") begin(`turn ${event.turnId}`)
    else if (event._tag === "ItemStarted") begin(`item ${event.itemId}`, event.turnId)
    else if (event._tag === "ItemCompleted") {
      const text = laid.get(event.itemId) ?? ""
      if (event.status !== "discarded" && text !== textOf(event.item)) {
        wrong ??= `the deltas of ${event.itemId} are ${JSON.stringify(text)}, its text is ${
          JSON.stringify(textOf(event.item))
        }`
      }
      end(`item ${event.itemId}`)
    } else if (event._tag === "RequestOpened") begin(`request ${event.requestId}`, event.turnId)
    else if (event._tag === "RequestSettled") end(`request ${event.requestId}`)
    else if (event._tag === "PromptChanged" && finals.has(event.state._tag)) end(`prompt ${event.promptId}`)
    else if (event._tag === "TurnSettled") {
      for (const [what, of] of open) if (of === event.turnId) wrong ??= `${what} is open, and its turn settled`
      end(`turn ${event.turnId}`)
    }
  }
  return wrong
}

export const lawful = (events: ReadonlyArray<SessionEvent | Lagged>): Effect.Effect<void, Violation> => {
  const wrong = problem(events)
  return wrong === undefined ? Effect.void : violated(wrong)
}

/** After whatever happened a session takes a prompt and answers it. */
export const usable = Effect.fnUntraced(function*(subject: Subject, session: Session) {
  const { events, outcome } = yield* turn(session, subject.agent.say(["still ", "here"]))
  yield* expect(outcome._tag === "completed", `a later prompt is ${JSON.stringify(outcome)}`)
  yield* expect(answers(events).includes("still here"), `a later answer is ${JSON.stringify(answers(events))}`)
})
