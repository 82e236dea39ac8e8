/**
 * A coding agent that really does things: the truth that the laws compare the engine's events with.
 * What it tells of itself, and in which words, is the business of its `Reporter`.
 */
import type { Answer } from "../../src/AgentRequest.ts"
import type { ErrorInfo } from "../../src/AgentError.ts"
import type { FileChange, ItemContent, PlanEntry } from "../../src/Item.ts"
import type * as Random from "./random.ts"

export type TurnEnd =
  | { readonly _tag: "running" }
  | { readonly _tag: "completed"; readonly stopReason: string }
  | { readonly _tag: "failed"; readonly error: ErrorInfo }
  /** `quietly`: the agent's record of it looks like neither success nor failure. */
  | { readonly _tag: "interrupted"; readonly quietly: boolean }
  | { readonly _tag: "crashed" }

export interface SimTurn {
  readonly no: number
  /** The agent's own id of the turn. */
  readonly native: string
  /** Prompts that it took, in order. */
  readonly keys: Array<string>
  readonly items: Array<SimItem>
  readonly asks: Array<SimAsk>
  end: TurnEnd
  /** The agent was done with these prompts before it went on with later ones. */
  readonly answered: Map<string, string>
  /** A step was begun: the agent was at work. */
  begun: boolean
  retrying: boolean
  plan: ReadonlyArray<PlanEntry> | undefined
  files: ReadonlyArray<FileChange> | undefined
  tokens: number
  readonly subagents: Array<{ readonly path: ReadonlyArray<string>; open: boolean }>
}

export interface SimPrompt {
  readonly key: string
  readonly foreign: boolean
  taken: SimTurn | undefined
  /** The turn that ran when it arrived. */
  readonly arrivedIn: SimTurn | undefined
}

export interface SimItem {
  readonly key: string
  readonly kind: "userMessage" | "assistantMessage" | "reasoning" | "command" | "fileChange"
  readonly turn: SimTurn
  readonly path: ReadonlyArray<string> | undefined
  readonly background: boolean
  text: string
  title: number
  /** `left`: nobody ever says how it ended. */
  end: "open" | "completed" | "failed" | "declined" | "voided" | "left"
}

export interface SimAsk {
  readonly key: string
  readonly turn: SimTurn
  readonly item: SimItem
  readonly kind: string
  /** `ghost`: nobody waits for it any more, yet the agent goes on listing it. */
  state: "open" | "answered" | "gone" | "ghost"
  answer: Answer["_tag"] | undefined
  foreign: boolean
}

/** What the agent tells whoever listens. */
export interface Reporter {
  readonly promptArrived: (prompt: SimPrompt) => void
  readonly userMessage: (prompt: SimPrompt) => void
  readonly idleAgain: () => void
  readonly turnBegan: (turn: SimTurn) => void
  readonly stepBegan: (turn: SimTurn, taken: ReadonlyArray<string>) => void
  readonly item: (item: SimItem) => void
  readonly delta: (item: SimItem, text: string, offset: number) => void
  readonly voided: (item: SimItem) => void
  readonly asked: (ask: SimAsk) => void
  readonly askClosed: (ask: SimAsk) => void
  readonly retrying: (turn: SimTurn, attempt: number, until: number) => void
  readonly busy: (turn: SimTurn) => void
  readonly overflow: (turn: SimTurn) => void
  readonly finishing: (turn: SimTurn, stopReason: string) => void
  readonly ended: (turn: SimTurn) => void
  readonly plan: (turn: SimTurn) => void
  readonly diff: (turn: SimTurn) => void
  readonly usage: (turn: SimTurn) => void
  readonly subagent: (turn: SimTurn, path: ReadonlyArray<string>, open: boolean) => void
  readonly aside: (choice: number) => void
}

export const errorInfo = (tag: string, message: string): ErrorInfo => ({
  _tag: tag,
  message,
  advice: "",
  retryable: false
})

export const content = (item: SimItem): ItemContent => {
  const title = item.title === 0 ? undefined : { title: `title ${item.title}` }
  switch (item.kind) {
    case "userMessage":
    case "assistantMessage":
    case "reasoning":
      return { _tag: item.kind, text: item.text, ...title }
    case "command":
      return { _tag: "command", command: `run ${item.key}`, output: item.text, ...title }
    case "fileChange":
      return { _tag: "fileChange", changes: [], output: item.text, ...title }
  }
}

