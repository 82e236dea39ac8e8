/** The sessions of a layer that are open, opening or closing, each once under its id. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "../AgentError.ts"
import * as ApprovalPolicy from "../ApprovalPolicy.ts"
import { BindingStore } from "../BindingStore.ts"
import type { Binding } from "../BindingStore.ts"
import * as EventJournal from "../EventJournal.ts"
import * as HostTool from "../HostTool.ts"
import { SessionId } from "../Ids.ts"
import * as McpServer from "../McpServer.ts"
import * as Prompt from "../Prompt.ts"
import { Providers } from "../Providers.ts"
import type { Session } from "../Session.ts"
import type { Opened } from "../SessionEvent.ts"
import type { Limits, OpenOptions } from "../Sessions.ts"
import { defaultLimits } from "./engine/state.ts"
import * as identifier from "./identifier.ts"
import * as links from "./links.ts"
import * as openSession from "./openSession.ts"

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

export const missing = (field: string) =>
  AgentError.make(
    new AgentError.InvalidRequest({ field, description: `A new session needs a "${field}".` })
  )

export const make = Effect.fnUntraced(function*(limits: Limits) {
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
    const wrong = McpServer.problem(options.mcpServers ?? {}) ?? HostTool.problem(options.tools ?? {})
    if (wrong !== undefined) return yield* wrong
    if (Object.keys(options.mcpServers ?? {}).length > 0 && !provider.capabilities.mcpServers) {
      return yield* AgentError.make(
        new AgentError.Unsupported({ operation: "MCP servers of a session", provider: providerId }),
        { provider: providerId, sessionId: id }
      )
    }
    if (Object.keys(options.tools ?? {}).length > 0 && !provider.capabilities.hostTools) {
      return yield* AgentError.make(
        new AgentError.Unsupported({ operation: "tools of the host", provider: providerId }),
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
      onLost: options.onLost ?? "report",
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
      ...(options.tools === undefined ? undefined : { tools: options.tools }),
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

  const quiescent = Effect.suspend(() =>
    Effect.forEach(
      [...entries.values()],
      // One that opens is on its way; one that does not come to stand holds nothing.
      (entry) => Effect.ignore(Effect.flatMap(Deferred.await(entry.session), (session) => session.quiescent)),
      { concurrency: "unbounded", discard: true }
    )
  )

  /** The session that is open under an id. */
  const at = (id: SessionId): Session | undefined => entries.get(id)?.open

  return { open, find, close, at, opened, quiescent }
})
