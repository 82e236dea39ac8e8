/**
 * A provider in memory for tests of hosts: a well-mannered coding agent that is scripted in code and misbehaves on
 * command. It uses no process, no socket and no timer but the clock of the test.
 *
 * @since 0.1.0
 */
import type * as AgentError from "@reins/core/AgentError"
import type { Answer, AnswerOption, RequestFacts, RequestKind } from "@reins/core/AgentRequest"
import * as Capabilities from "@reins/core/Capabilities"
import type { PromptId } from "@reins/core/Ids"
import type { FileChange, ItemContent, ItemStatus, PlanEntry } from "@reins/core/Item"
import type { PromptInput } from "@reins/core/Prompt"
import type { Provider } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import type { RequestSignal, Signal, TurnVerdict } from "@reins/core/Signal"
import type { StopReason } from "@reins/core/Turn"
import type { Usage } from "@reins/core/Usage"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type { Json } from "effect/Schema"
import type * as Scope from "effect/Scope"
import { lost, TestAgent } from "./internal/testAgent.ts"
import type { Conversation } from "./internal/testAgent.ts"
import * as testConnection from "./internal/testConnection.ts"

/**
 * A prompt as the agent got it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestPrompt {
  /** The key under which it was submitted. */
  readonly id: string
  /** The host's own id of it; absent for a prompt that somebody else typed. */
  readonly promptId?: PromptId
  /** Its text parts, joined by line breaks. */
  readonly text: string
  readonly input: PromptInput
  /** It did not come from the host. */
  readonly foreign: boolean
}

/**
 * What a script asks of the host. `options` default to the four words of an approval, to `content`, `decline` and `cancel`
 * for a `hostTool`, and to `answers`, `decline` and `cancel` for other kinds that no policy answers.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestRequest {
  readonly kind: RequestKind
  /** One line for a person. */
  readonly subject: string
  readonly facts?: RequestFacts
  readonly options?: ReadonlyArray<AnswerOption>
}

/**
 * What the work items of a script have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestWork {
  /** Asks the host for approval first: default `false`. */
  readonly ask?: boolean
  /** How long it works on the clock of the test: default no time. */
  readonly takes?: Duration.Input
}

/**
 * One turn in the hand of its script. After `finish` or `fail` what the script still says is sent as a late frame; after
 * an interrupt or a crash nothing is.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestTurn {
  /** The agent's own id of the turn, as `Signal.turn` carries it. */
  readonly id: string
  readonly conversation: string
  readonly cwd: string
  /** The prompt that began the turn. */
  readonly prompt: TestPrompt
  readonly model: Effect.Effect<string | undefined>
  readonly mode: Effect.Effect<string | undefined>
  /** Streams a chunk of the current assistant message; calls in a row make one item. */
  readonly say: (text: string) => Effect.Effect<void>
  /** Streams a chunk of the current reasoning; calls in a row make one item. */
  readonly think: (text: string) => Effect.Effect<void>
  /** An assistant message as a whole. */
  readonly message: (text: string) => Effect.Effect<void>
  /** Throws away the message or reasoning that is being streamed, as an agent does whose model broke off. */
  readonly retract: Effect.Effect<void>
  /** Runs a command, with approval first if `ask`; fails unless accepted, or with an `exitCode` (default 0) other than 0. */
  readonly command: (
    options: TestWork & {
      readonly command: string
      readonly cwd?: string
      readonly output?: string
      readonly exitCode?: number
    }
  ) => Effect.Effect<Answer>
  /** Changes a file, with approval first if `ask`, and tells the turn's diff so far. `change` is `updated` by default. */
  readonly edit: (
    options: TestWork & {
      readonly path: string
      readonly diff?: string
      readonly change?: FileChange["change"]
    }
  ) => Effect.Effect<Answer>
  /** Calls a tool, with approval first if `ask`. */
  readonly tool: (
    options: TestWork & {
      readonly tool: string
      readonly server?: string
      readonly input?: Json
      readonly output?: string
      readonly fails?: boolean
    }
  ) => Effect.Effect<Answer>
  /** Asks the host and waits for its answer. `cancel` ends the turn; an interrupted wait takes the request back. */
  readonly ask: (request: TestRequest) => Effect.Effect<Answer>
  /** Waits for the next prompt that arrives during this turn and takes it into the turn. */
  readonly steered: Effect.Effect<TestPrompt>
  readonly plan: (entries: ReadonlyArray<PlanEntry>) => Effect.Effect<void>
  /** `scope` is `delta` by default. */
  readonly usage: (usage: Usage, scope?: "delta" | "cumulative") => Effect.Effect<void>
  /** Tells that the model is tried again, waits `after` on the clock of the test, and goes on. */
  readonly retrying: (options: {
    readonly attempt: number
    readonly after: Duration.Input
    readonly error?: AgentError.AgentErrorReason
  }) => Effect.Effect<void>
  /** Ends the turn with an error. */
  readonly fail: (error: AgentError.AgentErrorReason) => Effect.Effect<void>
  /** Ends the turn: `endTurn` by default. */
  readonly finish: (stopReason?: StopReason) => Effect.Effect<void>
}

