/** What one signal of the adapter does to the session. */
import type { Signal } from "../../Signal.ts"
import * as Usage from "../../Usage.ts"
import { dropOldest } from "../dropOldest.ts"
import { addEvidence, emit } from "./emit.ts"
import * as items from "./items.ts"
import * as prompts from "./prompts.ts"
import * as requests from "./requests.ts"
import type { EngineState, TurnRecord } from "./state.ts"
import { remembered } from "./state.ts"
import * as subagents from "./subagents.ts"
import * as turns from "./turns.ts"

/**
 * The turn that a signal belongs to. A signal with the agent's own identity of a turn finds that turn, takes our
 * prompt of that key, or opens a turn that somebody else began. One without identity belongs to the open turn only
 * after that turn was seen on the same stream.
 */
const turnOf = (S: EngineState, key: string | undefined): TurnRecord | "settled" | undefined => {
  if (key === undefined) return S.turn?.anchored === true ? S.turn : undefined
  const known = S.turnByKey.get(key)
  if (known !== undefined) {
    if (known !== S.turn) return "settled"
    turns.named(S, known)
    // Work under the key of a prompt that was sent into this turn: the agent has begun with it.
    const prompt = S.promptByKey.get(key)
    if (prompt !== undefined) prompts.taken(S, prompt)
    return known
  }
  const prompt = S.promptByKey.get(key)
  if (prompt !== undefined) {
    if (prompts.isFinal(prompt.state)) {
      // Given up by us, taken by the agent into what runs now.
      if (S.reading !== undefined || S.turn?.streamed !== true || turns.isEnding(S)) return "settled"
      turns.alias(S, S.turn, key)
      return S.turn
    }
    prompts.begun(S, prompt)
    return S.turn
  }
  if (S.turn !== undefined && turns.isOther(S, key)) turns.settleByEvidence(S, S.turn, undefined)
  turns.endBeforeWork(S)
  if (S.turn === undefined) {
    if (S.phase === "open") return turns.start(S, key, `trn_${key}`)
    // A session that closes begins nothing, and remembers it: what is told of it later is not work of another turn.
    turns.passOver(S, key)
    return "settled"
  }
  turns.alias(S, S.turn, key)
  return S.turn
}

/** The turn of a message that lies in the conversation: the agent may not have begun with it. */
const heldIn = (S: EngineState, key: string | undefined): TurnRecord | "settled" | undefined => {
  const known = key === undefined ? undefined : S.turnByKey.get(key)
  if (known !== undefined && known === S.turn) return known
  if (key === undefined || known !== undefined) return turnOf(S, key)
  const prompt = S.promptByKey.get(key)
  if (prompt === undefined) {
    if (!turns.isEnding(S)) return turnOf(S, key)
    S.snapshotWanted = true
    return undefined
  }
  if (prompts.isFinal(prompt.state)) return "settled"
  prompts.seen(S, prompt)
  return S.turnByKey.get(key) === S.turn ? S.turn : undefined
}

/** What is told beside the conversation: it needs no connection. */
export const isBeside = (signal: Signal): boolean =>
  signal._tag === "process" || signal._tag === "notice" || signal._tag === "silent" || signal._tag === "account" ||
  signal._tag === "unrecognised" || signal._tag === "rateLimited" || signal._tag === "info" ||
  signal._tag === "commands"

/** One notice for each settled turn that the agent still talks about. */
const late = (S: EngineState, key: string | undefined, what: string): void => {
  const turn = key === undefined ? undefined : S.turnByKey.get(key)
  const memory = turn === undefined ? undefined : S.settled.get(turn)
  if (turn === undefined || memory === undefined || memory.noticed) return
  memory.noticed = true
  emit(S, {
    _tag: "Notice",
    level: "info",
    code: "lateEvidence",
    text: `The agent reported ${what} of a turn that was settled already. The settlement stands.`,
    turnId: turn.id
  })
}

