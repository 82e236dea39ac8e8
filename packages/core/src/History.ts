/**
 * What was said and done before, read from the agent's own record.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { TurnId } from "./Ids.ts"
import type { ItemContent } from "./Item.ts"
import { Item, ItemStatus } from "./Item.ts"
import type { TurnVerdict } from "./Signal.ts"
import { TurnOutcome } from "./Turn.ts"

const optional = Schema.optionalKey

/**
 * One item; without `status` it is still open.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HistoryItem = Schema.Struct({ item: Item, status: optional(ItemStatus) })
/**
 * @category models
 * @since 0.1.0
 */
export type HistoryItem = typeof HistoryItem.Type

/**
 * One turn with its items, the oldest first; without `outcome` it still runs. Ids are those of the events, but for turns
 * of prompts that were sent before this process: the agent does not know these.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HistoryTurn = Schema.Struct({
  id: TurnId,
  items: Schema.Array(HistoryItem),
  outcome: optional(TurnOutcome),
  /** Epoch milliseconds. */
  startedAt: optional(Schema.Number),
  /** It is too long for one page: its beginning is in the page before. */
  partial: optional(Schema.Boolean)
})
/**
 * @category models
 * @since 0.1.0
 */
export type HistoryTurn = typeof HistoryTurn.Type

/**
 * One page of turns, the oldest first. `before` asks for the page before it; absent: the conversation begins here.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HistoryPage = Schema.Struct({ turns: Schema.Array(HistoryTurn), before: optional(Schema.String) })
/**
 * @category models
 * @since 0.1.0
 */
export type HistoryPage = typeof HistoryPage.Type

/**
 * A page in the agent's own keys, as an adapter gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface HistorySource {
  readonly turns: ReadonlyArray<{
    /** The agent's own identity of the turn, as `Signal.turn` carries it. */
    readonly key: string
    readonly items: ReadonlyArray<{
      readonly key: string
      readonly item: ItemContent
      readonly status?: typeof ItemStatus.Type
    }>
    readonly verdict: TurnVerdict
    readonly startedAt?: number
    readonly partial?: boolean
  }>
  readonly before?: string
}
