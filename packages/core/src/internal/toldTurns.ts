/**
 * Which turns of the agent's record the host was told of. What lies behind them at the next opening was made outside of
 * this host, and is told then.
 */
import type { Snapshot } from "../Signal.ts"
import { isFinal } from "./engine/prompts.ts"
import type { EngineState } from "./engine/state.ts"

/** Keys that are kept: the last ones are enough to find the place, should some of them be gone. */
const kept = 64

export interface ToldTurns {
  /** Oldest first; `undefined` until it is known where to begin. A turn that is still open is not among them. */
  readonly keys: () => ReadonlyArray<string> | undefined
  /** A snapshot at a resync: where a conversation that was begun elsewhere stands. */
  readonly read: (snapshot: Snapshot) => void
  /** The conversation was begun anew. */
  readonly restart: () => void
}

export const make = (S: EngineState, before: ReadonlyArray<string> | undefined): ToldTurns => {
  let base = before
  return {
    keys: () => {
      const keys = [...base ?? []]
      for (const [key, turn] of S.turnByKey) if (turn !== S.turn) keys.push(key)
      // Given back: the host knows that it did not run.
      for (const [key, prompt] of S.promptByKey) {
        if (isFinal(prompt.state) && prompt.state._tag !== "failed" && !S.turnByKey.has(key)) keys.push(key)
      }
      return base === undefined && keys.length === 0 ? undefined : [...new Set(keys)].slice(-kept)
    },
    read: (snapshot) => {
      if (base === undefined && snapshot.newest !== undefined) base = snapshot.newest === null ? [] : [snapshot.newest]
    },
    restart: () => {
      base = []
    }
  }
}
