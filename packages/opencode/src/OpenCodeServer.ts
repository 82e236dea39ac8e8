/**
 * One `opencode serve` process, shared by all sessions with the same binary, environment and configuration, with one
 * event stream for all of them.
 *
 * @since 0.1.0
 */
import type * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as ProcessReports from "@reins/transport/ProcessReports"
import type * as ProcessTree from "@reins/transport/ProcessTree"
import * as ServerProcess from "@reins/transport/ServerProcess"
import * as Supervisor from "@reins/transport/Supervisor"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Stream from "effect/Stream"
import * as askRules from "./internal/askRules.ts"
import * as errors from "./internal/errors.ts"
import { freePort } from "./internal/freePort.ts"
import * as identify from "./internal/identify.ts"
import * as modelTimeouts from "./internal/modelTimeouts.ts"
import type * as normalise from "./internal/normalise.ts"
import * as serverLink from "./internal/serverLink.ts"
import { remember } from "./internal/state.ts"
import * as OpenCodeClient from "./OpenCodeClient.ts"

/**
 * A server that answers, with its event stream connected.
 *
 * @category models
 * @since 0.1.0
 */
export interface Live {
  readonly client: OpenCodeClient.OpenCodeClient
  readonly version: string
  /** Absent: the server is not ours. */
  readonly pid?: number
  /** Counts the event stream's connections. */
  readonly generation: number
}

/**
 * What a session wants to receive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attach {
  /** The session's id at the agent. */
  readonly root: string
  /** Its child sessions that exist already. */
  readonly children: ReadonlyArray<string>
  /** What was known before the connection was lost. */
  readonly after?: normalise.NormaliserState
  /** Runs when the model of a session of the tree is caught in an endless loop of unfinished answers. */
  readonly onLoop: (session: string) => Effect.Effect<void>
  /** Names of MCP servers, by which their tools are told from others. */
  readonly mcpServers?: ReadonlyArray<string>
}

/**
 * A session that receives its signals.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attached {
  readonly state: normalise.NormaliserState
  readonly signals: Stream.Stream<Signal, AgentError.AgentError>
  /**
   * Completes when it is certain that the stream tells what happens from now on. The server says `server.connected`
   * before it begins to listen to itself (`handlers/global.ts` of 1.18), so that what happens in between is told to nobody:
   * a session that is read in that moment would miss it. `event` makes the server tell something; unless the stream has
   * told something already it is run, again and again until that is heard. A stream that is lost meanwhile is waited for,
   * and `signals` are those of the next one.
   */
  readonly prove: (event: Effect.Effect<unknown, AgentError.AgentError>) => Effect.Effect<void, AgentError.AgentError>
  /** Ends the signals with an error, so that the session connects anew. */
  readonly lose: (error: AgentError.AgentError) => Effect.Effect<void>
}

/**
 * A shared server.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeServer {
  /** Waits until the server answers and its event stream stands; fails when it cannot be had. */
  readonly live: Effect.Effect<Live, AgentError.AgentError>
  /** Hears the states of the process for as long as the scope lives. */
  readonly listen: (report: (signal: Signal) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Receives the signals of a session tree for as long as the scope lives. */
  readonly attach: (options: Attach) => Effect.Effect<Attached, AgentError.AgentError, Scope.Scope>
}

/**
 * How to start a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly binary: string
  /** Added to the inherited environment. */
  readonly env: Readonly<Record<string, string>>
  readonly startTimeout: Duration.Input
  /** Default: that of the supervisor. `window` in milliseconds. */
  readonly restarts?: { readonly max: number; readonly window: number }
  /** Milliseconds that OpenCode waits for its model providers, where the configuration defines them. */
  readonly modelTimeout?: number
  /**
   * Whether the agents of this server are made to ask, and about what besides the usual; off only when the host's policy
   * accepts everything.
   */
  readonly ask: askRules.Extra | false
  /** What nothing that the server says may show, besides its password. */
  readonly secrets?: ReadonlyArray<Redacted.Redacted<string>>
}

interface Info {
  readonly url: string
  readonly client: OpenCodeClient.OpenCodeClient
  readonly version: string
}

const target = "opencode serve"
const readyLine = /listening on (https?:\/\/\S+)/
/** Answers to the health probe that come from another protocol or refuse our password; they do not change by waiting. */
const foreign = new Set(["UnsupportedVersion", "ProtocolError", "AuthRequired", "InvalidRequest"])
/** Failures of a start that another port or a moment later mend. */
const transientStart = /ServeError|Failed query|database is locked/
const startAttempts = 3

/** First starts on one data directory race in OpenCode's migrations, so they are made one after another. */
const coldStarts = new Map<string, Semaphore.Semaphore>()
const maxDirectories = 64

const coldStart = (directory: string): Semaphore.Semaphore => {
  const known = coldStarts.get(directory)
  return known ?? remember(coldStarts, directory, Semaphore.makeUnsafe(1), maxDirectories)
}

