/** Requests of the agent: each is settled exactly once, by the first who answers. */
import type { AgentRequest, Answer, SettledBy } from "../../AgentRequest.ts"
import { needsPerson } from "../../AgentRequest.ts"
import * as ApprovalPolicy from "../../ApprovalPolicy.ts"
import { RequestId } from "../../Ids.ts"
import * as Redaction from "../../Redaction.ts"
import type { RequestSignal } from "../../Signal.ts"
import { emit } from "./emit.ts"
import type { EngineState, RequestRecord, TurnRecord } from "./state.ts"
import { remembered } from "./state.ts"

const subjectOf = (S: EngineState, signal: RequestSignal): ApprovalPolicy.ApprovalSubject => ({
  kind: signal.kind,
  facts: signal.facts,
  cwd: S.options.cwd,
  ...(signal.agentPath === undefined ? undefined : { agentPath: signal.agentPath }),
  ...(S.options.realPath === undefined ? undefined : { realPath: S.options.realPath })
})

const contextOf = (record: RequestRecord) => ({
  requestId: record.id,
  ...(record.turn === undefined ? undefined : { turnId: record.turn.id }),
  ...(record.request.itemId === undefined ? undefined : { itemId: record.request.itemId })
})

const settledEvent = (
  S: EngineState,
  record: RequestRecord,
  by: SettledBy,
  answer: Answer | undefined,
  rule?: string
): void => {
  record.settledBy = by
  record.answer = answer
  record.expiresAt = undefined
  emit(S, {
    _tag: "RequestSettled",
    by,
    ...contextOf(record),
    ...(answer === undefined ? undefined : { decision: shown(record, answer) }),
    ...(rule === undefined ? undefined : { rule })
  }, record.signal.agentPath === undefined ? undefined : { agentPath: record.signal.agentPath })
}

/** An answer without what its question calls a secret. */
const shown = (record: RequestRecord, answer: Answer): Answer => {
  const { questions } = record.signal.facts
  if (answer._tag !== "answers" || questions?.some(({ secret }) => secret === true) !== true) return answer
  return {
    _tag: "answers",
    answers: answer.answers.map((given, index) =>
      questions[index]?.secret === true ? given.map(() => Redaction.replacement) : given
    )
  }
}

const send = (S: EngineState, record: RequestRecord, answer: Answer): void => {
  record.delivery = "calling"
  record.attempts++
  record.retryAt = undefined
  // The agent's own "always" is broader than ours: what the session remembers, the session answers.
  const native: Answer = answer._tag === "acceptForSession" ? { _tag: "accept" } : answer
  S.commands.push({ _tag: "settle", record, answer: native })
}

const settleWith = (
  S: EngineState,
  record: RequestRecord,
  by: SettledBy,
  answer: Answer,
  rule?: string
): void => {
  if (answer._tag === "acceptForSession") {
    const grant = ApprovalPolicy.grantKey(subjectOf(S, record.signal))
    if (grant !== undefined) S.grants.add(grant)
  }
  if (answer._tag === "cancel" && record.turn !== undefined) {
    record.turn.cancelledBy ??= by === "policy" ? "policy" : "user"
  }
  // A call of a host's tool that fails was made, and its item says so.
  if ((answer._tag === "decline" && record.signal.kind !== "hostTool") || answer._tag === "cancel") {
    const item = record.signal.item === undefined ? undefined : S.items.get(record.signal.item)
    if (item !== undefined) item.declined = true
  }
  settledEvent(S, record, by, answer, rule)
  send(S, record, answer)
}

/** `turn` is the one that the request belongs to; `settled` when that turn has ended. */
export const opened = (S: EngineState, signal: RequestSignal, turn: TurnRecord | "settled" | undefined): void => {
  const known = S.requestByKey.get(signal.key)
  if (known !== undefined) {
    // Seen again: an answer that the agent did not get is sent again, anything else is a repetition.
    if (known.settledBy !== undefined && known.delivery === "failed") {
      if (known.attempts < 3) send(S, known, known.answer ?? { _tag: "cancel" })
      else known.retryAt ??= S.now + S.options.limits.silence
    } else if (known.settledBy !== undefined && known.settledBy !== "provider" && known.delivery === "none") {
      // Refused when its turn ended, and the agent still waits: the refusal did not arrive.
      S.commands.push({ _tag: "refuse", signal: known.signal })
    }
    return
  }
  if (
    turn === "settled" || S.phase !== "open" ||
    (turn !== undefined && turn.interrupt !== undefined)
  ) {
    S.commands.push({ _tag: "refuse", signal })
    return
  }
  const item = signal.item === undefined ? undefined : S.items.get(signal.item)
  const request: AgentRequest = {
    id: RequestId.make(signal.key),
    kind: signal.kind,
    subject: signal.subject,
    options: signal.options,
    facts: signal.facts,
    openedAt: S.now,
    ...(turn === undefined ? undefined : { turnId: turn.id }),
    ...(item === undefined ? undefined : { itemId: item.id }),
    ...(signal.agentPath === undefined ? undefined : { agentPath: signal.agentPath })
  }
  const record: RequestRecord = {
    id: request.id,
    signal,
    request,
    turn,
    fence: S.inputNo,
    expiresAt: S.options.expiresAfter === undefined ? undefined : S.now + S.options.expiresAfter,
    settledBy: undefined,
    answer: undefined,
    delivery: "none",
    attempts: 0,
    retryAt: undefined
  }
  S.requests.set(record.id, record)
  S.requestByKey.set(signal.key, record)
  forgetOld(S)
  emit(S, {
    _tag: "RequestOpened",
    kind: signal.kind,
    subject: signal.subject,
    options: signal.options,
    facts: signal.facts,
    ...contextOf(record)
  }, signal)
  decide(S, record)
}

