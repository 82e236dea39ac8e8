/**
 * A `codex app-server` that is kept running, and the one conversation with it that all its threads share.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import type * as JsonRpcPeer from "@reins/transport/JsonRpcPeer"
import * as JsonRpcWire from "@reins/transport/JsonRpcWire"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as ProcessReports from "@reins/transport/ProcessReports"
import type * as ProcessTree from "@reins/transport/ProcessTree"
import * as ServerProcess from "@reins/transport/ServerProcess"
import * as Supervisor from "@reins/transport/Supervisor"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type * as CodexClient from "./CodexClient.ts"
import * as conversations from "./internal/conversation.ts"
import type { ThreadState } from "./internal/normalise.ts"
import * as safeConfig from "./internal/safeConfig.ts"

/**
 * Which server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly binary: string
  readonly env: Readonly<Record<string, string>>
  /** From spawn to the end of the handshake. */
  readonly startTimeout: Duration.Input
  /** Default: that of the supervisor. `window` in milliseconds. */
  readonly restarts?: { readonly max: number; readonly window: number }
}

/**
 * A server that answers now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Live {
  readonly client: CodexClient.CodexClient
  readonly peer: JsonRpcPeer.JsonRpcPeer
  readonly version: string
  /** Where the agent keeps its conversations. */
  readonly home: string
  /** Names the process among all that there were. */
  readonly life: string
  /** With which MCP servers each thread was loaded, as the text of their settings. */
  readonly loaded: Map<string, string>
}

/**
 * What one session hears of its thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attachment {
  readonly state: ThreadState
  readonly signals: Stream.Stream<Signal, AgentError.AgentError>
  /** Adds what is known of the thread from an answer. */
  readonly tell: (signals: ReadonlyArray<Signal>) => void
  /** Ends the connection of this session alone. */
  readonly lose: (error: AgentError.AgentError) => Effect.Effect<void>
}

/**
 * A server that is kept running.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodexServer {
  /** The server; waits while it starts or restarts. */
  readonly live: Effect.Effect<Live, AgentError.AgentError>
  /** Hears a thread, from what was said of it since it began. */
  readonly attach: (threadId: string) => Effect.Effect<Attachment, AgentError.AgentError, Scope.Scope>
  /**
   * Has a thread unloaded that nobody hears. A thread keeps the MCP servers that it was loaded with, and no method of its
   * own unloads one: it is put into the archive and taken out again (measured on 0.169.0).
   */
  readonly unload: (live: Live, threadId: string) => Effect.Effect<void, AgentError.AgentError>
  /** It does not answer any more, though it runs: it is ended, so that another one is started. */
  readonly abandon: (live: Live) => Effect.Effect<void>
  /** Drops what was said of a thread while nobody heard it: it is read again from what is stored. */
  readonly forget: (threadId: string) => void
  /** Keeps secrets that a session brings along out of what the agent says, until the scope closes. */
  readonly hide: (secrets: ReadonlyArray<Redacted.Redacted<string>>) => Effect.Effect<void, never, Scope.Scope>
  /** Hears what becomes of the process. */
  readonly listen: ProcessReports.ProcessReports["listen"]
}

const target = "codex app-server"

/** How long after the end of the conversation the process may still be seen to have ended. */
const exitLimit = "500 millis"
/** How long one that has no conversation any more may take to be gone. */
const deathLimit = "6 seconds"

const variable = (name: string) => Config.String(name).pipe(Effect.orElseSucceed(() => ""))

const missingHome = /CODEX_HOME points to .*/
const refusedSetting = /no longer supported.*/

/** Why a process that ended before its first answer ended: what it said of the user's settings, where it did. */
const ofStart = (error: AgentError.AgentError): AgentError.AgentError => {
  if (error.reason._tag !== "ProcessExited") return error
  const said = error.reason.stderrTail ?? ""
  const issue = missingHome.exec(said)?.[0] ?? refusedSetting.exec(said)?.[0]
  return issue === undefined ? error : AgentError.make(new AgentError.InvalidConfig({ issue }), { provider: "codex" })
}

