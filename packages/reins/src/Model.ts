/**
 * What the facade gives and takes, as plain readonly objects: the types of `@reins/core` with every id a `string`.
 *
 * @since 0.1.0
 */
import type * as AgentError from "@reins/core/AgentError"
import type * as Request from "@reins/core/AgentRequest"
import type * as Policy from "@reins/core/ApprovalPolicy"
import type * as CapabilitiesOf from "@reins/core/Capabilities"
import type * as ConversationOf from "@reins/core/Conversation"
import type * as History from "@reins/core/History"
import type * as Catalogue from "@reins/core/Catalogue"
import type { ItemId, PromptId, RequestId, SessionId, TurnId } from "@reins/core/Ids"
import type * as ItemOf from "@reins/core/Item"
import type * as Prompt from "@reins/core/Prompt"
import type * as Provider from "@reins/core/Provider"
import type * as Session from "@reins/core/Session"
import type * as Event from "@reins/core/SessionEvent"
import type * as Summary from "@reins/core/SessionSummary"
import type * as Turn from "@reins/core/Turn"
import type * as UsageOf from "@reins/core/Usage"

type Id = ItemId | PromptId | RequestId | SessionId | TurnId

/** Ids become strings; everything else stays, object by object. */
type Plain<T> = T extends Id ? string
  : T extends object ? { readonly [K in keyof T]: Plain<T[K]> }
  : T

/**
 * One event of a session, told apart by `_tag`. `ItemDelta` is the only one without a `seq`.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionEvent = Plain<Event.SessionEvent>

/**
 * In place of the events `from` to `to`, which a reader that fell behind the memory window missed.
 *
 * @category models
 * @since 0.1.0
 */
export type Lagged = Plain<Event.Lagged>

/**
 * What a reader of a session gets.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionEntry = SessionEvent | Lagged

/**
 * The events that have a `seq`: 1, 2, 3 … without gaps per session.
 *
 * @category models
 * @since 0.1.0
 */
export type DurableEvent = Plain<Event.DurableEvent>

/**
 * A piece of growing text; `offset` counts UTF-16 code units from the start of the item's text.
 *
 * @category models
 * @since 0.1.0
 */
export type ItemDelta = Plain<Event.ItemDelta>

/**
 * State of the attachment of a session to its provider.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionStatus = Plain<Event.ConnectionStatus>

/**
 * A unit inside a turn: a message, reasoning, a command, a file change, a tool call.
 *
 * @category models
 * @since 0.1.0
 */
export type Item = Plain<ItemOf.Item>

/**
 * Tokens by class and cost in a currency; a figure that is unknown is absent.
 *
 * @category models
 * @since 0.1.0
 */
export type Usage = Plain<UsageOf.Usage>

/**
 * The short state of a session, for lists and badges.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionState = Plain<Session.SessionState>

/**
 * Everything that a window needs to draw a session; `events({ after: view.seq })` goes on without a gap.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionView = Plain<Session.SessionView>

/**
 * A session in a list, open or not. Times are epoch milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionSummary = Plain<Summary.SessionSummary>

/**
 * Which sessions a list shows, and how many.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionFilter = Plain<Summary.SessionFilter>

/**
 * One page of sessions, most recently updated first. `after` asks for the next one.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionPage = Plain<Summary.SessionPage>

/**
 * A conversation as its agent keeps it. `cursor` is what `adopt` takes.
 *
 * @category models
 * @since 0.1.0
 */
export type Conversation = Plain<ConversationOf.Conversation>

/**
 * One page of conversations, most recently updated first. `after` asks for the next one.
 *
 * @category models
 * @since 0.1.0
 */
export type ConversationPage = Plain<ConversationOf.ConversationPage>

/**
 * One page of turns from the agent's own record, the oldest first. `before` asks for the page before it.
 *
 * @category models
 * @since 0.1.0
 */
export type HistoryPage = Plain<History.HistoryPage>

/**
 * What was found of an agent. `advice` is for people.
 *
 * @category models
 * @since 0.1.0
 */
export type Probe = Plain<Provider.Probe>

/**
 * What a provider can do, per operation.
 *
 * @category models
 * @since 0.1.0
 */
export type Capabilities = Plain<CapabilitiesOf.Capabilities>

/**
 * A model that a provider offers. Figures that are unknown are absent; prices are for a million tokens.
 *
 * @category models
 * @since 0.1.0
 */
export type ProviderModel = Plain<Provider.Model>

/**
 * A way in which the agent can work; subagents that a prompt can mention are among them.
 *
 * @category models
 * @since 0.1.0
 */
export type ProviderMode = Plain<Catalogue.Mode>

