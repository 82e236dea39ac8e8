/**
 * What is open of a session, as plain values by name: kept beside the events of a journal, so that the engine of the next
 * host goes on as after a lost connection. Nothing of it is told again; the agent's snapshot says what became of it.
 */
import type { Answer, SettledBy } from "../../AgentRequest.ts"
import type { ErrorInfo } from "../../AgentError.ts"
import type { TurnId } from "../../Ids.ts"
import { ItemId, PromptId, RequestId } from "../../Ids.ts"
import type { Item, ItemContent, ItemStatus } from "../../Item.ts"
import { streamOf, textOf, withText } from "../../Item.ts"
import type { Delivery, PromptInput, PromptState } from "../../Prompt.ts"
import * as PromptQueue from "../../PromptQueue.ts"
import type { DurableEvent } from "../../SessionEvent.ts"
import type { RequestSignal } from "../../Signal.ts"
import type { InterruptedBy } from "../../Turn.ts"
import { isFinal } from "./prompts.ts"
import type { EngineState, ItemRecord, PromptRecord, RequestRecord, SubagentRecord, TurnRecord } from "./state.ts"
import { untouched } from "./state.ts"
import * as turns from "./turns.ts"

interface OpenTurn {
  readonly id: string
  readonly key: string
  /** All of its keys. */
  readonly keys: ReadonlyArray<string>
  readonly startedAt: number
  readonly active: boolean
  readonly named?: string
  readonly finish?: string
  readonly error?: ErrorInfo
  readonly cancelledBy?: InterruptedBy
  readonly interrupt?: { readonly by: InterruptedBy; readonly error?: ErrorInfo }
  readonly followsLost?: true
}

interface OpenPrompt {
  readonly id: string
  /** Its place among the open ones. */
  readonly order: number
  readonly delivery: Delivery
  readonly state: PromptState
  readonly key?: string
  readonly attempts: number
  /** It was sent into the open turn. */
  readonly steered: boolean
  readonly continues?: TurnId
}

interface OpenItem {
  readonly id: string
  readonly key: string
  /** The event that told of it last: holds its content. */
  readonly seq: number
  /** It belongs to the open turn; completed ones are kept until that has settled. */
  readonly inTurn: boolean
  readonly status?: ItemStatus
  readonly declined: boolean
  readonly background: boolean
  readonly restarts: number
  readonly agentPath?: ReadonlyArray<string>
}

interface OpenRequest {
  readonly signal: RequestSignal
  readonly itemId?: string
  readonly openedAt: number
  readonly inTurn: boolean
  readonly settledBy?: SettledBy
  readonly answer?: Answer
}

interface OpenSubagent {
  readonly path: ReadonlyArray<string>
  readonly inTurn: boolean
}

interface GivenUp {
  readonly id: string
  readonly key: string
  readonly state: PromptState
}

/** Values by name; `undefined`: no longer open. */
export type Changes = Map<string, unknown>

const turnName = "turn"
/** The agent may still work on a turn that we settled. */
const zombieName = "zombie"
/** The keys of the items that were completed last: they are not new when they are told again. */
const doneName = "done"
const keptDone = 128
/** The last prompts that were sent and given up: the agent may have them all the same. */
const givenUpName = "givenUp"
const keptGivenUp = 64
/** The keys of the last turns that were told. */
export const toldName = "told"
/** Whether the keys of the turns that were told are others after this event. */
export const changesTold = (event: DurableEvent): boolean =>
  event._tag === "TurnSettled" || (event._tag === "PromptChanged" && isFinal(event.state))

const promptName = (id: string): string => `prompt/${id}`
/** What the host sent, with the bytes of its images and files: it is written once. */
export const inputName = (id: string): string => `input/${id}`
const itemName = (key: string): string => `item/${key}`
const requestName = (id: string): string => `request/${id}`
const subagentName = (path: ReadonlyArray<string>): string => `subagent/${path.join("/")}`

const openTurn = (S: EngineState, turn: TurnRecord): OpenTurn => {
  const keys: Array<string> = []
  for (const [key, owner] of S.turnByKey) if (owner === turn) keys.push(key)
  return {
    id: turn.id,
    key: turn.key,
    keys,
    startedAt: turn.startedAt,
    active: turn.active,
    ...(turn.named === undefined ? undefined : { named: turn.named }),
    ...(turn.finish === undefined ? undefined : { finish: turn.finish }),
    ...(turn.error === undefined ? undefined : { error: turn.error }),
    ...(turn.cancelledBy === undefined ? undefined : { cancelledBy: turn.cancelledBy }),
    ...(turn.followsLost ? { followsLost: true } : undefined),
    ...(turn.interrupt === undefined ? undefined : {
      interrupt: {
        by: turn.interrupt.by,
        ...(turn.interrupt.error === undefined ? undefined : { error: turn.interrupt.error })
      }
    })
  }
}