/**
 * What the agent does with one prompt. A script that returns has finished the turn with `endTurn`, one that dies has
 * failed it.
 *
 * @category models
 * @since 0.1.0
 */
export type Script = (turn: TestTurn) => Effect.Effect<void>

/**
 * What can be made to hang. `submit` covers prompts that are sent into a running turn.
 *
 * @category models
 * @since 0.1.0
 */
export type Operation = "connect" | "submit" | "interrupt" | "settle" | "snapshot"

/**
 * What a test agent may be told.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The name that `layer` configures the provider under, and its kind: `test`. */
  readonly id?: string
  /** On top of what it can: steer, interrupt, resume, images, files, models, modes, questions, plans and usage. */
  readonly capabilities?: Partial<Capabilities.Capabilities>
  /** What it does with prompts: `echo`. */
  readonly respond?: Script
}

/**
 * A turn as the agent remembers it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConversationTurn {
  readonly id: string
  /** The prompts that it took, in order. */
  readonly prompts: ReadonlyArray<TestPrompt>
  readonly verdict: TurnVerdict
  /** What it said and did, without what it threw away. */
  readonly items: ReadonlyArray<{ readonly key: string; readonly item: ItemContent; readonly status?: ItemStatus }>
}

/**
 * A conversation as the agent remembers it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestConversation {
  readonly id: string
  readonly cwd: string
  readonly model?: string
  readonly mode?: string
  readonly turns: ReadonlyArray<ConversationTurn>
  /** Prompts that wait for the running turn to take them or to end. */
  readonly held: ReadonlyArray<TestPrompt>
  /** Requests that are open. */
  readonly requests: ReadonlyArray<RequestSignal>
}

/**
 * A test agent: its provider for `Providers.layer`, what it does, and what it was told. What it remembers lives as long
 * as the scope of `make`, so sessions can be resumed after their layers were built anew.
 *
 * @category services
 * @since 0.1.0
 */
export class TestProvider extends Context.Service<TestProvider, {
  readonly provider: Provider
  /** Replaces the script for prompts that are begun from now on. */
  readonly respond: (script: Script) => Effect.Effect<void>
  /** Scripts the next turn only; several calls script the turns after it. */
  readonly once: (script: Script) => Effect.Effect<void>

  /** Breaks all connections; the agent goes on, and what it does meanwhile is in its next snapshot. */
  readonly cut: Effect.Effect<void>
  /**
   * Kills the server: scripts stop, their turns stay unfinished, open requests and prompts that waited are gone. The
   * next connection finds it started anew.
   */
  readonly crash: Effect.Effect<void>
  /** Lets every attempt to connect fail with this reason, until it is called with `undefined`. */
  readonly unavailable: (reason: AgentError.AgentErrorReason | undefined) => Effect.Effect<void>
  /** Lets calls of this operation go unanswered. With `heard` the agent still does what they ask: default `false`. */
  readonly hang: (operation: Operation, options?: { readonly heard?: boolean }) => Effect.Effect<void>
  /** Answers later calls of this operation again, of all without one. Calls that hang already stay so. */
  readonly unhang: (operation?: Operation) => Effect.Effect<void>
  /** Somebody else types into the conversation: the newest, unless named. Dies where there is none. */
  readonly foreignPrompt: (text: string, conversation?: string) => Effect.Effect<void>
  /** Sends raw signals on the connections of the newest conversation; the agent does not remember them. */
  readonly emit: (...signals: ReadonlyArray<Signal>) => Effect.Effect<void>

  /** The prompts that the host submitted, each once, in order. */
  readonly prompts: Effect.Effect<ReadonlyArray<TestPrompt>>
  /** The answers that reached the agent, in order; what a teardown cancels is among them. */
  readonly answers: Effect.Effect<ReadonlyArray<{ readonly request: RequestSignal; readonly answer: Answer }>>
  /** All conversations, oldest first. */
  readonly conversations: Effect.Effect<ReadonlyArray<TestConversation>>
  /** The newest conversation. */
  readonly conversation: Effect.Effect<TestConversation | undefined>
  /** Connections open now. */
  readonly connections: Effect.Effect<number>
  /** Waits for the prompt with this index among `prompts`, from 0; one that came already counts. */
  readonly awaitPrompt: (index: number) => Effect.Effect<TestPrompt>
  /** Waits until this many connections are open. */
  readonly awaitConnections: (count: number) => Effect.Effect<void>
  /** Waits until no turn runs in any conversation. */
  readonly awaitIdle: Effect.Effect<void>
}>()("@reins/testing/TestProvider") {}