export const isText = (item: SimItem): boolean =>
  item.kind === "userMessage" || item.kind === "assistantMessage" || item.kind === "reasoning"

export class SimulatedAgent {
  readonly report: Reporter
  /** Takes a prompt that arrives during a turn at the next step; else at once. */
  readonly mergesLater: boolean
  /** Asks of an interrupted turn stay listed. */
  readonly ghosts: boolean
  /** A message is told when it arrives, not when it is taken. */
  readonly messagesFirst: boolean
  /** Is done with a prompt, and with all that it began for it, before it goes on with later ones. */
  readonly answersSingly: boolean
  readonly prompts = new Map<string, SimPrompt>()
  readonly held: Array<SimPrompt> = []
  readonly turns: Array<SimTurn> = []
  readonly turnByKey = new Map<string, SimTurn>()
  readonly items = new Map<string, SimItem>()
  readonly asks = new Map<string, SimAsk>()
  running: SimTurn | undefined
  /** Interrupts that it will not hear. */
  deaf = 0
  /** It waits for its model for ever. */
  hung = false
  /** It finishes what it began. */
  tidy = false
  now = 0
  private counter = 0

  constructor(report: Reporter, options: {
    readonly mergesLater: boolean
    readonly ghosts: boolean
    readonly messagesFirst: boolean
    readonly answersSingly: boolean
  }) {
    this.report = report
    this.mergesLater = options.mergesLater
    this.ghosts = options.ghosts
    this.messagesFirst = options.messagesFirst
    this.answersSingly = options.answersSingly
  }

  /** Takes a prompt into its conversation, once per key. */
  submit(key: string, foreign: boolean): void {
    if (this.prompts.has(key)) {
      if (this.running === undefined) this.report.idleAgain()
      return
    }
    const prompt: SimPrompt = { key, foreign, taken: undefined, arrivedIn: this.running }
    this.prompts.set(key, prompt)
    this.held.push(prompt)
    this.report.promptArrived(prompt)
    if (this.messagesFirst) this.report.userMessage(prompt)
    if (this.running === undefined) this.begin()
    else if (!this.mergesLater) this.step()
  }

  private begin(): void {
    const no = this.turns.length + 1
    const turn: SimTurn = {
      no,
      native: `t${no}`,
      keys: [],
      items: [],
      asks: [],
      end: { _tag: "running" },
      answered: new Map(),
      begun: false,
      retrying: false,
      plan: undefined,
      files: undefined,
      tokens: 0,
      subagents: []
    }
    this.turns.push(turn)
    this.turnByKey.set(turn.native, turn)
    this.running = turn
    for (const prompt of this.held) {
      turn.keys.push(prompt.key)
      this.turnByKey.set(prompt.key, turn)
    }
    this.report.turnBegan(turn)
    this.step()
  }

  /** A new step of the turn: what waits in the conversation is taken. */
  private step(): void {
    const turn = this.running
    if (turn === undefined) return
    const taken = this.held.splice(0)
    for (const prompt of taken) {
      prompt.taken = turn
      if (!turn.keys.includes(prompt.key)) turn.keys.push(prompt.key)
      this.turnByKey.set(prompt.key, turn)
    }
    turn.begun = true
    turn.retrying = false
    this.report.stepBegan(turn, taken.map((prompt) => prompt.key))
    for (const prompt of taken) {
      const item = this.makeItem(turn, "userMessage", undefined, false, `u-${prompt.key}`)
      item.text = `text of ${prompt.key}`
      item.end = "completed"
      if (!this.messagesFirst) this.report.item(item)
    }
  }

  private makeItem(
    turn: SimTurn,
    kind: SimItem["kind"],
    path: ReadonlyArray<string> | undefined,
    background: boolean,
    key = `i${++this.counter}`
  ): SimItem {
    const item: SimItem = { key, kind, turn, path, background, text: "", title: 0, end: "open" }
    this.items.set(item.key, item)
    turn.items.push(item)
    return item
  }

  private open(turn: SimTurn): ReadonlyArray<SimItem> {
    return turn.items.filter((item) => item.end === "open" && !item.background)
  }

  openAsks(): ReadonlyArray<SimAsk> {
    return [...this.asks.values()].filter((ask) => ask.state === "open")
  }

  get blocked(): boolean {
    return this.running?.asks.some((ask) => ask.state === "open") === true
  }

