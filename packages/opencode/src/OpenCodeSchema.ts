/**
 * The shapes of OpenCode's wire that this adapter reads: only the fields used, enumerations open, unknown fields
 * ignored. Whoever needs the frame itself keeps it beside the decoded value.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const optional = Schema.optionalKey
const Loose = Schema.Record(Schema.String, Schema.Unknown)

/**
 * One frame of `/global/event`: an event of some directory, or a `sync` row.
 *
 * @category schemas
 * @since 0.1.0
 */
export const GlobalEvent = Schema.Struct({
  directory: optional(Schema.String),
  payload: Schema.Struct({ type: Schema.String, properties: optional(Schema.Unknown) })
})
/**
 * One frame of `/global/event`.
 *
 * @category models
 * @since 0.1.0
 */
export type GlobalEvent = typeof GlobalEvent.Type

/**
 * Tokens of a step or a message.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Tokens = Schema.Struct({
  total: optional(Schema.Number),
  input: optional(Schema.Number),
  output: optional(Schema.Number),
  reasoning: optional(Schema.Number),
  cache: optional(Schema.Struct({ read: optional(Schema.Number), write: optional(Schema.Number) }))
})
/**
 * Tokens of a step or a message.
 *
 * @category models
 * @since 0.1.0
 */
export type Tokens = typeof Tokens.Type

/**
 * An error with a name, as it stands in messages, in `session.error` and in most answers.
 *
 * @category schemas
 * @since 0.1.0
 */
export const NamedError = Schema.Struct({ name: Schema.String, data: optional(Loose) })
/**
 * An error with a name.
 *
 * @category models
 * @since 0.1.0
 */
export type NamedError = typeof NamedError.Type

/**
 * An error with a tag, as the routes of permissions and questions answer it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TaggedError = Schema.Struct({ _tag: Schema.String, message: optional(Schema.String) })
/**
 * An error with a tag.
 *
 * @category models
 * @since 0.1.0
 */
export type TaggedError = typeof TaggedError.Type

/**
 * What is wrong with a configuration: it is no JSON (`message`), or values are not allowed (`issues`).
 *
 * @category schemas
 * @since 0.1.0
 */
export const ConfigErrorData = Schema.Struct({
  path: optional(Schema.String),
  message: optional(Schema.String),
  issues: optional(Schema.Array(Schema.Struct({
    path: optional(Schema.Array(Schema.Union([Schema.String, Schema.Number]))),
    message: optional(Schema.String)
  })))
})
/**
 * What is wrong with a configuration.
 *
 * @category models
 * @since 0.1.0
 */
export type ConfigErrorData = typeof ConfigErrorData.Type

/**
 * A session. A subagent's has a parent.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Session = Schema.Struct({
  id: Schema.String,
  parentID: optional(Schema.String),
  directory: optional(Schema.String),
  title: optional(Schema.String),
  agent: optional(Schema.String),
  model: optional(Schema.Struct({ id: Schema.String, providerID: Schema.String })),
  /** From where on it was taken back; the snapshot is there where files were, too. */
  revert: optional(Schema.Struct({ messageID: Schema.String, snapshot: optional(Schema.String) })),
  version: optional(Schema.String),
  permission: optional(Schema.Unknown),
  time: optional(Schema.Struct({ created: optional(Schema.Number), updated: optional(Schema.Number) }))
})
/**
 * A session.
 *
 * @category models
 * @since 0.1.0
 */
export type Session = typeof Session.Type

/**
 * What a session does: `busy`, `idle`, or `retry` with the attempt and when the next one is due (epoch ms).
 *
 * @category schemas
 * @since 0.1.0
 */