/**
 * The default script: says the text of the prompt.
 *
 * @category scripts
 * @since 0.1.0
 */
export const echo: Script = (turn) => turn.say(turn.prompt.text)

/**
 * A script that says these chunks.
 *
 * @category scripts
 * @since 0.1.0
 */
export const say = (...chunks: ReadonlyArray<string>): Script => (turn) =>
  Effect.forEach(chunks, turn.say, { discard: true })

/**
 * A script that never ends by itself, after it has said these chunks: for turns that are steered, interrupted or lost.
 *
 * @category scripts
 * @since 0.1.0
 */
export const hold = (...chunks: ReadonlyArray<string>): Script => (turn) =>
  Effect.andThen(say(...chunks)(turn), Effect.never)

const view = (conversation: Conversation): TestConversation => ({
  id: conversation.id,
  cwd: conversation.cwd,
  ...(conversation.model === undefined ? undefined : { model: conversation.model }),
  ...(conversation.mode === undefined ? undefined : { mode: conversation.mode }),
  turns: conversation.turns.map((turn) => ({
    id: turn.id,
    prompts: turn.prompts.map(({ prompt }) => prompt),
    verdict: turn.verdict,
    items: turn.items.filter((item) => !item.voided).map((item) => ({
      key: item.key,
      item: item.content,
      ...(item.status === undefined ? undefined : { status: item.status })
    }))
  })),
  held: conversation.held.map(({ prompt }) => prompt),
  requests: conversation.turns.flatMap((turn) => [...turn.asks.values()].map((ask) => ask.signal))
})

/**
 * Makes a test agent; its scripts run in the scope, on the clock of the fiber that makes it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<TestProvider["Service"], never, Scope.Scope> {
  const run = yield* FiberSet.makeRuntime<never, void, never>()
  const agent = new TestAgent(options.respond ?? echo, (effect) => run(effect))
  const capabilities: Capabilities.Capabilities = {
    ...Capabilities.none,
    steer: true,
    interrupt: true,
    resume: true,
    images: true,
    files: true,
    setModel: true,
    setMode: true,
    questions: true,
    plan: true,
    usage: true,
    ...options.capabilities
  }
  return TestProvider.of({
    provider: testConnection.provider(agent, options.id ?? "test", capabilities),
    respond: (script) =>
      Effect.sync(() => {
        agent.script = script
      }),
    once: (script) => Effect.sync(() => agent.once.push(script)),
    cut: Effect.sync(() => agent.cut(lost("The test cut the connection."))),
    crash: Effect.sync(() => agent.crash()),
    unavailable: (reason) =>
      Effect.sync(() => {
        agent.unavailable = reason
      }),
    hang: (operation, { heard = false } = {}) => Effect.sync(() => agent.hung.set(operation, { heard })),
    unhang: (operation) =>
      Effect.sync(() => {
        if (operation === undefined) agent.hung.clear()
        else agent.hung.delete(operation)
      }),
    foreignPrompt: (text, id) =>
      Effect.suspend(() => {
        const conversation = id === undefined ? agent.newest : agent.conversations.get(id)
        return conversation === undefined
          ? Effect.die(new Error(`The test agent has no conversation ${id ?? "yet"}.`))
          : Effect.sync(() => agent.foreign(conversation, text))
      }),
    emit: (...signals) =>
      Effect.sync(() => {
        if (agent.newest !== undefined) agent.tell(agent.newest, ...signals)
      }),
    prompts: Effect.sync(() => [...agent.submitted]),
    answers: Effect.sync(() => [...agent.answered]),
    conversations: Effect.sync(() => [...agent.conversations.values()].map(view)),
    conversation: Effect.sync(() => agent.newest === undefined ? undefined : view(agent.newest)),
    connections: Effect.sync(() => agent.connections),
    awaitPrompt: (index) => agent.prompt(index),
    awaitConnections: (count) => agent.until(() => agent.connections === count),
    awaitIdle: agent.until(() => [...agent.conversations.values()].every(({ running }) => running === undefined))
  })
})

/**
 * A test agent and the `Providers` that list it alone, under its `id` (default `test`).
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<TestProvider | Providers.Providers> =>
  Layer.unwrap(Effect.map(TestProvider, ({ provider }) => Providers.layer({ [provider.kind]: provider }))).pipe(
    Layer.provideMerge(Layer.effect(TestProvider, make(options)))
  )