const openPrompt = (prompt: PromptRecord, order: number): OpenPrompt => ({
  id: prompt.id,
  order,
  delivery: prompt.delivery,
  state: prompt.state,
  attempts: prompt.attempts,
  steered: prompt.target !== undefined,
  ...(prompt.continues === undefined ? undefined : { continues: prompt.continues }),
  ...(prompt.key === undefined ? undefined : { key: prompt.key })
})

const openItem = (record: ItemRecord, seq: number): OpenItem => ({
  id: record.id,
  key: record.key,
  seq,
  inTurn: record.turn !== undefined,
  declined: record.declined,
  background: record.background,
  restarts: record.restarts,
  ...(record.status === undefined ? undefined : { status: record.status }),
  ...(record.agentPath === undefined ? undefined : { agentPath: record.agentPath })
})

const openRequest = (record: RequestRecord): OpenRequest => ({
  signal: record.signal,
  openedAt: record.request.openedAt,
  inTurn: record.turn !== undefined,
  ...(record.request.itemId === undefined ? undefined : { itemId: record.request.itemId }),
  ...(record.settledBy === undefined ? undefined : { settledBy: record.settledBy }),
  ...(record.answer === undefined ? undefined : { answer: record.answer })
})

/** What has a record as long as its turn is open. */
export interface Checkpoint {
  /** Names of items and requests of the open turn. */
  readonly ofTurn: Set<string>
  order: number
}

export const make = (): Checkpoint => ({ ofTurn: new Set(), order: 0 })

const keep = (checkpoint: Checkpoint, changes: Changes, name: string, inTurn: boolean, value: unknown): void => {
  changes.set(name, value)
  if (inTurn && value !== undefined) checkpoint.ofTurn.add(name)
  else checkpoint.ofTurn.delete(name)
}

const turnChanged = (S: EngineState, changes: Changes): void => {
  changes.set(turnName, S.turn === undefined ? undefined : openTurn(S, S.turn))
  changes.set(zombieName, S.zombie === undefined ? undefined : true)
}

const givenUp = (S: EngineState): ReadonlyArray<GivenUp> =>
  [...S.prompts.values()].flatMap(({ id, key, state }) =>
    key !== undefined && isFinal(state) && state._tag !== "consumed" ? [{ id, key, state }] : []
  ).slice(-keptGivenUp)

/** Notes what an event changed. The engine has taken all of the events that are noted together. */
export const note = (S: EngineState, checkpoint: Checkpoint, event: DurableEvent, changes: Changes): void => {
  switch (event._tag) {
    case "PromptChanged": {
      const prompt = S.prompts.get(event.promptId)
      const name = promptName(event.promptId)
      if (prompt === undefined || isFinal(prompt.state)) {
        changes.set(name, undefined)
        changes.set(inputName(event.promptId), undefined)
        if (event.state._tag !== "consumed" && prompt?.key !== undefined) changes.set(givenUpName, givenUp(S))
      } else changes.set(name, openPrompt(prompt, checkpoint.order++))
      // A prompt that the turn took is one of its keys.
      if (S.turn !== undefined) turnChanged(S, changes)
      return
    }
    case "TurnStarted":
    case "TurnChanged":
      return turnChanged(S, changes)
    case "TurnSettled": {
      for (const name of checkpoint.ofTurn) changes.set(name, undefined)
      checkpoint.ofTurn.clear()
      changes.set(doneName, [...S.doneItems].slice(-keptDone))
      return turnChanged(S, changes)
    }
    case "ItemStarted":
    case "ItemUpdated":
    case "ItemCompleted": {
      const record = S.items.get(event.itemId) ?? S.items.get(event.itemId.replace(/~\d+$/, ""))
      if (record === undefined || (record.turn === undefined && record.status !== undefined)) {
        return keep(checkpoint, changes, itemName(record?.key ?? event.itemId.replace(/~\d+$/, "")), false, undefined)
      }
      // Told of under another id before: its last event counts.
      if (record.id !== event.itemId) return
      return keep(
        checkpoint,
        changes,
        itemName(record.key),
        record.turn !== undefined,
        openItem(record, event.seq ?? S.seq)
      )
    }
    case "RequestOpened":
    case "RequestSettled": {
      const record = event.requestId === undefined ? undefined : S.requests.get(event.requestId)
      if (record === undefined) return
      const over = record.settledBy !== undefined && (record.turn === undefined || record.turn !== S.turn)
      return keep(
        checkpoint,
        changes,
        requestName(record.id),
        record.turn !== undefined,
        over ? undefined : openRequest(record)
      )
    }
    case "SubagentStarted":
    case "SubagentSettled": {
      const path = event.agentPath ?? []
      const record = S.subagents.get(path.join("/"))
      changes.set(
        subagentName(path),
        record?.open === true ? { path, inTurn: record.turn !== undefined } satisfies OpenSubagent : undefined
      )
      return
    }
  }
}

