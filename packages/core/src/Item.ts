/**
 * The units inside a turn: messages, reasoning, commands, file changes, tool calls.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ItemId, PromptId } from "./Ids.ts"

const optional = Schema.optionalKey

/**
 * One step of a plan.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PlanEntry = Schema.Struct({
  text: Schema.String,
  status: Schema.Literals(["pending", "running", "completed", "cancelled"]),
  priority: optional(Schema.String)
})
/**
 * @category models
 * @since 0.1.0
 */
export type PlanEntry = typeof PlanEntry.Type

/**
 * One changed file: its path as the agent named it, what happened to it and, where known, a unified diff.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FileChange = Schema.Struct({
  path: Schema.String,
  change: Schema.Literals(["added", "updated", "deleted", "moved"]),
  movedTo: optional(Schema.String),
  diff: optional(Schema.String),
  additions: optional(Schema.Int),
  deletions: optional(Schema.Int)
})
/**
 * @category models
 * @since 0.1.0
 */
export type FileChange = typeof FileChange.Type

const common = {
  id: ItemId,
  /** A short title given by the agent. */
  title: optional(Schema.String),
  /** Why the item failed, in the agent's words. */
  error: optional(Schema.String)
}

/**
 * A unit inside a turn. `text` and `output` grow by deltas; the completed item holds them whole.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Item = Schema.TaggedUnion({
  userMessage: { ...common, text: Schema.String, promptId: optional(PromptId) },
  assistantMessage: { ...common, text: Schema.String },
  reasoning: { ...common, text: Schema.String },
  command: {
    ...common,
    command: Schema.String,
    cwd: optional(Schema.String),
    output: Schema.String,
    exitCode: optional(Schema.Int)
  },
  fileChange: { ...common, tool: optional(Schema.String), changes: Schema.Array(FileChange), output: Schema.String },
  toolCall: {
    ...common,
    tool: Schema.String,
    server: optional(Schema.String),
    input: optional(Schema.Json),
    output: Schema.String
  },
  webSearch: { ...common, query: optional(Schema.String), output: Schema.String },
  plan: { ...common, entries: Schema.Array(PlanEntry) },
  subagent: {
    ...common,
    agent: optional(Schema.String),
    prompt: optional(Schema.String),
    path: optional(Schema.Array(Schema.String)),
    output: Schema.String
  },
  compaction: { ...common, automatic: optional(Schema.Boolean) }
})
/**
 * @category models
 * @since 0.1.0
 */
export type Item = typeof Item.Type

/**
 * How an item ended.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ItemStatus = Schema.Literals(["completed", "failed", "declined", "discarded", "interrupted"])
/**
 * @category models
 * @since 0.1.0
 */
export type ItemStatus = typeof ItemStatus.Type

/**
 * Which growing text of an item a delta belongs to.
 *
 * @category schemas
 * @since 0.1.0
 */
export const ItemStream = Schema.Literals(["text", "output"])
/**
 * @category models
 * @since 0.1.0
 */
export type ItemStream = typeof ItemStream.Type

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/**
 * What an adapter knows of an item: everything but the id, which the engine gives.
 *
 * @category models
 * @since 0.1.0
 */
export type ItemContent = DistributiveOmit<Item, "id">

/**
 * The stream in which an item of this kind grows, if it grows.
 *
 * @category getters
 * @since 0.1.0
 */
export const streamOf = (item: ItemContent): ItemStream | undefined => {
  switch (item._tag) {
    case "userMessage":
    case "assistantMessage":
    case "reasoning":
      return "text"
    case "command":
    case "fileChange":
    case "toolCall":
    case "webSearch":
    case "subagent":
      return "output"
    case "plan":
    case "compaction":
      return undefined
  }
}

/**
 * The growing text of an item, empty where it has none.
 *
 * @category getters
 * @since 0.1.0
 */
export const textOf = (item: ItemContent): string => {
  switch (item._tag) {
    case "userMessage":
    case "assistantMessage":
    case "reasoning":
      return item.text
    case "command":
    case "fileChange":
    case "toolCall":
    case "webSearch":
    case "subagent":
      return item.output
    case "plan":
    case "compaction":
      return ""
  }
}

/**
 * The same item with another growing text.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withText = <I extends ItemContent>(item: I, text: string): I => {
  const stream = streamOf(item)
  return stream === undefined ? item : { ...item, [stream]: text }
}
