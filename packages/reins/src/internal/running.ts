/** Runs effects for a host without Effect. */
import type { AgentError } from "@reins/core/AgentError"
import * as AsyncEvents from "@reins/core/AsyncEvents"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { LogFields } from "../Reins.ts"
import * as errors from "./errors.ts"
import type { Log } from "./log.ts"

/** The settled value, or a `ReinsError`. */
export const unwrap = <A>(exit: Exit.Exit<A, unknown>): A => {
  if (Exit.isSuccess(exit)) return exit.value
  throw errors.fromCause(exit.cause)
}

export interface Running {
  readonly log: Log
  /** Outside of the runtime's own fibers: what it waits for is settled by the closing of the host, not interrupted. */
  readonly promise: <A>(effect: Effect.Effect<A, AgentError>) => Promise<A>
  /** A promise that nobody has to await. */
  readonly kept: <A>(effect: Effect.Effect<A>) => Promise<A>
  readonly now: <A>(effect: Effect.Effect<A>) => A
  /** Runs beside the caller, begins later than it returns, and gives what stops it. */
  readonly start: (effect: Effect.Effect<void>) => () => void
  /** Throws what the stream fails with, as a `ReinsError`. */
  readonly iterable: <A>(stream: Stream.Stream<A, AgentError>) => AsyncIterable<A>
  /** Calls the host's code; what it throws or rejects with goes to the logger. */
  readonly guard: (what: string, fields: LogFields, call: () => unknown) => void
}

export const make = (context: Context.Context<never>, log: Log): Running => {
  const promiseExit = Effect.runPromiseExitWith(context)
  const fork = Effect.runForkWith(context)
  const promise = <A>(effect: Effect.Effect<A, AgentError>) => promiseExit(effect).then(unwrap)
  return {
    log,
    promise,
    kept: (effect) => {
      const result = promise(effect)
      result.catch(() => undefined)
      return result
    },
    now: Effect.runSyncWith(context),
    start: (effect) => {
      const fiber = fork(
        Effect.andThen(Effect.yieldNow, effect).pipe(
          Effect.catchCause((cause) =>
            Cause.hasInterruptsOnly(cause)
              ? Effect.void
              : Effect.sync(() => log("error", "A reader ended by a defect.", { error: errors.fromCause(cause) }))
          )
        )
      )
      return () => fiber.interruptUnsafe()
    },
    iterable: (stream) =>
      AsyncEvents.toAsyncIterable(
        Stream.catchCause(
          stream,
          (cause) => Cause.hasInterruptsOnly(cause) ? Stream.empty : Stream.fail(errors.fromCause(cause))
        ),
        context
      ),
    guard: (what, fields, call) => {
      const report = (error: unknown) => log("error", `${what} failed.`, { ...fields, error })
      try {
        const result = call()
        if (result instanceof Promise) result.catch(report)
      } catch (error) {
        report(error)
      }
    }
  }
}
