/**
 * One conversation with one agent, as promises and async iterables.
 *
 * @since 0.1.0
 */
import type {
  AgentRequest,
  Answer,
  Approvals,
  Capabilities,
  Delivery,
  HistoryPage,
  PromptInput,
  PromptOutcome,
  Receipt,
  SessionEntry,
  SessionState,
  SessionView,
  TurnOutcome
} from "./Model.ts"

/**
 * How a prompt is sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromptOptions {
  /** What a prompt does that arrives during a turn; default `queue`. */
  readonly delivery?: Delivery
  /**
   * Takes the prompt back while it is queued, and interrupts its turn later on; the outcome says which. Aborted before
   * the call, nothing is sent and the call rejects with the tag `Aborted`.
   */
  readonly signal?: AbortSignal
}

/**
 * A prompt that was accepted. Its promises resolve whatever happens, also when the session closes; none rejects.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromptHandle {
  readonly id: string
  /** Its final state. */
  readonly receipt: Promise<Receipt>
  /** What became of its turn; `notRun` with the receipt when there was none. */
  readonly outcome: Promise<PromptOutcome>
  /** The events of the session from this prompt on, until its outcome has been told. Each loop reads them anew. */
  readonly events: AsyncIterable<SessionEntry>
  /**
   * The messages of the agent in its turn, joined by blank lines, when the turn is over; empty when there was none.
   * Those of subagents are left out.
   */
  readonly text: Promise<string>
}

/**
 * One conversation with one agent in one directory; it outlives connections and server processes.
 *
 * Every iterable completes when the session closes and never throws because of a stop. A listener that throws or rejects
 * is reported to the logger and goes on hearing; each `on…` returns what unsubscribes it, after which it hears nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReinsSession {
  readonly id: string
  /** The name under which its provider was configured. */
  readonly provider: string
  readonly cwd: string
  readonly capabilities: Capabilities
  /** The short state as it is now. */
  readonly state: SessionState
  /** Hears the state as it is now and each change; states that follow each other at once may be told as one. */
  readonly onState: (listener: (state: SessionState) => void) => () => void
  /**
   * Everything that a window needs to draw the session now. `events({ after: view().seq })` goes on with it in this
   * process; with a store its last events may not be stored yet, so a host that wants to go on after a crash stores the
   * `seq` of the last event that it was given.
   */
  readonly view: () => SessionView
  /**
   * The events. Without `after` they begin with this opening of the session; with `after: n` they go on behind the
   * durable event `n`; with `deltas: false` the pieces of growing text are left out.
   */
  readonly events: (options?: { readonly after?: number; readonly deltas?: boolean }) => AsyncIterable<SessionEntry>
  /** Hears the events from now on: all of them, or those with one tag. */
  readonly on: {
    (listener: (event: SessionEntry) => void): () => void
    <Tag extends SessionEntry["_tag"]>(
      tag: Tag,
      listener: (event: Extract<SessionEntry, { readonly _tag: Tag }>) => void
    ): () => void
  }
  /**
   * What the agent's own record holds: the newest turns, or with `before: page.before` those that come before a page.
   * `limit` is the number of turns, 20 by default and 200 at the most.
   */
  readonly history: (options?: { readonly before?: string; readonly limit?: number }) => Promise<HistoryPage>
  /**
   * Takes a prompt; it waits in the queue while a turn runs. Rejects with `Unsupported` where agent or model cannot take a
   * part of it, and with `InvalidRequest` where a part is wrong: a file that is missing or too large, an unknown command.
   */
  readonly prompt: (input: string | PromptInput, options?: PromptOptions) => Promise<PromptHandle>
  /** Takes a queued prompt back. `false`: it was not queued any more. */
  readonly withdraw: (promptId: string) => Promise<boolean>
  /** Stops the running turn; nothing happens when none runs. Queued prompts stay queued. */
  readonly interrupt: () => Promise<void>
  /** All open requests, oldest first. */
  readonly requests: () => ReadonlyArray<AgentRequest>
  /** Answers a request. The first answer wins; a later one rejects with the tag `RequestNotOpen`. */
  readonly answer: (requestId: string, answer: Answer) => Promise<void>
  /**
   * Gets every request that nobody has answered, those open already too; what it returns is the answer, `undefined`
   * leaves the request to others. A request whose handler throws stays open. While a handler is registered the session
   * counts as attended.
   */
  readonly onRequest: (
    handler: (request: AgentRequest) => Answer | undefined | Promise<Answer | undefined>
  ) => () => void
  /** Changes what later turns use, or the title. A new model without a `variant` has the model's own default. */
  readonly configure: (options: {
    readonly model?: string
    readonly mode?: string
    readonly variant?: string
    readonly title?: string
    readonly approvals?: Approvals
  }) => Promise<void>
  /**
   * Makes a session of its own that goes on with a copy of the conversation: up to the turn `at` and with it, default all
   * turns that have settled. This one is left as it is.
   */
  readonly fork: (options?: { readonly at?: string; readonly title?: string }) => Promise<ReinsSession>
  /**
   * Takes a turn and all behind it back: the model does not see them any more. `files` says whether the agent took back
   * what these turns had changed in files, too. Rejects with `SessionBusy` while a turn runs.
   */
  readonly revert: (options: { readonly beforeTurn: string }) => Promise<{ readonly files: "restored" | "kept" }>
  /** Undoes the last `revert`, until the next prompt. Rejects with `InvalidRequest` when there is nothing to undo. */
  readonly unrevert: () => Promise<void>
  /** Has the agent replace the conversation by its summary, and waits until that turn has settled. */
  readonly compact: () => Promise<TurnOutcome>
  /** Resolves when nothing is queued, running or on its way. */
  readonly quiescent: () => Promise<void>
  /** Stops the turn, gives queued prompts back and ends the session within 5 seconds. From anywhere, any number of times. */
  readonly close: () => Promise<void>
  /** Why the session closed; resolves when it did. */
  readonly closed: Promise<string>
  /** The same as `close`, for `await using`. */
  readonly [Symbol.asyncDispose]: () => Promise<void>
}
