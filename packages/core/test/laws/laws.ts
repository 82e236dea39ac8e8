/** The laws of the session engine, each as a checker over what was written and what the agent really did. */
import { textOf } from "../../src/Item.ts"
import type { SessionEvent } from "../../src/SessionEvent.ts"
import type { TurnOutcome } from "../../src/Turn.ts"
import type { SimTurn } from "./simulatedAgent.ts"
import type { World } from "./world.ts"

/** From here on something may have been missed: the connection was lost, or the host ended and was started again. */
const isLoss = (event: SessionEvent): boolean =>
  (event._tag === "ConnectionChanged" && event.status._tag === "lost") ||
  (event._tag === "SessionOpened" && event.how._tag === "resumed")

/** Says what is wrong, or nothing. */
export type Law = (world: World) => string | undefined

type Of<T extends SessionEvent["_tag"]> = Extract<SessionEvent, { readonly _tag: T }>

const finals = new Set(["consumed", "withdrawn", "returned", "failed"])

/** Everything that was opened must be ended by then: the session closed, or came to rest. */
const ended = (world: World): boolean => world.drained || world.S.phase === "closed"

const promptKey = (promptId: string) => `k-${promptId}`

/** The keys under which the agent may know a turn of ours. */
const keysOf = (turnId: string): ReadonlyArray<string> => {
  const rest = turnId.replace(/^trn_/, "")
  return [promptKey(`prm_${rest}`), rest]
}

/** The agent's turn that a turn of ours stands for. */
const turnOf = (world: World, turnId: string): SimTurn | undefined => {
  const { prompts, turnByKey } = world.agent
  const keys = keysOf(turnId)
  for (const key of keys) {
    const turn = turnByKey.get(key)
    if (turn !== undefined) return turn
  }
  for (const key of keys) {
    const turn = prompts.get(key)?.arrivedIn
    if (turn !== undefined) return turn
  }
  return undefined
}

/**
 * An agent that keeps messages and no turns cannot say, of what it did while nobody listened or of a turn that ended
 * without a word, where one turn ended and the next began when a prompt came in between; nor whose step answers two
 * prompts that two clients sent into one turn. And where others type, an agent that does not answer when it is asked
 * leaves the same open. There the truth about single turns is not asked for; all else is.
 */
const isHazy = (world: World): boolean => {
  if (world.hazy !== undefined) return world.hazy
  const { agent, config, log } = world
  const gap = () =>
    world.slept || agent.turns.some(({ end }) => end._tag === "interrupted" && end.quietly) ||
    log.some(({ event }) => isLoss(event))
  const between = () =>
    (config.canSteer && agent.prompts.size > 1) ||
    [...agent.prompts.values()].some((prompt) => prompt.foreign || prompt.arrivedIn !== undefined)
  const foreign = [...agent.prompts.values()].some((prompt) => prompt.foreign)
  const unheard = config.blind || world.failedCalls > 0
  const hazy = (foreign && unheard) ||
    (config.kind === "opencode" && ((foreign && config.canSteer) || ((gap() || unheard) && between())))
  world.hazy = hazy
  return hazy
}

/** Law 1: one final receipt for each prompt, and a true one. */
export const receipts: Law = (world) => {
  const last = new Map<string, { readonly event: Of<"PromptChanged">; readonly index: number }>()
  for (const [index, { event }] of world.log.entries()) {
    if (event._tag !== "PromptChanged") continue
    const before = last.get(event.promptId)
    if (before === undefined && event.state._tag !== "queued")
      return `${event.promptId} begins with ${event.state._tag}`
    if (before !== undefined && finals.has(before.event.state._tag)) {
      return `${event.promptId} was ${before.event.state._tag} and became ${event.state._tag}`
    }
    if (event.state._tag === "submitted" && event.state.attempt > 3) return `${event.promptId} submitted too often`
    last.set(event.promptId, { event, index })
  }
  for (const id of world.promptIds) {
    const entry = last.get(id)
    if (entry === undefined) {
      if (world.closeAskedAt === undefined) return `${id} was never acknowledged by an event`
      continue
    }
    const state = entry.event.state
    if (!finals.has(state._tag)) {
      if (ended(world)) return `${id} ends as ${state._tag}`
      continue
    }
    const truth = world.agent.prompts.get(promptKey(id))
    switch (state._tag) {
      case "consumed": {
        if (truth === undefined) return `${id} is consumed, and the agent never had it`
        const turn = turnOf(world, state.turnId)
        // What a crash left behind does not say where one turn ended and the next began.
        const wordless = truth.taken?.end._tag === "crashed" && lossAround(world, entry.index)
        if (truth.taken !== undefined && truth.taken !== turn && !wordless && !isHazy(world)) {
          return `${id} is consumed by ${state.turnId} (${turn?.native}), and the agent took it into ${truth.taken.native}`
        }
        break
      }
      case "withdrawn":
      case "returned": {
        if (truth?.taken !== undefined)
          return `${id} is ${state._tag}, and the agent took it into ${truth.taken.native}`
        break
      }
      case "failed": {
        const unknownFate = state.error._tag === "ConnectionLost" || state.error._tag === "Unavailable"
        if (truth?.taken !== undefined && !unknownFate) {
          return `${id} failed (${state.error._tag}), and the agent took it into ${truth.taken.native}`
        }
        if (unknownFate && !lossAround(world, entry.index) && !world.config.blind) {
          return `${id} failed with unknown fate although nothing was lost`
        }
        break
      }
    }
  }
  return undefined
}