/**
 * Work under a key that is not known yet has no place while the turns before it are not read, and judged, again: the
 * conversation itself tells of it later. Work of others that comes before a prompt of ours that was interrupted on its
 * way is passed over.
 */
const isUnplaced = (S: EngineState, signal: Signal): boolean => {
  const key = signal._tag === "prompt" ? signal.turn ?? signal.key : signal.turn
  if (key === undefined || S.turnByKey.has(key)) return false
  const prompt = S.promptByKey.get(key)
  if (prompt !== undefined && prompts.isFinal(prompt.state)) return false
  const turn = S.turn
  const named = signal._tag === "turnStarted" && signal.prompt !== undefined
    ? S.promptByKey.get(signal.prompt)
    : prompt
  if (turn !== undefined && turn.key === S.inflight?.key && named?.key !== turn.key) {
    // Ours has not begun: work of others is passed over, another prompt of ours has its turn after this one. After a gap
    // work that names no prompt may be ours, whose beginning was missed.
    if (named !== undefined) S.promptByKey.set(key, named)
    else if (
      !S.resyncing || signal._tag === "prompt" || (signal._tag === "turnStarted" && signal.prompt !== undefined)
    ) {
      turns.passOver(S, key)
    }
    return true
  }
  return S.reading === undefined && (S.resyncing || turn?.streamed === false) &&
    !(signal._tag === "turnStarted" && signal.prompt !== undefined && signal.prompt === turn?.key)
}

