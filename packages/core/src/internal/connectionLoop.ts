/** Keeps a session connected: connects, reads signals, tells every loss, and tries again with growing waits. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as AgentError from "../AgentError.ts"
import type { Connection } from "../Provider.ts"
import { errorOf } from "./agentCalls.ts"
import type { Driver } from "./driver.ts"

const base = 250
const cap = 10_000
/** Failed attempts in a row after which the provider counts as unavailable. */
const patience = 6
/** Wait before an unavailable provider is tried again without being asked. */
const unavailableRetry = 30_000
/** A connection that lived shorter than this counts as a failed attempt. */
const shortLived = 1_000
/** Adapters have limits of their own for a start (60 s), a handshake (30 s) and a conversation (120 s); this is the last. */
const connectLimit = 240_000
/** How long a connection is waited for that is being released; then it goes on alone. */
const releaseLimit = 5_000

/** Reasons that another attempt will not change. */
const hopeless = new Set([
  "NotInstalled",
  "UnsupportedVersion",
  "InvalidConfig",
  "AuthRequired",
  "SessionNotFound",
  "Unavailable"
])

export interface LoopOptions {
  readonly driver: Driver
  /** Connects once; the connection lives in the scope. `first` is the opening of the session. */
  readonly connect: Effect.Effect<Connection, AgentError.AgentError, Scope.Scope>
  /** Opened by a prompt: an unavailable provider is tried at once. */
  readonly demand: Latch.Latch
  /** Tells how the first connection went. */
  readonly first: Deferred.Deferred<Connection, AgentError.AgentError>
  /** Runs after the first connection stands and before its signals are read. */
  readonly onFirst: (connection: Connection) => Effect.Effect<void, AgentError.AgentError>
  /** Runs after a later connection stands that had to begin the conversation anew. */
  readonly onRecreated: (connection: Connection) => Effect.Effect<void>
}

const closedByAgent = (provider: string) =>
  AgentError.make(new AgentError.ConnectionLost({ target: provider, description: "The agent closed the connection." }))

const replaced = (provider: string) =>
  AgentError.make(new AgentError.ConnectionLost({ target: provider, description: "The connection is being replaced." }))

export const run = (options: LoopOptions): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { driver } = options
    const S = driver.state
    let generation = 0
    let failures = 0

    /** One connection from its beginning to its loss; fails if it could not be had. */
    const live = Effect.gen(function*() {
      const connection = yield* options.connect.pipe(
        Effect.timeoutOrElse({
          duration: connectLimit,
          orElse: () =>
            Effect.fail(AgentError.make(
              new AgentError.StartTimeout({ command: S.options.provider, waited: connectLimit })
            ))
        })
      )
      if (generation === 0) yield* options.onFirst(connection)
      else if (connection.how._tag === "recreated") yield* options.onRecreated(connection)
      generation++
      driver.connection = connection
      const since = yield* Clock.currentTimeMillis
      Latch.closeUnsafe(driver.reconnect)
      const current = generation
      driver.dispatch([{
        _tag: "connected",
        generation: current,
        resync: current > 1 || connection.how._tag !== "new"
      }])
      yield* Deferred.succeed(options.first, connection)
      // Errors are made when they are needed: each takes a stack trace, which an open session would keep.
      const error = yield* Effect.raceFirst(
        Effect.suspend(() =>
          Stream.runForEachArray(connection.signals, (signals) =>
            Effect.sync(() => driver.dispatch([{ _tag: "signals", generation: current, signals }])))
        ).pipe(
          Effect.map(() =>
            closedByAgent(S.options.provider)
          ),
          Effect.catchCause((cause) => Effect.succeed(errorOf(cause, S.options.provider)))
        ),
        Effect.map(driver.reconnect.await, () => replaced(S.options.provider))
      )
      driver.connection = undefined
      // A connection that dies as soon as it stands must not make a hot loop.
      failures = (yield* Clock.currentTimeMillis) - since < shortLived ? failures + 1 : 0
      driver.dispatch([{ _tag: "lost", generation: current, error: AgentError.toInfo(error) }])
      return { error, stood: true }
    })

    /** What ended a connection, or kept it from being made. Its release is waited for, but not for ever. */
    const once = Effect.acquireUseRelease(
      Scope.make(),
      (scope) =>
        live.pipe(
          Scope.provide(scope),
          Effect.catchCause((cause) => Effect.succeed({ error: errorOf(cause, S.options.provider), stood: false }))
        ),
      (scope, exit) => {
        driver.connection = undefined
        return Effect.forkDetach(Scope.close(scope, exit), { startImmediately: true }).pipe(
          Effect.flatMap((closing) => Effect.timeoutOption(Fiber.await(closing), releaseLimit))
        )
      }
    )

    driver.dispatch([{ _tag: "connecting" }])
    while (S.phase !== "closed") {
      const { error, stood } = yield* once
      if (generation === 0) {
        yield* Deferred.fail(options.first, error)
        return
      }
      if (!stood) failures++
      if ((!stood && hopeless.has(error.reason._tag)) || failures >= patience) {
        driver.dispatch([{ _tag: "unavailable", error: AgentError.toInfo(error) }])
        Latch.closeUnsafe(options.demand)
        yield* Effect.raceFirst(options.demand.await, Effect.sleep(error.retryAfter ?? unavailableRetry))
        failures = 0
        driver.dispatch([{ _tag: "connecting" }])
        continue
      }
      const random = yield* Random.Random
      const wait = failures === 0 ? 0 : Math.round(
        Math.min(cap, base * 2 ** (failures - 1)) * (0.75 + random.nextDoubleUnsafe() * 0.5)
      )
      if (wait > 0) {
        driver.dispatch([{ _tag: "retrying", attempt: failures, in: wait, error: AgentError.toInfo(error) }])
        yield* Effect.sleep(wait)
      } else driver.dispatch([{ _tag: "connecting" }])
    }
  })
