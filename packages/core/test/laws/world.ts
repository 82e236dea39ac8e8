/** One session engine, one simulated agent and the wire between them, driven as the real driver does. */
import type { ErrorInfo } from "../../src/AgentError.ts"
import type { Answer } from "../../src/AgentRequest.ts"
import type { ApprovalPolicy } from "../../src/ApprovalPolicy.ts"
import { PromptId, SessionId } from "../../src/Ids.ts"
import * as checkpoint from "../../src/internal/engine/checkpoint.ts"
import type { EngineCommand, EngineInput, EngineState } from "../../src/internal/engine/state.ts"
import * as State from "../../src/internal/engine/state.ts"
import * as Step from "../../src/internal/engine/step.ts"
import * as toldTurns from "../../src/internal/toldTurns.ts"
import * as Prompt from "../../src/Prompt.ts"
import type { DurableEvent, SessionEvent } from "../../src/SessionEvent.ts"
import type { Signal } from "../../src/Signal.ts"
import type { InterruptedBy } from "../../src/Turn.ts"
import type { Manner } from "./manners.ts"
import { Words } from "./manners.ts"
import { errorInfo, SimulatedAgent } from "./simulatedAgent.ts"

/** The engine under test; mutants stand in for it. */
export interface Engine {
  readonly step: (S: EngineState, inputs: ReadonlyArray<EngineInput>, now: number) => void
}

export const realEngine: Engine = { step: Step.step }

export interface Config extends Manner {
  readonly policy: ApprovalPolicy
  readonly canSteer: boolean
  readonly mergesLater: boolean
  readonly expiresAfter: number | undefined
  readonly queue: number
}

/** How a call to the agent goes. */
export type Fate = "ok" | "lostBefore" | "lostAfter" | "refused"

export interface Call {
  readonly command: EngineCommand
  readonly since: number
  /** The answer on its way back. */
  reply: EngineInput | undefined
  done: boolean
}

export interface Entry {
  readonly event: SessionEvent
  /** The event as it was written, to see that nobody changed it later. */
  readonly json: string | undefined
}

export class Violation extends Error {
  readonly law: number
  constructor(law: number, message: string) {
    super(message)
    this.law = law
  }
}

/** The driver's limit for a call, in milliseconds. */
const callLimit = 30_000

/** What an agent may tell without working. */
const besides: ReadonlySet<Signal["_tag"]> = new Set(["info", "unrecognised", "diff"])

/** What an agent tells of one thing in its own order, and of several things in any. */
const loose: ReadonlySet<Signal["_tag"]> = new Set([
  "item",
  "delta",
  "requestOpened",
  "requestClosed",
  "plan",
  "diff",
  "usage",
  "info",
  "unrecognised"
])

const areIndependent = (first: Signal, second: Signal): boolean => {
  const keyOf = (signal: Signal): string => "key" in signal ? signal.key : signal._tag
  const isPrompt = (signal: Signal): boolean => signal._tag === "item" && signal.item._tag === "userMessage"
  return loose.has(first._tag) && loose.has(second._tag) && keyOf(first) !== keyOf(second) && !isPrompt(first) &&
    !isPrompt(second)
}

const connectionLost = errorInfo("ConnectionLost", "lost")

export class World {
  readonly engine: Engine
  readonly config: Config
  S: EngineState
  readonly words: Words
  readonly agent: SimulatedAgent
  readonly log: Array<Entry> = []
  readonly stream: Array<Signal> = []
  readonly late: Array<{ readonly generation: number; readonly signals: ReadonlyArray<Signal> }> = []
  readonly calls: Array<Call> = []
  readonly promptIds: Array<PromptId> = []
  /** Where in the log somebody asked for the end of the turn. */
  readonly stops: Array<{ readonly from: number; readonly to: number; readonly by: InterruptedBy }> = []
  readonly unavailable: Array<number> = []
  readonly keepJson: boolean
  /** What a journal holds of the open things, as text. */
  private readonly open = new Map<string, string>()
  private noting = checkpoint.make()
  private told: toldTurns.ToldTurns
  /** What the engine was fed, for people to read. */
  readonly inputs: Array<{ readonly at: number; readonly text: string }> | undefined
  now = 1_000_000
  generation = 0
  connected = false
  /** The stream is dead and the host does not know yet. */
  mutedAt: number | undefined
  closeAskedAt: number | undefined
  closedAt: number | undefined
  finished = 0
  /** When a frame was last delivered. */
  heard = 1_000_000
  /** When a frame was last delivered that tells of work. */
  private worked = 1_000_000
  /** The agent was hung or deaf at some time. */
  hindered = false
  /** The machine slept at some time. */
  slept = false
  /** Found out once, by the laws. */
  hazy: boolean | undefined
  /** Everything came to its end before the session was closed. */
  drained = false
  /** A call was answered with a failure although the connection stood. */
  failedCalls = 0