const lossAround = (world: World, index: number): boolean =>
  world.failedCalls > 0 || world.closeAskedAt !== undefined ||
  world.log.some(({ event }, at) => at <= index && isLoss(event))

interface TurnSpan {
  readonly id: string
  readonly from: number
  to: number
  outcome: TurnOutcome | undefined
}

const spans = (world: World): ReadonlyArray<TurnSpan> => {
  const found = new Map<string, TurnSpan>()
  for (const [index, { event }] of world.log.entries()) {
    if (event._tag === "TurnStarted") {
      found.set(event.turnId, { id: event.turnId, from: index, to: world.log.length, outcome: undefined })
    } else if (event._tag === "TurnSettled") {
      const span = found.get(event.turnId)
      if (span === undefined || span.outcome !== undefined) continue
      span.to = index
      span.outcome = event.outcome
    }
  }
  return [...found.values()]
}

/** Law 2: one settlement for each turn, and a true one. */
export const settlements: Law = (world) => {
  const open = new Set<string>()
  const all = new Set<string>()
  for (const { event } of world.log) {
    if (event._tag === "TurnStarted") {
      if (all.has(event.turnId)) return `${event.turnId} started twice`
      if (open.size > 0) return `${event.turnId} started while ${[...open].join()} was open`
      all.add(event.turnId)
      open.add(event.turnId)
    } else if (event._tag === "TurnSettled") {
      if (!open.delete(event.turnId)) return `${event.turnId} settled, and was not open`
    } else if (event._tag === "TurnChanged" && !open.has(event.turnId)) {
      return `${event.turnId} changed, and was not open`
    }
  }
  if (open.size > 0 && ended(world)) return `${[...open].join()} never settled`
  for (const span of isHazy(world) ? [] : spans(world)) {
    const outcome = span.outcome
    if (outcome === undefined) continue
    const truth = turnOf(world, span.id)
    const wrong = untrue(world, span, outcome, truth)
    if (wrong !== undefined) {
      const really = truth === undefined ? "no such turn" : `${truth.native} ${JSON.stringify(truth.end)}`
      return `${span.id} is ${JSON.stringify(outcome)}, and the truth is ${really}: ${wrong}`
    }
  }
  return undefined
}

/** The prompts that the turn stands for: its own, and those consumed by it or told in it. */
const allKeys = (world: World, span: TurnSpan): ReadonlySet<string> => {
  const keys = new Set(keysOf(span.id))
  for (const { event } of world.log) {
    if (event._tag === "PromptChanged" && event.state._tag === "consumed" && event.state.turnId === span.id) {
      keys.add(promptKey(event.promptId))
    } else if (event._tag === "ItemStarted" && event.turnId === span.id && event.item._tag === "userMessage") {
      keys.add(event.itemId.slice(2))
    }
  }
  return keys
}

