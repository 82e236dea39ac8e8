/**
 * A server that is kept running: started again after it ended, with back-off, and given up for a while when it fails
 * too often. Whoever needs the server asks for `current` and waits while it is starting.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Clock from "effect/Clock"
import type * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Backoff from "./Backoff.ts"
import type { Exited, ServerProcess } from "./ServerProcess.ts"

/**
 * State of a supervised server. `generation` counts the starts from 1; `in` is milliseconds; `retryAt` is epoch
 * milliseconds, and asking for `current` after it tries again.
 *
 * @category models
 * @since 0.1.0
 */
export type Status<Info = unknown> = Data.TaggedEnum<{
  idle: {}
  starting: { readonly generation: number }
  ready: { readonly generation: number; readonly pid: number; readonly info: Info }
  exited: { readonly generation: number } & Exited
  restarting: { readonly attempt: number; readonly in: number; readonly error: AgentError.AgentError }
  unavailable: { readonly error: AgentError.AgentError; readonly retryAt: number }
  stopped: {}
}>

/**
 * A server that runs now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Running<out Info> {
  readonly generation: number
  readonly pid: number
  readonly info: Info
  readonly process: ServerProcess<Info>
}

/**
 * A server that is kept running.
 *
 * @category models
 * @since 0.1.0
 */
export interface Supervisor<Info> {
  /** The running server; waits while it starts or restarts, fails when it is unavailable. */
  readonly current: Effect.Effect<Running<Info>, AgentError.AgentError>
  readonly status: SubscriptionRef.SubscriptionRef<Status<Info>>
  /** Ends the server and its restarts for good. Idempotent, callable from anywhere. */
  readonly stop: Effect.Effect<void>
}

/**
 * How a server is kept running.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Info, R> {
  /** Starts one server, usually `ServerProcess.spawn(…)`. */
  readonly start: Effect.Effect<ServerProcess<Info>, AgentError.AgentError, R>
  /** Name of the server in errors. */
  readonly target: string
  /**
   * `eager` starts at once and again after each exit; `onDemand` starts when `current` is asked for. Default `eager`.
   */
  readonly restart?: "eager" | "onDemand" | undefined
  /**
   * What to do when the very first start fails: `retry` like any other failure, or `fail`, so that whoever opened it is
   * told at once; asking for `current` a second later tries again. Default `retry`.
   */
  readonly firstStart?: "retry" | "fail" | undefined
  /** Default 250 ms doubling up to 10 s, give or take a quarter. */
  readonly backoff?: Backoff.Backoff | undefined
  /** More failures than `max` within `window` make the server unavailable. Default 5 in 60 s. */
  readonly intensity?: { readonly max: number; readonly window: Duration.Input } | undefined
}

type State<Info> = Data.TaggedEnum<{
  pending: { readonly waiting: Deferred.Deferred<Running<Info>, AgentError.AgentError> }
  ready: { readonly running: Running<Info> }
  unavailable: { readonly error: AgentError.AgentError; readonly retryAt: number }
  stopped: {}
}>

// How soon a start that cannot succeed as things are (no binary, no permission) may be tried again on demand.
const refusedFor = 1_000