  constructor(config: Config, engine: Engine, keepJson: boolean, trace = false) {
    this.inputs = trace ? [] : undefined
    this.engine = engine
    this.config = config
    this.keepJson = keepJson
    this.S = this.state(0)
    this.told = toldTurns.make(this.S, [])
    this.words = new Words(config)
    this.agent = new SimulatedAgent(
      this.words.reporter((...signals) => {
        if (!this.connected || this.mutedAt !== undefined) return
        for (const signal of signals) this.stream.push(signal)
      }),
      {
        mergesLater: config.mergesLater,
        ghosts: config.kind === "opencode",
        messagesFirst: config.kind === "opencode",
        answersSingly: config.kind === "opencode"
      }
    )
    this.dispatch([{ _tag: "connecting" }])
    this.connected = true
    this.generation = 1
    this.dispatch([{ _tag: "opened", how: { _tag: "new" } }])
    this.dispatch([{ _tag: "connected", generation: 1, resync: false }])
  }

  private state(firstSeq: number): EngineState {
    const { config } = this
    return State.make({
      sessionId: SessionId.make("ses_1"),
      provider: "sim",
      cwd: "/repo",
      firstSeq,
      canSteer: config.canSteer,
      promptKey: (id) => `k-${id}`,
      limits: { ...State.defaultLimits, queue: config.queue },
      ...(config.expiresAfter === undefined ? undefined : { expiresAfter: config.expiresAfter })
    }, config.policy)
  }

  dispatch(inputs: ReadonlyArray<EngineInput>): void {
    const S = this.S
    if (this.inputs !== undefined) {
      for (const input of inputs)
        this.inputs.push({ at: this.log.length, text: `${this.now} ${JSON.stringify(input)}` })
    }
    try {
      this.engine.step(S, inputs, this.now)
    } catch (error) {
      throw new Violation(
        0,
        `step is not total: ${error instanceof Error ? error.stack ?? error.message : String(error)}`
      )
    }
    if (S.events.length > 0) {
      const changes: checkpoint.Changes = new Map()
      for (const event of S.events) {
        if (event._tag === "ItemDelta") continue
        checkpoint.note(S, this.noting, event, changes)
        if (checkpoint.changesTold(event)) changes.set(checkpoint.toldName, this.told.keys())
      }
      for (const [name, value] of changes) {
        if (value === undefined) this.open.delete(name)
        else this.open.set(name, JSON.stringify(value))
      }
      for (const event of S.events.splice(0)) {
        this.log.push({ event, json: this.keepJson && event._tag !== "ItemDelta" ? JSON.stringify(event) : undefined })
        if (event._tag === "SessionClosed") this.closedAt ??= this.now
      }
    }
    if (S.commands.length > 0) {
      for (const command of S.commands.splice(0)) {
        if (command._tag === "finished") {
          this.finished++
          continue
        }
        const call: Call = { command, since: this.now, reply: undefined, done: false }
        this.calls.push(call)
        if (!this.connected) this.fail(call)
      }
    }
    this.alive()
  }

  /** Law 11 at this very moment: whatever is not final has something that moves it. */
  private alive(): void {
    const S = this.S
    if (S.phase !== "open" || !this.connected) return
    if (S.wakeAt !== undefined || this.calls.length > 0 || this.stream.length > 0 || this.mutedAt !== undefined) return
    if (this.agent.running !== undefined) return
    if (S.turn === undefined && S.inflight === undefined && S.steering.length === 0 && S.queue.waiting.length === 0)
      return
    throw new Violation(
      11,
      `nothing moves the session: turn ${S.turn?.id}, in flight ${S.inflight?.id}, steering ${S.steering.length}, ` +
        `queued ${S.queue.waiting.length}, zombie ${S.zombie !== undefined}`
    )
  }

  prompt(steer: boolean): void {
    const id = PromptId.make(`prm_${this.promptIds.length + 1}`)
    this.promptIds.push(id)
    this.dispatch([{ _tag: "prompt", id, input: Prompt.text(`text of ${id}`), delivery: steer ? "steer" : "queue" }])
  }

  interrupt(by: InterruptedBy): void {
    const from = this.log.length
    this.dispatch([{ _tag: "interrupt", by }])
    this.stops.push({ from, to: this.log.length, by })
  }

  openRequests() {
    return [...this.S.requests.values()].filter((record) => record.settledBy === undefined)
  }

  answer(index: number, answer: Answer): void {
    const open = this.openRequests()
    const record = open[index % Math.max(1, open.length)]
    if (record === undefined) return
    const from = this.log.length
    this.dispatch([{ _tag: "answer", id: record.id, answer, by: "user" }])
    if (answer._tag === "cancel") this.stops.push({ from, to: this.log.length, by: "user" })
  }

