/**
 * Tools of the host that a session offers to its agent: the model calls them, and the host's own code runs.
 *
 * They are kept in memory only. Whoever opens a stored session again gives them again.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as AgentError from "./AgentError.ts"
import type { RequestId, SessionId, TurnId } from "./Ids.ts"

/**
 * Which call it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostToolCall {
  readonly sessionId: SessionId
  readonly requestId: RequestId
  readonly turnId?: TurnId
  /** The subagent that calls, from the outermost on. Absent: the agent itself. */
  readonly agentPath?: ReadonlyArray<string>
}

/**
 * A tool. A call of it is a request of the kind `hostTool`, with the tool and its input as facts: no policy answers it.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostTool {
  /** For the model: what it does and when to use it. */
  readonly description: string
  /** JSON Schema of the input, an object. The agent may not check it. */
  readonly inputSchema: Schema.Json
  /**
   * Runs a call. The model hears a string as it is, any other value as JSON, and the `message` of a failure as a failed
   * call; a defect is logged, and the model hears no more than that the tool failed. Interrupted when nobody waits for the
   * call any more. At most `concurrency` calls of a session run at a time. Absent: whoever is attached answers, with `content`.
   */
  readonly run?: (
    input: Schema.Json,
    call: HostToolCall
  ) => Effect.Effect<Schema.Json, { readonly message: string }>
}

/**
 * Tools by the names under which the model sees them.
 *
 * @category models
 * @since 0.1.0
 */
export type HostTools = Readonly<Record<string, HostTool>>

/**
 * Calls of one session that run at the same time; the others wait.
 *
 * @category constants
 * @since 0.1.0
 */
export const concurrency: number = 16

/**
 * Longest result in characters, as the model would read it; a longer one is a failed call.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxResult: number = 4 * 1024 * 1024

/**
 * A tool whose input is described by a schema. An input that does not fit is a failed call, which tells the model why.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: {
  readonly description: string
  readonly input: Schema.Codec<A, Schema.Json>
  readonly run: (input: A, call: HostToolCall) => Effect.Effect<Schema.Json, { readonly message: string }>
}): HostTool => {
  const decode = Schema.decodeUnknownEffect(options.input)
  const { definitions, schema } = Schema.toJsonSchemaDocument(options.input)
  return {
    description: options.description,
    inputSchema: (Object.keys(definitions).length === 0 ? schema : { ...schema, $defs: definitions }) as Schema.Json,
    run: (input, call) => Effect.flatMap(decode(input), (value) => options.run(value, call))
  }
}

/**
 * What keeps tools from being offered, whatever the agent is. Sessions look before they ask a provider.
 *
 * @category getters
 * @since 0.1.0
 */
export const problem = (tools: HostTools): AgentError.AgentError | undefined => {
  for (const [name, tool] of Object.entries(tools)) {
    const description = problemOf(name, tool)
    if (description !== undefined) {
      return AgentError.make(new AgentError.InvalidRequest({ field: `tools.${name}`, description }))
    }
  }
  return undefined
}

const problemOf = (name: string, { description, inputSchema }: HostTool): string | undefined => {
  if (!/^[A-Za-z][\w-]{0,63}$/.test(name)) {
    return "The name of a tool begins with a letter and has letters, digits, _ and -, 64 at the most."
  }
  if (description.trim() === "") return "The description is empty: the model would not know when to call it."
  const isObject = typeof inputSchema === "object" && inputSchema !== null && !Array.isArray(inputSchema)
  return isObject && "type" in inputSchema && inputSchema.type === "object"
    ? undefined
    : "The schema of the input is not one of an object (\"type\": \"object\")."
}

/**
 * What a tool came to, in the words that the model hears.
 *
 * @category getters
 * @since 0.1.0
 */
export const textOf = (value: Schema.Json): string => typeof value === "string" ? value : JSON.stringify(value)
