/** Snapshots: the agent's side read at one moment, ordered by a fence and not by arrival. */
import type { ErrorInfo } from "../../AgentError.ts"
import type { Signal, Snapshot, TurnVerdict } from "../../Signal.ts"
import { addEvidence, emit } from "./emit.ts"
import * as prompts from "./prompts.ts"
import * as requests from "./requests.ts"
import * as signals from "./signals.ts"
import type { EngineState, PromptRecord, SnapshotRecord, TurnRecord } from "./state.ts"
import * as turns from "./turns.ts"

/** Snapshots in a row at a resync that did not tell all. */
const maxRereads = 16

const keysOf = (S: EngineState, turn: TurnRecord): ReadonlyArray<string> => {
  const keys: Array<string> = []
  for (const [key, owner] of S.turnByKey) {
    if (owner === turn) keys.push(key)
  }
  return keys
}

/** Asks for a snapshot if one is wanted; at most one is on its way. */
export const request = (S: EngineState): void => {
  if (!S.snapshotWanted || S.snapshot !== undefined || !(S.live || S.resyncing) || S.phase === "closed") return
  if (S.snapshotRetryAt !== undefined && S.snapshotRetryAt > S.now) return
  S.snapshotWanted = false
  S.snapshotRetryAt = undefined
  const open = prompts.open(S).flatMap((prompt) => prompt.key === undefined ? [] : [prompt.key])
  const record: SnapshotRecord = {
    id: ++S.snapshotNo,
    fence: S.inputNo,
    generation: S.generation,
    resync: S.resyncing,
    turns: [...new Set([...(S.turn === undefined ? [] : keysOf(S, S.turn)), ...open])]
  }
  S.snapshot = record
  S.commands.push({ _tag: "snapshot", record, prompts: open, turns: record.turns })
}

/** The verdict on a turn that has several keys: running beats all, else the last prompt's counts. */
const verdictOf = (S: EngineState, turn: TurnRecord, snapshot: Snapshot): TurnVerdict | undefined => {
  let result: TurnVerdict | undefined
  for (const key of keysOf(S, turn)) {
    const verdict = snapshot.turns[key]
    if (verdict === undefined) continue
    if (verdict._tag === "running") return verdict
    result = verdict
  }
  return result
}

const describe = (verdict: TurnVerdict | undefined, snapshot: Snapshot): string =>
  `${verdict === undefined ? "turn unknown to the agent" : `turn ${verdict._tag}`}, agent ${snapshot.activity}`

/** A turn that was not asked about has no verdict yet: it is asked about now. */
const isJudged = (S: EngineState, turn: TurnRecord, snapshot: Snapshot, record: SnapshotRecord): boolean => {
  if (turn.fence > record.fence) return false
  if (record.turns.includes(turn.key)) return true
  return keysOf(S, turn).some((key) => {
    const verdict = snapshot.turns[key]
    return verdict !== undefined && verdict._tag !== "unfinished"
  })
}

/** The agent was asked about all of the turn, also about prompts that joined it. */
const isRead = (S: EngineState, turn: TurnRecord, snapshot: Snapshot, record: SnapshotRecord): boolean =>
  isJudged(S, turn, snapshot, record) &&
  keysOf(S, turn).every((key) => snapshot.turns[key] !== undefined || record.turns.includes(key))

/** The key of a turn that a signal names. */
const keyOf = (signal: Signal): string | undefined => signal._tag === "prompt" ? signal.turn ?? signal.key : signal.turn

/**
 * What a snapshot tells of comes in order, without the ends between: a turn that has ended is settled before the work
 * of the next one is told. Work under a new key while the open turn has no end was merged into it.
 */
const endBefore = (S: EngineState, signal: Signal, snapshot: Snapshot, record: SnapshotRecord): void => {
  const turn = S.turn
  const key = keyOf(signal)
  if (turn === undefined || key === undefined || S.turnByKey.has(key) || turn.fence > record.fence) return
  // The agent names the open turn by the prompt that began it.
  const prompt = signal._tag === "prompt" ? signal.key : signal._tag === "turnStarted" ? signal.prompt : undefined
  if (prompt !== undefined && S.turnByKey.get(prompt) === turn) return
  // What comes before a prompt of ours that has not shown itself is not after its turn.
  if (turn.key === S.inflight?.key) return
  const verdict = verdictOf(S, turn, snapshot)
  if (verdict?._tag === "running" || !isRead(S, turn, snapshot, record)) return
  if (verdict === undefined || verdict._tag === "unfinished") {
    // Without a judgement it has ended where its end was seen, before this work was, or where the agent never began it.
    const unknown = (signal._tag === "turnStarted" && turns.isOther(S, signal.turn)) ||
      (verdict === undefined && !turn.active && record.turns.includes(turn.key))
    if (!unknown && turn.settleAt === undefined && turn.cancelledBy === undefined) return
  }
  addEvidence(S, turn, "snapshot", describe(verdict, snapshot))
  turns.settleByEvidence(S, turn, verdict)
}

