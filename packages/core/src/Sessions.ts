/**
 * Opens, finds and closes sessions.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Json } from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "./AgentError.ts"
import * as ApprovalPolicy from "./ApprovalPolicy.ts"
import { BindingStore } from "./BindingStore.ts"
import type { Binding } from "./BindingStore.ts"
import type { Conversation, ConversationPage } from "./Conversation.ts"
import type { McpServers } from "./McpServer.ts"
import * as EventJournal from "./EventJournal.ts"
import type { HistoryPage } from "./History.ts"
import { SessionId } from "./Ids.ts"
import { defaultLimits } from "./internal/engine/state.ts"
import * as identifier from "./internal/identifier.ts"
import * as keyedLocks from "./internal/keyedLocks.ts"
import * as links from "./internal/links.ts"
import * as openSession from "./internal/openSession.ts"
import * as sessionList from "./internal/sessionList.ts"
import * as storedEvents from "./internal/storedEvents.ts"
import * as Prompt from "./Prompt.ts"
import { Providers } from "./Providers.ts"
import type { Session } from "./Session.ts"
import type { DurableEvent, Lagged, Opened, SessionEvent } from "./SessionEvent.ts"
import type { SessionFilter, SessionPage } from "./SessionSummary.ts"

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
  /** A variant of the model, as `models` lists them. */
  readonly variant?: string
  /**
   * MCP servers whose tools the agent gets; a differing set means a server of its own. They are not stored: whoever opens
   * a stored session again gives them again. One that fails or hangs is told by a `Notice` and does without.
   */
  readonly mcpServers?: McpServers
  /** Environment variables for the agent; a differing environment means a server of its own. */
  readonly env?: Readonly<Record<string, string>>
  /** Decides about approvals; default: the policy of the layer, `askAlways` without one. */
  readonly policy?: ApprovalPolicy.ApprovalPolicy
  /** How long a request may stay open; then the turn is interrupted. Default: for ever. */
  readonly approvalExpiresAfter?: Duration.Input
  /**
   * What becomes of prompts that still waited when the last host ended: `keep`, the default, leaves them queued; `return`
   * gives them back (`returned`). Only a journal knows of them.
   */
  readonly queued?: "keep" | "return"
  /** Hears what happens while the session opens (a server that starts slowly), before its events can be read. */
  readonly onProgress?: (event: DurableEvent) => void
}

/**
 * Which conversation of an agent to take over, and how to go on with it.
 *
 * @category models
 * @since 0.1.0
 */
