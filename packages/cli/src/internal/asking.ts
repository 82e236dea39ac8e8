/** Answers the requests of the agent that no policy has answered: by asking the person, or by saying that there is none. */
import type { AgentRequest, Answer } from "@reins/core/AgentRequest"
import type { Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Terminal from "effect/Terminal"
import * as dialogue from "./dialogue.ts"
import { Output } from "./output.ts"
import * as sanitise from "./sanitise.ts"
import * as style from "./style.ts"

/** Told to the agent with a refusal. */
const nobody = "Nobody is there to be asked: Reins runs without a terminal. Do not try to reach the same in another " +
  "way; say what you would need, and go on."
const skipped = "The user does not want to answer this. Go on without the answer."
const unfit = "This host cannot answer a request of this kind. Go on without it."

/** An answer that came too late has no effect, and the session says itself who was first. */
const answer = (session: Session, request: AgentRequest, given: Answer) =>
  Effect.ignore(session.answer(request.id, given))

/** Told to the agent when the one who was asked went away. */
const gone = "The user has left and cannot be asked. Do not try to reach the same in another way; say what you would " +
  "need, and go on."

/** Declines everything that would have to be asked, and says so once. */
export const declineAll = (options: {
  readonly session: Session
  /** Opened when a request was. */
  readonly opened: Latch.Latch
  readonly onDeclined: () => void
}): Effect.Effect<never, never, Output> =>
  Effect.gen(function*() {
    const output = yield* Output
    let said = false
    while (true) {
      yield* options.opened.await
      options.opened.closeUnsafe()
      for (const request of yield* options.session.requests) {
        options.onDeclined()
        if (!said) {
          said = true
          const question = request.kind === "question"
          yield* output.note(
            `The agent asked and nobody is there to answer (no terminal), so it was declined: ${
              sanitise.line(request.subject)
            }\n  What to do: ${
              question
                ? "Run it in a terminal, or say in the prompt what the agent needs to know."
                : "Run it in a terminal, or choose with --approve what may be done unasked (edits, all)."
            }\n`
          )
        }
        yield* answer(options.session, request, dialogue.refusal(request, nobody))
      }
    }
  })

const isOpen = (session: Session, request: AgentRequest) =>
  Effect.map(session.requests, (open) => open.some((other) => other.id === request.id))

/** Asks about the open requests one after the other. */
export const askPerson = (options: {
  readonly session: Session
  /** Opened when a request was opened or settled. */
  readonly changed: Latch.Latch
  /** Hears that the input ended (Ctrl-D), so that a request was declined for lack of an answer. */
  readonly onDeclined: () => void
}): Effect.Effect<never, never, Output | Terminal.Terminal> =>
  Effect.gen(function*() {
    const output = yield* Output
    const terminal = yield* Terminal.Terminal
    const { changed, session } = options
    const left = Effect.fnUntraced(function*(request: AgentRequest) {
      options.onDeclined()
      yield* output.note("\n  The input ended, so this was declined\n")
      return dialogue.refusal(request, gone)
    })
    const paint = style.make(output.color)

    const readLine = (text: string) =>
      output.note(text).pipe(
        Effect.andThen(terminal.readLine),
        Effect.tap(() => output.lineTyped),
        // Ctrl-D: there is nobody who answers.
        Effect.orElseSucceed(() => undefined)
      )

    const approve = Effect.fnUntraced(function*(request: AgentRequest) {
      let text = `${dialogue.describe(request, paint, session.cwd)}\n${dialogue.choices(request, paint)}`
      while (true) {
        const typed = yield* readLine(text)
        if (typed === undefined) return yield* left(request)
        const given = dialogue.approval(request, typed)
        if (given !== undefined) return given
        text = dialogue.choices(request, paint)
      }
    })

    const ask = Effect.fnUntraced(function*(request: AgentRequest) {
      if (dialogue.isApproval(request)) return yield* approve(request)
      if (!request.options.includes("answers")) {
        yield* output.note(
          `${dialogue.describe(request, paint, session.cwd)}\n  This cannot be answered in a terminal: declined\n`
        )
        return dialogue.refusal(request, unfit)
      }
      const all: Array<ReadonlyArray<string>> = []
      for (const question of request.facts.questions ?? []) {
        const text = dialogue.question(question, paint)
        let given: ReadonlyArray<string> | undefined
        while (given === undefined) {
          const typed = yield* readLine(text)
          if (typed === undefined) return yield* left(request)
          given = dialogue.answers(question, typed)
        }
        if (given.length === 0) return dialogue.refusal(request, skipped)
        all.push(given)
      }
      return { _tag: "answers", answers: all } satisfies Answer
    })

    /** Ends when the request is settled by somebody else. */
    const settledElsewhere = (request: AgentRequest) =>
      Effect.gen(function*() {
        while (true) {
          // Closed before the look, so that a change after it is not missed.
          changed.closeUnsafe()
          if (!(yield* isOpen(session, request))) return undefined
          yield* changed.await
        }
      })

    while (true) {
      changed.closeUnsafe()
      const [request] = yield* session.requests
      if (request === undefined) {
        yield* changed.await
        continue
      }
      const given = yield* Effect.raceFirst(ask(request), settledElsewhere(request))
      if (given === undefined) {
        yield* output.note("  This was settled in the meantime\n")
        continue
      }
      yield* answer(session, request, given)
      // An answer that the session does not take must not make this loop spin.
      yield* settledElsewhere(request)
    }
  })