export const apply = (S: EngineState, signal: Signal): void => {
  if (isUnplaced(S, signal)) {
    if (S.reading === undefined) {
      S.snapshotWanted = true
      S.passedBy = S.inputNo
      // Work goes on after an error that may have been this prompt's: it was not its end.
      const prompt = signal._tag === "turnProgress" || signal._tag === "turnCompacting"
        ? S.promptByKey.get(signal.turn ?? "")
        : undefined
      if (prompt !== undefined) prompt.suspect = undefined
    }
    return
  }
  switch (signal._tag) {
    case "delta": {
      const record = S.items.get(signal.key)
      if (record === undefined) {
        // Its beginning was missed: when it is told of, the text that was dropped here is missing.
        S.missed.add(signal.key)
        dropOldest(S.missed, remembered)
        return
      }
      if (record.turn !== undefined) turns.life(S, record.turn)
      items.delta(S, record, signal.text, signal.offset)
      return
    }
    case "item": {
      const known = S.items.get(signal.key)
      // What runs in the background is told under the turn that began it, which is over.
      const turn = known?.background === true
        ? known.turn
        : known?.turn ?? (signal.item._tag === "userMessage" ? heldIn : turnOf)(S, signal.turn)
      if (turn === "settled") {
        if (signal.item._tag !== "userMessage" && signal.status === undefined) late(S, signal.turn, "work on an item")
        return
      }
      if (turn === undefined && known === undefined && signal.background !== true) {
        // Work without a turn that we know: the conversation itself is asked whose it is, and nothing is read to its end
        // before that.
        S.snapshotWanted = true
        if (S.reading === undefined) S.passedBy = S.inputNo
        return
      }
      if (turn !== undefined && signal.item._tag !== "userMessage") {
        turns.life(S, turn)
        turn.active = true
        if (signal.status === undefined && signal.background !== true) turns.working(S, turn)
      }
      items.upsert(S, signal, turn)
      return
    }
    case "itemVoided": {
      items.voided(S, signal.key, signal)
      return
    }
    case "prompt": {
      const prompt = S.promptByKey.get(signal.key)
      if (prompt !== undefined) {
        prompts.seen(S, prompt)
        const turn = S.turnByKey.get(signal.key)
        if (turn !== undefined && turn === S.turn) {
          turns.named(S, turn)
          turns.life(S, turn)
        }
        return
      }
      heldIn(S, signal.turn ?? signal.key)
      return
    }
    case "turnStarted": {
      // A turn whose beginning was missed was begun under the agent's name of it.
      if (S.turn !== undefined && !S.promptByKey.has(S.turn.key)) S.turn.named ??= S.turn.key
      if (turns.isOther(S, signal.turn) && S.turn !== undefined) turns.settleByEvidence(S, S.turn, undefined)
      if (signal.prompt !== undefined) {
        const prompt = S.promptByKey.get(signal.prompt)
        if (prompt !== undefined && !prompts.isFinal(prompt.state)) {
          prompts.begun(S, prompt, S.turnByKey.get(signal.turn))
          // A turn that we settled while its prompt was on the way is known by the agent's name from now on.
          const own = S.turn ?? (S.turnByKey.has(signal.turn) ? undefined : S.turnByKey.get(signal.prompt))
          if (own !== undefined) turns.alias(S, own, signal.turn)
        } else if (!S.turnByKey.has(signal.turn)) {
          // What a snapshot told of the prompt began its turn already: this is the agent's name of it.
          const own = S.turnByKey.get(signal.prompt)
          if (own !== undefined) turns.alias(S, own, signal.turn)
        }
      }
      const turn = turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled") {
        turn.named ??= signal.turn
        turns.working(S, turn)
      }
      return
    }
    case "turnProgress": {
      const turn = turnOf(S, signal.turn)
      if (turn === "settled") late(S, signal.turn, "work")
      else if (turn !== undefined) {
        turns.working(S, turn)
        turn.finish = undefined
        turn.error = undefined
      }
      return
    }
    case "turnBusy": {
      const turn = turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled" && turn.settleAt === undefined) {
        turns.life(S, turn)
        turn.retrying = undefined
      }
      return
    }
    case "turnFinish": {
      const turn = turnOf(S, signal.turn)
      if (turn === "settled") late(S, signal.turn, "a finish reason")
      else if (turn !== undefined) {
        turns.life(S, turn)
        turn.active = true
        turn.finish = signal.stopReason
        turn.error = undefined
        addEvidence(S, turn, S.origin === "resync" ? "snapshot" : "stream", `finish ${signal.stopReason}`)
      }
      return
    }
    case "turnError": {
      const turn = turnOf(S, signal.turn)
      if (turn === "settled") {
        late(S, signal.turn, "an error")
        return
      }
      if (turn !== undefined) {
        // What is said without identity after the end belongs to something else.
        if (signal.turn === undefined && turn.settleAt !== undefined) return
        turn.error = signal.error
        addEvidence(S, turn, "stream", `error ${signal.error._tag}`)
        return
      }
      // No turn of ours was seen yet: if a prompt is on its way, the error may be its.
      if (S.inflight !== undefined) {
        S.inflight.suspect = signal.error
        S.snapshotWanted = true
      } else if (S.turn === undefined) {
        emit(S, {
          _tag: "Notice",
          level: "warning",
          code: signal.error._tag,
          text: signal.error.message
        }, signal)
      }
      return
    }
    case "turnRetrying": {
      const turn = turnOf(S, signal.turn)
      if (turn === undefined || turn === "settled") return
      // That it is tried again is no sign that it will come to anything: silence goes on, but where its end is named.
      if (signal.until !== undefined) turns.life(S, turn)
      turn.active = true
      turn.settleAt = undefined
      turn.retrying = {
        attempt: signal.attempt,
        ...(signal.until === undefined ? undefined : { until: signal.until }),
        ...(signal.error === undefined ? undefined : { error: signal.error })
      }
      addEvidence(S, turn, "stream", `retry ${signal.attempt} upstream`)
      return
    }
    case "turnCompacting": {
      const turn = turnOf(S, signal.turn)
      if (turn === undefined || turn === "settled") return
      turns.working(S, turn)
      turn.compacting = true
      turn.error = undefined
      return
    }
    case "turnEnded": {
      S.zombie = undefined
      const turn = turnOf(S, signal.turn)
      if (turn === "settled") return
      if (turn !== undefined) turns.ended(S, turn, signal.verdict, "stream", signal.fact)
      else if (S.turn !== undefined || S.inflight !== undefined) S.snapshotWanted = true
      return
    }
    case "requestOpened": {
      const item = signal.item === undefined ? undefined : S.items.get(signal.item)
      const turn = item?.turn ?? turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled") {
        turns.life(S, turn)
        turn.active = true
      }
      requests.opened(S, signal, turn)
      return
    }
    case "requestClosed": {
      const record = S.requestByKey.get(signal.key)
      if (record === undefined) return
      if (record.turn !== undefined && record.turn === S.turn) turns.life(S, record.turn)
      requests.closedByAgent(S, record, "provider", signal.accepted)
      return
    }
    case "usage": {
      S.usage = signal.scope === "delta" && S.usage !== undefined ? Usage.add(S.usage, signal.usage) : signal.usage
      const turn = turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled") {
        turns.life(S, turn)
        turn.usage = signal.scope === "delta" && turn.usage !== undefined
          ? Usage.add(turn.usage, signal.usage)
          : signal.usage
      }
      emit(S, {
        _tag: "UsageUpdated",
        usage: signal.usage,
        scope: signal.scope,
        ...(turn === undefined || turn === "settled" ? undefined : { turnId: turn.id })
      }, signal)
      return
    }
    case "plan":
    case "diff": {
      const turn = turnOf(S, signal.turn)
      if (turn === "settled") return
      const of = turn === undefined ? undefined : { turnId: turn.id }
      if (turn !== undefined && signal._tag === "plan") turns.life(S, turn)
      emit(
        S,
        signal._tag === "plan"
          ? { _tag: "PlanUpdated", entries: signal.entries, ...of }
          : { _tag: "DiffUpdated", files: signal.files, ...of },
        signal
      )
      return
    }
    case "rateLimited": {
      emit(S, {
        _tag: "RateLimited",
        ...(signal.window === undefined ? undefined : { window: signal.window }),
        ...(signal.resetAt === undefined ? undefined : { resetAt: signal.resetAt }),
        ...(signal.retryAfter === undefined ? undefined : { retryAfter: signal.retryAfter })
      }, signal)
      return
    }
    case "account": {
      emit(S, { _tag: "AccountChanged", auth: signal.auth }, signal)
      return
    }
    case "info": {
      emit(S, { _tag: "SessionInfo", title: signal.title }, signal)
      return
    }
    case "commands": {
      emit(S, { _tag: "CommandsUpdated", commands: signal.commands }, signal)
      return
    }
    case "subagentStarted": {
      const turn = turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled") turns.life(S, turn)
      subagents.started(S, signal, turn)
      return
    }
    case "subagentEnded": {
      const turn = turnOf(S, signal.turn)
      if (turn !== undefined && turn !== "settled") turns.life(S, turn)
      subagents.ended(S, signal)
      return
    }
    case "notice": {
      emit(S, { _tag: "Notice", level: signal.level, code: signal.code, text: signal.text }, signal)
      return
    }
    case "unrecognised": {
      emit(S, { _tag: "Unrecognised", method: signal.method, reason: signal.reason, raw: signal.raw }, signal)
      return
    }
    case "process": {
      emit(S, { _tag: "ProcessChanged", status: signal.status }, signal)
      const turn = S.turn
      if (turn !== undefined && signal.status._tag === "exited") {
        addEvidence(S, turn, "process", `process exited (${signal.status.signal ?? signal.status.code ?? "unknown"})`)
      }
      return
    }
    case "silent": {
      emit(S, { _tag: "ConnectionChanged", status: { _tag: "silent", since: signal.since } }, signal)
      return
    }
    case "conversationGone": {
      emit(S, { _tag: "Notice", level: "error", code: "conversationGone", text: signal.reason }, signal)
      return
    }
  }
}
