/**
 * The contract of an adapter: it translates, the session engine guarantees.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { AgentError } from "./AgentError.ts"
import type { Answer } from "./AgentRequest.ts"
import type { ApprovalPolicy } from "./ApprovalPolicy.ts"
import type { Capabilities } from "./Capabilities.ts"
import type { Command, Mode } from "./Catalogue.ts"
import type { Conversation, ConversationPage } from "./Conversation.ts"
import type { HistorySource } from "./History.ts"
import type { HostTools } from "./HostTool.ts"
import type { PromptId, SessionId, TurnId } from "./Ids.ts"
import type { McpServers } from "./McpServer.ts"
import type { PromptInput } from "./Prompt.ts"
import type { Opened } from "./SessionEvent.ts"
import type { RequestSignal, Signal, Snapshot, SnapshotRequest } from "./Signal.ts"

/**
 * What a host lists: one kind of agent with its options. `R` is what the adapter needs of its platform.
 *
 * @category models
 * @since 0.1.0
 */
export interface Provider<out R = never> {
  readonly kind: string
  /** Builds the instance with the name that the host gave it; owned by the scope of `Providers.layer`. */
  readonly make: (id: string) => Effect.Effect<ProviderInstance, never, R | Scope.Scope>
}

/**
 * What a probe found. `advice` is for people.
 *
 * @category models
 * @since 0.1.0
 */
export interface Probe {
  readonly installed: boolean
  readonly binary?: string
  readonly version?: string
  /** `tested`: the release that our tests run; `older` and `newer` were not tested. */
  readonly support: "tested" | "older" | "newer" | "unknown"
  readonly protocol?: string
  readonly auth: "ok" | "missing" | "unknown"
  readonly advice?: string
}

/**
 * A model that a provider offers. Figures that are unknown are absent. Prices are for a million tokens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Model {
  readonly id: string
  readonly name: string
  readonly contextWindow?: number
  readonly variants?: ReadonlyArray<string>
  readonly images?: boolean
  /** PDF documents as files of a prompt. */
  readonly documents?: boolean
  readonly price?: { readonly input: number; readonly output: number; readonly currency: string }
  readonly isDefault?: boolean
  /** The provider of the model is signed in, or needs no sign-in. Absent: not known. */
  readonly usable?: boolean
}

/**
 * Where models, modes and commands are asked for: they may differ by directory, environment and MCP servers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly mcpServers?: McpServers
}

/**
 * One configured agent product, shared by its sessions.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProviderInstance {
  readonly id: string
  readonly kind: string
  readonly capabilities: Capabilities
  /** Looks whether the agent can be used, without a turn; never fails. It may start the agent's server, which is kept. */
  readonly probe: Effect.Effect<Probe>
  readonly models: (place: Place) => Effect.Effect<ReadonlyArray<Model>, AgentError>
  /** In which ways the agent can work, subagents included. Absent: it has no modes. */
  readonly modes?: (place: Place) => Effect.Effect<ReadonlyArray<Mode>, AgentError>
  /** Slash commands and skills. Absent: it has none. */
  readonly commands?: (place: Place) => Effect.Effect<ReadonlyArray<Command>, AgentError>
  /**
   * Reads the files of a prompt and refuses what the agent can never take, before anything is sent. Needs no connection.
   * Absent: prompts go as they are.
   */
  readonly prepare?: (
    input: PromptInput,
    options: { readonly cwd: string; readonly maxBytes: number }
  ) => Effect.Effect<PromptInput, AgentError>
  /**
   * The agent's own key for a prompt that is submitted now; repeated submissions of a prompt use the same key.
   * `now` is epoch milliseconds. Default: the prompt's id.
   */
  readonly promptKey?: (promptId: PromptId, now: number) => string
  /** The agent's own conversations, in one directory or in all. Absent: the provider cannot list them. */
  readonly conversations?: (options: {
    readonly cwd?: string
    readonly after?: string
    readonly limit?: number
  }) => Effect.Effect<ConversationPage, AgentError>
  /**
   * Looks a conversation up by a cursor that may come from anywhere. A cursor of another shape or of a newer version fails
   * with `InvalidRequest`, one of a conversation that the agent does not have with `SessionNotFound`.
   */
  readonly conversation?: (options: {
    readonly cursor: Json
    readonly cwd?: string
  }) => Effect.Effect<Conversation, AgentError>
  /** Deletes a conversation of the agent for good; `gone`: it had been deleted before. Absent: it cannot be done. */
  readonly removeConversation?: (options: {
    readonly cursor: Json
    readonly cwd: string
  }) => Effect.Effect<"deleted" | "gone", AgentError>
  /** Attaches a session. The connection lives as long as the scope. */
  readonly connect: (options: ConnectOptions) => Effect.Effect<Connection, AgentError, Scope.Scope>
}