  /** One piece of work, chosen by `random` among what is possible now. False: it had nothing to do. */
  work(random: Random.Random, wrapUp = false): boolean {
    const turn = this.running
    if (turn === undefined) return this.workInBackground(random, wrapUp)
    if (this.hung) return false
    const open = this.open(turn)
    const asked = new Set(turn.asks.filter((ask) => ask.state === "open").map((ask) => ask.item))
    const free = open.filter((item) => !asked.has(item))
    const text = free.find(isText)
    const tool = free.find((item) => !isText(item))
    if (turn.retrying) {
      this.step()
      return true
    }
    if (asked.size > 0) {
      if (tool === undefined) return false
      return this.tool(tool, random, wrapUp)
    }
    if (wrapUp) {
      if (text !== undefined) this.closeText(text)
      else if (tool !== undefined) this.tool(tool, random, true)
      else this.finish(random)
      return true
    }
    if (text !== undefined && random.chance(75)) {
      if (random.chance(60)) this.grow(text, random)
      else this.closeText(text)
      return true
    }
    if (tool !== undefined && random.chance(60)) return this.tool(tool, random, false)
    const choice = random.below(100)
    if (choice < 30) this.startText(turn, random)
    else if (choice < 52) this.startTool(turn, random)
    else if (choice < 60) this.retry(turn, random)
    else if (choice < 63) this.report.overflow(turn)
    else if (choice < 68) this.aside(turn, random)
    else if (choice < 74) this.subagent(turn, random)
    else if (choice < 80 && open.length === 0) this.step()
    else if (choice < 84) this.fail(turn, random)
    else if (open.length === 0 || (!this.tidy && random.chance(20))) this.finish(random)
    else if (text !== undefined) this.closeText(text)
    else this.startText(turn, random)
    return true
  }

  private workInBackground(random: Random.Random, wrapUp: boolean): boolean {
    for (const item of this.items.values()) {
      if (!item.background || item.end !== "open") continue
      return this.tool(item, random, wrapUp)
    }
    return false
  }

  private startText(turn: SimTurn, random: Random.Random): void {
    const open = turn.subagents.find((one) => one.open)
    const item = this.makeItem(
      turn,
      random.chance(25) ? "reasoning" : "assistantMessage",
      open !== undefined && random.chance(50) ? open.path : undefined,
      false
    )
    this.report.item(item)
    if (random.chance(70)) this.grow(item, random)
  }

  private grow(item: SimItem, random: Random.Random): void {
    // Equal pieces make it easy to take one text for the beginning of another.
    const text = random.chance(40) ? "a" : `${item.text.length}${item.key};`
    const offset = item.text.length
    item.text += text
    this.report.delta(item, text, offset)
  }

  private closeText(item: SimItem): void {
    item.end = "completed"
    this.report.item(item)
  }

  private startTool(turn: SimTurn, random: Random.Random): void {
    const item = this.makeItem(turn, random.chance(70) ? "command" : "fileChange", undefined, random.chance(8))
    const asks = !item.background && random.chance(45)
    const first = random.chance(30)
    if (!asks || !first) this.report.item(item)
    if (asks) this.ask(turn, item, random)
    if (asks && first) this.report.item(item)
    if (!asks && random.chance(20)) {
      const second = this.makeItem(turn, "command", undefined, false)
      this.report.item(second)
      this.ask(turn, second, random)
    }
  }

  private ask(turn: SimTurn, item: SimItem, random: Random.Random): void {
    const ask: SimAsk = {
      key: `q${++this.counter}`,
      turn,
      item,
      kind: random.pick(["command", "edit", "read", "question", "tool"]),
      state: "open",
      answer: undefined,
      foreign: false
    }
    this.asks.set(ask.key, ask)
    turn.asks.push(ask)
    this.report.asked(ask)
  }

  private tool(item: SimItem, random: Random.Random, wrapUp: boolean): boolean {
    if (!wrapUp && random.chance(45)) {
      this.grow(item, random)
      return true
    }
    if (!wrapUp && random.chance(15)) {
      item.title++
      this.report.item(item)
      return true
    }
    // A long output is cut down at the end: no longer an extension of what was sent.
    if (!wrapUp && random.chance(10) && item.text.length > 1) item.text = `[cut]${item.text.slice(1)}`
    item.end = random.chance(20) ? "failed" : "completed"
    this.report.item(item)
    return true
  }

