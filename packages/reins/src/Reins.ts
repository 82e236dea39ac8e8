/**
 * The way in: coding agents as promises and async iterables.
 *
 * Nothing of Effect is loaded before `Reins.create` has looked at the version of Node.
 *
 * @since 0.1.0
 */
import { complaint } from "./internal/nodeVersion.ts"
import type {
  Approvals,
  ConversationPage,
  DurableEvent,
  HistoryPage,
  HostTool,
  McpServer,
  Probe,
  ProviderCommand,
  ProviderMode,
  ProviderModel,
  SessionEntry,
  SessionFilter,
  SessionPage
} from "./Model.ts"
import { ReinsError } from "./ReinsError.ts"
import type { ReinsSession } from "./ReinsSession.ts"

/**
 * How OpenCode is found and run. Times are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeOptions {
  /** Absolute path of the native binary. Default: `REINS_OPENCODE_BIN`, the nearest `node_modules`, `PATH`. */
  readonly binary?: string
  /** Environment variables for the servers, besides the inherited ones. */
  readonly env?: Readonly<Record<string, string>>
  /** From spawn to healthy. Default 60,000. */
  readonly startTimeout?: number
  /** How long a server is kept after its last session closed. Default 300,000. */
  readonly idleTimeToLive?: number
  /**
   * The address of a server that runs already, for example `http://127.0.0.1:4096`: it is used as it is, and never
   * started, restarted, disposed or ended. What is said here of binaries, their environment and their start is not used.
   */
  readonly url?: string
  /** The password of the server at `url`; absent: it asks for none. It is sent to that server and shown nowhere. */
  readonly password?: string
  /** The user name of the server at `url`. Default `opencode`. */
  readonly username?: string
}

/**
 * OpenCode, as `Reins.openCode` gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeProvider {
  readonly kind: "opencode"
  readonly options: OpenCodeOptions
}

/**
 * How Codex is found and run. Times are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodexOptions {
  /** Absolute path of the native binary. Default: `REINS_CODEX_BIN`, the nearest `node_modules`, `PATH`. */
  readonly binary?: string
  /** Environment variables for the servers, besides the inherited ones; `CODEX_HOME` among them. */
  readonly env?: Readonly<Record<string, string>>
  /** From spawn to the end of the handshake. Default 60,000. */
  readonly startTimeout?: number
  /** How long a server is kept after its last session closed. Default 300,000. */
  readonly idleTimeToLive?: number
  /**
   * A server that runs already, such as `ws://127.0.0.1:4500`: it is used, and neither started, configured nor ended. It
   * stands alone, but for `token`.
   */
  readonly url?: string
  /** What the server at `url` asks for as `Authorization: Bearer`, over `wss` or on this host. It is shown nowhere. */
  readonly token?: string
}

/**
 * Codex, as `Reins.codex` gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodexProvider {
  readonly kind: "codex"
  readonly options: CodexOptions
}

/**
 * A `Provider` of `@reins/core`, for authors of adapters. It gets the platform of Node and nothing else.
 *
 * @category models
 * @since 0.1.0
 */
export interface AdapterProvider {
  readonly kind: string
  readonly make: (id: string) => object
}

/**
 * What a host lists under `providers`.
 *
 * @category models
 * @since 0.1.0
 */
export type ReinsProvider = OpenCodeProvider | CodexProvider | AdapterProvider

/**
 * What is said besides a message: names and values.
 *
 * @category models
 * @since 0.1.0
 */
export interface LogFields {
  readonly [name: string]: unknown
}

/**
 * Where the library says what it does. What a logger throws is ignored.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReinsLogger {
  readonly debug: (message: string, fields: LogFields) => void
  readonly info: (message: string, fields: LogFields) => void
  readonly warn: (message: string, fields: LogFields) => void
  readonly error: (message: string, fields: LogFields) => void
}

/**
 * Limits of all sessions. Times are milliseconds; absent: the default named beside each.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  /** Sessions that open at the same time: 8. */
  readonly concurrentStarts?: number
  /** Prompts that may wait in a session: 1,000. */
  readonly queue?: number
  /** Largest image or file of a prompt in bytes: 20 MiB. */
  readonly attachment?: number
  /** Bytes of images and files that wait in one session: 64 MiB. */
  readonly attachments?: number
  /** A prompt acknowledged by the agent: 30,000. */
  readonly acknowledge?: number
  /** Any other call to the agent: 30,000. */
  readonly call?: number
  /** An interrupt confirmed, then settled locally and the connection replaced: 5,000. */
  readonly interrupt?: number
  /** Turn silence until it is told and probed: 60,000. */
  readonly silence?: number
  /** Turn silence without evidence of life until the turn is interrupted: 600,000. */
  readonly silenceEnd?: number
  /** A turn stopped at close: 3,000; the whole close takes at most 5,000. */
  readonly close?: number
  /** A store that fails while sessions are open, until they end: 30,000. */
  readonly store?: number
}

