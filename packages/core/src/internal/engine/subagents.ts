/** Subagents: each started once and settled once, before its turn settles. */
import type { Signal } from "../../Signal.ts"
import type { TurnOutcome } from "../../Turn.ts"
import { emit } from "./emit.ts"
import type { EngineState, SubagentRecord, TurnRecord } from "./state.ts"
import { remembered } from "./state.ts"

type Started = Extract<Signal, { readonly _tag: "subagentStarted" }>
type Ended = Extract<Signal, { readonly _tag: "subagentEnded" }>

const of = (record: SubagentRecord) => record.turn === undefined ? undefined : { turnId: record.turn.id }

export const started = (S: EngineState, signal: Started, turn: TurnRecord | "settled" | undefined): void => {
  const key = signal.agentPath.join("/")
  if (S.subagents.has(key) || turn === "settled") return
  const record: SubagentRecord = { path: signal.agentPath, turn: turn ?? S.turn, open: true }
  S.subagents.set(key, record)
  if (S.subagents.size > remembered) {
    for (const [old, other] of S.subagents) {
      if (other.open) continue
      S.subagents.delete(old)
      break
    }
  }
  emit(S, {
    _tag: "SubagentStarted",
    ...(signal.agent === undefined ? undefined : { agent: signal.agent }),
    ...(signal.title === undefined ? undefined : { title: signal.title }),
    ...of(record)
  }, signal)
}

export const ended = (S: EngineState, signal: Ended): void => {
  const record = S.subagents.get(signal.agentPath.join("/"))
  if (record === undefined || !record.open) return
  record.open = false
  const verdict = signal.verdict
  emit(S, {
    _tag: "SubagentSettled",
    outcome: verdict._tag === "completed" || verdict._tag === "failed" || verdict._tag === "interrupted"
      ? verdict
      : { _tag: "interrupted", by: "provider" },
    ...of(record)
  }, signal)
}

/** Ends what a turn left open; without a turn, what is open at the end of the session. */
export const closeTurn = (S: EngineState, turn: TurnRecord | undefined, outcome: TurnOutcome): void => {
  for (const record of S.subagents.values()) {
    if (!record.open || record.turn !== turn) continue
    record.open = false
    emit(S, {
      _tag: "SubagentSettled",
      outcome: outcome._tag === "completed" ? { _tag: "interrupted", by: "provider" } : outcome,
      ...of(record)
    }, { agentPath: record.path })
  }
}