const untrue = (world: World, span: TurnSpan, outcome: TurnOutcome, truth: SimTurn | undefined): string | undefined => {
  const overlaps = (from: number, to: number) => from <= span.to && to >= span.from
  const stopped = world.stops.filter((stop) => overlaps(stop.from, stop.to))
  const expired = world.log.some(({ event }, at) =>
    overlaps(at, at) && event._tag === "RequestSettled" &&
    (event.by === "expiry" || event.decision?._tag === "cancel")
  )
  const gap = world.log.some(({ event }, at) => overlaps(at, at) && isLoss(event))
  // A turn that a resync found had begun before.
  const lostBefore = world.log[span.from]?.event.origin === "resync"
  // A prompt that the agent dropped before it had begun with it.
  const dropped = truth !== undefined && !truth.keys.some((key) => keysOf(span.id).includes(key)) &&
    !keysOf(span.id).includes(truth.native)
  if (dropped && outcome._tag !== "completed") return undefined
  const lossy = world.config.lossy || world.config.blind
  switch (outcome._tag) {
    case "completed":
      for (const key of allKeys(world, span)) if (truth?.answered.get(key) === outcome.stopReason) return undefined
      if (truth?.end._tag !== "completed") return "the agent did not finish it"
      return truth.end.stopReason === outcome.stopReason ? undefined : "another stop reason"
    case "failed": {
      if (outcome.error._tag === "UpstreamSilent")
        return world.hindered || world.config.blind
          ? undefined
          : "the agent was not silent"
      if (outcome.error._tag === "Refused") return truth === undefined ? undefined : "the agent took it"
      if (truth?.end._tag === "failed") {
        return truth.end.error.message === outcome.error.message ? undefined : "another error"
      }
      return "the agent did not fail"
    }
    case "interrupted": {
      if (stopped.length > 0 || expired) return undefined
      if (world.hindered && outcome.by === "policy") return undefined
      if (truth?.end._tag === "interrupted" && outcome.by === "provider") return undefined
      if ((gap || lossy) && world.S.phase === "closed" && world.drained === false) return undefined
      // An agent that cannot be asked says nothing of a turn whose beginning was lost.
      if (world.config.blind && lossAround(world, span.to)) return undefined
      return "nobody stopped it"
    }
    case "lost": {
      const wordless = truth?.end._tag === "crashed" || (truth?.end._tag === "interrupted" && truth.end.quietly)
      if (truth === undefined || wordless) return gap || lostBefore ? undefined : "nothing was lost"
      if (lostBefore && truth.end._tag === "interrupted") return undefined
      if ((lostBefore || gap) && world.failedCalls > 0) return undefined
      if (world.unavailable.some((at) => overlaps(at, at))) return undefined
      if (lossy && gap) return undefined
      return "the agent can tell how it ended"
    }
  }
}

/** Law 3: one settlement for each request, before its turn's. */
export const requests: Law = (world) => {
  const open = new Map<string, string | undefined>()
  const all = new Set<string>()
  const settledTurns = new Set<string>()
  for (const { event } of world.log) {
    if (event._tag === "RequestOpened") {
      const id = event.requestId ?? ""
      if (all.has(id)) return `${id} opened twice`
      if (event.turnId !== undefined && settledTurns.has(event.turnId))
        return `${id} opened after ${event.turnId} settled`
      all.add(id)
      open.set(id, event.turnId)
      const ask = world.agent.asks.get(id)
      if (ask === undefined) return `${id} is no request of the agent`
      if (event.turnId !== undefined && turnOf(world, event.turnId) !== ask.turn && !isHazy(world)) {
        return `${id} belongs to ${ask.turn.native}, not to ${event.turnId}`
      }
    } else if (event._tag === "RequestSettled") {
      const id = event.requestId ?? ""
      if (!open.delete(id)) return `${id} settled, and was not open`
      const ask = world.agent.asks.get(id)
      if (event.by === "unknown" && ask?.state === "open") return `${id} is said to be gone, and the agent waits for it`
    } else if (event._tag === "TurnSettled") {
      settledTurns.add(event.turnId)
      for (const [id, turn] of open) if (turn === event.turnId) return `${id} is open, and its turn settled`
    }
  }
  if (open.size > 0 && ended(world)) return `${[...open.keys()].join()} never settled`
  return undefined
}

/** Law 4: one completion for each item, before its turn settles unless it is declared to go on. */
export const items: Law = (world) => {
  const open = new Map<string, string | undefined>()
  const all = new Set<string>()
  const background = new Set<string>()
  const settledTurns = new Set<string>()
  for (const { event } of world.log) {
    switch (event._tag) {
      case "ItemStarted": {
        if (all.has(event.itemId)) return `${event.itemId} started twice`
        if (event.turnId !== undefined && settledTurns.has(event.turnId)) {
          return `${event.itemId} started after ${event.turnId} settled`
        }
        all.add(event.itemId)
        open.set(event.itemId, event.turnId)
        break
      }
      case "ItemDelta":
      case "ItemUpdated": {
        if (!open.has(event.itemId)) return `${event._tag} of ${event.itemId}, which is not open`
        if (event._tag === "ItemUpdated" && event.background === true) background.add(event.itemId)
        break
      }
      case "ItemCompleted": {
        if (!open.delete(event.itemId)) return `${event.itemId} completed, and was not open`
        break
      }
      case "TurnSettled": {
        settledTurns.add(event.turnId)
        for (const [id, turn] of open) {
          if (turn === event.turnId && !background.has(id)) return `${id} is open, and its turn settled`
        }
        break
      }
    }
  }
  // In the background an item may go on for as long as the session does.
  for (const id of background) if (world.S.phase !== "closed") open.delete(id)
  if (open.size > 0 && ended(world)) return `${[...open.keys()].join()} never completed`
  return undefined
}