/**
 * Starts a server and keeps it running until the scope closes; then its input is ended, by which it ends its commands too.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options,
  /** By which the next host finds the server if this one is killed. */
  leases?: ProcessLease.Leases
): Effect.fn.Return<CodexServer, never, Scope.Scope | ChildProcessSpawner | FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const redactor = Redaction.make({ values: [] })
  const reports = ProcessReports.make()
  const owners = leases?.environment[ProcessLease.variable] ?? (yield* variable(ProcessLease.variable))
  const home = options.env["CODEX_HOME"] ?? (yield* variable("CODEX_HOME"))
  const userHome = options.env["HOME"] ?? (yield* variable("HOME"))
  const configFile = `${home === "" ? `${userHome}/.codex` : home}/config.toml`
  const conversation = yield* conversations.make({ target, alone: true, redactor })

  let stop: Effect.Effect<void> = Effect.void

  const spawn = Effect.gen(function*() {
    const mark = crypto.randomUUID()
    const owner = owners === "" ? mark : `${owners}:${mark}`
    const life = yield* Effect.scope
    const talk = yield* Scope.fork(life)
    const settings = yield* fs.readFileString(configFile).pipe(Effect.orElseSucceed(() => ""))
    const started = yield* ServerProcess.spawn({
      command: options.binary,
      args: [
        "app-server",
        ...safeConfig.args(settings),
        // A user's policy for the environment of commands may leave it out.
        "-c",
        `shell_environment_policy.set.${ProcessLease.variable}="${owner}"`
      ],
      env: { ...options.env, [ProcessLease.variable]: owner },
      redactor,
      startTimeout: options.startTimeout,
      mark: { variable: ProcessLease.variable, value: mark },
      ...(leases === undefined
        ? undefined
        : { onSpawn: (process: ProcessTree.ProcessRef) => Scope.provide(leases.hold(process), life) }),
      onProgress: reports.progress,
      ready: {
        handshake: (pipes) =>
          conversation.begin(JsonRpcWire.fromStdio(pipes), mark.slice(0, 8)).pipe(Scope.provide(talk))
      },
      // The end of its input is how it is told to go; it takes its commands with it, which a signal may not.
      politeStop: () => Scope.close(talk, Exit.void)
    }).pipe(Effect.mapError(ofStart))
    const over = Effect.flatMap(started.info.peer.lost, (lost) => {
      // At once: who needs a server waits for the next one.
      conversation.end(started.info)
      return Effect.raceFirst(
        Effect.map(started.exited, (exited) =>
          AgentError.make(
            new AgentError.ProcessExited({ command: started.command, starting: false, ...exited }),
            { provider: "codex" }
          )),
        Effect.as(Effect.sleep(exitLimit), lost)
      )
    }).pipe(
      Effect.tap((error) => Effect.sync(() => conversation.fail(error))),
      // One that lives on without a conversation is of no use to anybody.
      Effect.andThen(started.stop)
    )
    stop = started.stop
    // Detached: it ends with the conversation, and must not be cut off by the end of the life that it reports.
    yield* Effect.forkDetach(over, { startImmediately: true })
    return started
  })

  const supervisor = yield* Supervisor.make({
    start: spawn,
    target,
    firstStart: "fail",
    intensity: options.restarts
  })
  yield* reports.follow(supervisor, "json-rpc")

  // Registered last, so it runs first: sessions hear of the end before their server goes.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() =>
      conversation.fail(
        AgentError.make(new AgentError.ConnectionLost({ target, description: "The server was released." }))
      )
    )
  )

  /** A server whose conversation is over has ended, or is being ended: the one after it is waited for. */
  const live: Effect.Effect<Live, AgentError.AgentError> = Effect.flatMap(
    supervisor.current,
    ({ generation, info }) =>
      info === conversation.current()
        ? Effect.succeed(info)
        : SubscriptionRef.changes(supervisor.status).pipe(
          Stream.filter((status) => status._tag !== "ready" || status.generation !== generation),
          Stream.runHead,
          Effect.timeoutOption(deathLimit),
          Effect.andThen(Effect.map(supervisor.current, ({ info }) => info))
        )
  )

  const { attach, forget, hide, unload } = conversation
  const abandon = (mute: Live) =>
    Effect.suspend(() => {
      if (conversation.current() !== mute) return Effect.void
      conversation.end(mute)
      conversation.fail(
        AgentError.make(new AgentError.ConnectionLost({ target, description: "It does not answer any more." }))
      )
      // Not waited for: who needs a server waits for the next one.
      return Effect.asVoid(Effect.forkDetach(stop, { startImmediately: true }))
    })
  return { live, listen: reports.listen, abandon, attach, forget, hide, unload }
})
