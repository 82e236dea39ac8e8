/**
 * The host's handle on one conversation in one directory; it outlives connections and server processes.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as SubscriptionRef from "effect/SubscriptionRef"
import type { AgentError } from "./AgentError.ts"
import type { Answer } from "./AgentRequest.ts"
import { AgentRequest } from "./AgentRequest.ts"
import type { Capabilities } from "./Capabilities.ts"
import type { HistoryPage } from "./History.ts"
import { PromptId, SessionId, TurnId } from "./Ids.ts"
import type { RequestId } from "./Ids.ts"
import { Item } from "./Item.ts"
import type { Delivery, PromptInput, Receipt } from "./Prompt.ts"
import { PromptState } from "./Prompt.ts"
import type { Settings } from "./Provider.ts"
import type { Lagged, SessionEvent } from "./SessionEvent.ts"
import { ConnectionStatus } from "./SessionEvent.ts"
import type { PromptOutcome, TurnOutcome } from "./Turn.ts"
import { TurnState } from "./Turn.ts"
import { Usage } from "./Usage.ts"

/**
 * The short state of a session, for lists and badges.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionState = Schema.Struct({
  phase: Schema.Literals(["opening", "open", "closing", "closed"]),
  connection: Schema.Literals(Object.keys(ConnectionStatus.cases) as ReadonlyArray<ConnectionStatus["_tag"]>),
  turn: Schema.optionalKey(TurnState),
  queued: Schema.Int,
  openRequests: Schema.Int
})
/**
 * @category models
 * @since 0.1.0
 */
export type SessionState = typeof SessionState.Type

/**
 * Everything that a window needs to draw the session now. `events({ after: view.seq })` goes on without a gap.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionView = Schema.Struct({
  sessionId: SessionId,
  seq: Schema.Int,
  /** The items of the running turn and those that outlived theirs, open ones with their text so far. */
  items: Schema.Array(Schema.Struct({ item: Item, open: Schema.Boolean, turnId: Schema.optionalKey(TurnId) })),
  requests: Schema.Array(AgentRequest),
  queue: Schema.Array(Schema.Struct({ promptId: PromptId, state: PromptState })),
  turn: Schema.optionalKey(Schema.Struct({ id: TurnId, state: TurnState, startedAt: Schema.Number })),
  usage: Schema.optionalKey(Usage)
})
/**
 * @category models
 * @since 0.1.0
 */
export type SessionView = typeof SessionView.Type

/**
 * A prompt that was accepted.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromptHandle {
  readonly id: PromptId
  /** Its final state; always arrives. */
  readonly receipt: Effect.Effect<Receipt>
  /** What became of its turn; always arrives. `notRun` with the receipt when there was none. */
  readonly outcome: Effect.Effect<PromptOutcome>
  /** The events of the session from this prompt on, until its outcome has been told. */
  readonly events: Stream.Stream<SessionEvent | Lagged>
}

/**
 * One conversation with one agent in one directory.
 *
 * @category models
 * @since 0.1.0
 */
export interface Session {
  readonly id: SessionId
  readonly provider: string
  readonly cwd: string
  readonly capabilities: Capabilities
  /** Its changes end when the session has closed. */
  readonly state: SubscriptionRef.SubscriptionRef<SessionState>
  /**
   * Everything that a window needs to draw the session now, once what it shows is stored: `events({ after: view.seq })`
   * goes on with it also in the next host. With a journal it waits for the commit that is under way.
   */
  readonly view: Effect.Effect<SessionView>
  /**
   * The same at once: it never waits. What it shows may not be stored yet, so after a crash of the host nothing may be
   * known of its last events; go on from it in this process only.
   */
  readonly current: Effect.Effect<SessionView>
  /**
   * The events of the session. Without `after` it begins with this opening of the session; with `after: n` it goes on
   * behind the durable event `n`. It ends when the session closes and never fails; a reader that fell behind the
   * memory window gets one `Lagged` in place of what it missed.
   */
  readonly events: (
    options?: { readonly after?: number; readonly deltas?: boolean }
  ) => Stream.Stream<SessionEvent | Lagged>
  /**
   * What the agent's own record holds: the newest turns, or with `before: page.before` those that come before a page.
   * `limit` is the number of turns, 20 by default and 200 at the most; long ones make a page shorter. The turn that runs
   * now is in it as far as the agent has stored it.
   */
  readonly history: (
    options?: { readonly before?: string; readonly limit?: number }
  ) => Effect.Effect<HistoryPage, AgentError>
  /**
   * Takes a prompt; it waits in the queue while a turn runs. Text is taken at once, files are read first. Fails only when
   * the session is closed or a part of it cannot be taken: `Unsupported` where agent or model cannot, `InvalidRequest`
   * where the part is wrong (a file that is missing or too large, a command that does not exist).
   */
  readonly prompt: (
    input: string | PromptInput,
    options?: { readonly delivery?: Delivery }
  ) => Effect.Effect<PromptHandle, AgentError>
  /** Takes a queued prompt back. `false`: it was not queued any more. */
  readonly withdraw: (promptId: PromptId) => Effect.Effect<boolean>
  /** Stops the running turn; nothing happens when none runs. Queued prompts stay queued. */
  readonly interrupt: Effect.Effect<void>
  /** All open requests, oldest first. */
  readonly requests: Effect.Effect<ReadonlyArray<AgentRequest>>
  /** Answers a request. The first answer wins; a later one fails with `RequestNotOpen`, which names who settled it. */
  readonly answer: (requestId: RequestId, answer: Answer) => Effect.Effect<void, AgentError>
  /** Changes what later turns use, or the title. A new model without a `variant` has the model's own default. */
  readonly configure: (options: Settings) => Effect.Effect<void, AgentError>
  /**
   * Makes a session of its own that goes on with a copy of the conversation: up to the turn `at` and with it, default all
   * turns that have settled. It has the settings, MCP servers and policy of this one, which is left as it is.
   */
  readonly fork: (options?: { readonly at?: TurnId; readonly title?: string }) => Effect.Effect<Session, AgentError>
  /**
   * Takes the turn `beforeTurn` and all behind it back: the model does not see them any more. `files` says whether the
   * agent took back what these turns had changed in files, too (OpenCode does in a git repository). Fails with
   * `SessionBusy` while a turn runs.
   */
  readonly revert: (
    options: { readonly beforeTurn: TurnId }
  ) => Effect.Effect<{ readonly files: "restored" | "kept" }, AgentError>
  /** Undoes the last `revert`, until the next prompt. Fails with `InvalidRequest` when there is nothing to undo. */
  readonly unrevert: Effect.Effect<void, AgentError>
  /**
   * Has the agent replace the conversation by its summary, which is a turn of its own, and waits until that has settled.
   * Fails with `SessionBusy` while a turn runs.
   */
  readonly compact: Effect.Effect<TurnOutcome, AgentError>
  /** Marks somebody who can answer requests, for as long as the scope lives. A plain reader is not attached. */
  readonly attach: (options?: { readonly answers?: boolean }) => Effect.Effect<void, never, Scope.Scope>
  /** Waits until nothing is queued, running or on its way. */
  readonly quiescent: Effect.Effect<void>
  /** Stops the turn, gives queued prompts back and ends the session within its grace (5 s). From anywhere, any number of times. */
  readonly close: Effect.Effect<void>
  /** Why the session closed; arrives when it did. */
  readonly closed: Effect.Effect<string>
}
