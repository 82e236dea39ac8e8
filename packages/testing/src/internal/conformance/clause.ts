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
import type { Clause, Lacks, ScriptedAgent, Subject, Wire } from "../../Conformance.ts"
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

/** What is found there under this name, or why the clause is not applicable. */
const given = <T, K extends keyof T & keyof Lacks>(subject: Subject, place: T | undefined, name: K) =>
  Effect.suspend((): Effect.Effect<NonNullable<T[K]>, NotApplicable> => {
    const found = place?.[name]
    return found === undefined || found === null
      ? Effect.fail(new NotApplicable({ message: subject.lacks?.[name] ?? `the subject has no "${name}"` }))
      : Effect.succeed(found)
  })

export const wireOf = <K extends keyof Wire>(subject: Subject, fault: K) => given(subject, subject.wire, fault)

export const agentOf = <K extends keyof ScriptedAgent>(subject: Subject, deed: K) => given(subject, subject.agent, deed)

export const subjectOf = <K extends "leftovers" | "host">(subject: Subject, part: K) => given(subject, subject, part)

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

/** Reads a session from here on, or from a place; what was read is in the array. */
export const reading = Effect.fnUntraced(function*(session: Session, from?: number) {
  const events: Array<SessionEvent | Lagged> = []
  const after = from ?? (yield* session.view).seq
  yield* session.events({ after }).pipe(
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

/** Sends a prompt and waits until the agent has begun to speak; the prompt itself may be told in deltas, too. */
export const begun = (session: Session, text: string) =>
  Effect.suspend(() => {
    const spoken = new Set<string>()
    return promptUntil(
      session,
      text,
      (event) => {
        if (event._tag === "ItemStarted" && event.item._tag === "assistantMessage") spoken.add(event.itemId)
        return event._tag === "ItemDelta" && spoken.has(event.itemId)
      },
      "the first text of a turn"
    )
  })

/** Sends a prompt and waits until its request is open. */
export const asked = (session: Session, text: string) =>
  promptUntil(session, text, (event) => event._tag === "RequestOpened", "the request")

/** Sends a prompt and waits until its tool runs, which the agent may ask about before. */
export const working = Effect.fnUntraced(function*(subject: Subject, session: Session) {
  const work = yield* agentOf(subject, "work")
  yield* session.attach()
  const { seq } = yield* session.view
  const handle = yield* session.prompt(work("begun"))
  yield* within(
    session.events({ after: seq }).pipe(
      Stream.tap((event) =>
        event._tag === "RequestOpened"
          ? Effect.ignore(session.answer(event.requestId, { _tag: "accept" }))
          : Effect.void
      ),
      Stream.filter((event) => event._tag === "ItemDelta" && event.stream === "output"),
      Stream.take(1),
      Stream.runDrain
    ),
    "the output of a tool"
  )
  return handle
})

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

/**
 * Laws 1 to 6 over events that a reader was given: what is wrong with them, or nothing. The reader began while nothing ran.
 */
export const problem = (events: ReadonlyArray<SessionEvent | Lagged>): string | undefined => {
  /** What has begun and not ended, with the turn that it has to end before. */
  const open = new Map<string, string | undefined>()
  const ended = new Set<string>()
  const laid = new Map<string, string>()
  let seq: number | undefined
  /** What was told in between is not known. */
  let missed = false
  let wrong: string | undefined
  const begin = (what: string, of?: string) => {
    if (open.has(what) || ended.has(what)) wrong ??= `${what} began twice`
    open.set(what, of)
  }
  const end = (what: string) => {
    if (ended.has(what)) wrong ??= `${what} ended twice`
    else if (!open.has(what) && !missed) wrong ??= `${what} ended, and never began`
    open.delete(what)
    ended.add(what)
  }
  for (const event of events) {
    if (event._tag === "Lagged") {
      missed = true
      seq = event.to
      open.clear()
      continue
    }
    if (event._tag === "ItemDelta") {
      const item = `item ${event.itemId}`
      if (!open.has(item)) {
        if (!missed) wrong ??= `a delta of ${item}, which is not open`
        continue
      }
      const before = laid.get(event.itemId) ?? ""
      if (event.offset !== before.length) {
        wrong ??= `a delta of ${item} is for offset ${event.offset}, and ${before.length} is its place`
      }
      if (event.seq !== undefined) wrong ??= `a delta of ${item} has a number`
      laid.set(event.itemId, before.slice(0, event.offset) + event.text)
      continue
    }
    if (seq !== undefined && event.seq !== seq + 1) wrong ??= `${event._tag} has the number ${event.seq} after ${seq}`
    seq = event.seq
    if (event._tag === "TurnStarted") begin(`turn ${event.turnId}`)
    else if (event._tag === "ItemStarted") begin(`item ${event.itemId}`, event.turnId)
    else if (event._tag === "ItemUpdated" && event.background === true) open.set(`item ${event.itemId}`, undefined)
    else if (event._tag === "ItemCompleted") {
      const text = laid.get(event.itemId) ?? ""
      const known = open.has(`item ${event.itemId}`)
      if (known && event.status !== "discarded" && text !== textOf(event.item)) {
        wrong ??= `the deltas of ${event.itemId} are ${JSON.stringify(text)}, its text is ${
          JSON.stringify(textOf(event.item))
        }`
      }
      end(`item ${event.itemId}`)
    } else if (event._tag === "RequestOpened") begin(`request ${event.requestId}`, event.turnId)
    else if (event._tag === "RequestSettled") end(`request ${event.requestId}`)
    else if (event._tag === "PromptChanged") {
      const prompt = `prompt ${event.promptId}`
      if (finals.has(event.state._tag)) end(prompt)
      else if (ended.has(prompt)) wrong ??= `${prompt} is ${event.state._tag} after its end`
      else open.set(prompt, undefined)
    } else if (event._tag === "TurnSettled") {
      for (const [what, of] of open) if (of === event.turnId) wrong ??= `${what} is open, and its turn settled`
      end(`turn ${event.turnId}`)
    } else if (event._tag === "SessionClosed") {
      for (const what of open.keys()) wrong ??= `${what} is open, and the session closed`
    }
  }
  return wrong
}

export const lawful = (events: ReadonlyArray<SessionEvent | Lagged>): Effect.Effect<void, Violation> => {
  const wrong = problem(events)
  return wrong === undefined ? Effect.void : violated(wrong)
}

/** Waits until nothing works any more for sessions that have closed, or for turns that have ended. */
export const nothingLeft = Effect.fnUntraced(function*(leftovers: Effect.Effect<ReadonlyArray<string>>) {
  let left: ReadonlyArray<string> = []
  // The agent needs a moment to end what it was told to end; nobody tells when it has.
  for (let wait = 0; wait < 60; wait++) {
    left = yield* leftovers
    if (left.length === 0) return
    yield* Effect.sleep(50)
  }
  yield* expect(false, `left behind: ${left.join(", ")}`)
})

/** After whatever happened a session takes a prompt and answers it. */
export const usable = Effect.fnUntraced(function*(subject: Subject, session: Session) {
  const { events, outcome } = yield* turn(session, subject.agent.say(["still ", "here"]))
  yield* expect(outcome._tag === "completed", `a later prompt is ${JSON.stringify(outcome)}`)
  yield* expect(answers(events).includes("still here"), `a later answer is ${JSON.stringify(answers(events))}`)
})