/**
 * How much a store keeps of the events of sessions. What is beyond leaves oldest first; a reader that asks for it is told
 * by `Lagged`. What is open of a session never leaves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Retention {
  /** Durable events of one session: 100,000 by default. */
  readonly events?: number
  /** Bytes of the events of one session, as JSON text: 64 MiB by default. */
  readonly bytes?: number
  /** Bytes of the events of all sessions: 2 GiB by default. */
  readonly total?: number
}

/**
 * What is kept of sessions, and where.
 *
 * - `memory`: their bindings (which conversation of which agent belongs to a session), until the process ends.
 * - `{ directory }`: their bindings, as one file each.
 * - `{ file }`: their bindings and their events, in one SQLite database (made if it is missing, readable by its owner
 *   only). After a restart, also of a host that was killed, queued prompts and open turns are known again, and `events`
 *   and `history` can be read without an agent.
 *
 * @category models
 * @since 0.1.0
 */
export type Store = "memory" | { readonly directory: string } | {
  /** Path of the database. Several hosts can share it. */
  readonly file: string
  readonly retention?: Retention
}

/**
 * What a host chooses once.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReinsOptions {
  /** The agents, by names of the host's own; several of one kind may stand side by side. */
  readonly providers: Readonly<Record<string, ReinsProvider>>
  /** Who decides about approvals where a session does not say; default `ask`. */
  readonly approvals?: Approvals
  /** Where sessions are kept; default `memory`, which forgets with the process. */
  readonly store?: Store
  readonly limits?: Limits
  /** Default: nothing is said. Nothing is ever written to the console. */
  readonly logger?: ReinsLogger
}

/**
 * What a new session needs, or which one to go on with.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenOptions {
  /** Goes on with this session; what is given besides it overrides what was stored. */
  readonly id?: string
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
   * MCP servers whose tools the agent gets, by name. They are not stored: whoever opens a stored session again gives them
   * again. One that fails or hangs is told by a `Notice`.
   */
  readonly mcpServers?: Readonly<Record<string, McpServer>>
  /**
   * Tools of the host that the model can call, by name. They are not stored: whoever opens a stored session again gives
   * them again. `Unsupported` where the provider has no `hostTools`.
   */
  readonly tools?: Readonly<Record<string, HostTool>>
  /** Environment variables for the agent; a differing environment means a server of its own. */
  readonly env?: Readonly<Record<string, string>>
  readonly approvals?: Approvals
  /** How long a request may stay open, in milliseconds; then the turn is interrupted. Default: for ever. */
  readonly approvalExpiresAfter?: number
  /**
   * What becomes of prompts that still waited when the last host ended: `keep`, the default, leaves them queued; `return`
   * gives them back (`returned`). Only a store with a `file` knows of them.
   */
  readonly queued?: "keep" | "return"
  /**
   * What follows a turn that is `lost`: `report`, the default, tells it and no more; `continue` also sends the agent one
   * prompt, before all that wait, that asks it to go on from what is done. Its `PromptChanged` names the lost turn
   * (`continues`). The lost turn itself is never run again.
   */
  readonly onLost?: "report" | "continue"
  /** Hears what happens while the session opens, before its events can be read. */
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
  /** Names the conversation: a `cursor` of `conversations`. It is validated. */
  readonly cursor: unknown
  /** Default: the directory that the conversation works in. */
  readonly cwd?: string
}

/**
 * Where models, modes and commands are asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  /** Absolute path. */
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly mcpServers?: Readonly<Record<string, McpServer>>
}

