/** How agents tell of themselves: the truth of the simulated agent put into the signals of an adapter. */
import type { AnswerOption } from "../../src/AgentRequest.ts"
import type { ItemStatus } from "../../src/Item.ts"
import type { RequestSignal, Signal, Snapshot, SnapshotRequest, TurnVerdict } from "../../src/Signal.ts"
import type { Reporter, SimAsk, SimItem, SimTurn, SimulatedAgent } from "./simulatedAgent.ts"
import { content, errorInfo, isText } from "./simulatedAgent.ts"

export interface Manner {
  /**
   * `opencode`: work names the prompt that it answers; idle, busy and errors name nothing; idle comes twice.
   * `codex`: native turn ids, and a terminal frame with a verdict.
   */
  readonly kind: "opencode" | "codex"
  /** Deltas carry their offset. */
  readonly offsets: boolean
  /** What a snapshot says of a text that is still growing: nothing, an empty text, or the text so far. */
  readonly midText: "none" | "empty" | "full"
  /** Snapshots say that something may be missing. */
  readonly lossy: boolean
  /** Snapshots know neither activity nor fates. */
  readonly blind: boolean
}

const options: ReadonlyArray<AnswerOption> = ["accept", "acceptForSession", "decline", "cancel"]

const status = (item: SimItem): ItemStatus | undefined => {
  switch (item.end) {
    case "open":
      return undefined
    case "left":
      return item.turn.end._tag === "interrupted" ? isText(item) ? "completed" : "failed" : undefined
    case "voided":
      return "discarded"
    default:
      return item.end
  }
}

/** What an agent that keeps its turns says of one. */
const verdictOfTurn = (turn: SimTurn): TurnVerdict =>
  turn.end._tag === "interrupted" ? { _tag: "interrupted", by: "provider" } : verdict(turn)

/** What an agent that keeps no turns, only messages, says of the turn that one prompt began. */
const verdictOfPrompt = (turn: SimTurn, key: string): TurnVerdict => {
  const answered = turn.answered.get(key)
  if (answered !== undefined) return { _tag: "completed", stopReason: answered }
  return key === turn.keys[turn.keys.length - 1] ? verdict(turn) : { _tag: "unfinished" }
}

export const verdict = (turn: SimTurn): TurnVerdict => {
  switch (turn.end._tag) {
    case "running":
      return { _tag: "running" }
    case "completed":
      return { _tag: "completed", stopReason: turn.end.stopReason }
    case "failed":
      return { _tag: "failed", error: turn.end.error }
    case "interrupted":
      return turn.end.quietly ? { _tag: "unfinished" } : { _tag: "interrupted", by: "provider" }
    case "crashed":
      return { _tag: "unfinished" }
  }
}

/** The words of one agent. Keys of work stay as they were when the work began. */
export class Words {
  readonly manner: Manner
  private readonly keys = new Map<string, string>()
  /** The answers whose head the host has heard on this connection, or read: what it hears of others names no turn. */
  private readonly heads = new Set<string>()

  constructor(manner: Manner) {
    this.manner = manner
  }

  key(turn: SimTurn): string {
    return this.manner.kind === "codex" ? turn.native : turn.keys[turn.keys.length - 1] ?? turn.native
  }

  /** The host has a new connection. */
  connected(): void {
    this.heads.clear()
  }

  /** The host has read what the agent stored: it knows the heads in it. */
  read(snapshot: Snapshot): void {
    for (const signal of snapshot.signals) if (signal._tag === "item") this.heads.add(signal.turn ?? "")
  }

  /** The turn of a frame, as far as the host can know it. */
  private turnOf(item: SimItem): { readonly turn?: string } {
    const turn = this.itemKey(item)
    return this.manner.kind === "codex" || item.kind === "userMessage" || item.background || this.heads.has(turn)
      ? { turn }
      : {}
  }

  itemKey(item: SimItem): string {
    const known = this.keys.get(item.key)
    if (known !== undefined) return known
    const key = item.kind === "userMessage" && this.manner.kind === "opencode" ? item.key.slice(2) : this.key(item.turn)
    this.keys.set(item.key, key)
    return key
  }

