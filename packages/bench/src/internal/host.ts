/** Reins as a host uses it: real layers, a real server process, `session.events()`. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import type * as Undici from "@effect/platform-node/Undici"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import type { TurnOutcome } from "@reins/core/Turn"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Control } from "./bench.ts"
import * as bench from "./bench.ts"

/** Everything that a session needs, with one server of the benchmark; `tap` hears the bytes of each response as they come. */
export const layer = (
  server: { readonly binary: string; readonly info: string },
  tap?: (chunk: Uint8Array) => void,
  stores: Layer.Layer<BindingStore.BindingStore> = BindingStore.layerMemory
): Layer.Layer<Sessions.Sessions> => {
  const http = tap === undefined
    ? NodeHttpClient.layerUndici
    : NodeHttpClient.layerUndiciNoDispatcher.pipe(
      Layer.provide(Layer.effect(
        NodeHttpClient.Dispatcher,
        Effect.map(NodeHttpClient.makeDispatcher, (dispatcher) => dispatcher.compose(tapped(tap)))
      ))
    )
  return Sessions.layer.pipe(
    Layer.provide(Providers.layer({
      opencode: OpenCode.make({ binary: server.binary, env: { REINS_BENCH_INFO: server.info } })
    })),
    Layer.provide(stores),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.fullAccess)),
    Layer.provide(http),
    Layer.provide(NodeServices.layer)
  )
}

/** Hears the body before anybody else does. */
const tapped =
  (tap: (chunk: Uint8Array) => void): Undici.Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) => {
    if (!options.path.startsWith("/global/event")) return dispatch(options, handler)
    const onData = handler.onResponseData?.bind(handler)
    handler.onResponseData = (controller, chunk) => {
      tap(chunk)
      onData?.(controller, chunk)
    }
    return dispatch(options, handler)
  }

/** The text of one session's running item, laid by offset as a window would lay it. */
export class Reader {
  readonly session: Session
  private parts: Array<string> = []
  private length = 0
  private item: string | undefined
  private broken: string | undefined
  private started = Deferred.makeUnsafe<string>()
  private settled = Deferred.makeUnsafe<TurnOutcome>()
  /** Durable events of the turn. */
  durable = 0
  /** Completed item's text, told at the end of the turn. */
  private completed: string | undefined
  /** Hears how long the text is now. */
  onText: (length: number) => void = () => {}

  constructor(session: Session) {
    this.session = session
  }

  /** Forgets the last turn. */
  reset(): void {
    this.parts = []
    this.length = 0
    this.item = undefined
    this.completed = undefined
    this.durable = 0
    this.started = Deferred.makeUnsafe<string>()
    this.settled = Deferred.makeUnsafe<TurnOutcome>()
  }

  /** The agent's own id of the session whose item began. */
  get itemStarted(): Effect.Effect<string> {
    return Deferred.await(this.started)
  }

  /** Comes after everything else of the turn. */
  get turnSettled(): Effect.Effect<TurnOutcome> {
    return Deferred.await(this.settled)
  }

  get text(): string {
    return this.parts.join("")
  }

  /** What is wrong with what was read, if it should have been this text. */
  verify(text: string): string | undefined {
    if (this.broken !== undefined) return this.broken
    if (this.text !== text) return `${this.length} of ${text.length} characters were laid, or other ones.`
    return this.completed === text ? undefined : "The completed item has another text than its deltas."
  }

  take(events: ReadonlyArray<SessionEvent | Lagged>): void {
    for (const event of events) {
      if (event._tag !== "ItemDelta" && event._tag !== "Lagged") this.durable++
      switch (event._tag) {
        case "ItemDelta": {
          if (event.itemId !== this.item) break
          if (event.offset !== this.length) this.broken ??= `A delta at ${event.offset} came after ${this.length}.`
          this.parts.push(event.text)
          this.length += event.text.length
          break
        }
        case "ItemStarted": {
          if (event.item._tag !== "assistantMessage") break
          this.item = event.itemId
          Deferred.doneUnsafe(this.started, Effect.succeed(event.native?.ids?.["session"] ?? ""))
          break
        }
        case "ItemCompleted": {
          if (event.item._tag === "assistantMessage") this.completed = event.item.text
          break
        }
        case "TurnSettled": {
          Deferred.doneUnsafe(this.settled, Effect.succeed(event.outcome))
          break
        }
        case "Lagged": {
          this.broken ??= `The reader lagged: ${event.from} to ${event.to}.`
          break
        }
      }
    }
    this.onText(this.length)
  }
}

/** Opens sessions, each with a reader, that live as long as the scope. */
export const open = (
  count: number,
  cwd: string
): Effect.Effect<ReadonlyArray<Reader>, bench.BenchFailed, Sessions.Sessions | Scope.Scope> =>
  Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    return yield* Effect.forEach(
      Array.from({ length: count }),
      Effect.fnUntraced(function*() {
        const reader = new Reader(yield* sessions.open({ provider: "opencode", cwd }))
        yield* reader.session.events().pipe(
          Stream.runForEachArray((events) => Effect.sync(() => reader.take(events))),
          Effect.forkScoped
        )
        return reader
      }),
      { concurrency: 8 }
    )
  }).pipe(Effect.mapError(bench.unexpected))

/**
 * Runs what is given inside of one turn of each session, from the item's start to the settled turn. It is given the
 * agent's own ids of the sessions.
 */
export const inTurns = <A>(
  readers: ReadonlyArray<Reader>,
  control: Control,
  limit: number,
  body: (sessions: ReadonlyArray<string>) => Promise<A>
): Effect.Effect<A, bench.BenchFailed> =>
  Effect.gen(function*() {
    const ids = yield* Effect.forEach(
      readers,
      Effect.fnUntraced(function*(reader) {
        reader.reset()
        yield* reader.session.prompt("measure")
        return yield* Effect.timeout(reader.itemStarted, limit)
      }),
      { concurrency: 8 }
    )
    const result = yield* bench.attempt(() => body(ids))
    yield* bench.attempt(() => control.finish(ids))
    for (const reader of readers) {
      const outcome = yield* Effect.timeout(reader.turnSettled, limit)
      if (outcome._tag !== "completed") {
        return yield* new bench.BenchFailed({ description: `A turn ended ${JSON.stringify(outcome)}.` })
      }
    }
    return result
  }).pipe(Effect.mapError((cause) => cause._tag === "BenchFailed" ? cause : bench.unexpected(cause)))
