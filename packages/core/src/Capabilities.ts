/**
 * What a provider can do, per operation.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * One answer per operation. An operation that a provider cannot do fails with `Unsupported`; it never pretends.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Capabilities = Schema.Struct({
  /** A prompt can join the running turn. */
  steer: Schema.Boolean,
  interrupt: Schema.Boolean,
  resume: Schema.Boolean,
  history: Schema.Boolean,
  fork: Schema.Boolean,
  /** Turns can be taken back, and the taking back undone until the next prompt. */
  revert: Schema.Boolean,
  /** The conversation can be replaced by its summary when the host asks for it. */
  compact: Schema.Boolean,
  /** Conversations begun elsewhere can be listed and adopted. */
  list: Schema.Boolean,
  /** The agent's own conversation can be deleted. */
  remove: Schema.Boolean,
  images: Schema.Boolean,
  files: Schema.Boolean,
  /** A prompt can be a slash command or a skill. */
  commands: Schema.Boolean,
  /** A session can bring MCP servers along. */
  mcpServers: Schema.Boolean,
  /** A session can offer tools of the host. */
  hostTools: Schema.Boolean,
  setModel: Schema.Boolean,
  setMode: Schema.Boolean,
  setTitle: Schema.Boolean,
  questions: Schema.Boolean,
  plan: Schema.Boolean,
  subagents: Schema.Boolean,
  usage: Schema.Boolean,
  cost: Schema.Boolean,
  /** What the agent does without asking, whatever the policy says. */
  unasked: Schema.Array(Schema.String)
})
/**
 * @category models
 * @since 0.1.0
 */
export type Capabilities = typeof Capabilities.Type

/**
 * A provider that can do nothing but take a prompt: the start for an adapter's own table.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: Capabilities = {
  steer: false,
  interrupt: false,
  resume: false,
  history: false,
  fork: false,
  revert: false,
  compact: false,
  list: false,
  remove: false,
  images: false,
  files: false,
  commands: false,
  mcpServers: false,
  hostTools: false,
  setModel: false,
  setMode: false,
  setTitle: false,
  questions: false,
  plan: false,
  subagents: false,
  usage: false,
  cost: false,
  unasked: []
}
