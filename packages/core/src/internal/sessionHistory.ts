/** The agent's own record as pages of a session. */
import * as AgentError from "../AgentError.ts"
import type { HistoryPage, HistorySource, HistoryTurn } from "../History.ts"
import { ItemId, TurnId } from "../Ids.ts"
import type { Item } from "../Item.ts"
import type { TurnVerdict } from "../Signal.ts"
import type { TurnOutcome } from "../Turn.ts"
import type { EngineState } from "./engine/state.ts"

const defaultLimit = 20
const maxLimit = 200

export const limitOf = (limit: number | undefined): number =>
  Math.max(1, Math.min(maxLimit, Math.trunc(limit ?? defaultLimit)))

const outcomeOf = (S: EngineState, verdict: TurnVerdict): TurnOutcome | undefined => {
  switch (verdict._tag) {
    case "running":
      return undefined
    case "unfinished":
      return {
        _tag: "lost",
        error: AgentError.fromReason(
          new AgentError.TurnLost({ description: "The agent's record of it has no end, and nothing works on it." }),
          { provider: S.options.provider, sessionId: S.options.sessionId }
        )
      }
    default:
      return verdict
  }
}

/** Turns and items under the ids that events have given them. */
export const page = (S: EngineState, source: HistorySource): HistoryPage => ({
  turns: source.turns.map((turn): HistoryTurn => {
    const known = S.turnByKey.get(turn.key)
    const outcome = outcomeOf(S, turn.verdict)
    return {
      id: known?.id ?? TurnId.make(`trn_${turn.key}`),
      items: turn.items.map(({ item, key, status }) => ({
        item: { ...item, id: ItemId.make(key) } as Item,
        ...(status === undefined ? undefined : { status })
      })),
      ...(outcome === undefined ? undefined : { outcome }),
      ...(turn.startedAt === undefined ? undefined : { startedAt: turn.startedAt }),
      ...(turn.partial === undefined ? undefined : { partial: turn.partial })
    }
  }),
  ...(source.before === undefined ? undefined : { before: source.before })
})
