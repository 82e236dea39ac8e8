/** Turns: started once, settled once, on evidence. */
import * as AgentError from "../../AgentError.ts"
import type { ErrorInfo } from "../../AgentError.ts"
import { TurnId } from "../../Ids.ts"
import type { ItemStatus } from "../../Item.ts"
import type { TurnVerdict } from "../../Signal.ts"
import type { Evidence, InterruptedBy, TurnOutcome, TurnState } from "../../Turn.ts"
import { addEvidence, emit } from "./emit.ts"
import * as items from "./items.ts"
import * as prompts from "./prompts.ts"
import * as requests from "./requests.ts"
import type { EngineState, TurnRecord } from "./state.ts"
import { remembered } from "./state.ts"
import * as subagents from "./subagents.ts"

/** A turn begins with the first evidence that the agent took it, or when we act on one that we only submitted. */
export const start = (S: EngineState, key: string, id: string): TurnRecord => {
  const turn = make(S, key, id)
  S.turn = turn
  S.turnByKey.set(key, turn)
  emit(S, { _tag: "TurnStarted", turnId: turn.id })
  return turn
}

/** A turn of somebody else that is not told of: what the agent says of it has no effect. */
export const passOver = (S: EngineState, key: string): TurnRecord => {
  const turn = make(S, key, `trn_${key}`)
  S.turnByKey.set(key, turn)
  keep(S, turn, true)
  return turn
}

/** Remembers a turn that has ended, the newest of them, with all its keys: late frames are judged by it. */
const keep = (S: EngineState, turn: TurnRecord, noticed: boolean): void => {
  S.settled.set(turn, { noticed })
  if (S.settled.size <= remembered) return
  const [old] = S.settled.keys()
  if (old === undefined) return
  S.settled.delete(old)
  for (const [key, owner] of S.turnByKey) {
    if (owner === old) S.turnByKey.delete(key)
  }
}

export const make = (S: EngineState, key: string, id: string): TurnRecord => ({
  id: TurnId.make(id),
  key,
  startedAt: S.now,
  // What a snapshot tells of for the first time it may judge as well.
  fence: S.reading?.fence ?? S.inputNo,
  anchored: S.reading === undefined,
  streamed: S.reading === undefined,
  active: false,
  // Found at a resync: what came before was not seen.
  gap: S.reading?.resync === true,
  shown: { _tag: "running" },
  retrying: undefined,
  compacting: false,
  interrupt: undefined,
  cancelledBy: undefined,
  finish: undefined,
  error: undefined,
  settleAt: undefined,
  named: undefined,
  heard: undefined,
  endedBy: 0,
  idleSnapshots: 0,
  lastLife: S.now,
  silentSince: undefined,
  probeAt: S.now + S.options.limits.silence,
  evidence: [],
  usage: undefined,
  followsLost: false
})

/** Another key of the same turn: a prompt that was steered into it. */
export const alias = (S: EngineState, turn: TurnRecord, key: string): void => {
  S.turnByKey.set(key, turn)
}

/** The agent named the turn: what it says next without a name belongs to it. */
export const named = (S: EngineState, turn: TurnRecord): void => {
  turn.anchored = true
  if (S.reading !== undefined || turn.streamed) return
  turn.streamed = true
  // An end without a name that came before was that of another turn, or the snapshot that was asked for will tell.
  if (turn.heard === undefined) turn.settleAt = undefined
}

/** Something happened that only a living agent does. */
export const life = (S: EngineState, turn: TurnRecord): void => {
  // What a snapshot tells lies in the past: an agent that is only read shows no life.
  if (S.reading !== undefined) return
  turn.lastLife = S.now
  turn.idleSnapshots = 0
  if (turn.silentSince !== undefined) {
    turn.silentSince = undefined
    turn.probeAt = S.now + S.options.limits.silence
  }
}

/** The agent works (again): an end that was seen before was not the end. */
export const working = (S: EngineState, turn: TurnRecord): void => {
  life(S, turn)
  turn.active = true
  if (S.reading !== undefined) return
  turn.settleAt = undefined
  turn.heard = undefined
  turn.retrying = undefined
  turn.compacting = false
}