/**
 * Keeps a server running until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<Info, R>(
  options: Options<Info, R>
): Effect.fn.Return<Supervisor<Info>, never, Exclude<R, Scope.Scope> | Scope.Scope> {
  const eager = options.restart !== "onDemand"
  const backoff = options.backoff ?? Backoff.defaults
  const maxFailures = options.intensity?.max ?? 5
  const window = Duration.toMillis(options.intensity?.window ?? Duration.seconds(60))
  const scope = yield* Scope.fork(yield* Effect.scope)
  const status = yield* SubscriptionRef.make<Status<Info>>({ _tag: "idle" })
  const demand = Latch.makeUnsafe(eager)
  let state: State<Info> = pending()
  let generation = 0
  let everReady = false
  // Times of the failures inside the window, oldest first: never more than maxFailures + 1.
  let failures: Array<number> = []

  function pending(): State<Info> {
    return { _tag: "pending", waiting: Deferred.makeUnsafe() }
  }

  const settle = (exit: Exit.Exit<Running<Info>, AgentError.AgentError>, next: State<Info>) =>
    Effect.sync(() => {
      const previous = state
      state = next
      if (previous._tag === "pending") Deferred.doneUnsafe(previous.waiting, exit)
    })

  const giveUp = Effect.fnUntraced(function*(error: AgentError.AgentError, retryAt: number) {
    // Told before those who wait are: they stop listening when they fail.
    yield* SubscriptionRef.set(status, { _tag: "unavailable", error, retryAt })
    // Only somebody who needs the server starts it again, whatever the mode. Closed first: from the next step on
    // somebody may ask.
    demand.closeUnsafe()
    yield* settle(Exit.fail(error), { _tag: "unavailable", error, retryAt })
  })

  // One life of the server, from start to exit. Its scope is closed, and so all it left behind is gone, before the next.
  const life = Effect.gen(function*() {
    generation++
    yield* SubscriptionRef.set(status, { _tag: "starting", generation })
    const process = yield* options.start
    everReady = true
    const running: Running<Info> = { generation, pid: process.pid, info: process.info, process }
    yield* SubscriptionRef.set(status, { _tag: "ready", generation, pid: process.pid, info: process.info })
    yield* settle(Exit.succeed(running), { _tag: "ready", running })
    const exited = yield* process.exited
    state = pending()
    if (!eager) demand.closeUnsafe()
    yield* SubscriptionRef.set(status, { _tag: "exited", generation, ...exited })
    return AgentError.make(new AgentError.ProcessExited({ command: process.command, ...exited }))
  }).pipe(Effect.scoped, Effect.catch(Effect.succeed))

  const loop = Effect.gen(function*() {
    while (true) {
      yield* Latch.await(demand)
      const error = yield* life
      const now = yield* Clock.currentTimeMillis
      if (!error.retryable || (!everReady && options.firstStart === "fail")) {
        yield* giveUp(error, now + refusedFor)
        continue
      }
      failures = [...failures.filter((at) => at > now - window), now]
      const cap = Duration.toMillis(backoff.cap)
      const retryAfter = failures.length > maxFailures
        ? Math.max(cap, (failures[0] ?? now) + window - now)
        // A start that ran into its limit has kept everybody waiting long enough.
        : error.reason._tag === "StartTimeout"
        ? cap
        : undefined
      if (retryAfter !== undefined) {
        yield* giveUp(unavailable(options.target, failures.length, retryAfter, error), now + retryAfter)
        continue
      }
      const attempt = failures.length
      const delay = yield* Backoff.delayMillis(attempt - 1, backoff)
      if (demand.isOpen()) yield* SubscriptionRef.set(status, { _tag: "restarting", attempt, in: delay, error })
      yield* Effect.sleep(delay)
    }
  })

  const worker = yield* Effect.forkIn(loop, scope)

  // Detached: whoever asks may be the fiber that is being stopped.
  const stop = Effect.gen(function*() {
    if (state._tag !== "stopped") {
      yield* settle(Exit.fail(stoppedError(options.target)), { _tag: "stopped" })
      yield* SubscriptionRef.set(status, { _tag: "stopped" })
    }
    yield* Scope.close(scope, Exit.void)
    yield* Fiber.await(worker)
  }).pipe(Effect.forkDetach({ startImmediately: true }), Effect.flatMap(Fiber.await), Effect.asVoid)
  yield* Effect.addFinalizer(() => stop)

  return {
    current: Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (state._tag === "unavailable" && now >= state.retryAt) {
        failures = []
        state = pending()
      }
      switch (state._tag) {
        case "ready":
          return Effect.succeed(state.running)
        case "pending": {
          // Taken first: opening may run the start, and with it the next state, before it returns.
          const { waiting } = state
          demand.openUnsafe()
          return Deferred.await(waiting)
        }
        case "unavailable":
          return Effect.fail(waitStill(state.error, state.retryAt - now))
        case "stopped":
          return Effect.fail(stoppedError(options.target))
      }
    }),
    status,
    stop
  }
})

const unavailable = (target: string, attempts: number, retryAfter: number, cause: AgentError.AgentError) => {
  const stderrTail = cause.reason.stderrTail
  return AgentError.make(
    new AgentError.Unavailable({
      target,
      attempts,
      retryAfter,
      description: cause.message,
      cause,
      ...(stderrTail === undefined ? {} : { stderrTail })
    })
  )
}

// The error as it was, with the time that is left now.
const waitStill = (error: AgentError.AgentError, retryAfter: number) => {
  if (error.reason._tag !== "Unavailable") return error
  const { attempts, cause, description, stderrTail, target } = error.reason
  return AgentError.make(
    new AgentError.Unavailable({
      target,
      retryAfter,
      ...(attempts === undefined ? {} : { attempts }),
      ...(description === undefined ? {} : { description }),
      ...(stderrTail === undefined ? {} : { stderrTail }),
      ...(cause === undefined ? {} : { cause })
    })
  )
}

const stoppedError = (target: string) =>
  AgentError.make(new AgentError.Unavailable({ target, description: "It was stopped." }))
