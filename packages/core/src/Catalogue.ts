/**
 * What a provider offers in a directory besides its models: modes, and commands with the skills among them.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AgentError } from "./AgentError.ts"
import * as McpServer from "./McpServer.ts"
import type { Model, Place, ProviderInstance } from "./Provider.ts"

const optional = Schema.optionalKey

/**
 * A way in which the agent can work: its `id` is what `open({ mode })` and `session.configure({ mode })` take, if it is
 * `selectable`, and what a mention in a prompt calls, if it is `mentionable`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Mode = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  description: optional(Schema.String),
  /** A session can work in it. */
  selectable: Schema.Boolean,
  /** A prompt can call it as a subagent. */
  mentionable: Schema.Boolean,
  /** The model that it brings along, in the provider's words. */
  model: optional(Schema.String),
  /** Used where nothing is chosen. */
  isDefault: optional(Schema.Boolean)
})
/**
 * @category models
 * @since 0.1.0
 */
export type Mode = typeof Mode.Type

/**
 * A slash command. `skill`: what the agent also reads by itself when it fits; `mcp`: a prompt of an MCP server.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Command = Schema.Struct({
  /** Without the slash. */
  name: Schema.String,
  description: optional(Schema.String),
  source: Schema.Literals(["command", "skill", "mcp"]),
  /** The mode that it runs in, where it has one of its own. */
  mode: optional(Schema.String),
  /** The model that it runs with, where it has one of its own. */
  model: optional(Schema.String),
  /**
   * Shell commands that its text holds and that the agent runs before its turn begins, as they are written there. Nobody
   * is asked about them, whatever the policy says.
   */
  runs: optional(Schema.Array(Schema.String))
})
/**
 * @category models
 * @since 0.1.0
 */
export type Command = typeof Command.Type

/** What cannot be a place is refused before a provider is asked about it. */
const ask = <A>(place: Place, answer: Effect.Effect<A, AgentError>): Effect.Effect<A, AgentError> =>
  Effect.suspend(() => McpServer.problem(place.mcpServers ?? {}) ?? answer)

/**
 * The models that a provider offers in a place.
 *
 * @category getters
 * @since 0.1.0
 */
export const models = (provider: ProviderInstance, place: Place): Effect.Effect<ReadonlyArray<Model>, AgentError> =>
  ask(place, provider.models(place))

/**
 * The modes that a provider offers in a place, subagents included; none where it has none.
 *
 * @category getters
 * @since 0.1.0
 */
export const modes = (provider: ProviderInstance, place: Place): Effect.Effect<ReadonlyArray<Mode>, AgentError> =>
  ask(place, provider.modes?.(place) ?? Effect.succeed([]))

/**
 * The slash commands and skills that a provider offers in a place; none where it has none.
 *
 * @category getters
 * @since 0.1.0
 */
export const commands = (provider: ProviderInstance, place: Place): Effect.Effect<ReadonlyArray<Command>, AgentError> =>
  ask(place, provider.commands?.(place) ?? Effect.succeed([]))
