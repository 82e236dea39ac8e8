/**
 * Typed calls to `codex app-server`. Every failure is an `AgentError`.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { JsonRpcPeer } from "@reins/transport/JsonRpcPeer"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "./CodexSchema.ts"
import * as errors from "./internal/errors.ts"

/**
 * What a thread is started, resumed or forked with; what is absent is the user's own configuration.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadSettings {
  readonly cwd?: string
  readonly model?: string
  readonly approvalPolicy?: string | { readonly granular: Schema.Json }
  readonly sandbox?: string
  readonly config?: Readonly<Record<string, Schema.Json>>
}

/**
 * What a turn changes of its thread, from then on.
 *
 * @category models
 * @since 0.1.0
 */
export interface TurnSettings {
  readonly model?: string
  readonly effort?: string
  readonly approvalPolicy?: string
  readonly sandboxPolicy?: Schema.Json
  readonly collaborationMode?: Schema.Json
}

const Handshake = Schema.Struct({ userAgent: Schema.String, codexHome: Schema.optionalKey(Schema.String) })
const Started = Schema.Struct({ thread: Wire.Thread, model: Schema.optionalKey(Schema.String) })
const TurnStarted = Schema.Struct({ turn: Wire.Turn })
const Threads = Schema.Struct({
  data: Schema.Array(Wire.Thread),
  nextCursor: Schema.optionalKey(Schema.NullOr(Schema.String))
})
const Turns = Schema.Struct({
  data: Schema.Array(Wire.Turn),
  nextCursor: Schema.optionalKey(Schema.NullOr(Schema.String))
})
const Models = Schema.Struct({
  data: Schema.Array(Wire.Model),
  nextCursor: Schema.optionalKey(Schema.NullOr(Schema.String))
})
const Skills = Schema.Struct({ data: Schema.Array(Schema.Struct({ skills: Schema.Array(Wire.Skill) })) })
const Configured = Schema.Struct({
  config: Schema.Struct({
    mcp_servers: Schema.optionalKey(Schema.NullOr(Schema.Record(Schema.String, Schema.Unknown)))
  })
})
const Terminals = Schema.Struct({
  data: Schema.Array(Schema.Struct({ itemId: Schema.String, processId: Schema.String }))
})
const Account = Schema.Struct({
  account: Schema.optionalKey(Schema.NullOr(Schema.Unknown)),
  requiresOpenaiAuth: Schema.Boolean
})

/** How long a server may take to say anything. */
const presence: Duration.Input = "10 seconds"

/** How long a thread may take to start: its MCP servers start with it. */
const slow: Duration.Input = "120 seconds"

/**
 * The calls of one server.
 *
 * @category models
 * @since 0.1.0
 */
export type CodexClient = ReturnType<typeof make>