// -----------------------------------------------------------------------------
// restoring
// -----------------------------------------------------------------------------

/** What was kept of a session. */
export interface Kept {
  readonly open: ReadonlyMap<string, unknown>
  /** The events that hold the content of open items, by their seq. Those that are not kept any more are missing. */
  readonly items: ReadonlyMap<number, DurableEvent>
}

const namesOf = (open: ReadonlyMap<string, unknown>, prefix: string): ReadonlyArray<unknown> =>
  [...open].flatMap(([name, value]) => name.startsWith(prefix) ? [value] : [])

/** The seqs of the events that a restoring needs. */
export const itemSeqs = (open: ReadonlyMap<string, unknown>): ReadonlyArray<number> =>
  (namesOf(open, itemName("")) as ReadonlyArray<OpenItem>).map((item) => item.seq)

const contentOf = (event: DurableEvent | undefined): Item | undefined =>
  event !== undefined && "item" in event ? event.item : undefined

const restoreTurn = (S: EngineState, kept: OpenTurn, now: number): TurnRecord => {
  const turn = turns.make(S, kept.key, kept.id)
  S.turn = turn
  for (const key of kept.keys) S.turnByKey.set(key, turn)
  turn.startedAt = kept.startedAt
  turn.active = kept.active
  turn.gap = true
  turn.anchored = false
  turn.streamed = false
  turn.fence = 0
  turn.named = kept.named
  turn.finish = kept.finish
  turn.error = kept.error
  turn.cancelledBy = kept.cancelledBy
  turn.followsLost = kept.followsLost === true
  turn.lastLife = now
  turn.probeAt = now + S.options.limits.silence
  turn.evidence.push({ at: now, source: "host", fact: "the host ended while the turn ran, and was started again" })
  if (kept.interrupt !== undefined) {
    turn.interrupt = {
      by: kept.interrupt.by,
      error: kept.interrupt.error,
      deadline: now + S.options.limits.interrupt,
      sent: false,
      retryAt: undefined
    }
    turn.shown = { _tag: "interrupting", by: kept.interrupt.by }
  }
  return turn
}

const restorePrompt = (
  S: EngineState,
  kept: OpenPrompt,
  input: PromptInput,
  ended: () => TurnRecord
): void => {
  const prompt: PromptRecord = {
    ...untouched,
    id: PromptId.make(kept.id),
    input,
    delivery: kept.delivery,
    state: kept.state,
    key: kept.key,
    attempts: kept.attempts,
    continues: kept.continues
  }
  S.prompts.set(prompt.id, prompt)
  if (prompt.key === undefined) {
    if (prompt.continues === undefined) PromptQueue.offer(S.queue, prompt)
    else PromptQueue.offerFirst(S.queue, prompt)
    return
  }
  S.promptByKey.set(prompt.key, prompt)
  if (kept.steered || S.inflight !== undefined) {
    prompt.target = S.turn ?? ended()
    S.steering.push(prompt)
  } else S.inflight = prompt
}

/** What the agent tells of it is nothing that anybody waits for. */
const restoreGivenUp = (S: EngineState, { id, key, state }: GivenUp): void => {
  const prompt: PromptRecord = {
    ...untouched,
    id: PromptId.make(id),
    input: { parts: [] },
    delivery: "queue",
    state,
    key,
    attempts: 1
  }
  S.prompts.set(prompt.id, prompt)
  S.promptByKey.set(key, prompt)
}