export const SessionStatus = Schema.Struct({
  type: Schema.String,
  attempt: optional(Schema.Int),
  message: optional(Schema.String),
  next: optional(Schema.Number)
})
/**
 * What a session does.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionStatus = typeof SessionStatus.Type

/**
 * The head of a message. `parentID` of an assistant message is the user message that it answers; `summary` is `true`
 * on the summary of a compaction, and an object on user messages.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Message = Schema.Struct({
  id: Schema.String,
  sessionID: Schema.String,
  role: Schema.String,
  parentID: optional(Schema.String),
  mode: optional(Schema.String),
  agent: optional(Schema.String),
  summary: optional(Schema.Unknown),
  finish: optional(Schema.String),
  error: optional(NamedError),
  time: optional(Schema.Struct({ created: optional(Schema.Number), completed: optional(Schema.Number) }))
})
/**
 * The head of a message.
 *
 * @category models
 * @since 0.1.0
 */
export type Message = typeof Message.Type

const PartFields = {
  id: Schema.String,
  messageID: Schema.String,
  sessionID: Schema.String
}

/**
 * What every part has.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AnyPart = Schema.Struct({ ...PartFields, type: Schema.String })
/**
 * What every part has.
 *
 * @category models
 * @since 0.1.0
 */
export type AnyPart = typeof AnyPart.Type

/**
 * Text of the user, of the model, or put there by the server (`synthetic`).
 *
 * @category schemas
 * @since 0.1.0
 */
export const TextPart = Schema.Struct({
  ...PartFields,
  type: Schema.Literals(["text", "reasoning"]),
  text: Schema.String,
  synthetic: optional(Schema.Boolean),
  ignored: optional(Schema.Boolean),
  metadata: optional(Loose),
  time: optional(Schema.Struct({ start: optional(Schema.Number), end: optional(Schema.Number) }))
})
/**
 * A text or reasoning part.
 *
 * @category models
 * @since 0.1.0
 */
export type TextPart = typeof TextPart.Type

/**
 * How far a tool is: `pending`, `running`, `completed`, `error`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolState = Schema.Struct({
  status: Schema.String,
  input: optional(Loose),
  output: optional(Schema.String),
  title: optional(Schema.String),
  error: optional(Schema.String),
  metadata: optional(Loose),
  time: optional(Schema.Struct({ compacted: optional(Schema.Number) }))
})
/**
 * How far a tool is.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolState = typeof ToolState.Type

/**
 * A call of a tool. The tool's name becomes `invalid` when the model's call could not be read.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ToolPart = Schema.Struct({
  ...PartFields,
  type: Schema.Literal("tool"),
  tool: Schema.String,
  callID: optional(Schema.String),
  state: ToolState
})
/**
 * A call of a tool.
 *
 * @category models
 * @since 0.1.0
 */
export type ToolPart = typeof ToolPart.Type

/**
 * The end of one call of the model.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StepFinishPart = Schema.Struct({
  ...PartFields,
  type: Schema.Literal("step-finish"),
  reason: optional(Schema.String),
  cost: optional(Schema.Number),
  tokens: optional(Tokens)
})
/**
 * The end of one call of the model.
 *
 * @category models
 * @since 0.1.0
 */
export type StepFinishPart = typeof StepFinishPart.Type

/**
 * The order to compact the conversation; it stands in a user message made by the server.
 *
 * @category schemas
 * @since 0.1.0
 */
export const CompactionPart = Schema.Struct({
  ...PartFields,
  type: Schema.Literal("compaction"),
  auto: optional(Schema.Boolean)
})
/**
 * The order to compact the conversation.
 *
 * @category models
 * @since 0.1.0
 */
export type CompactionPart = typeof CompactionPart.Type

/**
 * A message with its parts. Parts are decoded one by one, so that one odd part spoils nothing else.
 *
 * @category schemas
 * @since 0.1.0
 */
export const MessageWithParts = Schema.Struct({ info: Message, parts: Schema.Array(Schema.Unknown) })
/**
 * A message with its parts.
 *
 * @category models
 * @since 0.1.0
 */
export type MessageWithParts = typeof MessageWithParts.Type

const ToolReference = Schema.Struct({ messageID: Schema.String, callID: Schema.String })

/**
 * An ask for permission.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Permission = Schema.Struct({
  id: Schema.String,
  sessionID: Schema.String,
  permission: Schema.String,
  patterns: optional(Schema.Array(Schema.String)),
  metadata: optional(Loose),
  always: optional(Schema.Array(Schema.String)),
  tool: optional(ToolReference)
})
/**
 * An ask for permission.
 *
 * @category models
 * @since 0.1.0
 */