/** A prompt of ours with a judgement of its own begins its turn where the conversation has it. */
const beginOwn = (S: EngineState, signal: Signal, snapshot: Snapshot, record: SnapshotRecord): void => {
  const key = keyOf(signal)
  const prompt = key === undefined || S.turnByKey.has(key) ? undefined : S.promptByKey.get(key)
  if (prompt?.key === undefined || prompt.calling || prompt.fence > record.fence) return
  // Another prompt of ours, interrupted on its way, is judged first.
  if (S.turn !== undefined && S.turn.key === S.inflight?.key && prompt !== S.inflight) return
  const verdict = snapshot.turns[prompt.key]
  if (snapshot.prompts[prompt.key] !== "taken" || verdict === undefined || verdict._tag === "unfinished") return
  prompts.begun(S, prompt)
}

/**
 * A prompt without an answer of its own, and one after it in the conversation that has one: the agent took both in one
 * step. Gives the turn of that one, or the prompt itself if its turn has not begun.
 */
const takenWith = (S: EngineState, key: string, snapshot: Snapshot): TurnRecord | PromptRecord | undefined => {
  if (snapshot.turns[key]?._tag !== "unfinished") return undefined
  let after = false
  for (const signal of snapshot.signals) {
    if (signal._tag !== "prompt") continue
    const verdict = snapshot.turns[signal.key]
    if (after && verdict !== undefined && verdict._tag !== "unfinished") {
      const other = S.promptByKey.get(signal.key)
      return S.turnByKey.get(signal.key) ?? (other === undefined || prompts.isFinal(other.state) ? undefined : other)
    }
    if (signal.key === key) after = true
  }
  return undefined
}

/** False: the agent has to be asked again, about what it was not asked yet. */
const judgeTurn = (S: EngineState, turn: TurnRecord, snapshot: Snapshot, record: SnapshotRecord): boolean => {
  // Of a prompt that joined the turn since the agent was not asked: its end is the turn's.
  if (!isRead(S, turn, snapshot, record)) return false
  const verdict = verdictOf(S, turn, snapshot)
  if (verdict !== undefined && verdict._tag !== "unfinished" && verdict._tag !== "running") {
    addEvidence(S, turn, "snapshot", describe(verdict, snapshot))
    turns.settleByEvidence(S, turn, verdict)
    return true
  }
  if (snapshot.activity === "unknown") {
    turn.anchored = true
    if (turn.settleAt !== undefined) turn.idleSnapshots++
    return true
  }
  if (snapshot.activity === "busy" || verdict?._tag === "running") {
    turn.idleSnapshots = 0
    if (record.resync || verdict?._tag === "running") turn.active = true
    // An agent that works works on this turn if it was seen to have begun it.
    if (turn.active) turn.anchored = true
    // It goes on before our eyes: its end cannot have been missed.
    turn.gap = false
    if (turn.interrupt === undefined && turn.endedBy <= record.fence) turn.settleAt = undefined
    return true
  }
  // The agent is idle and the turn is not finished.
  addEvidence(S, turn, "snapshot", describe(verdict, snapshot))
  if (record.resync || turn.settleAt !== undefined || turn.interrupt?.sent === true || turn.idleSnapshots >= 1) {
    turns.settleByEvidence(S, turn, verdict)
    return true
  }
  // Work may be about to begin, or its end about to arrive on the stream: looked at once more.
  turn.idleSnapshots++
  turn.settleAt = undefined
  S.snapshotWanted = true
  S.snapshotRetryAt = S.now + S.options.limits.retry
  return true
}

const judgeRequests = (S: EngineState, snapshot: Snapshot, record: SnapshotRecord): void => {
  const open = new Set<string>()
  for (const signal of snapshot.requests) {
    open.add(signal.key)
    signals.apply(S, signal)
  }
  // An agent that cannot say whether it works cannot say either that it waits for nothing.
  if (snapshot.activity === "unknown") return
  for (const request of S.requests.values()) {
    if (open.has(request.signal.key) || request.fence > record.fence) continue
    if (request.settledBy === undefined) requests.closedByAgent(S, request, "unknown", undefined)
    else if (request.delivery === "failed") request.delivery = "delivered"
  }
}