  private retry(turn: SimTurn, random: Random.Random): void {
    for (const item of this.open(turn)) {
      if (!isText(item)) continue
      item.end = "voided"
      this.report.voided(item)
    }
    turn.retrying = true
    this.report.retrying(turn, 1 + random.below(3), this.now + 500 + random.below(30_000))
  }

  private aside(turn: SimTurn, random: Random.Random): void {
    const choice = random.below(6)
    if (choice === 0) {
      turn.plan = [{ text: `step ${random.below(3)}`, status: "pending" }]
      this.report.plan(turn)
    } else if (choice === 1) {
      turn.files = [{ path: `file ${random.below(3)}`, change: "updated" }]
      this.report.diff(turn)
    } else if (choice === 2) {
      turn.tokens += 10
      this.report.usage(turn)
    } else if (choice === 3) this.report.busy(turn)
    else this.report.aside(choice)
  }

  private subagent(turn: SimTurn, random: Random.Random): void {
    const open = turn.subagents.find((one) => one.open)
    if (open !== undefined) {
      open.open = false
      this.report.subagent(turn, open.path, false)
    } else if (random.chance(60)) {
      const path = [`s${++this.counter}`]
      turn.subagents.push({ path, open: true })
      this.report.subagent(turn, path, true)
    }
  }

  private finish(random: Random.Random): void {
    const turn = this.running
    if (turn === undefined) return
    for (const open of turn.subagents) {
      if (!open.open) continue
      open.open = false
      this.report.subagent(turn, open.path, false)
    }
    const stopReason = random.pick(["endTurn", "endTurn", "maxTokens"])
    this.report.finishing(turn, stopReason)
    if (this.held.length > 0) {
      // The turn goes on with what was added to it.
      const last = turn.keys[turn.keys.length - 1]
      if (last !== undefined) turn.answered.set(last, stopReason)
      if (this.answersSingly) { for (const item of this.open(turn)) item.end = "left" }
      this.step()
      return
    }
    this.end(turn, { _tag: "completed", stopReason })
  }

  private fail(turn: SimTurn, random: Random.Random): void {
    this.end(turn, {
      _tag: "failed",
      error: errorInfo("UpstreamFailed", `failure ${random.below(3)} of ${turn.native}`)
    })
  }

  private end(turn: SimTurn, end: TurnEnd): void {
    turn.end = end
    this.running = undefined
    this.hung = false
    this.held.length = 0
    for (const item of turn.items) if (item.end === "open" && !item.background) item.end = "left"
    this.report.ended(turn)
    for (const ask of turn.asks) {
      if (ask.state === "open") ask.state = this.ghosts && end._tag === "interrupted" ? "ghost" : "gone"
    }
  }

  /** False: nothing ran. */
  interrupt(): boolean {
    const turn = this.running
    if (turn === undefined) {
      this.report.idleAgain()
      return false
    }
    if (this.deaf > 0) {
      this.deaf--
      return true
    }
    this.end(turn, { _tag: "interrupted", quietly: turn.retrying })
    return true
  }

  answer(key: string, answer: Answer, foreign = false): "delivered" | "gone" {
    const ask = this.asks.get(key)
    if (ask?.state === "ghost") {
      ask.state = "gone"
      this.report.askClosed(ask)
      return "delivered"
    }
    if (ask === undefined || ask.state !== "open") return "gone"
    ask.state = "answered"
    ask.answer = answer._tag
    ask.foreign = foreign
    this.report.askClosed(ask)
    if (answer._tag === "decline" || answer._tag === "cancel") {
      ask.item.end = "declined"
      this.report.item(ask.item)
    }
    if (answer._tag === "cancel" && this.running === ask.turn) {
      this.end(ask.turn, { _tag: "interrupted", quietly: true })
    }
    return "delivered"
  }

  /** The server process dies: the half turn stays for ever, open asks are gone, nothing is resumed. */
  crash(): void {
    for (const item of this.items.values()) if (item.end === "open") item.end = "left"
    for (const ask of this.asks.values()) if (ask.state === "open" || ask.state === "ghost") ask.state = "gone"
    this.deaf = 0
    this.hung = false
    this.held.length = 0
    const turn = this.running
    if (turn === undefined) return
    turn.end = { _tag: "crashed" }
    this.running = undefined
  }
}
