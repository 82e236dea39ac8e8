/**
 * The session engine: deterministic, total, synchronous; time comes in with each call.
 * It owns its state and updates it in place. What it wants to say and do lies in `events` and `commands` afterwards.
 */
import type { ErrorInfo } from "../../AgentError.ts"
import { addEvidence, emit, notice } from "./emit.ts"
import * as items from "./items.ts"
import * as prompts from "./prompts.ts"
import * as requests from "./requests.ts"
import * as signals from "./signals.ts"
import * as snapshots from "./snapshots.ts"
import type { EngineInput, EngineState } from "./state.ts"
import * as subagents from "./subagents.ts"
import * as turns from "./turns.ts"

/** Feeds inputs that happened at `now` (epoch ms). */
export const step = (S: EngineState, inputs: ReadonlyArray<EngineInput>, now: number): void => {
  // A clock that is set back must not let time run backwards in the log.
  if (now > S.now) S.now = now
  let quiet = true
  for (const input of inputs) {
    S.inputNo++
    if (S.phase === "closed") continue
    if (!isDeltas(input)) quiet = false
    handle(S, input)
  }
  if (quiet && S.turn?.silentSince === undefined && S.turn?.shown._tag === "running") return
  settleDown(S)
}

/** The hot path: text that flows changes nothing but the log. */
const isDeltas = (input: EngineInput): boolean => {
  if (input._tag !== "signals") return false
  for (const signal of input.signals) if (signal._tag !== "delta") return false
  return true
}

const settleDown = (S: EngineState): void => {
  if (S.phase === "closed") return
  // What the agent begins with while the session closes is stopped as well.
  if (S.phase === "closing") turns.interrupt(S, "host")
  prompts.pump(S)
  snapshots.request(S)
  turns.refresh(S)
  if (S.phase === "closing" && S.turn === undefined && S.inflight === undefined && S.steering.length === 0) finish(S)
  S.wakeAt = wakeAt(S)
}

const handle = (S: EngineState, input: EngineInput): void => {
  switch (input._tag) {
    case "signals": {
      if (input.generation !== S.generation) {
        // Of an older connection: it changes nothing by itself, but the agent is asked.
        S.snapshotWanted = true
        return
      }
      const connected = S.live || S.resyncing
      for (const signal of input.signals) {
        // After its loss a connection tells of its server still, of the conversation no more.
        if (connected || signals.isBeside(signal)) signals.apply(S, signal)
        else S.snapshotWanted = true
      }
      return
    }
    case "opened": {
      S.phase = "open"
      emit(S, { _tag: "SessionOpened", how: input.how, provider: S.options.provider, cwd: S.options.cwd })
      return
    }
    case "prompt":
      return prompts.accept(S, input)
    case "withdraw":
      return prompts.withdraw(S, input.id)
    case "giveBack":
      return prompts.returnQueued(S, input.reason)
    case "interrupt":
      return turns.interrupt(S, input.by)
    case "answer":
      return requests.answered(S, input.id, input.answer, input.by)
    case "attached": {
      S.attached = input.count
      return
    }
    case "policy": {
      S.policy = input.policy
      return
    }
    case "configured": {
      emit(S, {
        _tag: "SessionConfigured",
        ...(input.model === undefined ? undefined : { model: input.model }),
        ...(input.mode === undefined ? undefined : { mode: input.mode }),
        ...(input.variant === undefined ? undefined : { options: { variant: input.variant } })
      })
      return
    }
    case "reverted": {
      emit(S, {
        _tag: "HistoryReverted",
        ...(input.beforeTurn === undefined ? undefined : { beforeTurn: input.beforeTurn })
      })
      return
    }
    case "connecting": {
      if (S.connection !== "connecting" || S.generation === 0) {
        S.connection = "connecting"
        emit(S, { _tag: "ConnectionChanged", status: { _tag: "connecting" } })
      }
      return
    }
    case "connected":
      return connected(S, input.generation, input.resync)
    case "lost":
      return lost(S, input.generation, input.error)
    case "retrying": {
      S.connection = "retrying"
      emit(S, {
        _tag: "ConnectionChanged",
        status: { _tag: "retrying", attempt: input.attempt, in: input.in, error: input.error }
      })
      return
    }
    case "unavailable":
      return unavailable(S, input.error)
    case "submitted": {
      const prompt = S.prompts.get(input.id)
      if (prompt === undefined || prompt.attempts !== input.attempt) return
      prompts.submitted(S, prompt, input.error, input.refused === true)
      return
    }
    case "interruptSent": {
      if (S.turn?.interrupt === undefined) return
      if (input.error !== undefined) {
        addEvidence(S, S.turn, "connection", `interrupt not delivered: ${input.error._tag}`)
        S.turn.interrupt.retryAt = S.now + S.options.limits.retry
      } else {
        // Delivered: the agent itself says sooner than any frame whether it has stopped.
        S.snapshotWanted = true
      }
      return
    }
    case "delivered": {
      const record = S.requests.get(input.id)
      if (record !== undefined) requests.delivered(S, record, input.result)
      return
    }
    case "snapshot":
      return snapshots.arrived(S, input.id, input.result, input.error)
    case "tick":
      return tick(S)
    case "close":
      return close(S, input.why)
  }
}

const connected = (S: EngineState, generation: number, resync: boolean): void => {
  S.generation = generation
  S.snapshot = undefined
  S.snapshotRetryAt = undefined
  if (!resync && S.turn === undefined && S.inflight === undefined && S.steering.length === 0) {
    snapshots.live(S)
    return
  }
  S.resyncing = true
  S.live = false
  S.snapshotWanted = true
  S.connection = "resyncing"
  emit(S, { _tag: "ConnectionChanged", status: { _tag: "resyncing" } })
  if (S.turn !== undefined) turns.sendInterrupt(S, S.turn)
}

