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
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
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
    attach: ({ after, children, mcpServers, onLoop, root }) =>
      // A stream that was lost a moment ago is on its way back, and the conversation is there already.
      Effect.andThen(
        connected,
        Effect.acquireRelease(
          Effect.gen(function*() {
            if (live === undefined) return yield* lost("The event stream was lost while the session connected.")
            const context = yield* Effect.context<never>()
            const queue = yield* Queue.dropping<Signal, AgentError.AgentError | Cause.Done>(routerModule.routeLimit)
            const route: Route = {
              root,
              state: normalise.make({
                sessionId: root,
                ...(after === undefined ? undefined : { after }),
                ...(mcpServers === undefined ? undefined : { mcpServers })
              }),
              queue,
              looping: new Set(),
              onLoop: (session) => {
                Effect.runForkWith(context)(onLoop(session))
              }
            }
            router.add(route)
            for (const child of children) router.adopt(route, child)
            return { route, proof }
          }),
          ({ route }) =>
            Effect.sync(() => {
              router.remove(route)
              Queue.endUnsafe(route.queue)
            })
        )
      ).pipe(Effect.map(({ proof, route }) => ({
        state: route.state,
        signals: Stream.fromQueue(route.queue),
        prove: (event) =>
          Deferred.isDoneUnsafe(proof) ? Effect.void : Effect.andThen(event, Deferred.await(proof)).pipe(
            Effect.timeoutOrElse({
              duration: proofLimit,
              orElse: () => Effect.fail(lost("The event stream does not tell what happens on the server."))
            })
          ),
        lose: (error) =>
          Effect.sync(() => {
            router.remove(route)
            Queue.failCauseUnsafe(route.queue, Cause.fail(error))
          })
      })))
  }
})