  item(item: SimItem, snapshot: boolean): Signal {
    const ended = status(item)
    const growing = ended === undefined
    const opencode = this.manner.kind === "opencode"
    const hidden = growing && isText(item) && (snapshot ? this.manner.midText !== "full" : true)
    const hasText = !growing || (snapshot ? this.manner.midText !== "none" || (opencode && !isText(item)) : opencode)
    const body = content(item)
    return {
      _tag: "item",
      key: item.key,
      item: hidden || !hasText ? content({ ...item, text: "" }) : body,
      hasText,
      ...(snapshot ? { turn: this.itemKey(item) } : this.turnOf(item)),
      ...(ended === undefined ? undefined : { status: ended }),
      ...(item.background ? { background: true } : undefined),
      ...(item.path === undefined ? undefined : { agentPath: item.path })
    }
  }

  /** A message of the conversation that no turn has taken yet. */
  userItem(key: string): Signal {
    return {
      _tag: "item",
      key: `u-${key}`,
      item: { _tag: "userMessage", text: `text of ${key}` },
      hasText: true,
      turn: key,
      status: "completed"
    }
  }

  ask(ask: SimAsk): RequestSignal {
    return {
      _tag: "requestOpened",
      key: ask.key,
      item: ask.item.key,
      turn: this.itemKey(ask.item),
      kind: ask.kind,
      subject: `ask ${ask.key}`,
      options: ask.kind === "question" ? ["answers", "cancel"] : options,
      facts: { command: `run ${ask.item.key}`, paths: [`file-${ask.key}`] }
    }
  }

  snapshot(agent: SimulatedAgent, request: SnapshotRequest): Snapshot {
    const { blind, kind, lossy } = this.manner
    if (blind) {
      const unknown = Object.fromEntries(request.prompts.map((key) => [key, "unknown" as const]))
      return { activity: "unknown", prompts: unknown, turns: {}, signals: [], requests: [], complete: false }
    }
    const prompts: Record<string, "taken" | "held" | "absent"> = {}
    for (const key of request.prompts) {
      const prompt = agent.prompts.get(key)
      prompts[key] = prompt === undefined ? "absent" : prompt.taken === undefined ? "held" : "taken"
    }
    const turns: Record<string, TurnVerdict> = {}
    let first = Math.max(1, agent.turns.length - 1)
    for (const key of [...request.turns, ...request.prompts]) {
      const turn = agent.turnByKey.get(key)
      if (turn === undefined) continue
      first = Math.min(first, turn.no)
      if (request.turns.includes(key)) turns[key] = kind === "codex" ? verdictOfTurn(turn) : verdictOfPrompt(turn, key)
    }
    const signals: Array<Signal> = []
    for (const turn of agent.turns) {
      if (turn.no < first || !turn.begun) continue
      for (const item of turn.items) {
        if (item.kind === "userMessage") {
          const key = item.key.slice(2)
          signals.push(
            kind === "codex"
              ? { _tag: "turnStarted", turn: turn.native, prompt: key }
              : { _tag: "prompt", key, turn: key }
          )
        }
        if (item.end === "voided") signals.push({ _tag: "itemVoided", key: item.key })
        else signals.push(this.item(item, true))
      }
      const last = this.key(turn)
      if (turn.plan !== undefined) signals.push({ _tag: "plan", turn: last, entries: turn.plan })
      if (turn.files !== undefined) signals.push({ _tag: "diff", turn: last, files: turn.files })
      for (const subagent of turn.subagents) signals.push(...this.subagent(turn, subagent.path, subagent.open, true))
      if (kind === "opencode") continue
      if (turn.end._tag === "completed") {
        signals.push({ _tag: "turnFinish", turn: last, stopReason: turn.end.stopReason })
      } else if (turn.end._tag === "failed") signals.push({ _tag: "turnError", turn: last, error: turn.end.error })
    }
    if (kind === "opencode") {
      for (const { key } of agent.held) signals.push({ _tag: "prompt", key, turn: key }, this.userItem(key))
    }
    return {
      activity: agent.running === undefined ? "idle" : "busy",
      prompts,
      turns,
      signals,
      requests: [...agent.asks.values()].filter((ask) => ask.state === "open" || ask.state === "ghost")
        .map((ask) => this.ask(ask)),
      complete: !lossy
    }
  }

  subagent(turn: SimTurn, path: ReadonlyArray<string>, open: boolean, whole: boolean): ReadonlyArray<Signal> {
    const context = { agentPath: path, turn: this.key(turn) }
    const started: Signal = { _tag: "subagentStarted", ...context }
    const ended: Signal = { _tag: "subagentEnded", ...context, verdict: { _tag: "completed", stopReason: "endTurn" } }
    return open ? [started] : whole ? [started, ended] : [ended]
  }

