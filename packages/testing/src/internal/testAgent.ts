/** The agent behind the test provider: its conversations, and what it tells whoever listens. */
import * as AgentError from "@reins/core/AgentError"
import type { Answer } from "@reins/core/AgentRequest"
import type { ItemContent, ItemStatus } from "@reins/core/Item"
import { streamOf, textOf } from "@reins/core/Item"
import type { Submission } from "@reins/core/Provider"
import type { RequestSignal, Signal, Snapshot, SnapshotRequest, TurnVerdict } from "@reins/core/Signal"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type { Operation, Script, TestPrompt } from "../TestProvider.ts"
import * as testTurn from "./testTurn.ts"

/** Signals that may wait on one connection; one more and the connection is lost. */
export const maxBacklog = 16_384
/** Signals beside items that are kept for the next snapshot while nobody is connected. */
const maxMissed = 1_000

export interface Prompt {
  readonly prompt: TestPrompt
  /** Sent into the running turn. */
  readonly steer: boolean
  turn: Turn | undefined
}

export interface Item {
  readonly key: string
  content: ItemContent
  status: ItemStatus | undefined
  voided: boolean
}

export interface Ask {
  readonly signal: RequestSignal
  readonly answer: Deferred.Deferred<Answer>
}

export interface Turn {
  readonly id: string
  readonly index: number
  readonly conversation: Conversation
  readonly prompts: Array<Prompt>
  readonly items: Array<Item>
  readonly asks: Map<string, Ask>
  /** Plans, diffs and usage that nobody heard. */
  readonly missed: Array<Signal>
  missedSome: boolean
  verdict: TurnVerdict
  /** Its script was stopped from outside: nothing that it still says is heard. */
  mute: boolean
}

export interface Conversation {
  readonly id: string
  readonly cwd: string
  model: string | undefined
  mode: string | undefined
  readonly prompts: Map<string, Prompt>
  readonly held: Array<Prompt>
  readonly turns: Array<Turn>
  running: Turn | undefined
  readonly attachments: Set<Attachment>
}

/** How far a session has followed a conversation: the first turn whose end it has not been told. */
export interface Reader {
  seen: number
}

export interface Attachment {
  readonly queue: Queue.Queue<Signal, AgentError.AgentError | Cause.Done>
  readonly report: (signal: Signal) => void
  readonly reader: Reader
  open: boolean
}

interface Waiter {
  readonly holds: () => boolean
  readonly told: Deferred.Deferred<void>
}

export const lost = (description: string): AgentError.AgentError =>
  AgentError.make(new AgentError.ConnectionLost({ target: "test", description }))

export class TestAgent {
  readonly conversations = new Map<string, Conversation>()
  readonly submitted: Array<TestPrompt> = []
  readonly answered: Array<{ readonly request: RequestSignal; readonly answer: Answer }> = []
  readonly hung = new Map<Operation, { readonly heard: boolean }>()
  readonly once: Array<Script> = []
  script: Script
  unavailable: AgentError.AgentErrorReason | undefined
  private readonly run: (effect: Effect.Effect<void>) => Fiber.Fiber<void>
  private readonly scripts = new Map<Fiber.Fiber<void>, Turn>()
  private readonly waiters = new Set<Waiter>()
  private counter = 0

  constructor(script: Script, run: (effect: Effect.Effect<void>) => Fiber.Fiber<void>) {
    this.script = script
    this.run = run
  }

  key(prefix: string): string {
    return `${prefix}-${++this.counter}`
  }

