/**
 * The shapes of `codex app-server` that are read here, as far as they are read: fields that are not named are left alone,
 * and words that a later release may add are strings. Measured on 0.169.0.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const optional = Schema.optionalKey
const nullable = <S extends Schema.Top>(schema: S) => optional(Schema.NullOr(schema))

/**
 * One part of what a user said. `image`, `localImage`, `skill`, `mention` and what else there is are known by their type.
 *
 * @category schemas
 * @since 0.1.0
 */
export const UserInput = Schema.Struct({
  type: Schema.String,
  text: optional(Schema.String),
  path: optional(Schema.String),
  name: optional(Schema.String),
  url: optional(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type UserInput = typeof UserInput.Type

/**
 * One file of a patch. `diff` is the new text of a file that is added, the old one of a file that is deleted, and the
 * hunks of one that is updated.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FileUpdateChange = Schema.Struct({
  path: Schema.String,
  kind: Schema.Struct({ type: Schema.String, move_path: nullable(Schema.String) }),
  diff: Schema.String
})

/**
 * @category models
 * @since 0.1.0
 */
export type FileUpdateChange = typeof FileUpdateChange.Type

const id = Schema.String
const status = Schema.String

/**
 * The items of a turn that have a shape of their own here.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Items = {
  userMessage: Schema.Struct({ id, clientId: nullable(Schema.String), content: Schema.Array(UserInput) }),
  agentMessage: Schema.Struct({ id, text: Schema.String }),
  plan: Schema.Struct({ id, text: Schema.String }),
  reasoning: Schema.Struct({
    id,
    summary: Schema.Array(Schema.String),
    content: optional(Schema.Array(Schema.String))
  }),
  commandExecution: Schema.Struct({
    id,
    command: Schema.String,
    cwd: nullable(Schema.String),
    status,
    processId: nullable(Schema.String),
    aggregatedOutput: nullable(Schema.String),
    exitCode: nullable(Schema.Int)
  }),
  fileChange: Schema.Struct({ id, changes: Schema.Array(FileUpdateChange), status }),
  mcpToolCall: Schema.Struct({
    id,
    server: Schema.String,
    tool: Schema.String,
    status,
    arguments: optional(Schema.Json),
    result: nullable(Schema.Struct({ content: optional(Schema.Array(Schema.Json)) })),
    error: nullable(Schema.Struct({ message: Schema.String }))
  }),
  dynamicToolCall: Schema.Struct({
    id,
    namespace: nullable(Schema.String),
    tool: Schema.String,
    status,
    arguments: optional(Schema.Json),
    success: nullable(Schema.Boolean),
    contentItems: nullable(Schema.Array(Schema.Struct({ type: Schema.String, text: optional(Schema.String) })))
  }),
  collabAgentToolCall: Schema.Struct({
    id,
    tool: Schema.String,
    status,
    senderThreadId: Schema.String,
    receiverThreadIds: Schema.Array(Schema.String),
    prompt: nullable(Schema.String),
    agentsStates: optional(
      Schema.Record(Schema.String, Schema.Struct({ status: Schema.String, message: nullable(Schema.String) }))
    )
  }),
  /** What becomes of a subagent, told in the thread of its parent. */
  subAgentActivity: Schema.Struct({
    id,
    kind: Schema.String,
    agentThreadId: Schema.String,
    agentPath: optional(Schema.String)
  }),
  webSearch: Schema.Struct({ id, query: optional(Schema.String) }),
  contextCompaction: Schema.Struct({ id })
}

/**
 * An item of any type.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AnyItem = Schema.Struct({ type: Schema.String, id })

/**
 * Why a turn, or an attempt of one, failed. `codexErrorInfo` is a word, or an object with one key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TurnError = Schema.Struct({
  message: Schema.String,
  codexErrorInfo: nullable(Schema.Unknown),
  additionalDetails: nullable(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type TurnError = typeof TurnError.Type

/**
 * A turn. `items` are all of them only where the view says `full`: at its end it is a summary.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Turn = Schema.Struct({
  id,
  status,
  error: nullable(TurnError),
  items: optional(Schema.Array(Schema.Unknown)),
  itemsView: optional(Schema.String),
  startedAt: nullable(Schema.Number),
  completedAt: nullable(Schema.Number)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Turn = typeof Turn.Type

/**
 * A conversation. `path` is told before its file exists; times are seconds since the epoch.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Thread = Schema.Struct({
  id,
  cwd: optional(Schema.String),
  name: nullable(Schema.String),
  preview: optional(Schema.String),
  model: nullable(Schema.String),
  cliVersion: optional(Schema.String),
  updatedAt: optional(Schema.Number),
  forkedFromId: nullable(id),
  status: optional(Schema.Struct({ type: Schema.String, activeFlags: optional(Schema.Array(Schema.String)) }))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Thread = typeof Thread.Type

/**
 * A model that is offered.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Model = Schema.Struct({
  id,
  model: Schema.String,
  displayName: optional(Schema.String),
  hidden: optional(Schema.Boolean),
  isDefault: optional(Schema.Boolean),
  supportedReasoningEfforts: optional(Schema.Array(Schema.Struct({ reasoningEffort: Schema.String }))),
  inputModalities: optional(Schema.Array(Schema.String))
})

/**
 * @category models
 * @since 0.1.0
 */
export type Model = typeof Model.Type

/**
 * A skill: instructions that a prompt or the model calls by name.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Skill = Schema.Struct({
  name: Schema.String,
  path: Schema.String,
  description: optional(Schema.String),
  shortDescription: nullable(Schema.String),
  interface: nullable(Schema.Struct({ shortDescription: nullable(Schema.String) })),
  enabled: optional(Schema.Boolean)
})

/**
 * @category models
 * @since 0.1.0
 */
export type Skill = typeof Skill.Type

const Tokens = Schema.Struct({
  totalTokens: Schema.Number,
  inputTokens: Schema.Number,
  cachedInputTokens: Schema.Number,
  outputTokens: Schema.Number,
  reasoningOutputTokens: optional(Schema.Number)
})

/**
 * The notifications that are read, by their method.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Notifications = {
  "turn/started": Schema.Struct({ threadId: id, turn: Turn }),
  "turn/completed": Schema.Struct({ threadId: id, turn: Turn }),
  "item/started": Schema.Struct({ threadId: id, turnId: id, item: Schema.Unknown }),
  "item/completed": Schema.Struct({ threadId: id, turnId: id, item: Schema.Unknown }),
  error: Schema.Struct({ threadId: id, turnId: id, error: TurnError, willRetry: Schema.Boolean }),
  "thread/tokenUsage/updated": Schema.Struct({
    threadId: id,
    turnId: id,
    tokenUsage: Schema.Struct({ total: Tokens, modelContextWindow: nullable(Schema.Number) })
  }),
  "account/rateLimits/updated": Schema.Struct({
    rateLimits: Schema.Struct({
      limitId: nullable(Schema.String),
      rateLimitReachedType: nullable(Schema.String),
      primary: nullable(Schema.Struct({ usedPercent: optional(Schema.Number), resetsAt: nullable(Schema.Number) })),
      secondary: nullable(Schema.Struct({ usedPercent: optional(Schema.Number), resetsAt: nullable(Schema.Number) }))
    })
  }),
  "turn/plan/updated": Schema.Struct({
    threadId: id,
    turnId: id,
    plan: Schema.Array(Schema.Struct({ step: Schema.String, status: Schema.String }))
  }),
  "turn/diff/updated": Schema.Struct({ threadId: id, turnId: id, diff: Schema.String }),
  "item/fileChange/patchUpdated": Schema.Struct({
    threadId: id,
    turnId: id,
    itemId: id,
    changes: Schema.Array(FileUpdateChange)
  }),
  "thread/name/updated": Schema.Struct({ threadId: id, threadName: nullable(Schema.String) }),
  "model/rerouted": Schema.Struct({ threadId: id, turnId: id, fromModel: Schema.String, toModel: Schema.String }),
  warning: Schema.Struct({ threadId: nullable(id), message: Schema.String }),
  configWarning: Schema.Struct({
    summary: Schema.String,
    details: nullable(Schema.String),
    path: optional(Schema.String)
  }),
  deprecationNotice: Schema.Struct({ summary: Schema.String, details: nullable(Schema.String) }),
  "mcpServer/startupStatus/updated": Schema.Struct({
    threadId: nullable(id),
    name: Schema.String,
    status: Schema.String,
    error: nullable(Schema.String)
  }),
  "serverRequest/resolved": Schema.Struct({
    threadId: id,
    requestId: Schema.Union([Schema.String, Schema.Number])
  }),
  "thread/started": Schema.Struct({
    thread: Schema.Struct({
      id,
      parentThreadId: nullable(id),
      agentNickname: nullable(Schema.String),
      agentRole: nullable(Schema.String)
    })
  })
}