/**
 * What a session asks of its provider.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectOptions {
  readonly sessionId: SessionId
  readonly cwd: string
  /** The conversation to go on with; absent for a new one. */
  readonly cursor?: Json
  /** Whether the conversation may be begun anew if the provider confirms that it is gone. */
  readonly recreate: boolean
  readonly title?: string
  readonly model?: string
  readonly mode?: string
  /** A variant of the model. */
  readonly variant?: string
  readonly mcpServers?: McpServers
  /** Tools of the host that the model may call; a call is a request of the kind `hostTool`. */
  readonly tools?: HostTools
  /** The adapter sets the agent's own mode so that it asks about all that this policy would not accept outright. */
  readonly policy: ApprovalPolicy
  readonly env?: Readonly<Record<string, string>>
  /** Takes what happens before and beside the stream: process states and progress. Never blocks. */
  readonly report: (signal: Signal) => void
}

/**
 * A prompt on its way to the agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Submission {
  readonly promptId: PromptId
  readonly key: string
  readonly input: PromptInput
  /** 1 for the first try. A repeated submission with the same key runs once. */
  readonly attempt: number
}

/**
 * A turn as a host names it. `keys` are the agent's own keys of it, where they are remembered: after a restart of the
 * host there are none, and the adapter finds the turn by its id, which derives from the key of its first prompt.
 *
 * @category models
 * @since 0.1.0
 */
export interface TurnReference {
  readonly id: TurnId
  readonly keys: ReadonlyArray<string>
}

/**
 * What a change of a session's settings may hold. A new model without a variant has the model's own default.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings {
  readonly model?: string
  readonly mode?: string
  readonly variant?: string
  readonly title?: string
  readonly policy?: ApprovalPolicy
}

/**
 * A live attachment of one session to its provider; dies and is replaced while the session lives on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  readonly how: Opened
  /** What the binding keeps to find the conversation again; versioned by the adapter. */
  readonly cursor: Json
  /** Arrays of signals in the order of the wire. Fails when the connection is lost, ends when it was closed. */
  readonly signals: Stream.Stream<Signal, AgentError>
  readonly submit: (submission: Submission) => Effect.Effect<void, AgentError>
  /** Absent: the provider cannot steer. */
  readonly steer?: (submission: Submission) => Effect.Effect<void, AgentError>
  readonly interrupt: Effect.Effect<void, AgentError>
  /** Answers a request of the agent. `gone`: the agent does not wait for it any more. */
  readonly settle: (request: RequestSignal, answer: Answer) => Effect.Effect<"delivered" | "gone", AgentError>
  readonly snapshot: (request: SnapshotRequest) => Effect.Effect<Snapshot, AgentError>
  readonly configure?: (options: Settings) => Effect.Effect<void, AgentError>
  /**
   * The newest turns of the conversation, or those that come before a page, at most `limit` of them and at least one.
   * Absent: the provider keeps none that can be read.
   */
  readonly history?: (request: {
    readonly before?: string
    readonly limit: number
  }) => Effect.Effect<HistorySource, AgentError>
  /** Refuses what cannot be taken now: an image by a model that has no eyes, a command that does not exist. */
  readonly accepts?: (input: PromptInput) => Effect.Effect<void, AgentError>
  /** Copies the conversation, up to this turn and with it or before that one, and gives the copy's cursor. */
  readonly fork?: (
    options: { readonly through?: TurnReference; readonly before?: TurnReference }
  ) => Effect.Effect<Json, AgentError>
  /** Takes the turn and all behind it back. `files`: whether the agent took back what it had changed in files, too. */
  readonly revert?: (turn: TurnReference) => Effect.Effect<{ readonly files: "restored" | "kept" }, AgentError>
  /** Undoes the last taking back. `false`: there is none, or a prompt came since. */
  readonly unrevert?: Effect.Effect<boolean, AgentError>
  /**
   * Replaces the conversation by its summary. Ends when that is done or has failed; meanwhile the signals show it as a
   * turn with an item `compaction` that is not `automatic`.
   */
  readonly compact?: Effect.Effect<void, AgentError>
}