  close(): void {
    if (this.S.phase === "opening" || this.closeAskedAt !== undefined) return
    this.closeAskedAt = this.now
    const from = this.log.length
    this.dispatch([{ _tag: "close", why: "test" }])
    this.stops.push({ from, to: Number.POSITIVE_INFINITY, by: "host" })
  }

  deliver(count: number, repeat: boolean): boolean {
    if (!this.connected || this.stream.length === 0) return false
    const signals = this.stream.splice(0, count)
    this.heard = this.now
    if (signals.some(({ _tag }) => !besides.has(_tag))) this.worked = this.now
    this.dispatch([{ _tag: "signals", generation: this.generation, signals }])
    // A delta without an offset is told once; all else may be told again.
    const last = signals[signals.length - 1]
    if (repeat && last !== undefined && this.connected && last._tag !== "usage") {
      if (last._tag !== "delta" || last.offset !== undefined) {
        this.dispatch([{ _tag: "signals", generation: this.generation, signals: [last] }])
      }
    }
    return true
  }

  /** Two frames come in the other order, where nothing but chance had put them in this one. */
  swap(choice: number): void {
    const { stream } = this
    const at = stream.length < 2 ? 0 : choice % (stream.length - 1)
    const first = stream[at]
    const second = stream[at + 1]
    if (first === undefined || second === undefined || !areIndependent(first, second)) return
    stream[at] = second
    stream[at + 1] = first
  }

  /** An error that belongs to no turn: the agent was asked for something that it does not have. */
  stray(error: ErrorInfo): void {
    if (this.config.kind !== "opencode" || this.agent.running !== undefined || !this.connected) return
    this.stream.push({ _tag: "turnError", error })
  }

  deliverLate(): void {
    const frame = this.late.shift()
    if (frame !== undefined) this.dispatch([{ _tag: "signals", ...frame }])
  }

  /** Lets the agent have a call. Submissions go one after the other. */
  execute(call: Call, fate: Fate): void {
    if (call.done) return
    const command = call.command
    if (
      command._tag === "submit" && fate !== "lostBefore" &&
      this.calls.some((other) =>
        other !== call && other.command._tag === "submit" && this.calls.indexOf(other) < this.calls.indexOf(call)
      )
    ) return
    call.done = true
    if (fate !== "ok") this.failedCalls++
    const lost = fate === "lostBefore" || fate === "lostAfter"
    const arrives = fate === "ok" || fate === "lostAfter"
    switch (command._tag) {
      case "submit": {
        const { attempts, id, key } = command.prompt
        if (arrives && key !== undefined) this.agent.submit(key, false)
        const failure: { error?: ErrorInfo; refused?: boolean } = fate === "ok"
          ? {}
          : lost
          ? { error: connectionLost, refused: false }
          : { error: errorInfo("Refused", "refused"), refused: true }
        call.reply = { _tag: "submitted", id, attempt: attempts, ...failure }
        return
      }
      case "interrupt": {
        const ran = arrives ? this.agent.interrupt() : false
        call.reply = {
          _tag: "interruptSent",
          ...(fate !== "ok" || (!ran && this.config.kind === "codex") ? { error: connectionLost } : undefined)
        }
        return
      }
      case "settle": {
        const result = arrives ? this.agent.answer(command.record.signal.key, command.answer) : "failed"
        call.reply = { _tag: "delivered", id: command.record.id, result: fate === "ok" ? result : "failed" }
        return
      }
      case "refuse": {
        if (arrives) this.agent.answer(command.signal.key, { _tag: "cancel" })
        this.calls.splice(this.calls.indexOf(call), 1)
        return
      }
      case "snapshot": {
        call.reply = fate === "ok"
          ? { _tag: "snapshot", id: command.record.id, result: this.words.snapshot(this.agent, command) }
          : { _tag: "snapshot", id: command.record.id, result: undefined, error: connectionLost }
        return
      }
      case "reconnect": {
        this.calls.splice(this.calls.indexOf(call), 1)
        this.cut(false)
        return
      }
      case "finished":
        return
    }
  }

  /** The call cannot be made or its answer will never come. */
  private fail(call: Call): void {
    if (call.command._tag === "reconnect") {
      this.calls.splice(this.calls.indexOf(call), 1)
      return
    }
    if (!call.done) this.execute(call, "lostBefore")
  }

  reply(call: Call): void {
    const input = call.reply
    if (input === undefined) return
    this.calls.splice(this.calls.indexOf(call), 1)
    if (input._tag === "snapshot" && input.result !== undefined) this.words.read(input.result)
    this.dispatch([input])
  }