/**
 * A slash command or skill. `runs`: shell commands that its text holds, about which nobody is asked.
 *
 * @category models
 * @since 0.1.0
 */
export type ProviderCommand = Plain<Catalogue.Command>

/**
 * An MCP server that a session brings along: a program that the agent starts, or a URL. `headers`, and what in `env` has
 * six characters or more and is neither a single word, a number nor an absolute path, are shown in no event, error or log
 * line. `startTimeout` is in milliseconds, default 10,000.
 *
 * @category models
 * @since 0.1.0
 */
export type McpServer =
  | {
    /** The program and its arguments; no shell reads them. */
    readonly command: readonly [string, ...Array<string>]
    readonly env?: Readonly<Record<string, string>>
    /** Where it runs; default: the session's directory. */
    readonly cwd?: string
    readonly startTimeout?: number
    readonly enabled?: boolean
  }
  | {
    readonly url: string
    readonly headers?: Readonly<Record<string, string>>
    readonly startTimeout?: number
    readonly enabled?: boolean
  }

/**
 * A tool of the host that the model can call. A call is a request of the kind `hostTool`, which no policy answers.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostTool {
  /** For the model: what it does and when to use it. */
  readonly description: string
  /** JSON Schema of the input, an object (`type: "object"`). The agent may not check it. */
  readonly inputSchema: Readonly<Record<string, unknown>>
  /**
   * Runs a call; the model hears a string as it is, and any other JSON value as JSON. The message of what it throws, or
   * rejects with, is heard as a failed call. `signal` is aborted when nobody waits for the call any more. Absent: whoever
   * answers requests answers, with `content`.
   */
  readonly run?: (input: unknown, call: {
    readonly sessionId: string
    readonly requestId: string
    readonly turnId?: string
    readonly agentPath?: ReadonlyArray<string>
    readonly signal: AbortSignal
  }) => unknown
}

/**
 * What the agent asks of its host. `openedAt` is epoch milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type AgentRequest = Plain<Request.AgentRequest>

/**
 * What can be said to a request: `{ _tag: "accept" }`, `{ _tag: "decline", reason }` and so on. `decline` lets the agent
 * go on without it, `cancel` ends the turn.
 *
 * @category models
 * @since 0.1.0
 */
export type Answer = Plain<Request.Answer>

/**
 * A prompt with its parts in order; a string stands for one part of text.
 *
 * @category models
 * @since 0.1.0
 */
export type PromptInput = Plain<Prompt.PromptInput>

/**
 * One part of a prompt. What a provider cannot take is refused as `Unsupported` before anything is sent.
 *
 * @category models
 * @since 0.1.0
 */
export type PromptPart = Plain<Prompt.PromptPart>

/**
 * How a prompt that arrives during a turn is delivered: `queue` gives it a turn of its own, `steer` joins the running
 * turn where the provider can.
 *
 * @category models
 * @since 0.1.0
 */
export type Delivery = Prompt.Delivery

/**
 * Where a prompt is.
 *
 * @category models
 * @since 0.1.0
 */
export type PromptState = Plain<Prompt.PromptState>

/**
 * The final state of a prompt: `consumed`, `returned`, `withdrawn` or `failed`.
 *
 * @category models
 * @since 0.1.0
 */
export type Receipt = Plain<Prompt.Receipt>

/**
 * What became of a prompt: the outcome of its turn, or `notRun` with the receipt that says why there was none.
 *
 * @category models
 * @since 0.1.0
 */
export type PromptOutcome = Plain<Turn.PromptOutcome>

/**
 * How a turn ended.
 *
 * @category models
 * @since 0.1.0
 */
export type TurnOutcome = Plain<Turn.TurnOutcome>

/**
 * What a running turn is doing. Times are epoch milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type TurnState = Plain<Turn.TurnState>

/**
 * An error as it stands in events. `retryAfter` is in milliseconds, `resetAt` in milliseconds since the epoch.
 *
 * @category models
 * @since 0.1.0
 */
export type ErrorInfo = Plain<AgentError.ErrorInfo>

/**
 * Ordered rules as plain data: the first that matches a request decides about it, `otherwise` when none does.
 *
 * @category models
 * @since 0.1.0
 */
export type ApprovalPolicy = Plain<Policy.ApprovalPolicy>

/**
 * Who decides about approvals: `ask` a person about all, accept `reads` inside the directory, accept `edits` inside it
 * too, accept `all`, accept `none`; or rules of the host's own. It is not a sandbox.
 *
 * @category models
 * @since 0.1.0
 */
export type Approvals = "ask" | "reads" | "edits" | "all" | "none" | ApprovalPolicy