export interface AdoptOptions extends Omit<OpenOptions, "id"> {
  readonly provider: string
  /** Names the conversation: from `conversations`, or from wherever the host has it. It is validated. */
  readonly cursor: Json
  /** Default: the directory that the conversation works in. */
  readonly cwd?: string
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
  /** Largest image or file of a prompt in bytes: 20 MiB (`Prompt.maxAttachment`). */
  readonly attachment?: number
  /** Bytes of images and files that wait in one session: 64 MiB (`Prompt.maxAttachments`). */
  readonly attachments?: number
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
  /** A journal that fails, until the session ends: 30 seconds. */
  readonly store?: Duration.Input
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
  /** All open sessions, without those that are still opening. */
  readonly opened: Effect.Effect<ReadonlyArray<Session>>
  /** What is stored of sessions, open or not, most recently updated first. */
  readonly list: (filter?: SessionFilter) => Effect.Effect<SessionPage, AgentError.AgentError>
  /**
   * The durable events of a session with `seq > after`, open or not. Of one that is open here they go on until it closes;
   * of another one they end with the newest that the journal has. What has left the journal is told by `Lagged`.
   * Without a journal only open sessions can be read: others fail with `Unsupported`.
   */
  readonly events: (
    id: SessionId,
    options?: { readonly after?: number }
  ) => Stream.Stream<SessionEvent | Lagged, AgentError.AgentError>
  /** Turns of a session that need not be open, from the journal: the newest, or those before a page. */
  readonly history: (
    id: SessionId,
    request?: { readonly before?: string; readonly limit?: number }
  ) => Effect.Effect<HistoryPage, AgentError.AgentError>
  /** The agent's own conversations, most recently updated first, whether a session is bound to them or not. */
  readonly conversations: (options: {
    readonly provider: string
    /** Absent: those of all directories, as far as the agent lists them. */
    readonly cwd?: string
    /** `after` of the page before. */
    readonly after?: string
    /** Conversations in a page: 50 by default. */
    readonly limit?: number
  }) => Effect.Effect<ConversationPage, AgentError.AgentError>
  /**
   * Goes on with a conversation that was begun elsewhere, as a session of ours. A conversation that a stored session is
   * bound to is opened as that session. What was said before is in `session.history`; events begin with the adoption.
   * A cursor that is not the provider's, or of a newer version, fails with `InvalidRequest`; a conversation that the
   * agent does not have with `SessionNotFound`: it is never begun anew.
   */
  readonly adopt: (options: AdoptOptions) => Effect.Effect<Session, AgentError.AgentError>
  /**
   * Closes a session and forgets it. With `provider: true` the agent's own conversation is deleted for good, and
   * nothing is forgotten before that is done; otherwise it stays.
   */
  readonly remove: (
    id: SessionId,
    options?: { readonly provider?: boolean }
  ) => Effect.Effect<void, AgentError.AgentError>
  /** Closes a session if it is open, and stops one that opens: who opens it gets `ConnectionLost`. */
  readonly close: (id: SessionId) => Effect.Effect<void>
  /** Waits until nothing is queued, running or on its way in any session. */
  readonly quiescent: Effect.Effect<void>
}>()("@reins/core/Sessions") {}

type Forked = Extract<Opened, { readonly _tag: "forked" }>

interface Entry {
  readonly session: Deferred.Deferred<Session, AgentError.AgentError>
  readonly scope: Scope.Closeable
  /** Holds the ownership of the session: it is given up last, and also when the rest does not let go in time. */
  readonly owned: Scope.Closeable
  /** Completes when its place under the id is free again: nothing of the session is left, or it would not go in time. */
  readonly released: Deferred.Deferred<void>
  releasing: boolean
  /** The session, once it stands. */
  open: Session | undefined
  /** The one who opened it was interrupted: others who wait for it open it themselves. */
  abandoned: boolean
}

/** How long the last binding and the connection of a session are waited for; then they go on alone. */
const releaseLimit = 5_000
/** What a close takes at most beyond the engine's own limit. */
const closeGrace = 2_000

const millis = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(input))

const missing = (field: string) =>
  AgentError.make(
    new AgentError.InvalidRequest({ field, description: `A new session needs a "${field}".` })
  )

const unsupported = (provider: string, operation: string) =>
  AgentError.fail(new AgentError.Unsupported({ operation, provider }), { provider })