  /** Waits until something holds; it is looked at after every change. */
  until(holds: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (holds()) return Effect.void
      const waiter: Waiter = { holds, told: Deferred.makeUnsafe() }
      this.waiters.add(waiter)
      return Effect.ensuring(
        Deferred.await(waiter.told),
        Effect.sync(() => {
          this.waiters.delete(waiter)
        })
      )
    })
  }

  prompt(index: number): Effect.Effect<TestPrompt> {
    return Effect.andThen(
      this.until(() => this.submitted.length > index),
      Effect.suspend(() => {
        const prompt = this.submitted[index]
        return prompt === undefined ? Effect.die(new Error(`There is no prompt ${index}.`)) : Effect.succeed(prompt)
      })
    )
  }

  /** Who waits is told when what is being done now is done. */
  changed(): void {
    for (const waiter of this.waiters) {
      if (!waiter.holds()) continue
      this.waiters.delete(waiter)
      this.run(Effect.andThen(Effect.yieldNow, Effect.asVoid(Deferred.succeed(waiter.told, undefined))))
    }
  }

  get newest(): Conversation | undefined {
    return [...this.conversations.values()].at(-1)
  }

  get connections(): number {
    let count = 0
    for (const conversation of this.conversations.values()) count += conversation.attachments.size
    return count
  }

  begin(cwd: string): Conversation {
    const conversation: Conversation = {
      id: `conversation-${this.conversations.size + 1}`,
      cwd,
      model: undefined,
      mode: undefined,
      prompts: new Map(),
      held: [],
      turns: [],
      running: undefined,
      attachments: new Set()
    }
    this.conversations.set(conversation.id, conversation)
    return conversation
  }

  attach(conversation: Conversation, attachment: Attachment): void {
    conversation.attachments.add(attachment)
    this.changed()
  }

  detach(conversation: Conversation, attachment: Attachment, error?: AgentError.AgentError): void {
    if (!attachment.open) return
    attachment.open = false
    conversation.attachments.delete(attachment)
    if (error === undefined) Queue.endUnsafe(attachment.queue)
    else Queue.failCauseUnsafe(attachment.queue, Cause.fail(error))
    this.changed()
  }

  /** Ends every connection; the agent goes on. */
  cut(error: AgentError.AgentError): void {
    for (const conversation of this.conversations.values()) {
      for (const attachment of [...conversation.attachments]) this.detach(conversation, attachment, error)
    }
  }

  tell(conversation: Conversation, ...signals: ReadonlyArray<Signal>): void {
    for (const attachment of [...conversation.attachments]) {
      if (Queue.offerAllUnsafe(attachment.queue, signals).length > 0) {
        this.detach(conversation, attachment, lost("The reader fell too far behind."))
      }
    }
  }

  /** What no item holds is kept for the next snapshot when nobody listens. */
  tellBeside(turn: Turn, signal: Signal): void {
    if (turn.conversation.attachments.size > 0) {
      this.tell(turn.conversation, signal)
      return
    }
    turn.missed.push(signal)
    if (turn.missed.length > maxMissed) {
      turn.missed.shift()
      turn.missedSome = true
    }
  }

  /** Takes a prompt; one whose key is known runs once. */
  submit(conversation: Conversation, submission: Submission, steer: boolean): void {
    if (conversation.prompts.has(submission.key)) return
    const { input, key, promptId } = submission
    const text = input.parts.flatMap((part) => part._tag === "Text" ? [part.text] : []).join("\n")
    const prompt: TestPrompt = { id: key, promptId, text, input, foreign: false }
    this.submitted.push(prompt)
    this.take(conversation, { prompt, steer, turn: undefined })
  }

  foreign(conversation: Conversation, text: string): void {
    const prompt: TestPrompt = {
      id: this.key("foreign"),
      text,
      input: { parts: [{ _tag: "Text", text }] },
      foreign: true
    }
    this.take(conversation, { prompt, steer: false, turn: undefined })
  }

  private take(conversation: Conversation, prompt: Prompt): void {
    conversation.prompts.set(prompt.prompt.id, prompt)
    conversation.held.push(prompt)
    this.next(conversation)
    this.changed()
  }

  /** Begins with the next prompt when nothing runs. */
  private next(conversation: Conversation): void {
    if (conversation.running !== undefined) return
    const prompt = conversation.held.shift()
    if (prompt === undefined) return
    const turn: Turn = {
      id: this.key("turn"),
      index: conversation.turns.length,
      conversation,
      prompts: [],
      items: [],
      asks: new Map(),
      missed: [],
      missedSome: false,
      verdict: { _tag: "running" },
      mute: false
    }
    conversation.turns.push(turn)
    conversation.running = turn
    this.join(turn, prompt)
    const script = this.once.shift() ?? this.script
    const fiber = this.run(
      // The submission is answered before the work begins.
      Effect.yieldNow.pipe(
        Effect.andThen(Effect.suspend(() => script(testTurn.make(this, turn, prompt.prompt)))),
        Effect.matchCauseEffect({
          onFailure: (cause) => Effect.sync(() => this.end(turn, verdictOf(cause))),
          onSuccess: () => Effect.sync(() => this.end(turn, { _tag: "completed", stopReason: "endTurn" }))
        })
      )
    )
    this.scripts.set(fiber, turn)
    fiber.addObserver(() => this.scripts.delete(fiber))
  }

  /** The turn takes a prompt that was held. */
  takeHeld(turn: Turn): TestPrompt | undefined {
    if (!isOpen(turn)) return undefined
    const prompt = turn.conversation.held.shift()
    if (prompt === undefined) return undefined
    this.join(turn, prompt)
    return prompt.prompt
  }

  private join(turn: Turn, prompt: Prompt): void {
    prompt.turn = turn
    turn.prompts.push(prompt)
    const message: Item = {
      key: this.key("item"),
      content: {
        _tag: "userMessage",
        text: prompt.prompt.text,
        ...(prompt.prompt.promptId === undefined ? undefined : { promptId: prompt.prompt.promptId })
      },
      status: "completed",
      voided: false
    }
    turn.items.push(message)
    this.tell(turn.conversation, ...taken(turn, prompt), itemSignal(turn, message))
    this.changed()
  }

  /** Ends the turn with this verdict, once, and goes on with what waits. */
  end(turn: Turn, verdict: Exclude<TurnVerdict, { readonly _tag: "running" }>): void {
    if (!isOpen(turn)) return
    const { conversation } = turn
    const status = verdict._tag === "completed" ? "completed" : verdict._tag === "failed" ? "failed" : "interrupted"
    for (const item of turn.items) {
      if (item.status !== undefined || item.voided) continue
      item.status = status
      this.tell(conversation, itemSignal(turn, item))
    }
    for (const ask of [...turn.asks.values()]) this.closeAsk(turn, ask, undefined)
    turn.verdict = verdict
    if (verdict._tag === "failed") this.tell(conversation, { _tag: "turnError", turn: turn.id, error: verdict.error })
    this.tell(conversation, { _tag: "turnEnded", turn: turn.id, verdict, fact: `turn ${verdict._tag}` })
    for (const { reader } of conversation.attachments) reader.seen = Math.max(reader.seen, turn.index + 1)
    conversation.running = undefined
    this.next(conversation)
    this.changed()
  }

  /** Stops the running turn; what was sent into it and not taken is dropped with it. */
  interrupt(conversation: Conversation): void {
    const turn = conversation.running
    if (turn === undefined) return
    this.drop(conversation, (prompt) => prompt.steer)
    turn.mute = true
    // The verdict stands before the script's own finalizers run.
    this.end(turn, { _tag: "interrupted", by: "user" })
    this.stop((owner) => owner === turn)
  }

  private stop(which: (turn: Turn) => boolean): void {
    for (const [fiber, owner] of [...this.scripts]) {
      if (which(owner)) fiber.interruptUnsafe()
    }
  }

  private drop(conversation: Conversation, which: (prompt: Prompt) => boolean): void {
    for (const prompt of conversation.held.filter(which)) {
      conversation.held.splice(conversation.held.indexOf(prompt), 1)
      conversation.prompts.delete(prompt.prompt.id)
    }
  }

  /** The server dies: what it had written down stays, what it had in mind is gone. */
  crash(): void {
    const error = AgentError.make(
      new AgentError.ProcessExited({ command: "test-agent", signal: "SIGKILL", description: "The test let it crash." })
    )
    for (const conversation of this.conversations.values()) {
      for (const { report } of conversation.attachments) {
        report({ _tag: "process", status: { _tag: "exited", signal: "SIGKILL" } })
      }
    }
    this.cut(error)
    for (const turn of this.scripts.values()) turn.mute = true
    for (const conversation of this.conversations.values()) {
      this.drop(conversation, () => true)
      const turn = conversation.running
      if (turn === undefined) continue
      turn.asks.clear()
      turn.verdict = { _tag: "unfinished" }
      conversation.running = undefined
    }
    this.stop((turn) => turn.mute)
    this.changed()
  }

  open(turn: Turn, ask: Ask): void {
    turn.asks.set(ask.signal.key, ask)
    this.tell(turn.conversation, ask.signal)
    this.changed()
  }

  /** `answer` absent: nobody answered, and nobody waits any more. */
  closeAsk(turn: Turn, ask: Ask, answer: Answer | undefined): void {
    if (!turn.asks.delete(ask.signal.key)) return
    this.tell(turn.conversation, {
      _tag: "requestClosed",
      turn: turn.id,
      key: ask.signal.key,
      ...(answer === undefined ? undefined : { accepted: answer._tag !== "decline" && answer._tag !== "cancel" })
    })
    if (answer !== undefined) Deferred.doneUnsafe(ask.answer, Effect.succeed(answer))
    this.changed()
  }

  settle(conversation: Conversation, request: RequestSignal, answer: Answer): "delivered" | "gone" {
    for (const turn of conversation.turns) {
      const ask = turn.asks.get(request.key)
      if (ask === undefined) continue
      this.answered.push({ request: ask.signal, answer })
      // To cancel is to end the turn, unlike to decline: the script is stopped where it waits.
      if (answer._tag === "cancel" && conversation.running === turn) this.interrupt(conversation)
      else this.closeAsk(turn, ask, answer)
      return "delivered"
    }
    return "gone"
  }

  snapshot(conversation: Conversation, reader: Reader, request: SnapshotRequest): Snapshot {
    const asked = new Set([...request.turns, ...request.prompts])
    const isAsked = (turn: Turn) => asked.has(turn.id) || turn.prompts.some(({ prompt }) => asked.has(prompt.id))
    const first = conversation.turns.findIndex(isAsked)
    const told = conversation.turns.slice(first < 0 ? reader.seen : Math.min(first, reader.seen))
    const missedSome = told.some((turn) => turn.missedSome)
    const signals = told.flatMap((turn) => [
      ...turn.prompts.flatMap((prompt) => taken(turn, prompt)),
      ...turn.items.map((item): Signal =>
        item.voided ? { _tag: "itemVoided", turn: turn.id, key: item.key } : itemSignal(turn, item)
      ),
      ...turn.missed.splice(0)
    ])
    for (const turn of told) {
      turn.missedSome = false
      // The asker gets the verdict with this very answer.
      if (turn.index === reader.seen && isAsked(turn) && turn.verdict._tag !== "running") reader.seen++
    }
    return {
      activity: conversation.running === undefined ? "idle" : "busy",
      prompts: Object.fromEntries(request.prompts.map((key) => {
        const prompt = conversation.prompts.get(key)
        return [key, prompt === undefined ? "absent" : prompt.turn === undefined ? "held" : "taken"]
      })),
      turns: Object.fromEntries(
        told.flatMap((turn) =>
          [turn.id, ...turn.prompts.map(({ prompt }) => prompt.id)].map((key) => [key, turn.verdict])
        )
      ),
      signals,
      requests: conversation.turns.flatMap((turn) => [...turn.asks.values()].map((ask) => ask.signal)),
      complete: !missedSome
    }
  }
}

