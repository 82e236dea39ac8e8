/** One event stream for all sessions of a server, and what of it belongs to each: whoever owns the server. */
import * as AgentError from "@reins/core/AgentError"
import type { Signal } from "@reins/core/Signal"
import * as EventStream from "@reins/transport/EventStream"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as HttpClient from "effect/http/HttpClient"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as OpenCodeClient from "../OpenCodeClient.ts"
import type { Live, OpenCodeServer } from "../OpenCodeServer.ts"
import * as normalise from "./normalise.ts"
import type { Route } from "./router.ts"
import * as routerModule from "./router.ts"

/** What is kept of a frame that could not be read, in characters. */
const maxMalformed = 1_000

/** How long the first event of a stream is waited for, once something happens that it has to tell. */
const proofLimit = Duration.seconds(10)

/** What happened before the server listened to itself reaches nobody: without a word for so long, it is done once more. */
const proofRepeat = Duration.millis(250)

/** All that the stream says of itself before it listens to the server. */
const isGreeting = (data: string): boolean => data.includes("\"type\":\"server.connected\"")

/** A server that answers now. */
export interface Reached {
  readonly client: OpenCodeClient.OpenCodeClient
  readonly version: string
  readonly pid?: number
}

export const make = Effect.fnUntraced(function*(options: {
  readonly target: string
  /** Asked at each connection; an error that is not retryable ends the stream for good. */
  readonly reach: Effect.Effect<Reached, AgentError.AgentError>
  /** How long the stream is waited for when the server has been reached. */
  readonly patience: Duration.Input
  /** Takes secrets out of the events. */
  readonly clean: (events: ReadonlyArray<string>) => ReadonlyArray<string>
  /** Hears of each connection of the stream. */
  readonly onConnected?: (live: Live) => void
}): Effect.fn.Return<Pick<OpenCodeServer, "attach" | "live">, never, Scope.Scope | HttpClient.HttpClient> {
  const { reach, target } = options
  const lost = (description: string) => AgentError.make(new AgentError.ConnectionLost({ target, description }))

  let live: Live | undefined
  let broken: AgentError.AgentError | undefined
  let waiting = Deferred.makeUnsafe<Live, AgentError.AgentError>()
  /** Completes when this connection of the stream has told of something that happened. */
  let proof = Deferred.makeUnsafe<void, AgentError.AgentError>()

  const router = routerModule.make({
    onOverflow: () => lost("A session could not keep up with its events; it is read again from the agent."),
    // Whose it was cannot be told, so every session hears of it.
    onMalformed: (data) =>
      router.broadcast({
        _tag: "unrecognised",
        method: "event stream",
        reason: "A frame of the event stream is no event of OpenCode.",
        raw: data.slice(0, maxMalformed)
      })
  })

  const drop = (error: AgentError.AgentError) =>
    Effect.sync(() => {
      if (live !== undefined) waiting = Deferred.makeUnsafe()
      live = undefined
      router.fail(error)
      Deferred.doneUnsafe(proof, Exit.fail(error))
      proof = Deferred.makeUnsafe()
    })

  yield* EventStream.make({
    target,
    request: Effect.map(reach, ({ client }) => client.eventRequest)
  }).pipe(
    Stream.runForEach((signal) => {
      switch (signal._tag) {
        case "Data":
          return Effect.sync(() => {
            if (!Deferred.isDoneUnsafe(proof) && !signal.events.every(isGreeting)) Deferred.doneUnsafe(proof, Exit.void)
            router.push(options.clean(signal.events))
          })
        case "Connected":
          return Effect.matchEffect(reach, {
            onFailure: drop,
            onSuccess: (reached) =>
              Effect.suspend(() => {
                live = { ...reached, generation: signal.generation }
                options.onConnected?.(live)
                return Deferred.succeed(waiting, live)
              })
          })
        case "Silent":
          return Effect.sync(() => router.broadcast({ _tag: "silent", since: signal.since }))
        case "Lost":
          return drop(signal.error)
      }
    }),
    Effect.matchEffect({
      onSuccess: () => drop(lost("The event stream ended.")),
      onFailure: (error) =>
        Effect.suspend(() => {
          broken = error
          return Effect.andThen(drop(error), Deferred.fail(waiting, error))
        })
    }),
    Effect.forkScoped
  )

  // Registered last, so it runs first: sessions hear of the end before their server goes.
  yield* Effect.addFinalizer(() => drop(lost("The server was released.")))

  const connected: Effect.Effect<Live, AgentError.AgentError> = Effect.suspend(() => {
    if (broken !== undefined) return Effect.fail(broken)
    if (live !== undefined) return Effect.succeed(live)
    // What keeps the server from being reached says why; the stream only says that it could not connect.
    return Effect.andThen(reach, Effect.suspend(() => Deferred.await(waiting)))
  }).pipe(
    Effect.timeoutOrElse({
      duration: options.patience,
      orElse: () => Effect.fail(lost("The event stream of the server could not be connected in time."))
    })
  )

  return {
    live: connected,
    attach: Effect.fnUntraced(function*({ after, children, mcpServers, onLoop, root }) {
      const scope = yield* Effect.scope
      const context = yield* Effect.context<never>()
      const state = normalise.make({
        sessionId: root,
        ...(after === undefined ? undefined : { after }),
        ...(mcpServers === undefined ? undefined : { mcpServers })
      })
      // A stream that was lost a moment ago is on its way back, and the conversation is there already.
      const join = Effect.gen(function*() {
        while (true) {
          yield* connected
          const joined = yield* Effect.acquireRelease(
            Effect.gen(function*() {
              if (live === undefined) return undefined
              const { generation, pid } = live
              const queue = yield* Queue.dropping<Signal, AgentError.AgentError | Cause.Done>(routerModule.routeLimit)
              const route: Route = {
                root,
                state,
                queue,
                looping: new Set(),
                onLoop: (session) => {
                  Effect.runForkWith(context)(onLoop(session))
                }
              }
              router.add(route)
              for (const child of children) router.adopt(route, child)
              return { route, proof, generation, pid }
            }),
            (joined) =>
              Effect.sync(() => {
                if (joined === undefined) return
                router.remove(joined.route)
                Queue.endUnsafe(joined.route.queue)
              })
          )
          // Otherwise it was lost again before this one, who waited for it, could come.
          if (joined !== undefined) return joined
        }
      }).pipe(Scope.provide(scope))
      let joined = yield* join

      const prove = (
        event: Effect.Effect<unknown, AgentError.AgentError>
      ): Effect.Effect<void, AgentError.AgentError> =>
        Effect.suspend(() => {
          const { generation, pid, proof } = joined
          if (Deferred.isDoneUnsafe(proof)) return Effect.void
          return Effect.andThen(event, Effect.timeoutOption(Deferred.await(proof), proofRepeat)).pipe(
            Effect.repeat({ until: Option.isSome }),
            Effect.timeoutOrElse({
              duration: proofLimit,
              orElse: () => Effect.fail(lost("The event stream does not tell what happens on the server."))
            }),
            Effect.catch(Effect.fnUntraced(function*(error) {
              if (live?.generation === generation) return yield* error
              // The stream was lost, and nothing of it was read yet: the next one does as well, if it is of the same server.
              // One that was started again does not know what the session has brought along; whether one of others was,
              // cannot be told.
              joined = yield* join
              const isSame = pid === undefined ? (mcpServers ?? []).length === 0 : joined.pid === pid
              return yield* isSame ? prove(event) : error
            })),
            Effect.asVoid
          )
        })

      return {
        state,
        signals: Stream.suspend(() => Stream.fromQueue(joined.route.queue)),
        prove,
        lose: (error) =>
          Effect.sync(() => {
            const { route } = joined
            router.remove(route)
            Queue.failCauseUnsafe(route.queue, Cause.fail(error))
          })
      }
    })
  }
})