const desired = (S: EngineState, turn: TurnRecord): TurnState => {
  if (turn.interrupt !== undefined) return { _tag: "interrupting", by: turn.interrupt.by }
  const awaiting = requests.awaiting(S, turn)
  if (awaiting !== undefined) return { _tag: awaiting === "approval" ? "awaitingApproval" : "awaitingInput" }
  if (turn.retrying !== undefined) return { _tag: "retryingUpstream", ...turn.retrying }
  if (turn.compacting) return { _tag: "compacting" }
  if (turn.silentSince !== undefined) return { _tag: "silent", since: turn.silentSince }
  return { _tag: "running" }
}

const sameState = (a: TurnState, b: TurnState): boolean => {
  if (a._tag !== b._tag) return false
  if (a._tag === "retryingUpstream" && b._tag === "retryingUpstream") {
    return a.attempt === b.attempt && a.until === b.until
  }
  if (a._tag === "silent" && b._tag === "silent") return a.since === b.since
  return true
}

/** Tells the host what the turn is doing, once per change. */
export const refresh = (S: EngineState): void => {
  const turn = S.turn
  if (turn === undefined) return
  const state = desired(S, turn)
  if (sameState(turn.shown, state)) return
  turn.shown = state
  emit(S, { _tag: "TurnChanged", turnId: turn.id, state })
}

const lostError = (S: EngineState): ErrorInfo =>
  AgentError.fromReason(
    new AgentError.TurnLost({
      description:
        "The connection to the agent was lost while the turn ran, and nothing says that the turn had finished."
    }),
    { provider: S.options.provider, sessionId: S.options.sessionId }
  )

/** What the local evidence says, when the agent is known to have stopped. */
const judge = (S: EngineState, turn: TurnRecord, verdict: TurnVerdict | undefined): TurnOutcome => {
  const by: InterruptedBy | undefined = turn.interrupt?.by ?? turn.cancelledBy
  if (verdict?._tag === "completed") return { _tag: "completed", stopReason: verdict.stopReason }
  if (turn.interrupt?.error !== undefined && turn.finish === undefined) {
    return { _tag: "failed", error: turn.interrupt.error }
  }
  if (verdict?._tag === "interrupted") return { _tag: "interrupted", by: by ?? verdict.by }
  if (by !== undefined) {
    // A finish reason seen before the settlement is completion, whoever asked for the interrupt; not one of a prompt
    // before, where the agent says that the turn failed, and not one behind a gap that was not read: what the turn said
    // is not known to be whole.
    const unread = turn.gap && !S.live && S.reading === undefined
    return turn.finish !== undefined && turn.error === undefined && verdict?._tag !== "failed" && !unread
      ? { _tag: "completed", stopReason: turn.finish }
      : { _tag: "interrupted", by }
  }
  if (verdict?._tag === "failed") return { _tag: "failed", error: verdict.error }
  // An error is not the end where the agent knows the turn as one that nobody ended.
  if (turn.error !== undefined && !(turn.gap && verdict?._tag === "unfinished")) {
    return { _tag: "failed", error: turn.error }
  }
  if (turn.finish !== undefined) return { _tag: "completed", stopReason: turn.finish }
  if (turn.gap) return { _tag: "lost", error: lostError(S) }
  return { _tag: "interrupted", by: "provider" }
}

const itemStatus: { readonly [K in TurnOutcome["_tag"]]: ItemStatus } = {
  completed: "completed",
  interrupted: "interrupted",
  failed: "failed",
  lost: "interrupted"
}