  reporter(emit: (...signals: ReadonlyArray<Signal>) => void): Reporter {
    const opencode = this.manner.kind === "opencode"
    const of = (turn: SimTurn) => ({ turn: this.key(turn) })
    return {
      promptArrived: (prompt) => {
        if (opencode)
          emit({ _tag: "prompt", key: prompt.key, ...(prompt.foreign ? { text: `text of ${prompt.key}` } : undefined) })
      },
      userMessage: (prompt) => emit(this.userItem(prompt.key)),
      idleAgain: () => {
        if (opencode)
          emit({ _tag: "turnBusy" }, { _tag: "turnEnded", fact: "idle" }, { _tag: "turnEnded", fact: "idle" })
      },
      turnBegan: (turn) => {
        if (opencode) emit({ _tag: "turnBusy" })
        else {
          const prompt = turn.keys[0]
          emit({ _tag: "turnStarted", turn: turn.native, ...(prompt === undefined ? undefined : { prompt }) })
        }
      },
      stepBegan: (turn, taken) => {
        if (opencode) {
          this.heads.add(this.key(turn))
          emit({ _tag: "turnProgress", ...of(turn) })
        } else if (taken.length === 0) emit({ _tag: "turnProgress", ...of(turn) })
        else for (const prompt of taken) emit({ _tag: "turnStarted", turn: turn.native, prompt })
      },
      item: (item) => emit(this.item(item, false)),
      delta: (item, text, offset) => {
        if (opencode && !isText(item)) emit(this.item(item, false))
        else {
          emit({
            _tag: "delta",
            key: item.key,
            stream: isText(item) ? "text" : "output",
            text,
            ...(this.manner.offsets ? { offset } : undefined)
          })
        }
      },
      voided: (item) => emit({ _tag: "itemVoided", key: item.key }),
      asked: (ask) => emit(this.ask(ask)),
      askClosed: (ask) =>
        emit({
          _tag: "requestClosed",
          key: ask.key,
          ...(ask.answer === undefined ? undefined : { accepted: ask.answer === "accept" || ask.answer === "answers" })
        }),
      retrying: (turn, attempt, until) =>
        emit({ _tag: "turnRetrying", attempt, until, ...(opencode ? undefined : of(turn)) }),
      busy: (turn) => emit({ _tag: "turnBusy", ...(opencode ? undefined : of(turn)) }),
      overflow: (turn) => {
        if (opencode) emit({ _tag: "turnError", error: errorInfo("ContextOverflow", "the context is full") })
        emit({ _tag: "turnCompacting", ...of(turn) }, { _tag: "turnProgress", ...of(turn) })
      },
      finishing: (turn, stopReason) => {
        if (opencode) emit({ _tag: "turnFinish", ...of(turn), stopReason })
      },
      ended: (turn) => this.ended(turn, emit),
      plan: (turn) => emit({ _tag: "plan", ...of(turn), entries: turn.plan ?? [] }),
      diff: (turn) => emit({ _tag: "diff", ...of(turn), files: turn.files ?? [] }),
      usage: (turn) => emit({ _tag: "usage", ...of(turn), scope: "cumulative", usage: { output: turn.tokens } }),
      subagent: (turn, path, open) => emit(...this.subagent(turn, path, open, false)),
      aside: (choice) =>
        emit(
          choice === 4
            ? { _tag: "info", title: "a title" }
            : { _tag: "unrecognised", method: "something.new", reason: "unknown", raw: {} }
        )
    }
  }

  private ended(turn: SimTurn, emit: (...signals: ReadonlyArray<Signal>) => void): void {
    const end = turn.end
    if (this.manner.kind === "codex") {
      if (end._tag === "failed") emit({ _tag: "turnError", turn: turn.native, error: end.error })
      emit({
        _tag: "turnEnded",
        turn: turn.native,
        fact: "turn/completed",
        verdict: verdictOfTurn(turn)
      })
      return
    }
    const idle: Signal = { _tag: "turnEnded", fact: "idle" }
    switch (end._tag) {
      case "completed": {
        emit(idle)
        // Frames go on for a moment after the end.
        const first = turn.items[0]
        if (first !== undefined) emit(this.item(first, false))
        return
      }
      case "failed": {
        emit({ _tag: "turnError", error: end.error })
        if (turn.no % 2 === 0) emit({ _tag: "turnError", turn: this.key(turn), error: end.error })
        emit(idle, idle)
        return
      }
      case "interrupted": {
        emit(idle)
        for (const item of turn.items) if (item.end === "left") emit(this.item(item, false))
        emit(idle)
        return
      }
    }
  }
}
