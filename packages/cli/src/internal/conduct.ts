/** One prompt from the opening of its session to the exit code. */
import type { AgentError } from "@reins/core/AgentError"
import type { Session } from "@reins/core/Session"
import * as SessionEvent from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import type { PromptOutcome } from "@reins/core/Turn"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Terminal from "effect/Terminal"
import * as exitCodes from "../exitCodes.ts"
import * as render from "../render.ts"
import * as asking from "./asking.ts"
import * as durationText from "./duration.ts"
import { Interrupts } from "./interrupts.ts"
import { Output } from "./output.ts"
import * as sanitise from "./sanitise.ts"
import * as style from "./style.ts"

/** What one run does. */
export interface Conduct {
  readonly open: Sessions.OpenOptions
  readonly prompt: string
  readonly json: boolean
  readonly timeout: Duration.Duration | undefined
}

/** Why a run ends before its turn does. */
type Stop = "interrupted" | "timedOut" | "readerGone"

/** The session settles an interrupted turn within 5 s, whatever the agent does. */
const settleWait = "8 seconds"
/** How long the last output may take when nobody may be reading it any more. */
const drainWait = "2 seconds"

const stopCode = (stop: Stop): number => stop === "timedOut" ? exitCodes.timedOut : exitCodes.interrupted

/** Completes when the run has to end early. */
const stopWhen = Effect.fnUntraced(function*(
  timeout: Duration.Duration | undefined
): Effect.fn.Return<Deferred.Deferred<Stop>, never, Output | Interrupts | Scope.Scope> {
  const output = yield* Output
  const interrupts = yield* Interrupts
  const stop = yield* Deferred.make<Stop>()
  const on = (event: Effect.Effect<void>, why: Stop) =>
    Effect.forkScoped(Effect.andThen(event, Deferred.succeed(stop, why)))
  yield* on(interrupts.next, "interrupted")
  yield* on(output.readerGone, "readerGone")
  if (timeout !== undefined) yield* on(Effect.sleep(timeout), "timedOut")
  return stop
})

const json = (session: Session, output: Output["Service"], seen: (event: SessionEvent.SessionEvent) => void) =>
  session.events().pipe(Stream.runForEachArray(Effect.fnUntraced(function*(events) {
    let lines = ""
    for (const event of events) {
      if (event._tag === "Lagged") {
        yield* output.note(`The reader is too slow: the events ${event.from} to ${event.to} are left out.\n`)
        continue
      }
      seen(event)
      lines += `${JSON.stringify(yield* Effect.orDie(SessionEvent.encode(event)))}\n`
    }
    yield* output.answer(lines)
  })))

const screen = (session: Session, output: Output["Service"], seen: (event: SessionEvent.SessionEvent) => void) =>
  Effect.gen(function*() {
    let state = render.initial(output)
    yield* output.spin((now) => render.status(state, now))
    yield* session.events().pipe(Stream.runForEachArray(Effect.fnUntraced(function*(events) {
      for (const event of events) {
        const [next, fragments] = render.render(state, event)
        state = next
        if (event._tag !== "Lagged") seen(event)
        for (const { text, to } of fragments) yield* to === "answer" ? output.answer(text) : output.note(text)
      }
    })))
  }).pipe(Effect.scoped)

const stopped = (stop: Stop, options: Conduct, output: Output["Service"], opening: boolean) => {
  switch (stop) {
    case "interrupted":
      return output.note(
        opening ? "Interrupted before the agent was ready\n" : "Interrupting the turn; once more leaves at once\n"
      )
    case "timedOut":
      return output.note(
        `Timed out after ${
          options.timeout === undefined ? "" : durationText.precise(options.timeout)
        }\n  What to do: Give more time with --timeout, or leave it out.\n`
      )
    case "readerGone":
      return Effect.void
  }
}

/** Runs the prompt. Fails when the session cannot be had. */
export const conduct = Effect.fnUntraced(function*(
  options: Conduct
): Effect.fn.Return<number, AgentError, Sessions.Sessions | Output | Interrupts | Terminal.Terminal | Scope.Scope> {
  const sessions = yield* Sessions.Sessions
  const output = yield* Output
  const paint = style.make(output.color)
  const stop = yield* stopWhen(options.timeout)

  const opened = yield* Effect.scoped(Effect.andThen(
    output.spin(() => "Starting the agent"),
    Effect.raceFirst(sessions.open(options.open), Deferred.await(stop))
  ))
  if (typeof opened === "string") {
    yield* stopped(opened, options, output, true)
    return stopCode(opened)
  }
  const session = opened
  yield* Effect.addFinalizer(() => session.close)
  yield* output.note(
    paint.dim(`Session ${session.id} with ${session.provider} in ${sanitise.line(session.cwd)}`) + "\n"
  )

  const changed = Latch.makeUnsafe(false)
  let declinedUnasked = false
  const onDeclined = () => {
    declinedUnasked = true
  }
  const seen = (event: SessionEvent.SessionEvent) => {
    if (event._tag === "RequestOpened" || event._tag === "RequestSettled") changed.openUnsafe()
  }
  const reader = yield* (options.json ? json : screen)(session, output, seen).pipe(Effect.forkScoped)
  if (output.canAsk) {
    yield* session.attach()
    yield* Effect.forkScoped(asking.askPerson({ session, changed, onDeclined }))
  } else {
    yield* Effect.forkScoped(asking.declineAll({ session, opened: changed, onDeclined }))
  }

  const handle = yield* session.prompt(options.prompt)
  const first: PromptOutcome | Stop = yield* Effect.raceFirst(handle.outcome, Deferred.await(stop))
  let code: number
  if (typeof first === "string") {
    yield* stopped(first, options, output, false)
    yield* session.withdraw(handle.id)
    yield* session.interrupt
    yield* Effect.timeoutOption(handle.outcome, settleWait)
    code = stopCode(first)
  } else {
    code = exitCodes.ofOutcome(first, { declinedUnasked })
    if (options.json && (first._tag === "failed" || first._tag === "lost")) {
      yield* output.note(`${render.error({ options: output }, first.error)}\n`)
    }
  }

  yield* session.close
  // The stream of events has ended; what is left of it is written before the process goes.
  yield* Fiber.await(reader).pipe(
    Effect.raceFirst(
      typeof first === "string"
        ? Effect.sleep(drainWait)
        : Deferred.await(stop)
    )
  )
  yield* output.note(paint.dim(`To go on: reins run --session ${session.id} "…"`) + "\n")
  return code
})