const variable = (name: string) => Config.String(name).pipe(Effect.orElseSucceed(() => ""))

const password = Effect.sync(() => {
  const bytes = crypto.getRandomValues(new Uint8Array(24))
  return Redacted.make(Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""))
})

/**
 * Starts a server and keeps it running until the scope closes; then it is disposed, so that its tools end too, and
 * ended.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options,
  /** By which the next host finds the server if this one is killed. */
  leases?: ProcessLease.Leases
): Effect.fn.Return<OpenCodeServer, never, Scope.Scope | ChildProcessSpawner | HttpClient.HttpClient> {
  const secret = yield* password
  const secrets = [secret, ...(options.secrets ?? [])]
  const redactor = Redaction.make({ values: secrets })
  const reports = ProcessReports.make()
  const inherited = yield* variable("OPENCODE_CONFIG_CONTENT")
  const content = modelTimeouts.withTimeouts(
    options.env["OPENCODE_CONFIG_CONTENT"] ?? (inherited === "" ? undefined : inherited),
    options.modelTimeout
  )
  const { ask } = options
  const config = ask === false ? content : askRules.askConfig(content, ask) ?? content
  const permission = options.env["OPENCODE_PERMISSION"] ?? (yield* variable("OPENCODE_PERMISSION"))
  const data = options.env["XDG_DATA_HOME"] ?? (yield* variable("XDG_DATA_HOME"))
  const dataDirectory = data !== "" ? data : `${options.env["HOME"] ?? (yield* variable("HOME"))}/.local/share`

  // Tools inherit the server's environment (measured on 1.18.33), so what they print may hold the password.
  const clean = Redaction.jsonFilter(secrets)
  const withoutSecret = (events: ReadonlyArray<string>): ReadonlyArray<string> =>
    events.some((data) => clean(data) !== data) ? events.map(clean) : events

  /** Succeeds with the error where asking again would not help: something answers, but it is not this protocol. */
  const probe = (url: string) =>
    Effect.gen(function*() {
      const client = yield* OpenCodeClient.make({
        url,
        password: secret,
        ...(options.secrets === undefined ? undefined : { secrets: options.secrets })
      })
      const health = yield* Effect.result(identify.identify(client))
      if (Result.isSuccess(health)) return Result.succeed<Info>({ url, client, version: health.success })
      return foreign.has(health.failure.reason._tag) ? Result.fail(health.failure) : yield* health.failure
    })

  const owners = leases?.environment[ProcessLease.variable] ?? (yield* variable(ProcessLease.variable))

  const spawn = Effect.gen(function*() {
    const port = yield* freePort
    const mark = crypto.randomUUID()
    const scope = yield* Effect.scope
    const started = yield* ServerProcess.spawn({
      command: options.binary,
      args: ["serve", "--hostname=127.0.0.1", `--port=${port}`],
      env: {
        // An update in place would change the binary under running sessions.
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        ...options.env,
        [ProcessLease.variable]: owners === "" ? mark : `${owners}:${mark}`,
        ...(config === undefined ? undefined : { OPENCODE_CONFIG_CONTENT: config }),
        ...(ask === false ? undefined : { OPENCODE_PERMISSION: askRules.askPermission(permission, ask) }),
        OPENCODE_SERVER_PASSWORD: secret,
        OPENCODE_SERVER_USERNAME: undefined
      },
      redactor,
      startTimeout: options.startTimeout,
      mark: { variable: ProcessLease.variable, value: mark },
      ready: { line: (line: string) => readyLine.exec(line)?.[1], probe },
      ...(leases === undefined
        ? undefined
        : { onSpawn: (process: ProcessTree.ProcessRef) => Scope.provide(leases.hold(process), scope) }),
      onProgress: reports.progress,
      // A signal alone would leave running tools behind: only dispose ends them.
      politeStop: (info: Result.Result<Info, AgentError.AgentError>) =>
        Result.isSuccess(info) ? info.success.client.globalDispose : Effect.void,
      voluntaryExit: 0
    })
    if (Result.isSuccess(started.info)) return { ...started, info: started.info.success }
    yield* started.stop
    return yield* started.info.failure
  }).pipe(
    Effect.mapError(errors.ofExit),
    Effect.retry({
      times: startAttempts - 1,
      while: (error) => error.reason._tag === "ProcessExited" && transientStart.test(error.reason.stderrTail ?? "")
    }),
    coldStart(dataDirectory).withPermit
  )

  const supervisor = yield* Supervisor.make({
    start: spawn,
    target,
    firstStart: "fail",
    intensity: options.restarts
  })

  yield* reports.follow(supervisor, "http")

  const link = yield* serverLink.make({
    target,
    reach: Effect.map(supervisor.current, ({ info, pid }) => ({ client: info.client, version: info.version, pid })),
    patience: Duration.sum(Duration.fromInputUnsafe(options.startTimeout), Duration.seconds(30)),
    clean: withoutSecret
  })

  return {
    ...link,
    listen: reports.listen
  }
})