/**
 * Calls over a conversation that has begun.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (peer: JsonRpcPeer) => {
  const call = <A>(
    method: string,
    params: object,
    schema: Schema.Decoder<A>,
    options: { readonly thread?: string; readonly timeout?: Duration.Input } = {}
  ): Effect.Effect<A, AgentError.AgentError> => {
    const decode = Schema.decodeUnknownResult(schema)
    return Effect.flatMap(
      Effect.mapError(
        peer.call(method, params, options.timeout === undefined ? {} : { timeout: options.timeout }),
        (error) => error._tag === "JsonRpcError" ? errors.ofCall(error, options.thread) : error
      ),
      (answer) => {
        const decoded = decode(answer)
        return Result.isSuccess(decoded)
          ? Effect.succeed(decoded.success)
          : AgentError.fail(
            new AgentError.ProtocolError({
              description: `codex answered "${method}" in a shape that is not known: ${
                decoded.failure.message.slice(0, 500)
              }`
            }),
            { provider: "codex" }
          )
      }
    )
  }
  const done = (method: string, params: object, thread?: string) =>
    Effect.asVoid(call(method, params, Schema.Unknown, thread === undefined ? {} : { thread }))

  return {
    /** The first exchange; answers with the version and the home of the agent. */
    initialize: (client: { readonly name: string; readonly title: string; readonly version: string }) =>
      Effect.flatMap(
        call("initialize", { clientInfo: client, capabilities: { experimentalApi: true } }, Handshake),
        ({ codexHome, userAgent }) =>
          Effect.as(peer.notify("initialized"), {
            // `<client>/<version> (…)`: it is said nowhere else before a thread.
            version: /^[^/]*\/(\S+)/.exec(userAgent)?.[1] ?? "unknown",
            home: codexHome ?? ""
          })
      ),
    /** Any answer at all. */
    isThere: Effect.asVoid(call("thread/loaded/list", {}, Schema.Unknown, { timeout: presence })),
    account: call("account/read", {}, Account),
    startThread: (settings: ThreadSettings & { readonly dynamicTools?: ReadonlyArray<Schema.Json> }) =>
      call("thread/start", settings, Started, { timeout: slow }),
    resumeThread: (threadId: string, settings: ThreadSettings) =>
      call("thread/resume", { threadId, excludeTurns: true, ...settings }, Started, {
        thread: threadId,
        timeout: slow
      }),
    readThread: (threadId: string) =>
      call("thread/read", { threadId }, Schema.Struct({ thread: Wire.Thread }), { thread: threadId }),
    forkThread: (
      threadId: string,
      options: ThreadSettings & { readonly lastTurnId?: string; readonly beforeTurnId?: string }
    ) =>
      call("thread/fork", { threadId, excludeTurns: true, ...options }, Started, { thread: threadId, timeout: slow }),
    revertThread: (threadId: string, beforeTurnId: string) =>
      done("thread/revert", { threadId, beforeTurnId }, threadId),
    nameThread: (threadId: string, name: string) => done("thread/name/set", { threadId, name }, threadId),
    archiveThread: (threadId: string) => done("thread/archive", { threadId }, threadId),
    unarchiveThread: (threadId: string) => done("thread/unarchive", { threadId }, threadId),
    deleteThread: (threadId: string) => done("thread/delete", { threadId }, threadId),
    compactThread: (threadId: string) => done("thread/compact/start", { threadId }, threadId),
    unsubscribe: (threadId: string) => done("thread/unsubscribe", { threadId }, threadId),
    listThreads: (options: { readonly cwd?: string; readonly cursor?: string; readonly limit?: number }) =>
      call("thread/list", options, Threads),
    /** Turns of a thread, newest first, with all their items. */
    listTurns: (threadId: string, options: { readonly cursor?: string; readonly limit: number }) =>
      call("thread/turns/list", { threadId, sortDirection: "desc", itemsView: "full", ...options }, Turns, {
        thread: threadId
      }),
    /** While a turn runs this steers it, and answers with that turn. */
    startTurn: (threadId: string, input: ReadonlyArray<Schema.Json>, key: string, settings: TurnSettings) =>
      call("turn/start", { threadId, input, clientUserMessageId: key, ...settings }, TurnStarted, { thread: threadId }),
    steerTurn: (threadId: string, expectedTurnId: string, input: ReadonlyArray<Schema.Json>, key: string) =>
      done("turn/steer", { threadId, expectedTurnId, input, clientUserMessageId: key }, threadId),
    /** An empty turn is the one that runs, also before it was told of. */
    interruptTurn: (threadId: string, turnId = "") => done("turn/interrupt", { threadId, turnId }, threadId),
    /** Commands that run on, with the items that began them. */
    listTerminals: (threadId: string) =>
      call("thread/backgroundTerminals/list", { threadId }, Terminals, { thread: threadId }),
    endTerminal: (threadId: string, processId: string) =>
      done("thread/backgroundTerminals/terminate", { threadId, processId }, threadId),
    /** Ends all commands that the turns of a thread left running: an interrupt leaves them alone. */
    cleanTerminals: (threadId: string) => done("thread/backgroundTerminals/clean", { threadId }, threadId),
    /** The names of the MCP servers that the user has configured, as seen from a directory. */
    configuredMcpServers: (cwd: string) =>
      Effect.map(call("config/read", { cwd }, Configured), ({ config }) => Object.keys(config.mcp_servers ?? {})),
    listSkills: (cwd: string) => call("skills/list", { cwds: [cwd] }, Skills),
    listModels: (cursor?: string) => call("model/list", cursor === undefined ? {} : { cursor }, Models)
  }
}
