/**
 * Shapes of the routes that list what OpenCode offers; only the fields used. What a file of the user leaves out is absent
 * or `null`, whatever the server's own description says (measured on 1.18.33).
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const optional = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))
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
  /** A text; that of a prompt of an MCP server is not known before it is run, and is an empty object. */
  template: Schema.optionalKey(Schema.Unknown)
})
export type Command = typeof Command.Type

/** `connected`, `failed` with the error, `disabled`, `needs_auth`, or `needs_client_registration` with the error. */
export const McpStatus = Schema.Struct({ status: Schema.String, error: optional(Schema.String) })
export type McpStatus = typeof McpStatus.Type

/** Those of a list that can be read: one odd file of a project spoils nothing else. */
const readable = <A>(schema: Schema.ConstraintDecoder<A>) => {
  const decode = Schema.decodeUnknownOption(schema)
  return (values: ReadonlyArray<unknown>): ReadonlyArray<A> =>
    values.flatMap((value) => Option.match(decode(value), { onNone: () => [], onSome: (read) => [read] }))
}

export const readableAgents = readable(Agent)
export const readableCommands = readable(Command)
