/** The routes beside a conversation: what is offered, what rewrites a conversation, MCP servers, the todo list. */
import type * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import type { PartInput } from "../OpenCodeClient.ts"
import * as wire from "./wire.ts"

/** A slash command as it is run. */
export interface CommandBody {
  readonly messageID: string
  readonly command: string
  readonly arguments: string
  readonly agent?: string
  /** `provider/model`. */
  readonly model?: string
  readonly variant?: string
  readonly parts?: ReadonlyArray<Extract<PartInput, { readonly type: "file" }>>
}

export interface Routes {
  readonly agents: (directory: string) => Effect.Effect<ReadonlyArray<wire.Agent>, AgentError.AgentError>
  /** Slash commands, the skills among them. */
  readonly commands: (directory: string) => Effect.Effect<ReadonlyArray<wire.Command>, AgentError.AgentError>
  /** Answers when the turn is over. */
  readonly runCommand: (sessionID: string, body: CommandBody) => Effect.Effect<void, AgentError.AgentError>
  /** Copies a conversation; with a message, only what comes before it. An unknown message counts as none. */
  readonly fork: (sessionID: string, messageID?: string) => Effect.Effect<Wire.Session, AgentError.AgentError>
  /** Takes a message and all behind it back until the next prompt, which removes them. Any id is taken. */
  readonly revert: (sessionID: string, messageID: string) => Effect.Effect<Wire.Session, AgentError.AgentError>
  readonly unrevert: (sessionID: string) => Effect.Effect<Wire.Session, AgentError.AgentError>
  /** Answers when the summary stands. */
  readonly summarize: (
    sessionID: string,
    model: { readonly providerID: string; readonly modelID: string }
  ) => Effect.Effect<void, AgentError.AgentError>
  readonly todos: (sessionID: string) => Effect.Effect<unknown, AgentError.AgentError>
  /** Connects an MCP server for a directory, and tells the states of all that were added to it. */
  readonly addMcp: (
    name: string,
    config: unknown,
    directory: string,
    /** Milliseconds. */
    timeout: number
  ) => Effect.Effect<Readonly<Record<string, wire.McpStatus>>, AgentError.AgentError>
}

interface Call {
  readonly method: "GET" | "POST"
  readonly path: string
  readonly directory?: string
  readonly body?: unknown
  readonly timeout?: number
}

/** How the client asks. */
export interface Asking {
  readonly get: <A>(call: Call, schema: Schema.ConstraintDecoder<A>) => Effect.Effect<A, AgentError.AgentError>
  readonly ofSession: <A>(
    sessionID: string,
    call: Call,
    schema: Schema.ConstraintDecoder<A>
  ) => Effect.Effect<A, AgentError.AgentError>
}

/** For routes that answer when a turn is over: the turn has limits of its own. */
const untilTheEnd = Number.POSITIVE_INFINITY

const List = Schema.Array(Schema.Unknown)
const Anything = Schema.Unknown as Schema.ConstraintDecoder<void>

export const make = ({ get, ofSession }: Asking): Routes => {
  const session = (id: string, rest: string): string => `/session/${encodeURIComponent(id)}${rest}`
  return {
    agents: (directory) => Effect.map(get({ method: "GET", path: "/agent", directory }, List), wire.readableAgents),
    commands: (directory) =>
      Effect.map(get({ method: "GET", path: "/command", directory }, List), wire.readableCommands),
    runCommand: (id, body) =>
      ofSession(id, { method: "POST", path: session(id, "/command"), body, timeout: untilTheEnd }, Anything),
    fork: (id, messageID) =>
      ofSession(
        id,
        { method: "POST", path: session(id, "/fork"), body: messageID === undefined ? {} : { messageID } },
        Wire.Session
      ),
    revert: (id, messageID) =>
      ofSession(id, { method: "POST", path: session(id, "/revert"), body: { messageID } }, Wire.Session),
    unrevert: (id) => ofSession(id, { method: "POST", path: session(id, "/unrevert"), body: {} }, Wire.Session),
    summarize: (id, model) =>
      ofSession(id, { method: "POST", path: session(id, "/summarize"), body: model, timeout: untilTheEnd }, Anything),
    todos: (id) => ofSession(id, { method: "GET", path: session(id, "/todo") }, Schema.Unknown),
    addMcp: (name, config, directory, timeout) =>
      get(
        { method: "POST", path: "/mcp", directory, body: { name, config }, timeout },
        Schema.Record(Schema.String, wire.McpStatus)
      )
  }
}
