/** What a window needs to draw a session, read from the engine's state. */
import * as PromptQueue from "../PromptQueue.ts"
import type { SessionState, SessionView } from "../Session.ts"
import * as items from "./engine/items.ts"
import type { EngineState } from "./engine/state.ts"

export const view = (S: EngineState): SessionView => ({
  sessionId: S.options.sessionId,
  seq: S.seq,
  items: [...S.items.values()].filter((record) => record.status !== "discarded").map((record) => ({
    item: items.view(record),
    open: record.status === undefined,
    ...(record.turn === undefined ? undefined : { turnId: record.turn.id })
  })),
  requests: [...S.requests.values()].filter((record) => record.settledBy === undefined).map((record) => record.request),
  queue: [...(S.inflight === undefined ? [] : [S.inflight]), ...S.steering, ...S.queue.waiting].map((prompt) => ({
    promptId: prompt.id,
    state: prompt.state
  })),
  ...(S.turn === undefined
    ? undefined
    : { turn: { id: S.turn.id, state: S.turn.shown, startedAt: S.turn.startedAt } }),
  ...(S.usage === undefined ? undefined : { usage: S.usage })
})

export const state = (S: EngineState): SessionState => ({
  phase: S.phase,
  connection: S.connection,
  queued: PromptQueue.size(S.queue),
  openRequests: openRequests(S),
  ...(S.turn === undefined ? undefined : { turn: S.turn.shown })
})

const openRequests = (S: EngineState): number => {
  let count = 0
  for (const record of S.requests.values()) if (record.settledBy === undefined) count++
  return count
}

export const sameState = (a: SessionState, b: SessionState): boolean =>
  a.phase === b.phase && a.connection === b.connection && a.queued === b.queued &&
  a.openRequests === b.openRequests && a.turn === b.turn

/** Nothing queued, running or on its way. */
export const isQuiescent = (S: EngineState): boolean =>
  S.phase === "closed" ||
  (S.turn === undefined && S.inflight === undefined && S.steering.length === 0 && PromptQueue.size(S.queue) === 0 &&
    S.zombie === undefined)