const restoreItem = (S: EngineState, kept: OpenItem, content: Item | undefined, now: number): void => {
  if (content === undefined) {
    // Its beginning has left the journal: what the agent says of it has no place.
    S.doneItems.add(kept.key)
    return
  }
  const { id: _, ...rest } = content
  const item = rest as ItemContent
  const done = kept.status !== undefined
  S.items.set(kept.key, {
    id: ItemId.make(kept.id),
    key: kept.key,
    turn: kept.inTurn ? S.turn : undefined,
    content: done ? item : withText(item, ""),
    stream: streamOf(item),
    // Who reads from now on is given the text of an open item from its beginning.
    sent: done ? textOf(item) : "",
    withheld: !done,
    status: kept.status,
    declined: kept.declined,
    background: kept.background,
    restarts: kept.restarts,
    startedAt: now,
    noticed: done,
    agentPath: kept.agentPath
  })
}

const restoreRequest = (S: EngineState, kept: OpenRequest, now: number): void => {
  const { signal } = kept
  const id = RequestId.make(signal.key)
  const turn = kept.inTurn ? S.turn : undefined
  const record: RequestRecord = {
    id,
    signal,
    request: {
      id,
      kind: signal.kind,
      subject: signal.subject,
      options: signal.options,
      facts: signal.facts,
      openedAt: kept.openedAt,
      ...(turn === undefined ? undefined : { turnId: turn.id }),
      ...(kept.itemId === undefined ? undefined : { itemId: ItemId.make(kept.itemId) }),
      ...(signal.agentPath === undefined ? undefined : { agentPath: signal.agentPath })
    },
    turn,
    fence: 0,
    expiresAt: S.options.expiresAfter === undefined || kept.settledBy !== undefined
      ? undefined
      : now + S.options.expiresAfter,
    settledBy: kept.settledBy,
    answer: kept.answer,
    // Whether an answer arrived is not known: it is sent again should the agent still wait.
    delivery: kept.settledBy === undefined || kept.settledBy === "provider" || kept.settledBy === "unknown"
      ? "none"
      : "failed",
    attempts: 0,
    retryAt: undefined
  }
  S.requests.set(id, record)
  S.requestByKey.set(signal.key, record)
}

/** Puts what was kept into a state that has taken no input yet; gives what goes on noting. */
export const restore = (S: EngineState, kept: Kept, now: number): Checkpoint => {
  const checkpoint = make()
  const { open } = kept
  S.now = Math.max(S.now, now)
  const told = (open.get(toldName) ?? []) as ReadonlyArray<string>
  let last: TurnRecord | undefined
  for (const key of told) last = turns.passOver(S, key)
  for (const key of (open.get(doneName) ?? []) as ReadonlyArray<string>) S.doneItems.add(key)
  if (open.get(zombieName) === true) S.zombie = { probeAt: now + S.options.limits.interrupt, attempts: 0 }
  for (const prompt of (open.get(givenUpName) ?? []) as ReadonlyArray<GivenUp>) restoreGivenUp(S, prompt)
  const turn = open.get(turnName) as OpenTurn | undefined
  if (turn !== undefined) restoreTurn(S, turn, now)
  const prompts = [...namesOf(open, promptName("")) as ReadonlyArray<OpenPrompt>].sort((a, b) => a.order - b.order)
  for (const prompt of prompts) {
    checkpoint.order = Math.max(checkpoint.order, prompt.order + 1)
    const input = (open.get(inputName(prompt.id)) ?? { parts: [] }) as PromptInput
    restorePrompt(S, prompt, input, () => last ?? turns.passOver(S, "a turn that has ended"))
  }
  for (const item of namesOf(open, itemName("")) as ReadonlyArray<OpenItem>) {
    restoreItem(S, item, contentOf(kept.items.get(item.seq)), now)
    if (item.inTurn) checkpoint.ofTurn.add(itemName(item.key))
  }
  for (const request of namesOf(open, requestName("")) as ReadonlyArray<OpenRequest>) {
    restoreRequest(S, request, now)
    if (request.inTurn) checkpoint.ofTurn.add(requestName(request.signal.key))
  }
  for (const { inTurn, path } of namesOf(open, subagentName([])) as ReadonlyArray<OpenSubagent>) {
    const record: SubagentRecord = { path, turn: inTurn ? S.turn : undefined, open: true }
    S.subagents.set(path.join("/"), record)
  }
  return checkpoint
}