const make = (limits: Limits) =>
  Effect.gen(function*() {
    const providers = yield* Providers
    const store = yield* BindingStore
    const journal = yield* EventJournal.Current
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
    const attachments = {
      one: limits.attachment ?? Prompt.maxAttachment,
      waiting: limits.attachments ?? Prompt.maxAttachments
    }
    const calls = { acknowledge: millis(limits.acknowledge, 30_000), call: millis(limits.call, 30_000) }

    const patience = millis(limits.store, 30_000)
    let stopped = false

    const release = (id: SessionId, entry: Entry): Effect.Effect<void> =>
      Effect.uninterruptible(Effect.suspend(() => {
        if (entry.releasing) return Deferred.await(entry.released)
        entry.releasing = true
        return Effect.forkDetach(Scope.close(entry.scope, Exit.void), { startImmediately: true }).pipe(
          Effect.flatMap((closing) => Effect.timeoutOption(Fiber.await(closing), releaseLimit)),
          Effect.flatMap((exit) =>
            Option.isSome(exit)
              ? Effect.void
              : Effect.logWarning("A session was left behind: its adapter did not let go of it in time.").pipe(
                Effect.annotateLogs({ sessionId: id })
              )
          ),
          Effect.andThen(Effect.timeoutOption(Scope.close(entry.owned, Exit.void), releaseLimit)),
          Effect.ensuring(Effect.suspend(() => {
            if (entries.get(id) === entry) entries.delete(id)
            return Deferred.succeed(entry.released, undefined)
          }))
        )
      }))

    const notOpen = (id: SessionId) =>
      AgentError.make(
        new AgentError.SessionNotFound({ sessionId: id, description: "No session is open under this id." }),
        { sessionId: id }
      )

    const begin = Effect.fnUntraced(function*(
      id: SessionId,
      options: OpenOptions,
      { owned, scope }: Entry,
      adopted: Binding | undefined,
      forked: Forked | undefined
    ): Effect.fn.Return<Session, AgentError.AgentError> {
      yield* Scope.provide(store.acquire(id), owned)
      const binding = adopted ?? (options.id === undefined ? undefined : Option.getOrUndefined(yield* store.get(id)))
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
      if (Object.keys(options.mcpServers ?? {}).length > 0 && !provider.capabilities.mcpServers) {
        return yield* AgentError.make(
          new AgentError.Unsupported({ operation: "MCP servers of a session", provider: providerId }),
          { provider: providerId, sessionId: id }
        )
      }
      return yield* openSession.open({
        id,
        provider,
        cwd,
        store,
        calls,
        attachments,
        patience,
        queued: options.queued ?? "keep",
        limits: engineLimits,
        ...(journal === undefined ? undefined : { journal }),
        onFork: (seed) => fork({ id, options, provider: providerId, cwd }, seed),
        ...(forked === undefined ? undefined : { forked }),
        policy: options.policy ?? defaultPolicy,
        recreate: adopted === undefined,
        ...(realPath === undefined ? undefined : { realPath }),
        ...(options.onProgress === undefined ? undefined : { onProgress: options.onProgress }),
        ...(binding === undefined ? undefined : { binding }),
        ...(options.title === undefined ? undefined : { title: options.title }),
        ...(options.model === undefined ? undefined : { model: options.model }),
        ...(options.mode === undefined ? undefined : { mode: options.mode }),
        ...(options.variant === undefined ? undefined : { variant: options.variant }),
        ...(options.mcpServers === undefined ? undefined : { mcpServers: options.mcpServers }),
        ...(options.env === undefined ? undefined : { env: options.env }),
        ...(options.approvalExpiresAfter === undefined
          ? undefined
          : { expiresAfter: millis(options.approvalExpiresAfter, 0) })
      }).pipe(Scope.provide(scope))
    })

    const open = Effect.fnUntraced(function*(
      options: OpenOptions,
      adopted?: Binding,
      forked?: Forked
    ): Effect.fn.Return<Session, AgentError.AgentError> {
      const id = options.id ?? adopted?.sessionId ?? SessionId.make(yield* identifier.next("ses"))
      // Nothing may come between an entry and what takes it back.
      return yield* Effect.uninterruptibleMask((restore) => {
        if (stopped) {
          return Effect.fail(AgentError.make(
            new AgentError.Unavailable({ target: "sessions", description: "The host has stopped its sessions." }),
            { sessionId: id }
          ))
        }
        const known = entries.get(id)
        if (known !== undefined) return restore(join(id, known, options))
        const entry: Entry = {
          session: Deferred.makeUnsafe(),
          scope: Scope.makeUnsafe(),
          owned: Scope.makeUnsafe(),
          released: Deferred.makeUnsafe(),
          releasing: false,
          open: undefined,
          abandoned: false
        }
        entries.set(id, entry)
        const opening = begin(id, options, entry, adopted, forked).pipe(
          starts.withPermit,
          Effect.raceFirst(Effect.andThen(Deferred.await(entry.released), openSession.closedWhileOpening(id)))
        )
        return restore(opening).pipe(
          Effect.map((session): Session => ({
            ...session,
            // The whole of it is bounded: a release that hangs goes on behind the caller.
            close: Effect.andThen(session.close, Deferred.await(entry.released)).pipe(
              Effect.timeoutOption(engineLimits.close + closeGrace),
              Effect.asVoid
            )
          })),
          Effect.onExit((exit) => {
            if (Exit.isSuccess(exit)) {
              entry.open = exit.value
              return Effect.andThen(
                Deferred.done(entry.session, exit),
                // When the session closes by itself, its fibers and its place in the map go too.
                exit.value.closed.pipe(Effect.andThen(release(id, entry)), Effect.forkDetach)
              )
            }
            // An interrupt takes the half-open session back, and reaches nobody but the one who was interrupted.
            entry.abandoned = Cause.hasInterruptsOnly(exit.cause)
            return Effect.andThen(
              entry.abandoned ? Deferred.fail(entry.session, notOpen(id)) : Deferred.done(entry.session, exit),
              release(id, entry)
            )
          })
        )
      })
    }, Effect.withSpan("Sessions.open"))

    /** Binds a session of its own to the copy of a conversation, and opens it. */
    const fork = (
      origin: {
        readonly id: SessionId
        readonly options: OpenOptions
        readonly provider: string
        readonly cwd: string
      },
      seed: openSession.ForkSeed
    ): Effect.Effect<Session, AgentError.AgentError> =>
      Effect.gen(function*() {
        const id = SessionId.make(yield* identifier.next("ses"))
        const now = yield* Clock.currentTimeMillis
        const { policy: _, title: __, ...stored } = seed.settings
        // Stored before it is opened: the copy exists, and must not be lost with this process.
        yield* store.set({
          v: 1,
          sessionId: id,
          provider: origin.provider,
          cwd: origin.cwd,
          cursor: seed.cursor,
          createdAt: now,
          updatedAt: now,
          lastSeq: 0,
          started: true,
          ...stored
        })
        const { onProgress: _progress, title: _title, ...options } = origin.options
        return yield* open({ ...options, ...seed.settings, id }, undefined, {
          _tag: "forked",
          from: origin.id,
          ...(seed.at === undefined ? undefined : { at: seed.at })
        })
      })

    /** Takes the session that is open, or opening, under the id; opens it anew when that one is gone or going. */
    const join: (id: SessionId, known: Entry, options: OpenOptions) => Effect.Effect<Session, AgentError.AgentError> =
      Effect.fnUntraced(function*(id, known, options) {
        const exit = yield* Effect.exit(Deferred.await(known.session))
        if (Exit.isFailure(exit) && !known.abandoned) return yield* exit
        if (Exit.isSuccess(exit)) {
          const { phase } = SubscriptionRef.getUnsafe(exit.value.state)
          if (phase !== "closing" && phase !== "closed") return exit.value
          yield* exit.value.close
        }
        if (Option.isNone(yield* Effect.timeoutOption(Deferred.await(known.released), 2 * releaseLimit))) {
          return yield* AgentError.make(
            new AgentError.SessionBusy({ holder: "its last opening, which does not end" }),
            { sessionId: id }
          )
        }
        return yield* open(options)
      })

    const find = (id: SessionId): Effect.Effect<Session, AgentError.AgentError> =>
      Effect.suspend(() => {
        const entry = entries.get(id)
        return entry === undefined ? Effect.fail(notOpen(id)) : Deferred.await(entry.session)
      })

    const close = (id: SessionId): Effect.Effect<void> =>
      Effect.suspend(() => {
        const entry = entries.get(id)
        if (entry === undefined) return Effect.void
        return entry.open?.close ??
          Effect.andThen(Effect.forkDetach(release(id, entry)), Deferred.await(entry.released))
      })

    // Two that adopt one conversation at a time would make two sessions of it.
    const adopting = keyedLocks.make()

    const take = Effect.fnUntraced(function*(
      options: Omit<AdoptOptions, "cursor">,
      cwd: string,
      found: Conversation,
      name: string
    ): Effect.fn.Return<Session, AgentError.AgentError> {
      const bound = (yield* store.list).find((binding) =>
        binding.provider === options.provider && JSON.stringify(binding.cursor) === name
      )
      if (bound !== undefined) return yield* open({ ...options, id: bound.sessionId })
      const now = yield* Clock.currentTimeMillis
      return yield* open({ ...options, cwd }, {
        v: 1,
        sessionId: SessionId.make(yield* identifier.next("ses")),
        provider: options.provider,
        cursor: found.cursor,
        cwd,
        createdAt: now,
        updatedAt: now,
        lastSeq: 0,
        started: true,
        ...(found.title === undefined ? undefined : { title: found.title })
      })
    })

    const adopt = Effect.fnUntraced(function*(options: AdoptOptions): Effect.fn.Return<Session, AgentError.AgentError> {
      const { cursor, ...wanted } = options
      const provider = yield* providers.get(options.provider)
      if (provider.conversation === undefined || !provider.capabilities.resume) {
        return yield* unsupported(provider.id, "adopting a conversation")
      }
      const found = yield* provider.conversation({
        cursor,
        ...(options.cwd === undefined ? undefined : { cwd: options.cwd })
      })
      const cwd = options.cwd ?? found.cwd
      if (cwd === undefined) return yield* missing("cwd")
      const name = JSON.stringify(found.cursor)
      return yield* adopting(`${provider.id} ${name}`)(take(wanted, cwd, found, name))
    })

    const remove = Effect.fnUntraced(
      function*(id: SessionId, options?: { readonly provider?: boolean }): Effect.fn.Return<
        void,
        AgentError.AgentError,
        Scope.Scope
      > {
        yield* close(id)
        yield* store.acquire(id)
        const binding = options?.provider === true ? Option.getOrUndefined(yield* store.get(id)) : undefined
        if (binding?.cursor !== undefined) {
          const provider = yield* providers.get(binding.provider)
          if (provider.removeConversation === undefined) {
            return yield* unsupported(provider.id, "deleting a conversation")
          }
          yield* provider.removeConversation({ cursor: binding.cursor, cwd: binding.cwd })
        }
        if (journal !== undefined) yield* journal.remove(id)
        yield* store.remove(id)
      },
      Effect.scoped
    )

    const reading = storedEvents.make({ journal, store })

    const opened = Effect.sync(() =>
      [...entries.values()].flatMap((entry) =>
        entry.open === undefined || SubscriptionRef.getUnsafe(entry.open.state).phase === "closed" ? [] : [entry.open]
      )
    )

    yield* Effect.addFinalizer(() => {
      stopped = true
      return Effect.forEach([...entries], ([id, entry]) => release(id, entry), {
        concurrency: "unbounded",
        discard: true
      })
    })

    return Sessions.of({
      open: (options) => open(options),
      openScoped: (options) =>
        Effect.acquireRelease(open(options), (session) => session.close, { interruptible: true }),
      get: find,
      opened,
      list: (filter = {}) =>
        Effect.zipWith(store.list, opened, (bindings, sessions) => {
          const open = new Map(sessions.map((session) => [
            session.id,
            SubscriptionRef.getUnsafe(session.state).openRequests
          ]))
          return sessionList.page(bindings, open, filter)
        }),
      conversations: ({ provider: id, ...options }) =>
        Effect.flatMap(providers.get(id), (provider) =>
          provider.conversations === undefined
            ? unsupported(provider.id, "listing conversations")
            : provider.conversations(options)),
      events: (id, { after = 0 } = {}) =>
        Stream.suspend(() => entries.get(id)?.open?.events({ after }) ?? reading.events(id, after)),
      history: reading.history,
      adopt,
      remove,
      close,
      quiescent: Effect.suspend(() =>
        Effect.forEach(
          [...entries.values()],
          // One that opens is on its way; one that does not come to stand holds nothing.
          (entry) => Effect.ignore(Effect.flatMap(Deferred.await(entry.session), (session) => session.quiescent)),
          { concurrency: "unbounded", discard: true }
        )
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