const decide = (S: EngineState, record: RequestRecord): void => {
  const subject = subjectOf(S, record.signal)
  const person = needsPerson(record.signal.kind)
  const grant = person ? undefined : ApprovalPolicy.grantKey(subject)
  if (grant !== undefined && S.grants.has(grant)) {
    settleWith(S, record, "policy", { _tag: "accept" }, "accepted for the session")
    return
  }
  const decision = ApprovalPolicy.decide(S.policy, subject)
  if (decision.verdict._tag !== "ask") {
    settleWith(S, record, "policy", decision.verdict, decision.rule)
    return
  }
  if (record.signal.kind === "hostTool" && S.options.runs?.(record.signal.facts.tool ?? "") === true) return
  if (S.attached === 0) {
    emit(S, {
      _tag: "Notice",
      level: "warning",
      code: "nobodyAttached",
      text: `The agent waits for an answer and nobody is attached who can give one: ${record.signal.subject}`,
      ...contextOf(record)
    })
  }
}

/** Keeps the newest settled requests, so that a repeated frame finds the answer that was given. */
const forgetOld = (S: EngineState): void => {
  if (S.requests.size <= remembered) return
  for (const [id, record] of S.requests) {
    if (S.requests.size <= remembered) return
    if (record.settledBy !== undefined && record.delivery !== "calling") {
      S.requests.delete(id)
      S.requestByKey.delete(record.signal.key)
    }
  }
}

export const answered = (S: EngineState, id: RequestId, answer: Answer, by: SettledBy): void => {
  const record = S.requests.get(id)
  if (record === undefined || record.settledBy !== undefined) return
  settleWith(S, record, by, answer)
}

/** The agent says that it does not wait any more. */
export const closedByAgent = (
  S: EngineState,
  record: RequestRecord,
  by: SettledBy,
  accepted: boolean | undefined
): void => {
  if (record.settledBy !== undefined) {
    record.delivery = "delivered"
    record.retryAt = undefined
    return
  }
  settledEvent(
    S,
    record,
    by,
    accepted === undefined ? undefined : accepted ? { _tag: "accept" } : { _tag: "decline" }
  )
}

/** Ends the requests of a turn (or of the session), and tells the agent no. */
export const teardown = (S: EngineState, turn: TurnRecord | undefined, all: boolean): void => {
  for (const record of S.requests.values()) {
    if (record.settledBy !== undefined || (!all && record.turn !== turn)) continue
    settledEvent(S, record, "teardown", { _tag: "cancel" })
    if (S.live) S.commands.push({ _tag: "refuse", signal: record.signal })
  }
}

export const delivered = (S: EngineState, record: RequestRecord, result: "delivered" | "gone" | "failed"): void => {
  if (result === "delivered") {
    record.delivery = "delivered"
    return
  }
  record.delivery = "failed"
  if (result === "gone") {
    // Believed only when the agent's own list agrees: an answer sent to the wrong place would hang the turn.
    S.snapshotWanted = true
    return
  }
  // While connected it is tried again twice; after that a snapshot decides whether the agent still waits, and where it
  // cannot, the answer is sent again from time to time.
  if (S.live && record.attempts < 3) record.retryAt = S.now + S.options.limits.retry
  else {
    S.snapshotWanted = true
    if (S.live) record.retryAt = S.now + S.options.limits.silence
  }
}

export const tick = (S: EngineState): boolean => {
  let expired = false
  for (const record of S.requests.values()) {
    if (record.retryAt !== undefined && record.retryAt <= S.now) {
      record.retryAt = undefined
      if (S.live && record.delivery === "failed") send(S, record, record.answer ?? { _tag: "cancel" })
    }
    if (record.expiresAt !== undefined && record.expiresAt <= S.now && record.settledBy === undefined) {
      settleWith(S, record, "expiry", { _tag: "cancel" })
      expired = true
    }
  }
  return expired
}

/** Nobody could answer while the machine slept: the time to answer begins again. */
export const postpone = (S: EngineState): void => {
  for (const record of S.requests.values()) {
    if (record.expiresAt !== undefined && S.options.expiresAfter !== undefined) {
      record.expiresAt = S.now + S.options.expiresAfter
    }
  }
}

export const isOpen = (record: RequestRecord): boolean => record.settledBy === undefined

/** What the open requests of a turn mean for its state. */
export const awaiting = (S: EngineState, turn: TurnRecord): "approval" | "input" | undefined => {
  let result: "approval" | "input" | undefined
  for (const record of S.requests.values()) {
    if (record.settledBy !== undefined || (record.turn !== turn && record.turn !== undefined)) continue
    if (needsPerson(record.signal.kind)) result ??= "input"
    else return "approval"
  }
  return result
}

export const wakeAt = (S: EngineState): number => {
  let wake = Number.POSITIVE_INFINITY
  for (const record of S.requests.values()) {
    if (record.retryAt !== undefined && record.retryAt < wake) wake = record.retryAt
    if (record.expiresAt !== undefined && record.expiresAt < wake) wake = record.expiresAt
  }
  return wake
}
