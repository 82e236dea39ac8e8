/** The turn of a thread that runs: how it begins and whose it is, and what its attempts leave behind. */
import type { Signal } from "@reins/core/Signal"
import type { Path, ThreadState } from "./state.ts"

export const startTurn = (
  state: ThreadState,
  turn: string,
  path: Path,
  out: Array<Signal>,
  prompt = state.sent?.turn === turn ? state.sent.key : undefined
): void => {
  if (path.agentPath !== undefined || state.ended.has(turn)) return
  if (state.turn !== turn) {
    state.turn = turn
    state.attempt = []
    state.retries = 0
  }
  // Told without its prompt it would be taken for the turn of somebody else.
  if (prompt === undefined && state.sent !== undefined && state.sent.turn === undefined) {
    state.held = turn
    return
  }
  if (state.held === turn) state.held = undefined
  out.push({ _tag: "turnStarted", turn, ...(prompt === undefined ? undefined : { prompt }) })
}

/** A prompt is on its way. */
export const sending = (state: ThreadState, key: string): void => {
  state.sent = { key, turn: undefined }
}

/** Which turn has taken the prompt that was sent; `undefined`: none has. */
export const sent = (state: ThreadState, turn: string | undefined): ReadonlyArray<Signal> => {
  const { held } = state
  state.held = undefined
  state.sent = turn === undefined || state.sent === undefined ? undefined : { ...state.sent, turn }
  const out: Array<Signal> = []
  if (held !== undefined) startTurn(state, held, {}, out)
  return out
}

/** An attempt that came to something is not tried again: what it said stays. */
export const progressed = (state: ThreadState): void => {
  state.attempt = []
  state.retries = 0
}

/** What was said of an attempt that is tried again does not stand. */
export const voidAttempt = (state: ThreadState, out: Array<Signal>): void => {
  for (const key of state.attempt) {
    const record = state.items.get(key)
    if (record === undefined || record.voided) continue
    record.voided = true
    record.open = false
    out.push({ _tag: "itemVoided", key, turn: record.turn })
  }
  state.attempt = []
}
