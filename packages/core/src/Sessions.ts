/**
 * Opens, finds and closes sessions.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Json } from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "./AgentError.ts"
import type * as ApprovalPolicy from "./ApprovalPolicy.ts"
import { BindingStore } from "./BindingStore.ts"
import type { Conversation, ConversationPage } from "./Conversation.ts"
import type { McpServers } from "./McpServer.ts"
import * as EventJournal from "./EventJournal.ts"
import type { HistoryPage } from "./History.ts"
import type { HostTools } from "./HostTool.ts"
import { SessionId } from "./Ids.ts"
import * as identifier from "./internal/identifier.ts"
import * as keyedLocks from "./internal/keyedLocks.ts"
import * as sessionEntries from "./internal/sessionEntries.ts"
import * as sessionList from "./internal/sessionList.ts"
import * as storedEvents from "./internal/storedEvents.ts"
import { Providers } from "./Providers.ts"
import type { Session } from "./Session.ts"
import type { DurableEvent, Lagged, SessionEvent } from "./SessionEvent.ts"
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
  /**
   * Tools of the host that the model can call, by name. They are not stored: whoever opens a stored session again gives
   * them again. `Unsupported` where the provider has no `hostTools`.
   */
  readonly tools?: HostTools
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
  /**
   * What follows a turn that is `lost` (its agent or host died, and nothing says that it had finished): `report`, the
   * default, tells it and no more; `continue` also sends the agent one prompt, before all that wait, that asks it to go on
   * from what is done. Its `PromptChanged` names the lost turn (`continues`); when its own turn is lost too, no other is
   * sent. The lost turn itself is never run again.
   */
  readonly onLost?: "report" | "continue"
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

const unsupported = (provider: string, operation: string) =>
  AgentError.fail(new AgentError.Unsupported({ operation, provider }), { provider })

const make = (limits: Limits) =>
  Effect.gen(function*() {
    const providers = yield* Providers
    const store = yield* BindingStore
    const journal = yield* EventJournal.Current
    const { at, close, find, open, opened, quiescent } = yield* sessionEntries.make(limits)

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
      if (cwd === undefined) return yield* sessionEntries.missing("cwd")
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
      events: (id, { after = 0 } = {}) => Stream.suspend(() => at(id)?.events({ after }) ?? reading.events(id, after)),
      history: reading.history,
      adopt,
      remove,
      close,
      quiescent
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
