/**
 * What an agent asks of its host: approvals, questions, elicitations, host tools.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { ItemId, RequestId, TurnId } from "./Ids.ts"

const optional = Schema.optionalKey

/**
 * What is asked about. An open set: `command`, `edit`, `read`, `network`, `externalDirectory`, `tool`, `subagent`,
 * `question`, `elicitation`, `plan`, `hostTool`, `auth`, or the agent's own word. Each can be answered, known or not.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RequestKind = Schema.NonEmptyString
/**
 * @category models
 * @since 0.1.0
 */
export type RequestKind =
  | "command"
  | "edit"
  | "read"
  | "network"
  | "externalDirectory"
  | "tool"
  | "subagent"
  | "question"
  | "elicitation"
  | "plan"
  | "hostTool"
  | "auth"
  | (string & {})

/**
 * Kinds that no policy answers: what only a person knows, and what a tool of the host comes to.
 *
 * @category getters
 * @since 0.1.0
 */
export const needsPerson = (kind: string): boolean =>
  kind === "question" || kind === "elicitation" || kind === "plan" || kind === "auth" || kind === "hostTool"

/**
 * One question of the agent to the user.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Question = Schema.Struct({
  text: Schema.String,
  header: optional(Schema.String),
  options: Schema.Array(Schema.Struct({ label: Schema.String, description: optional(Schema.String) })),
  multiple: Schema.Boolean,
  /** Whether an answer that is none of the options is taken. */
  freeText: Schema.Boolean,
  /** What is answered is a secret: it goes to the agent, and no event shows it. */
  secret: optional(Schema.Boolean)
})
/**
 * @category models
 * @since 0.1.0
 */
export type Question = typeof Question.Type

/**
 * What is known about a request, for people and for policies.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RequestFacts = Schema.Struct({
  /** The command line as the agent wrote it. */
  command: optional(Schema.String),
  /** The command as words, where the agent gives them. */
  argv: optional(Schema.Array(Schema.String)),
  /** Where it would run; the session's directory when absent. */
  cwd: optional(Schema.String),
  /** Files that it would touch, as the agent named them. */
  paths: optional(Schema.Array(Schema.String)),
  /** A unified diff of the change asked for. */
  diff: optional(Schema.String),
  /** The tool's own name. */
  tool: optional(Schema.String),
  input: optional(Schema.Json),
  hosts: optional(Schema.Array(Schema.String)),
  /** Why, in the agent's words. */
  reason: optional(Schema.String),
  /** What the agent's own "always" would cover. */
  always: optional(Schema.Array(Schema.String)),
  questions: optional(Schema.Array(Question)),
  /** The form asked for by an elicitation. */
  schema: optional(Schema.Json),
  url: optional(Schema.String),
  /** The text of a plan to be approved. */
  plan: optional(Schema.String)
})
/**
 * @category models
 * @since 0.1.0
 */
export type RequestFacts = typeof RequestFacts.Type

/**
 * What can be said to a request: `decline` lets the agent go on without it, `cancel` ends the turn.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Answer = Schema.TaggedUnion({
  accept: {},
  /** The same kind with the same command and directory, or the same path, for the rest of the session. */
  acceptForSession: {},
  decline: { reason: optional(Schema.String) },
  cancel: {},
  /** One list of answers for each question. */
  answers: { answers: Schema.Array(Schema.Array(Schema.String)) },
  /** The filled form of an elicitation, or what a tool of the host came to. */
  content: { value: Schema.Json }
})
/**
 * @category models
 * @since 0.1.0
 */
export type Answer = typeof Answer.Type

/**
 * The words that a request offers as answers.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AnswerOption = Schema.Literals([
  "accept",
  "acceptForSession",
  "decline",
  "cancel",
  "answers",
  "content"
])
/**
 * @category models
 * @since 0.1.0
 */
export type AnswerOption = typeof AnswerOption.Type

/**
 * Who settled a request. `host`: the tool of the host that was called.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SettledBy = Schema.Literals(["user", "policy", "host", "provider", "expiry", "teardown", "unknown"])
/**
 * @category models
 * @since 0.1.0
 */
export type SettledBy = typeof SettledBy.Type

/**
 * An open request.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AgentRequest = Schema.Struct({
  id: RequestId,
  kind: RequestKind,
  /** One line for a person. */
  subject: Schema.String,
  options: Schema.Array(AnswerOption),
  facts: RequestFacts,
  turnId: optional(TurnId),
  itemId: optional(ItemId),
  agentPath: optional(Schema.Array(Schema.String)),
  /** Epoch milliseconds. */
  openedAt: Schema.Number
})
/**
 * @category models
 * @since 0.1.0
 */
export type AgentRequest = typeof AgentRequest.Type
