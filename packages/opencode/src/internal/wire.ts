/** Shapes of the routes that list what OpenCode offers; only the fields used. */
import * as Schema from "effect/Schema"

const optional = Schema.optionalKey
const ModelReference = Schema.Struct({ providerID: Schema.String, modelID: Schema.String })

/** A mode of the agent: `primary`, `subagent` or `all`. */
export const Agent = Schema.Struct({
  name: Schema.String,
  description: optional(Schema.String),
  mode: optional(Schema.String),
  hidden: optional(Schema.Boolean),
  model: optional(ModelReference)
})
export type Agent = typeof Agent.Type

/** A slash command, a skill, or a prompt of an MCP server. */
export const Command = Schema.Struct({
  name: Schema.String,
  description: optional(Schema.String),
  agent: optional(Schema.String),
  model: optional(Schema.String),
  source: optional(Schema.String),
  template: optional(Schema.String)
})
export type Command = typeof Command.Type

/** `connected`, `failed` with the error, `disabled`, `needs_auth`, or `needs_client_registration` with the error. */
export const McpStatus = Schema.Struct({ status: Schema.String, error: optional(Schema.String) })
export type McpStatus = typeof McpStatus.Type