export type Permission = typeof Permission.Type

/**
 * Questions to the user. `custom: false` takes none but the listed answers.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Question = Schema.Struct({
  id: Schema.String,
  sessionID: Schema.String,
  questions: Schema.Array(Schema.Struct({
    question: Schema.String,
    header: optional(Schema.String),
    options: optional(Schema.Array(Schema.Struct({
      label: Schema.String,
      description: optional(Schema.String)
    }))),
    multiple: optional(Schema.Boolean),
    custom: optional(Schema.Boolean)
  })),
  tool: optional(ToolReference)
})
/**
 * Questions to the user.
 *
 * @category models
 * @since 0.1.0
 */
export type Question = typeof Question.Type

/**
 * One entry of the agent's list of work.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Todo = Schema.Struct({
  content: Schema.String,
  status: optional(Schema.String),
  priority: optional(Schema.String)
})
/**
 * One entry of the agent's list of work.
 *
 * @category models
 * @since 0.1.0
 */
export type Todo = typeof Todo.Type

/**
 * One changed file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FileDiff = Schema.Struct({
  file: optional(Schema.String),
  patch: optional(Schema.String),
  additions: optional(Schema.Number),
  deletions: optional(Schema.Number),
  status: optional(Schema.String)
})
/**
 * One changed file.
 *
 * @category models
 * @since 0.1.0
 */
export type FileDiff = typeof FileDiff.Type

/**
 * The answer of the health route.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Health = Schema.Struct({ healthy: Schema.Boolean, version: Schema.String })
/**
 * The answer of the health route.
 *
 * @category models
 * @since 0.1.0
 */
export type Health = typeof Health.Type

/**
 * What is read of the configuration.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Config = Schema.Struct({
  model: optional(Schema.String),
  default_agent: optional(Schema.String),
  small_model: optional(Schema.String),
  provider: optional(Loose),
  permission: optional(Schema.Unknown),
  agent: optional(Schema.Unknown)
})
/**
 * What is read of the configuration.
 *
 * @category models
 * @since 0.1.0
 */
export type Config = typeof Config.Type

/**
 * A model in the list of a provider. Prices are US dollars for a million tokens.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Model = Schema.Struct({
  id: Schema.String,
  name: optional(Schema.String),
  capabilities: optional(
    Schema.Struct({
      input: optional(Schema.Struct({ image: optional(Schema.Boolean), pdf: optional(Schema.Boolean) }))
    })
  ),
  cost: optional(Schema.Struct({ input: optional(Schema.Number), output: optional(Schema.Number) })),
  limit: optional(Schema.Struct({ context: optional(Schema.Number) })),
  variants: optional(Loose)
})
/**
 * A model in the list of a provider.
 *
 * @category models
 * @since 0.1.0
 */
export type Model = typeof Model.Type

/**
 * The model providers that the server can use, with the default model of each.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ModelProviders = Schema.Struct({
  providers: Schema.Array(Schema.Struct({
    id: Schema.String,
    name: optional(Schema.String),
    /** Where its credentials are from: `env`, `config`, `api` (a login), `custom`. */
    source: optional(Schema.String),
    options: optional(Loose),
    models: Schema.Record(Schema.String, Model)
  })),
  default: optional(Schema.Record(Schema.String, Schema.String))
})
/**
 * The model providers that the server can use.
 *
 * @category models
 * @since 0.1.0
 */
export type ModelProviders = typeof ModelProviders.Type

/**
 * An agent with the rules that hold for it, in their order: the last that matches wins.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Agent = Schema.Struct({
  name: Schema.String,
  permission: Schema.Array(
    Schema.Struct({
      permission: Schema.String,
      pattern: Schema.String,
      action: Schema.Literals(["ask", "allow", "deny"])
    })
  )
})
/**
 * An agent with the rules that hold for it.
 *
 * @category models
 * @since 0.1.0
 */
export type Agent = typeof Agent.Type
