/**
 * Opens, finds and closes sessions.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "./AgentError.ts"
import * as ApprovalPolicy from "./ApprovalPolicy.ts"
import { BindingStore } from "./BindingStore.ts"
import type { Binding } from "./BindingStore.ts"
import { SessionId } from "./Ids.ts"
import { defaultLimits } from "./internal/engine/state.ts"
import * as identifier from "./internal/identifier.ts"
import * as links from "./internal/links.ts"
import * as openSession from "./internal/openSession.ts"
import { Providers } from "./Providers.ts"
import type { Session } from "./Session.ts"
import type { DurableEvent } from "./SessionEvent.ts"

/**
 * What a new session needs, or which one to go on with.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenOptions {
  /** Goes on with this session; what is given besides it overrides what was stored. */
  readonly id?: SessionId
  /** The name under which the provider was configured; needed for a new session. */
  readonly provider?: string
  /** Absolute path of the directory to work in; needed for a new session. */
  readonly cwd?: string
  readonly title?: string
  readonly model?: string
  readonly mode?: string
  /** Environment variables for the agent; a differing environment means a server of its own. */
  readonly env?: Readonly<Record<string, string>>
  /** Decides about approvals; default: the policy of the layer, `askAlways` without one. */
  readonly policy?: ApprovalPolicy.ApprovalPolicy
  /** How long a request may stay open; then the turn is interrupted. Default: for ever. */
  readonly approvalExpiresAfter?: Duration.Input
  /** Hears what happens while the session opens (a server that starts slowly), before its events can be read. */
  readonly onProgress?: (event: DurableEvent) => void
}

/**
 * Waits and limits of all sessions of the layer. Absent: the default named beside each.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Sessions that open at the same time: 8. */
  readonly concurrentStarts?: number
  /** Prompts that may wait in a session: 1,000. */
  readonly queue?: number
  /** A prompt acknowledged by the agent: 30 seconds. */
  readonly acknowledge?: Duration.Input
  /** Any other call to the agent: 30 seconds. */
  readonly call?: Duration.Input
  /** An interrupt confirmed, then settled locally and the connection replaced: 5 seconds. */
  readonly interrupt?: Duration.Input
  /** Turn silence until it is told and probed: 60 seconds. */
  readonly silence?: Duration.Input
  /** Turn silence without evidence of life until the turn is interrupted: 10 minutes. */
  readonly silenceEnd?: Duration.Input
  /** A turn stopped at close: 3 seconds; the whole close takes at most 5. */
  readonly close?: Duration.Input
}

/**
 * The sessions of a host.
 *
 * @category services
 * @since 0.1.0
 */
export class Sessions extends Context.Service<Sessions, {
  /** Opens a session, or gives the one that is open under this id. It lives until it is closed or the layer is. */
  readonly open: (options: OpenOptions) => Effect.Effect<Session, AgentError.AgentError>
  /** Opens a session that closes with the scope. */
  readonly openScoped: (options: OpenOptions) => Effect.Effect<Session, AgentError.AgentError, Scope.Scope>
  /** An open session; fails with `SessionNotFound` when none is open under this id. */
  readonly get: (id: SessionId) => Effect.Effect<Session, AgentError.AgentError>
  /** All open sessions. */
  readonly opened: Effect.Effect<ReadonlyArray<Session>>
  /** What is stored of all sessions, open or not, newest first. */
  readonly list: Effect.Effect<ReadonlyArray<Binding>, AgentError.AgentError>
  /** Closes a session and forgets it; the agent's own conversation stays. */
  readonly remove: (id: SessionId) => Effect.Effect<void, AgentError.AgentError>
  /** Closes a session if it is open. */
  readonly close: (id: SessionId) => Effect.Effect<void>
  /** Waits until nothing is queued, running or on its way in any session. */
  readonly quiescent: Effect.Effect<void>
}>()("@reins/core/Sessions") {}

interface Entry {
  readonly session: Deferred.Deferred<Session, AgentError.AgentError>
  readonly scope: Scope.Closeable
  /** Completes when nothing of the session is left: its place under the id is free again. */
  readonly released: Deferred.Deferred<void>
}

/** How long `close` may take altogether, whatever the agent does. */
const closeLimit = 5_000

const millis = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(input))

const missing = (field: string) =>
  AgentError.make(
    new AgentError.InvalidRequest({ field, description: `A new session needs a "${field}".` })
  )

