/** Gives an event its envelope; the only place where `seq` grows. */
import type { DurableEvent, ItemDelta, SessionEvent } from "../../SessionEvent.ts"
import type { SignalContext } from "../../Signal.ts"
import type { Evidence } from "../../Turn.ts"
import type { EngineState, ItemRecord, TurnRecord } from "./state.ts"

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/** An event without what the engine adds. */
export type EventBody = DistributiveOmit<DurableEvent, "v" | "seq" | "at" | "sessionId" | "origin">

export const emit = (S: EngineState, body: EventBody, context?: SignalContext): void => {
  const event = {
    v: 1,
    seq: ++S.seq,
    at: S.now,
    sessionId: S.options.sessionId,
    origin: context === undefined ? (S.origin === "native" ? "derived" : S.origin) : S.origin,
    ...(context?.agentPath === undefined ? undefined : { agentPath: context.agentPath }),
    ...(context?.native === undefined ? undefined : { native: context.native }),
    ...body
  }
  S.events.push(event as SessionEvent)
}

/** A delta is ephemeral: it takes no `seq`. */
export const emitDelta = (S: EngineState, item: ItemRecord, text: string): void => {
  if (item.stream === undefined || text.length === 0) return
  const event: ItemDelta = {
    _tag: "ItemDelta",
    v: 1,
    at: S.now,
    sessionId: S.options.sessionId,
    itemId: item.id,
    stream: item.stream,
    offset: item.sent.length,
    text,
    origin: S.origin,
    ...(item.turn === undefined ? undefined : { turnId: item.turn.id }),
    ...(item.agentPath === undefined ? undefined : { agentPath: item.agentPath })
  }
  item.sent += text
  S.events.push(event)
}

export const notice = (S: EngineState, level: "info" | "warning" | "error", code: string, text: string): void =>
  emit(S, { _tag: "Notice", level, code, text, ...(S.turn === undefined ? undefined : { turnId: S.turn.id }) })

/** Evidence is bounded: the first 24 and the last 8 observations are kept. */
export const addEvidence = (S: EngineState, turn: TurnRecord, source: Evidence["source"], fact: string): void => {
  const last = turn.evidence[turn.evidence.length - 1]
  if (last !== undefined && last.source === source && last.fact === fact) return
  if (turn.evidence.length >= 32) turn.evidence.splice(24, 1)
  turn.evidence.push({ at: S.now, source, fact })
}
