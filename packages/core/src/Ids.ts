/**
 * Identifiers of the things that a host names.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Names one session for its whole life, across connections, server processes and host restarts.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionId = Schema.NonEmptyString.pipe(Schema.brand("SessionId"))
/**
 * @category models
 * @since 0.1.0
 */
export type SessionId = typeof SessionId.Type

/**
 * Names one prompt; the receipt is found by it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PromptId = Schema.NonEmptyString.pipe(Schema.brand("PromptId"))
/**
 * @category models
 * @since 0.1.0
 */
export type PromptId = typeof PromptId.Type

/**
 * Names one turn, derived from the first prompt taken or from the agent's own id.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TurnId = Schema.NonEmptyString.pipe(Schema.brand("TurnId"))
/**
 * @category models
 * @since 0.1.0
 */
export type TurnId = typeof TurnId.Type

/**
 * Names one item within its session; derived from the agent's own id, so that it is the same after a resync.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ItemId = Schema.NonEmptyString.pipe(Schema.brand("ItemId"))
/**
 * @category models
 * @since 0.1.0
 */
export type ItemId = typeof ItemId.Type

/**
 * Names one request of the agent; derived from the agent's own id, so that it is the same after a resync.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RequestId = Schema.NonEmptyString.pipe(Schema.brand("RequestId"))
/**
 * @category models
 * @since 0.1.0
 */
export type RequestId = typeof RequestId.Type