const lost = (S: EngineState, generation: number, error: ErrorInfo): void => {
  if (generation !== S.generation) return
  S.live = false
  S.resyncing = false
  S.snapshot = undefined
  S.connection = "lost"
  emit(S, { _tag: "ConnectionChanged", status: { _tag: "lost", error } })
  items.withholdAll(S)
  const turn = S.turn
  if (turn !== undefined) {
    turn.anchored = false
    turn.streamed = false
    turn.gap = true
    turn.settleAt = undefined
    turn.idleSnapshots = 0
    addEvidence(S, turn, "connection", `connection lost: ${error._tag}`)
  }
  for (const prompt of prompts.open(S)) prompt.doubtAt = undefined
  for (const record of S.requests.values()) {
    if (record.delivery === "calling") record.delivery = "failed"
    record.retryAt = undefined
  }
}

const unavailable = (S: EngineState, error: ErrorInfo): void => {
  S.live = false
  S.resyncing = false
  emit(S, { _tag: "ConnectionChanged", status: { _tag: "lost", error } })
  const turn = S.turn
  // Should the agent be there after all, what it still does for us is stopped before anything new is sent.
  if (turn !== undefined || prompts.open(S).length > 0) {
    S.zombie = { probeAt: S.now + S.options.limits.interrupt, attempts: 0 }
  }
  if (turn !== undefined) {
    addEvidence(S, turn, "connection", `provider unavailable: ${error._tag}`)
    turns.settle(
      S,
      turn,
      turn.interrupt === undefined
        ? { _tag: "lost", error }
        : { _tag: "interrupted", by: turn.interrupt.by }
    )
  }
  prompts.giveBack(S, error.message, error)
}

const tick = (S: EngineState): void => {
  const due = S.wakeAt
  if (due !== undefined && S.now - due > S.options.limits.suspended && (S.live || S.resyncing)) {
    suspended(S)
    return
  }
  if (S.closing !== undefined && S.closing.deadline <= S.now) {
    finish(S)
    return
  }
  if (requests.tick(S)) turns.interrupt(S, "policy")
  turns.tick(S)
  prompts.tick(S)
  if (S.zombie !== undefined && S.zombie.probeAt <= S.now) {
    // Asked again and again, ever more rarely.
    S.zombie.probeAt = S.now + Math.min(S.options.limits.silence, S.options.limits.interrupt * 2 ** S.zombie.attempts)
    if (S.zombie.attempts === 3) {
      notice(
        S,
        "warning",
        "stillRunning",
        "The agent goes on with a turn that was interrupted; new prompts wait for it."
      )
    }
    S.snapshotWanted = true
  }
  if (S.snapshotRetryAt !== undefined && S.snapshotRetryAt <= S.now) S.snapshotRetryAt = undefined
}

/** A timer came much later than due: the machine slept. Clocks start again; nothing is interrupted because of it. */
const suspended = (S: EngineState): void => {
  notice(S, "info", "suspended", "The host was suspended; the session is read again from the agent.")
  const turn = S.turn
  if (turn !== undefined) {
    turns.life(S, turn)
    turn.probeAt = S.now + S.options.limits.silence
    if (turn.settleAt !== undefined) turn.settleAt = S.now + S.options.limits.settle
    if (turn.interrupt !== undefined) turn.interrupt.deadline = S.now + S.options.limits.interrupt
  }
  requests.postpone(S)
  items.withholdAll(S)
  snapshots.resync(S)
}

const close = (S: EngineState, why: string): void => {
  if (S.phase === "closing" || S.phase === "closed") return
  S.phase = "closing"
  S.closing = { why, deadline: S.now + S.options.limits.close }
  for (const prompt of S.queue.waiting.slice()) prompts.withdrawForClose(S, prompt)
  turns.interrupt(S, "host")
  // What may still run is stopped as soon as the agent can be told, if that is within the limit.
  if (!S.live && S.turn === undefined && prompts.open(S).length === 0) finish(S)
}

/** Ends the session: everything open is settled before `SessionClosed`, the last event. */
const finish = (S: EngineState): void => {
  if (S.phase === "closed") return
  const why = S.closing?.why ?? "closed"
  if (S.turn !== undefined) turns.settleByEvidence(S, S.turn, undefined)
  prompts.giveBack(S, "The session was closed.", undefined)
  requests.teardown(S, undefined, true)
  subagents.closeTurn(S, undefined, { _tag: "interrupted", by: "host" })
  items.closeAll(S, "interrupted")
  emit(S, { _tag: "SessionClosed", why })
  S.phase = "closed"
  S.live = false
  S.wakeAt = undefined
  S.commands.push({ _tag: "finished" })
}

const wakeAt = (S: EngineState): number | undefined => {
  let wake = Math.min(turns.wakeAt(S), prompts.wakeAt(S), requests.wakeAt(S))
  if (S.zombie !== undefined && S.live) wake = Math.min(wake, S.zombie.probeAt)
  if (S.closing !== undefined) wake = Math.min(wake, S.closing.deadline)
  if (S.snapshotRetryAt !== undefined) wake = Math.min(wake, S.snapshotRetryAt)
  // What became due while nothing could be done about it is due now, not late.
  return wake === Number.POSITIVE_INFINITY ? undefined : Math.max(wake, S.now)
}