export const isOpen = (turn: Turn): boolean => turn.verdict._tag === "running"

/** A script that was interrupted from inside ended its turn by itself; one that died failed it. */
const verdictOf = (cause: Cause.Cause<unknown>): Exclude<TurnVerdict, { readonly _tag: "running" }> => {
  if (Cause.hasInterruptsOnly(cause)) return { _tag: "interrupted", by: "provider" }
  const thrown = AgentError.fromUnknown(cause)
  return {
    _tag: "failed",
    error: AgentError.fromReason(
      new AgentError.UpstreamFailed({
        kind: "script",
        transient: false,
        description: `The script of the test died: ${thrown.message}`
      })
    )
  }
}

const taken = (turn: Turn, { prompt }: Prompt): ReadonlyArray<Signal> => {
  const started: Signal = { _tag: "turnStarted", turn: turn.id, prompt: prompt.id }
  return prompt.foreign
    ? [started, { _tag: "prompt", turn: turn.id, key: prompt.id, text: prompt.text }]
    : [started]
}

/** The item as it is now; its text is the whole text so far. */
export const itemSignal = (turn: Turn, item: Item): Signal => ({
  _tag: "item",
  turn: turn.id,
  key: item.key,
  item: item.content,
  hasText: true,
  ...(item.status === undefined ? undefined : { status: item.status })
})

/** The end of an item's text, as it was appended. */
export const deltaSignal = (turn: Turn, item: Item, text: string): Signal => ({
  _tag: "delta",
  turn: turn.id,
  key: item.key,
  stream: streamOf(item.content) ?? "text",
  text,
  offset: textOf(item.content).length - text.length
})