const make = (limits: Limits) =>
  Effect.gen(function*() {
    const providers = yield* Providers
    const store = yield* BindingStore
    const defaultPolicy = yield* ApprovalPolicy.Current
    const entries = new Map<SessionId, Entry>()
    const starts = yield* Semaphore.make(limits.concurrentStarts ?? 8)
    const engineLimits = {
      ...defaultLimits,
      queue: limits.queue ?? defaultLimits.queue,
      interrupt: millis(limits.interrupt, defaultLimits.interrupt),
      silence: millis(limits.silence, defaultLimits.silence),
      silenceEnd: millis(limits.silenceEnd, defaultLimits.silenceEnd),
      close: millis(limits.close, defaultLimits.close)
    }
    const realPath = links.realPath()
    const calls = { acknowledge: millis(limits.acknowledge, 30_000), call: millis(limits.call, 30_000) }

    const release = (id: SessionId, entry: Entry): Effect.Effect<void> =>
      Effect.suspend(() => {
        return Effect.ensuring(
          Scope.close(entry.scope, Exit.void),
          Effect.suspend(() => {
            if (entries.get(id) === entry) entries.delete(id)
            return Deferred.succeed(entry.released, undefined)
          })
        )
      })

    const released = (entry: Entry): Effect.Effect<void> => Deferred.await(entry.released)

    const begin = Effect.fnUntraced(function*(
      id: SessionId,
      options: OpenOptions,
      scope: Scope.Closeable
    ): Effect.fn.Return<Session, AgentError.AgentError> {
      const binding = options.id === undefined ? undefined : Option.getOrUndefined(yield* store.get(id))
      if (options.id !== undefined && binding === undefined) {
        return yield* AgentError.make(new AgentError.SessionNotFound({ sessionId: id }), { sessionId: id })
      }
      const providerId = options.provider ?? binding?.provider
      if (providerId === undefined) return yield* missing("provider")
      if (binding !== undefined && providerId !== binding.provider) {
        return yield* AgentError.make(
          new AgentError.InvalidRequest({
            field: "provider",
            description: `The session belongs to the provider "${binding.provider}", not "${providerId}".`
          }),
          { sessionId: id }
        )
      }
      const cwd = options.cwd ?? binding?.cwd
      if (cwd === undefined) return yield* missing("cwd")
      const provider = yield* providers.get(providerId)
      return yield* openSession.open({
        id,
        provider,
        cwd,
        store,
        calls,
        limits: engineLimits,
        policy: options.policy ?? defaultPolicy,
        ...(realPath === undefined ? undefined : { realPath }),
        ...(options.onProgress === undefined ? undefined : { onProgress: options.onProgress }),
        ...(binding === undefined ? undefined : { binding }),
        ...(options.title === undefined ? undefined : { title: options.title }),
        ...(options.model === undefined ? undefined : { model: options.model }),
        ...(options.mode === undefined ? undefined : { mode: options.mode }),
        ...(options.env === undefined ? undefined : { env: options.env }),
        ...(options.approvalExpiresAfter === undefined
          ? undefined
          : { expiresAfter: millis(options.approvalExpiresAfter, 0) })
      }).pipe(Scope.provide(scope))
    })

    const open: Sessions["Service"]["open"] = Effect.fnUntraced(function*(
      options: OpenOptions
    ): Effect.fn.Return<Session, AgentError.AgentError> {
      const id = options.id ?? SessionId.make(yield* identifier.next("ses"))
      const known = entries.get(id)
      if (known !== undefined) {
        const session = yield* Deferred.await(known.session)
        const { phase } = SubscriptionRef.getUnsafe(session.state)
        if (phase !== "closing" && phase !== "closed") return session
        yield* session.close
        return yield* open(options)
      }
      const entry: Entry = {
        session: Deferred.makeUnsafe(),
        scope: Scope.makeUnsafe(),
        released: Deferred.makeUnsafe()
      }
      entries.set(id, entry)
      // The opening goes on when the one who asked for it is interrupted only if others wait for it: it is cheap to
      // say that nobody else does, so an interrupt takes the half-open session back.
      return yield* begin(id, options, entry.scope).pipe(
        Effect.map((session): Session => ({
          ...session,
          // The whole of it is bounded: a release that hangs goes on behind the caller.
          close: Effect.andThen(session.close, released(entry)).pipe(Effect.timeoutOption(closeLimit), Effect.asVoid)
        })),
        starts.withPermit,
        Effect.onExit((exit) =>
          Exit.isSuccess(exit)
            ? Effect.andThen(
              Deferred.done(entry.session, exit),
              // When the session closes by itself, its fibers and its place in the map go too.
              exit.value.closed.pipe(Effect.andThen(release(id, entry)), Effect.forkDetach)
            )
            : Effect.andThen(
              Deferred.failCause(entry.session, exit.cause),
              release(id, entry)
            )
        )
      )
    }, Effect.withSpan("Sessions.open"))

    const find = (id: SessionId): Effect.Effect<Session, AgentError.AgentError> =>
      Effect.suspend(() => {
        const entry = entries.get(id)
        return entry === undefined
          ? Effect.fail(AgentError.make(
            new AgentError.SessionNotFound({ sessionId: id, description: "No session is open under this id." }),
            { sessionId: id }
          ))
          : Deferred.await(entry.session)
      })

    const close = (id: SessionId): Effect.Effect<void> =>
      find(id).pipe(Effect.flatMap((session) => session.close), Effect.ignore)

    const opened = Effect.suspend(() =>
      Effect.forEach([...entries.values()], (entry) => Effect.option(Deferred.await(entry.session)))
    ).pipe(Effect.map((all) => all.flatMap((session) => Option.isSome(session) ? [session.value] : [])))

    yield* Effect.addFinalizer(() =>
      Effect.forEach([...entries], ([id, entry]) => release(id, entry), { concurrency: "unbounded", discard: true })
    )

    return Sessions.of({
      open,
      openScoped: (options) => Effect.acquireRelease(open(options), (session) => session.close),
      get: find,
      opened,
      list: store.list,
      remove: (id) => Effect.andThen(close(id), store.remove(id)),
      close,
      quiescent: Effect.flatMap(
        opened,
        Effect.forEach((session) => session.quiescent, { concurrency: "unbounded", discard: true })
      )
    })
  })

/**
 * The sessions of a host over its providers and its store.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Sessions, never, Providers | BindingStore> = Layer.effect(Sessions, make({}))

/**
 * The same with limits of the host's own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerWith = (limits: Limits): Layer.Layer<Sessions, never, Providers | BindingStore> =>
  Layer.effect(Sessions, make(limits))