/** Settles the turn: items first, then requests, then prompts that it did not take, then the turn itself. */
export const settle = (S: EngineState, turn: TurnRecord, outcome: TurnOutcome): void => {
  if (S.turn !== turn) return
  // What was still open when somebody stopped the turn is not known to be whole.
  const stopped = outcome._tag === "completed" && turn.interrupt !== undefined
  items.closeTurn(S, turn, stopped ? "interrupted" : itemStatus[outcome._tag])
  requests.teardown(S, turn, false)
  subagents.closeTurn(S, turn, outcome)
  S.turn = undefined
  S.settledAt = S.inputNo
  if (S.reading === undefined) S.endedAt = S.inputNo
  keep(S, turn, false)
  emit(S, {
    _tag: "TurnSettled",
    turnId: turn.id,
    outcome,
    evidence: turn.evidence,
    ...(turn.usage === undefined ? undefined : { usage: turn.usage })
  })
  prompts.turnEnded(S, turn)
  if (outcome._tag === "lost") prompts.continueLost(S, turn)
}

export const settleByEvidence = (S: EngineState, turn: TurnRecord, verdict: TurnVerdict | undefined): void =>
  settle(
    S,
    turn,
    judge(S, turn, verdict === undefined || verdict._tag === "unfinished" ? turn.heard ?? verdict : verdict)
  )

/** The agent was seen to stop. Without a verdict of its own the end is confirmed by a snapshot. */
export const ended = (
  S: EngineState,
  turn: TurnRecord,
  verdict: TurnVerdict | undefined,
  source: Evidence["source"],
  fact: string
): void => {
  addEvidence(S, turn, source, fact)
  turn.endedBy = S.inputNo
  turn.heard = verdict ?? turn.heard
  if (S.resyncing) {
    // What was missed before is read first: a snapshot that was asked for from now on tells all of it.
    turn.settleAt ??= S.now + S.options.limits.settle
    S.passedBy = S.inputNo
    S.snapshotWanted = true
    return
  }
  if (verdict !== undefined && verdict._tag !== "running" && verdict._tag !== "unfinished") {
    settleByEvidence(S, turn, verdict)
    return
  }
  const certain = turn.active && turn.finish !== undefined && turn.error === undefined &&
    turn.interrupt === undefined && !S.steering.some((prompt) => prompt.target === turn)
  if (certain) {
    settleByEvidence(S, turn, undefined)
    return
  }
  turn.settleAt ??= S.now + S.options.limits.settle
  S.snapshotWanted = true
}

/** The agent itself names another turn than the open one: that one has ended, whether its end was seen or not. */
export const isOther = (S: EngineState, key: string): boolean =>
  S.turn?.named !== undefined && S.turn.named !== key && !S.turnByKey.has(key)

/** The agent was seen to stop, which is not confirmed yet. */
export const isEnding = (S: EngineState): boolean => S.turn?.settleAt !== undefined && S.reading === undefined

/** The agent was seen to stop, and works on something else now: the turn before has ended. */
export const endBeforeWork = (S: EngineState): void => {
  if (S.turn !== undefined && isEnding(S)) settleByEvidence(S, S.turn, undefined)
}

/** Asks the agent to stop. The state changes in this very step, whatever the agent does. */
export const interrupt = (S: EngineState, by: InterruptedBy, error?: ErrorInfo): void => {
  if (S.turn === undefined && S.inflight !== undefined) {
    const unseen = prompts.startTurnOf(S, S.inflight)
    unseen.anchored = false
    unseen.streamed = false
  }
  const turn = S.turn
  if (turn === undefined || turn.interrupt !== undefined) return
  turn.interrupt = {
    by,
    error,
    deadline: S.now + S.options.limits.interrupt,
    sent: false,
    retryAt: undefined
  }
  addEvidence(S, turn, by === "policy" ? "timer" : "host", `interrupt asked by ${by}`)
  requests.teardown(S, turn, false)
  refresh(S)
  sendInterrupt(S, turn)
}

/** An interrupt that overtakes its prompt would hit nothing, so it waits until the submission was answered. */
export const sendInterrupt = (S: EngineState, turn: TurnRecord): void => {
  const interrupt = turn.interrupt
  if (interrupt === undefined || interrupt.sent) return
  // A session that closes does not wait until what it missed is read.
  if (!S.live && !(S.resyncing && S.phase === "closing")) return
  if (S.inflight?.calling === true) return
  interrupt.sent = true
  interrupt.retryAt = undefined
  S.commands.push({ _tag: "interrupt" })
}