/** Applies a snapshot, or notes that it could not be had. */
export const arrived = (
  S: EngineState,
  id: number,
  snapshot: Snapshot | undefined,
  error: ErrorInfo | undefined
): void => {
  const record = S.snapshot
  if (record === undefined || record.id !== id) return
  S.snapshot = undefined
  if (record.generation !== S.generation) {
    S.snapshotWanted = true
    return
  }
  if (snapshot === undefined) {
    S.snapshotWanted = true
    S.snapshotRetryAt = S.now + S.options.limits.retry
    if (error !== undefined && S.turn !== undefined) addEvidence(S, S.turn, "snapshot", `no snapshot: ${error._tag}`)
    return
  }
  S.origin = record.resync ? "resync" : "native"
  S.reading = record
  let whole = S.passedBy <= record.fence
  let judges = true
  let unplaced: string | undefined
  let only: string | undefined
  for (const signal of snapshot.signals) {
    if (signal._tag === "turnEnded") continue
    endBefore(S, signal, snapshot, record)
    const key = keyOf(signal)
    const unknown = key !== undefined && !S.turnByKey.has(key)
    if (unknown && S.turn !== undefined && !isRead(S, S.turn, snapshot, record)) {
      // What follows a turn without a verdict is read when the agent has been asked about that one.
      judges = false
      whole = false
      break
    }
    if (unknown && unplaced !== undefined && key !== unplaced) {
      // What follows a prompt of ours is read when it is known what became of that one.
      only = unplaced
      whole = false
      break
    }
    beginOwn(S, signal, snapshot, record)
    signals.apply(S, signal)
    const prompt = unknown ? S.promptByKey.get(key) : undefined
    if (unknown && prompt !== undefined && !prompts.isFinal(prompt.state) && !S.turnByKey.has(key)) unplaced = key
  }
  if (S.turn !== undefined && !isJudged(S, S.turn, snapshot, record)) judges = false
  const busy = snapshot.activity === "busy"
  for (const prompt of judges ? [...prompts.open(S)] : []) {
    if (prompt.key === undefined || prompt.fence > record.fence || prompt.calling) continue
    if (only !== undefined && prompt.key !== only) continue
    const fate = snapshot.prompts[prompt.key]
    if (fate === "held" && S.endedAt > record.fence) {
      // It was read while a turn held it that has ended since.
      S.snapshotWanted = true
      continue
    }
    const together = fate === "taken" ? takenWith(S, prompt.key, snapshot) : undefined
    if (together !== undefined) {
      if ("attempts" in together) {
        const turn = S.turn
        // The turn that is open has no answer of its own either: the same step took all of them into it.
        const joins = turn !== undefined && turn.fence <= record.fence && takenWith(S, turn.key, snapshot) === together
        if (!joins && (turn !== undefined || together.calling || together.fence > record.fence)) {
          prompt.doubtAt = S.now + S.options.limits.retry
          continue
        }
        if (!joins) prompts.begun(S, together)
        prompt.target = S.turn
      } else prompt.target = together
    }
    if (fate !== undefined) prompts.judged(S, prompt, fate, snapshot.turns[prompt.key], busy, record.resync)
  }
  // A turn whose work was not read to its end is judged by the next snapshot.
  if (only === undefined && S.turn !== undefined && !judgeTurn(S, S.turn, snapshot, record)) whole = false
  // A request of a turn that was not read to would begin that turn before the ones that come first.
  if (judges && only === undefined) judgeRequests(S, snapshot, record)
  S.origin = "native"
  S.reading = undefined
  if (S.zombie !== undefined) {
    if (snapshot.activity === "idle") S.zombie = undefined
    else if (busy) {
      S.zombie.attempts++
      S.commands.push({ _tag: "interrupt" })
    } else if (++S.zombie.attempts >= 3) {
      // An agent that cannot tell whether it works must not keep prompts waiting for ever.
      S.zombie = undefined
    }
  }
  S.rereads = whole ? 0 : S.rereads + 1
  if (!whole) {
    S.snapshotWanted = true
    if (S.rereads > 3) S.snapshotRetryAt = S.now + S.options.limits.retry
  }
  // What cannot be read to its end after many tries is declared as lost.
  if (record.resync && (whole || S.rereads >= maxRereads)) {
    S.resyncing = false
    emit(S, {
      _tag: "ConnectionChanged",
      status: { _tag: "resynced", gap: snapshot.complete && whole ? "closed" : "lossy" }
    })
    live(S)
  }
}

/** The stream counts as live from here. */
export const live = (S: EngineState): void => {
  S.live = true
  S.connection = "live"
  emit(S, { _tag: "ConnectionChanged", status: { _tag: "live" } })
  const turn = S.turn
  if (turn === undefined) return
  turn.lastLife = S.now
  turn.probeAt = S.now + S.options.limits.silence
  if (turn.interrupt !== undefined) turns.sendInterrupt(S, turn)
}

/** The machine slept: what the stream said since is doubted, and no silence is counted. */
export const resync = (S: EngineState): void => {
  if (!S.live) return
  S.live = false
  S.resyncing = true
  S.snapshot = undefined
  S.snapshotWanted = true
  S.snapshotRetryAt = undefined
  S.connection = "resyncing"
  emit(S, { _tag: "ConnectionChanged", status: { _tag: "resyncing" } })
}
