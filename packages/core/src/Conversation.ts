/**
 * A conversation as its agent keeps it, whether a session of ours is bound to it or not.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const optional = Schema.optionalKey

/**
 * A conversation that the agent has. `cursor` names it to its provider, and to `Sessions.adopt`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Conversation = Schema.Struct({
  cursor: Schema.Json,
  title: optional(Schema.String),
  /** The directory that it works in. */
  cwd: optional(Schema.String),
  /** Epoch milliseconds. */
  createdAt: optional(Schema.Number),
  /** Epoch milliseconds. */
  updatedAt: optional(Schema.Number)
})
/**
 * @category models
 * @since 0.1.0
 */
export type Conversation = typeof Conversation.Type

/**
 * One page, most recently updated first. `after` asks for the next one; absent: there is none.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ConversationPage = Schema.Struct({
  conversations: Schema.Array(Conversation),
  after: optional(Schema.String)
})
/**
 * @category models
 * @since 0.1.0
 */
export type ConversationPage = typeof ConversationPage.Type