const toolOpen = (S: EngineState, turn: TurnRecord): boolean => {
  for (const record of S.items.values()) {
    if (record.turn === turn && record.status === undefined && record.stream === "output") return true
  }
  return false
}

/** Timers of the open turn. */
export const tick = (S: EngineState): void => {
  const turn = S.turn
  if (turn === undefined) return
  const limits = S.options.limits
  const now = S.now
  if (S.resyncing && turn.settleAt !== undefined && now - turn.lastLife < limits.silence) {
    turn.settleAt = now + limits.settle
  }
  if (turn.settleAt !== undefined && turn.settleAt <= now) {
    // Known from a snapshot alone, the end that was seen may be that of a turn before: a snapshot has to tell.
    const certain = turn.streamed && (turn.active || turn.error !== undefined)
    if (certain || turn.interrupt !== undefined || turn.idleSnapshots >= 3) {
      addEvidence(S, turn, "timer", "no snapshot in time; settled on what was seen")
      settleByEvidence(S, turn, undefined)
      return
    }
    // An end was seen, work was not: only a snapshot can tell whether it was ours.
    turn.settleAt = now + limits.settle
    S.snapshotWanted = true
  }
  const interrupting = turn.interrupt
  if (interrupting !== undefined) {
    if (interrupting.deadline <= now) {
      addEvidence(S, turn, "timer", "the agent did not confirm the interrupt; settled locally")
      S.zombie = { probeAt: now + limits.interrupt, attempts: 0 }
      if (S.live) {
        S.commands.push({ _tag: "reconnect" })
      }
      settleByEvidence(S, turn, undefined)
      return
    }
    if (interrupting.retryAt !== undefined && interrupting.retryAt <= now) {
      interrupting.sent = false
      // Sent now, or as soon as the connection stands and the submission was answered; no timer polls for that.
      interrupting.retryAt = undefined
      sendInterrupt(S, turn)
    }
    return
  }
  if (!S.live) return
  if (requests.awaiting(S, turn) !== undefined) {
    turn.lastLife = now
    turn.probeAt = now + limits.silence
    return
  }
  // A tool may take its time; one whose end may have been missed is doubted like anything else.
  if (!turn.gap && toolOpen(S, turn)) {
    for (const record of S.items.values()) {
      if (record.turn !== turn || record.status !== undefined || record.stream !== "output" || record.noticed) continue
      if (now - Math.max(record.startedAt, turn.lastLife) >= limits.toolNotice) {
        record.noticed = true
        emit(S, {
          _tag: "Notice",
          level: "warning",
          code: "toolSilent",
          text: "A tool has been running for a long time without output.",
          turnId: turn.id,
          itemId: record.id
        })
      }
    }
    turn.probeAt = now + limits.silence
    return
  }
  if (turn.retrying?.until !== undefined && turn.retrying.until > now) {
    turn.lastLife = now
    turn.probeAt = turn.retrying.until + limits.silence
    return
  }
  if (now - turn.lastLife >= limits.silenceEnd) {
    const error = AgentError.fromReason(
      new AgentError.UpstreamSilent({ silentFor: now - turn.lastLife }),
      { provider: S.options.provider, sessionId: S.options.sessionId }
    )
    interrupt(S, "policy", error)
    return
  }
  if (turn.probeAt <= now) {
    if (now - turn.lastLife >= limits.silence) {
      turn.silentSince ??= turn.lastLife
      turn.probeAt = now + limits.silence
      S.snapshotWanted = true
    } else {
      turn.probeAt = turn.lastLife + limits.silence
    }
  }
}

export const wakeAt = (S: EngineState): number => {
  const turn = S.turn
  if (turn === undefined) return Number.POSITIVE_INFINITY
  let wake = turn.settleAt ?? Number.POSITIVE_INFINITY
  if (turn.interrupt !== undefined) {
    wake = Math.min(wake, turn.interrupt.deadline, turn.interrupt.retryAt ?? Number.POSITIVE_INFINITY)
  } else if (S.live) {
    wake = Math.min(wake, turn.probeAt)
  }
  return wake
}