  /** The connection is lost; what was on its way is gone or comes late. */
  cut(keep: boolean): void {
    if (!this.connected) return
    this.connected = false
    this.mutedAt = undefined
    const signals = this.stream.splice(0)
    if (keep && signals.length > 0) this.late.push({ generation: this.generation, signals })
    this.dispatch([{ _tag: "lost", generation: this.generation, error: connectionLost }])
  }

  connect(): void {
    if (this.connected || this.S.phase === "closed") return
    this.dispatch([{ _tag: "connecting" }])
    this.connected = true
    this.words.connected()
    this.generation++
    this.dispatch([{ _tag: "connected", generation: this.generation, resync: true }])
  }

  /** The server process dies, and with it every connection and what it had not answered. */
  crash(): void {
    this.agent.crash()
    for (const call of [...this.calls]) this.fail(call)
    this.cut(false)
  }

  /**
   * The host is killed and started again on its journal, while the agent goes on or dies with it. What was not told to
   * the agent is not told, what was on its way to the host is gone.
   */
  restart(withAgent: boolean): void {
    if (this.S.phase !== "open") return
    if (withAgent) this.agent.crash()
    this.calls.splice(0)
    this.stream.splice(0)
    this.late.splice(0)
    this.mutedAt = undefined
    const seq = this.S.seq
    const open = new Map([...this.open].map(([name, text]) => [name, JSON.parse(text) as unknown]))
    for (const id of this.promptIds) open.set(checkpoint.inputName(id), Prompt.text(`text of ${id}`))
    const wanted = new Set(checkpoint.itemSeqs(open))
    const items = new Map<number, DurableEvent>()
    for (const { event } of this.log) {
      if (event._tag !== "ItemDelta" && event.seq !== undefined && wanted.has(event.seq)) items.set(event.seq, event)
    }
    this.S = this.state(seq)
    this.told = toldTurns.make(this.S, open.get(checkpoint.toldName) as ReadonlyArray<string> | undefined)
    this.noting = checkpoint.restore(this.S, { open, items }, this.now)
    this.heard = this.now
    this.generation = 1
    this.connected = true
    this.words.connected()
    this.dispatch([
      { _tag: "connecting" },
      { _tag: "opened", how: { _tag: "resumed" } },
      { _tag: "connected", generation: 1, resync: true }
    ])
  }

  giveUp(): void {
    if (this.connected) return
    this.unavailable.push(this.log.length)
    this.dispatch([{ _tag: "unavailable", error: errorInfo("Unavailable", "unavailable") }])
  }

  /** Time passes; the driver ticks when it is due. */
  advance(ms: number): void {
    const target = this.now + ms
    for (let ticks = 0; ticks < 2_000; ticks++) {
      this.arrive()
      const silent = this.mutedAt === undefined ? undefined : this.mutedAt + 25_000
      const calls = this.calls.reduce(
        (least, call) => Math.min(least, call.since + callLimit),
        Number.POSITIVE_INFINITY
      )
      const frames = this.connected && this.stream.length > 0 ? this.heard + 5_001 : Number.POSITIVE_INFINITY
      const wire = Math.min(calls, frames)
      const due = this.S.wakeAt
      if (wire <= target && wire < (due ?? Number.POSITIVE_INFINITY)) {
        this.at(wire)
        continue
      }
      if (silent !== undefined && silent <= target && (due === undefined || silent <= due)) {
        this.at(silent)
        this.cut(false)
        continue
      }
      if (due === undefined || due > target) break
      // A time that stays due after its tick is looked at again 10 ms later.
      this.at(due <= this.now ? this.now + (ticks === 0 ? 0 : 10) : due)
      if (this.now > target) break
      if (
        this.now - this.worked >= this.S.options.limits.silenceEnd - this.S.options.limits.silence &&
        !this.agent.blocked
      ) this.hindered = true
      this.dispatch([{ _tag: "tick" }])
    }
    if (this.now < target) this.at(target)
  }

  /** No frame and no call is on its way for ever: the wire is slow, but it is a wire. */
  private arrive(): void {
    for (const call of [...this.calls]) {
      if (this.now - call.since < callLimit) continue
      if (!call.done) this.execute(call, "lostBefore")
      this.reply(call)
    }
    if (this.now - this.heard > 5_000) { while (this.deliver(64, false)); }
  }

  /** The machine sleeps: one tick comes late. */
  sleep(ms: number): void {
    this.slept = true
    this.at(this.now + ms)
    if (this.mutedAt !== undefined) this.cut(false)
    if (this.S.wakeAt !== undefined) this.dispatch([{ _tag: "tick" }])
  }

  private at(now: number): void {
    this.now = Math.max(this.now, now)
    this.agent.now = this.now
  }
}