/**
 * The sessions of a host. Every rejection is a `ReinsError`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reins {
  /** Opens a session, or gives the one that is open under this id. It lives until it is closed or this is. */
  readonly open: (options: OpenOptions) => Promise<ReinsSession>
  /** An open session; rejects with the tag `SessionNotFound` when none is open under this id. */
  readonly get: (id: string) => Promise<ReinsSession>
  /** All open sessions. */
  readonly sessions: () => Promise<ReadonlyArray<ReinsSession>>
  /** What is stored of sessions, open or not, most recently updated first. */
  readonly list: (filter?: SessionFilter) => Promise<SessionPage>
  /**
   * The durable events of a session with `seq > after`, open or not: of one that is open they go on until it closes, of
   * another one they end with the newest that is stored. What was not kept is told by `Lagged`. Without a store with a
   * `file` only open sessions can be read: the first `next()` of another rejects with the tag `Unsupported`.
   */
  readonly events: (id: string, options?: { readonly after?: number }) => AsyncIterable<SessionEntry>
  /** Turns of a session that need not be open, from a store with a `file`: the newest, or those before a page. */
  readonly history: (
    id: string,
    request?: { readonly before?: string; readonly limit?: number }
  ) => Promise<HistoryPage>
  /** The agent's own conversations, most recently updated first, whether a session is bound to them or not. */
  readonly conversations: (options: {
    readonly provider: string
    /** Absent: those of all directories, as far as the agent lists them. */
    readonly cwd?: string
    /** `after` of the page before. */
    readonly after?: string
    /** Conversations in a page: 50 by default. */
    readonly limit?: number
  }) => Promise<ConversationPage>
  /**
   * Goes on with a conversation that was begun elsewhere, as a session of ours. One that a stored session is bound to is
   * opened as that session. A cursor that is not the provider's rejects with the tag `InvalidRequest`, a conversation
   * that the agent does not have with `SessionNotFound`.
   */
  readonly adopt: (options: AdoptOptions) => Promise<ReinsSession>
  /**
   * Closes a session and forgets it. With `provider: true` the agent's own conversation is deleted for good, and
   * nothing is forgotten before that is done; otherwise it stays.
   */
  readonly remove: (id: string, options?: { readonly provider?: boolean }) => Promise<void>
  /** Looks whether an agent can be used, without a turn; it may start its server. Rejects only for an unknown name. */
  readonly probe: (provider: string) => Promise<Probe>
  /** The models that a provider offers in a place; it may start the agent's server for that. */
  readonly models: (provider: string, place: Place) => Promise<ReadonlyArray<ProviderModel>>
  /** The modes that a provider offers, and the subagents that a prompt can mention; none where it has none. */
  readonly modes: (provider: string, place: Place) => Promise<ReadonlyArray<ProviderMode>>
  /** The slash commands and skills that a provider offers; none where it has none. */
  readonly commands: (provider: string, place: Place) => Promise<ReadonlyArray<ProviderCommand>>
  /** Resolves when nothing is queued, running or on its way in any session. */
  readonly quiescent: () => Promise<void>
  /**
   * Closes all sessions and ends every process that was started. Never rejects, also the second time; iterables
   * complete and the promises of prompts resolve. Only an `open` that has not finished rejects.
   */
  readonly close: () => Promise<void>
  /** The same as `close`, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

/**
 * Makes the sessions of a host and the providers that they use.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Reins: {
  /** Starts no process yet: the first session of a provider does. It installs no signal handler; call `close` at the end. */
  readonly create: (options: ReinsOptions) => Promise<Reins>
  /** OpenCode; its servers are shared by sessions with the same environment. */
  readonly openCode: (options?: OpenCodeOptions) => OpenCodeProvider
  /** Codex; its servers are shared by sessions with the same environment. */
  readonly codex: (options?: CodexOptions) => CodexProvider
} = {
  create: async (options) => {
    const refused = complaint(process.versions.node)
    if (refused !== undefined) {
      const error = new ReinsError(refused)
      // A host that does not catch it is shown the sentence, not where in the library it was thrown.
      error.stack = `${error.name}: ${error.message} ${error.advice}`
      throw error
    }
    const host = await import("./internal/host.ts")
    return host.create(options)
  },
  openCode: (options = {}) => ({ kind: "opencode", options }),
  codex: (options = {}) => ({ kind: "codex", options })
}