/** Law 5: durable events are numbered without a gap, deltas are not numbered. */
export const sequence: Law = (world) => {
  let seq = 0
  for (const { event } of world.log) {
    if (event._tag === "ItemDelta") {
      if (event.seq !== undefined) return `a delta has the number ${event.seq}`
    } else if (event.seq !== ++seq) return `${event._tag} has the number ${event.seq}, not ${seq}`
  }
  return undefined
}

/** Law 6: deltas laid by offset are the completed text, and that is what the agent last said. */
export const texts: Law = (world) => {
  const laid = new Map<string, string>()
  for (const { event } of world.log) {
    if (event._tag === "SessionOpened") {
      // Who reads in a new host has none of the text: it is given from its beginning.
      laid.clear()
    } else if (event._tag === "ItemDelta") {
      const text = laid.get(event.itemId) ?? ""
      if (event.offset !== text.length)
        return `a delta of ${event.itemId} lies at ${event.offset}, not at ${text.length}`
      laid.set(event.itemId, text + event.text)
    } else if (event._tag === "ItemCompleted") {
      const text = textOf(event.item)
      if (event.status === "discarded") continue
      const deltas = laid.get(event.itemId) ?? ""
      if (text !== deltas) return `${event.itemId} is ${JSON.stringify(text)}, its deltas are ${JSON.stringify(deltas)}`
      const truth = world.agent.items.get(event.itemId.replace(/~\d+$/, ""))
      if (truth === undefined) {
        if (event.item._tag === "userMessage" && world.agent.prompts.has(event.itemId.slice(2))) continue
        return `${event.itemId} is no item of the agent`
      }
      if (event.turnId !== undefined && turnOf(world, event.turnId) !== truth.turn && !isHazy(world)) {
        return `${event.itemId} belongs to ${truth.turn.native}, not to ${event.turnId}`
      }
      const whole = truth.end === "completed" || truth.end === "failed" || truth.end === "declined"
      // An item that ended with its failed turn may have gone on at the agent.
      const withTurn = event.status === "failed" && event.origin !== "native"
      const certain = event.status !== "interrupted" && whole && !withTurn
      if (certain ? text !== truth.text : !truth.text.startsWith(text) && !cut(truth.text, text)) {
        return `${event.itemId} (${event.status}) is ${JSON.stringify(text)}, and the agent said ${
          JSON.stringify(truth.text)
        }`
      }
    }
  }
  return undefined
}

/** The agent replaced a long output by a shorter one that we did not see any more. */
const cut = (truth: string, text: string): boolean =>
  truth.startsWith("[cut]") && truth.slice(5).startsWith(text.slice(1))

/** Law 7: what was written stays as it was written, for whoever reads it later. */
export const immutable: Law = (world) => {
  if (!world.keepJson) return undefined
  for (const { event, json } of world.log) {
    if (json !== undefined && JSON.stringify(event) !== json)
      return `${event._tag} ${event.seq} was changed after it was written`
  }
  return undefined
}

/** Law 8: the end is the last event, and is said once. */
export const lastWord: Law = (world) => {
  const index = world.log.findIndex(({ event }) => event._tag === "SessionClosed")
  if (index >= 0 && index !== world.log.length - 1) return `${world.log[index + 1]?.event._tag} follows SessionClosed`
  if (world.S.phase === "closed" && (index < 0 || world.finished !== 1)) return `closed ${world.finished} times`
  return undefined
}

/** Law 9: closing takes no longer than its grace. */
export const closing: Law = (world) => {
  if (world.closeAskedAt === undefined) return undefined
  const grace = world.S.options.limits.close
  if (world.closedAt === undefined) {
    return world.now - world.closeAskedAt > grace + 20 ? "asked to close, and did not" : undefined
  }
  return world.closedAt - world.closeAskedAt > grace + 20 && !world.slept
    ? `closed after ${world.closedAt - world.closeAskedAt} ms`
    : undefined
}

export const all: ReadonlyArray<readonly [law: number, check: Law]> = [
  [1, receipts],
  [2, settlements],
  [3, requests],
  [4, items],
  [5, sequence],
  [6, texts],
  [7, immutable],
  [8, lastWord],
  [9, closing]
]
