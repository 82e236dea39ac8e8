/**
 * Codex as a provider: `codex app-server`, spoken to by JSON-RPC over its standard input and output.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Capabilities from "@reins/core/Capabilities"
import type { Mode } from "@reins/core/Catalogue"
import type { Conversation } from "@reins/core/Conversation"
import * as McpServer from "@reins/core/McpServer"
import type {
  Connection,
  ConnectOptions,
  Model,
  Place,
  Provider,
  Submission,
  TurnReference
} from "@reins/core/Provider"
import type { Opened } from "@reins/core/SessionEvent"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as RcMap from "effect/RcMap"
import * as Schedule from "effect/Schedule"
import * as CodexBinary from "./CodexBinary.ts"
import type { CodexClient, TurnSettings } from "./CodexClient.ts"
import type * as Wire from "./CodexSchema.ts"
import * as CodexServer from "./CodexServer.ts"
import * as approvals from "./internal/approvals.ts"
import * as cursors from "./internal/cursor.ts"
import * as hostTools from "./internal/hostTools.ts"
import * as mcp from "./internal/mcp.ts"
import * as parts from "./internal/parts.ts"
import * as record from "./internal/record.ts"
import * as requests from "./internal/requests.ts"

/**
 * The release that Reins is tested with.
 *
 * @category models
 * @since 0.1.0
 */
export const testedVersion = "0.169.0"

/**
 * How Codex is found and run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Absolute path of the native binary. Default: `REINS_CODEX_BIN`, the nearest `node_modules`, `PATH`. */
  readonly binary?: string
  /** Environment variables for the servers, besides the inherited ones; `CODEX_HOME` among them. */
  readonly env?: Readonly<Record<string, string>>
  /** Where to look for `node_modules`, besides the session's directory. Default: the working directory. */
  readonly searchFrom?: ReadonlyArray<string>
  /** From spawn to the end of the handshake. Default 60 seconds. */
  readonly startTimeout?: Duration.Input
  /**
   * A server that ends is started again; one that fails more than `max` times within `window` is unavailable for a while,
   * and is tried again by the next prompt. Default 5 in 60 seconds.
   */
  readonly restarts?: { readonly max: number; readonly window: Duration.Input }
  /** How long a server is kept after its last session closed. Default 5 minutes. */
  readonly idleTimeToLive?: Duration.Input
  /**
   * Absolute path where each server is noted while it runs, so that the next host ends it if this one is killed. Default:
   * `$XDG_STATE_HOME/reins/servers` or `~/.local/state/reins/servers`; `false`: nowhere.
   */
  readonly leases?: string | false
}

/**
 * What Codex can do through Reins.
 *
 * @category models
 * @since 0.1.0
 */
export const capabilities: Capabilities.Capabilities = {
  ...Capabilities.none,
  steer: true,
  interrupt: true,
  resume: true,
  history: true,
  list: true,
  remove: true,
  fork: true,
  revert: true,
  compact: true,
  images: true,
  mcpServers: true,
  hostTools: true,
  setModel: true,
  setMode: true,
  setTitle: true,
  questions: true,
  plan: true,
  subagents: true,
  usage: true,
  unasked: [
    "commands that the user's own rules allow",
    "tools of MCP servers that say of themselves that they only read",
    "web searches"
  ]
}

/** Pages of conversations and of models. */
const pageSize = 50

const modes: ReadonlyArray<Mode> = [
  { id: "default", name: "Default", selectable: true, mentionable: false, isDefault: true },
  {
    id: "plan",
    name: "Plan",
    description: "Asks and plans, and changes nothing.",
    selectable: true,
    mentionable: false
  }
]

interface Choice {
  readonly model: string | undefined
  readonly effort: string | undefined
  readonly mode: string | undefined
  readonly approval: approvals.Mode
}

const refuse = (field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }), { provider: "codex" })

const checkMode = (mode: string | undefined): Effect.Effect<void, AgentError.AgentError> =>
  mode === undefined || modes.some(({ id }) => id === mode)
    ? Effect.void
    : Effect.fail(refuse("mode", `Codex has the modes ${modes.map(({ id }) => id).join(" and ")}; "${mode}" is none.`))

const conversationOf = (thread: Wire.Thread): Conversation => {
  const title = thread.name ?? thread.preview ?? ""
  return {
    cursor: cursors.make(thread.id),
    ...(thread.cwd === undefined ? undefined : { cwd: thread.cwd }),
    ...(title === "" ? undefined : { title }),
    // Seconds on the wire.
    ...(thread.updatedAt === undefined ? undefined : { updatedAt: thread.updatedAt * 1_000 })
  }
}

/** How a call ends whose server dies. */
const died = new Set(["ConnectionLost", "ProcessExited"])

const isOver = (error: AgentError.AgentError): boolean => /no active turn/i.test(error.message)

/**
 * Codex for `Providers.layer`. Its servers are started when the first session needs them, and are shared by sessions with
 * the same binary and environment.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Provider<ChildProcessSpawner | FileSystem.FileSystem | Path.Path> => ({
  kind: "codex",
  make: Effect.fnUntraced(function*(id) {
    const spawner = yield* ChildProcessSpawner
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path

    const state = options.leases ?? (yield* ProcessLease.defaultDirectory)
    const leases = state === false ? undefined : yield* ProcessLease.make({ directory: state })
    if (leases !== undefined) yield* Effect.forkScoped(leases.sweep)

    const servers = yield* RcMap.make({
      idleTimeToLive: options.idleTimeToLive ?? "5 minutes",
      lookup: (key: string) =>
        CodexServer.make(JSON.parse(key) as CodexServer.Options, leases).pipe(
          Effect.provideService(ChildProcessSpawner, spawner),
          Effect.provideService(FileSystem.FileSystem, fs)
        )
    })

    const find = (cwd: string) =>
      CodexBinary.find({
        from: [...(options.searchFrom ?? [process.cwd()]), cwd],
        ...(options.binary === undefined ? undefined : { binary: options.binary })
      }).pipe(Effect.provideService(FileSystem.FileSystem, fs), Effect.provideService(Path.Path, path))

    const serverFor = Effect.fnUntraced(function*(place: Place) {
      const binary = yield* find(place.cwd)
      const env = { ...options.env, ...place.env }
      const key: CodexServer.Options & { readonly build: string } = {
        binary: binary.path,
        build: binary.key,
        env: Object.fromEntries(Object.entries(env).toSorted(([a], [b]) => a < b ? -1 : 1)),
        startTimeout: Duration.toMillis(Duration.fromInputUnsafe(options.startTimeout ?? "60 seconds")),
        ...(options.restarts === undefined ? undefined : {
          restarts: { ...options.restarts, window: Duration.toMillis(options.restarts.window) }
        })
      }
      const name = JSON.stringify(key)
      const server = yield* RcMap.get(servers, name)
      // One that could not be had is not kept for the next session.
      return { server, live: server.live.pipe(Effect.tapError(() => RcMap.invalidate(servers, name))) }
    })

    /** Asks a server beside all sessions. */
    const beside = <A>(
      place: Place,
      ask: (live: CodexServer.Live) => Effect.Effect<A, AgentError.AgentError>
    ): Effect.Effect<A, AgentError.AgentError> =>
      Effect.scoped(Effect.gen(function*() {
        const { live } = yield* serverFor(place)
        return yield* ask(yield* live)
      }))

    const here: Place = { cwd: process.cwd() }

    /** The agent takes any text for a directory, and its commands then fail one by one. */
    const checkDirectory = (cwd: string): Effect.Effect<void, AgentError.AgentError> =>
      Effect.flatMap(
        Effect.orElseSucceed(Effect.map(fs.stat(cwd), ({ type }) => type === "Directory"), () => false),
        (isDirectory) =>
          isDirectory && path.isAbsolute(cwd)
            ? Effect.void
            : Effect.fail(refuse("cwd", `"${cwd}" is no directory with an absolute path.`))
      )

    const begin = Effect.fnUntraced(function*(
      client: CodexClient,
      session: ConnectOptions,
      choice: Choice
    ): Effect.fn.Return<{ readonly threadId: string; readonly how: Opened }, AgentError.AgentError> {
      const settings = {
        cwd: session.cwd,
        approvalPolicy: choice.approval.approvalPolicy,
        sandbox: choice.approval.sandbox,
        ...(choice.model === undefined ? undefined : { model: choice.model }),
        ...(session.mcpServers === undefined ? undefined : { config: mcp.config(session.mcpServers) })
      }
      const offered = session.tools === undefined ? undefined : { dynamicTools: hostTools.specs(session.tools) }
      const fresh = (how: Opened) =>
        Effect.map(client.startThread({ ...settings, ...offered }), ({ thread }) => ({ threadId: thread.id, how }))
      if (session.cursor === undefined) return yield* fresh({ _tag: "new" })
      const { threadId } = yield* cursors.decode(session.cursor)
      return yield* client.resumeThread(threadId, settings).pipe(
        Effect.map(({ thread }) => ({ threadId: thread.id, how: { _tag: "resumed" } as Opened })),
        Effect.catchIf(
          ({ reason }) => session.recreate && reason._tag === "SessionNotFound",
          // A thread without a turn was never stored: nothing of it is lost.
          (error) => fresh({ _tag: "recreated", reason: error.message })
        )
      )
    })

    const connect = Effect.fnUntraced(function*(session: ConnectOptions) {
      yield* checkDirectory(session.cwd)
      yield* checkMode(session.mode)
      const { live, server } = yield* serverFor(session)
      yield* server.listen(session.report)
      yield* server.hide(McpServer.secrets(session.mcpServers ?? {}))
      let choice: Choice = {
        model: session.model,
        effort: session.variant,
        mode: session.mode,
        approval: approvals.modeOf(session.policy)
      }
      const { client, how, peer, signals, state, threadId } = yield* Effect.gen(function*() {
        const { client, peer } = yield* live
        const begun = yield* begin(client, session, choice)
        return { client, peer, ...begun, ...(yield* server.attach(begun.threadId)) }
      }).pipe(
        // The server may have died a moment ago without anybody having seen it: nothing of ours was begun there.
        Effect.retry({ times: 1, while: ({ reason }) => died.has(reason._tag) })
      )
      if (session.title !== undefined && how._tag !== "resumed") {
        yield* Effect.ignore(client.nameThread(threadId, session.title))
      }

      const settings = Effect.gen(function*(): Effect.fn.Return<TurnSettings, AgentError.AgentError> {
        const { approval, effort, mode, model } = choice
        return {
          // A thread that was loaded already has ignored what it was resumed with: each turn says it again.
          approvalPolicy: approval.approvalPolicy,
          sandboxPolicy: approval.sandboxPolicy,
          ...(model === undefined ? undefined : { model }),
          ...(effort === undefined ? undefined : { effort }),
          ...(mode === undefined ? undefined : {
            collaborationMode: {
              mode,
              settings: {
                model: model ?? (yield* usualModel),
                reasoning_effort: effort ?? null,
                developer_instructions: null
              }
            }
          })
        }
      })
      const usualModel = Effect.map(client.readThread(threadId), ({ thread }) => thread.model ?? "").pipe(
        Effect.catch(() =>
          Effect.map(client.listModels(), ({ data }) => data.find((one) => one.isDefault)?.model ?? "")
        )
      )

      const submit = Effect.fnUntraced(function*({ attempt, input, key }: Submission) {
        yield* parts.check(input)
        if (attempt > 1) {
          // The agent does not know a prompt again by its key: whether it has it, its record says.
          const { turns } = yield* record.page(client, threadId, { limit: pageSize })
          if (turns.some((turn) => record.promptsOf(turn).some(({ clientId }) => clientId === key))) return
        }
        const { turn } = yield* client.startTurn(threadId, parts.inputOf(input), key, yield* settings)
        started = turn.id
      })
      /** The turn that was asked for last. */
      let started: string | undefined
      /** Whether it is over. One that is not is on its way where the agent says that nothing runs. */
      const hasEnded = () => started === undefined || state.ended.has(started)

      const turnOf = Effect.fnUntraced(
        function*(reference: TurnReference) {
          let cursor: string | undefined
          do {
            const read: record.Page = yield* record.page(client, threadId, {
              limit: pageSize,
              ...(cursor === undefined ? undefined : { cursor })
            })
            const found = read.turns.find((turn) => record.isOf(reference, turn))
            if (found !== undefined) return found.id
            cursor = read.older
          } while (cursor !== undefined)
          return yield* refuse("turn", `The conversation has no turn "${reference.id}".`)
        }
      )

      const connection: Connection = {
        how,
        cursor: cursors.make(threadId),
        signals,
        submit,
        steer: (submission) =>
          Effect.suspend(() => {
            const { turn } = state
            // Without a turn that runs it begins one.
            return turn === undefined
              ? submit(submission)
              : client.steerTurn(threadId, turn, parts.inputOf(submission.input), submission.key).pipe(
                Effect.catchIf(isOver, () => submit(submission))
              )
          }),
        interrupt: client.interruptTurn(threadId).pipe(
          Effect.retry({
            while: (error) => isOver(error) && !hasEnded(),
            schedule: Schedule.spaced("20 millis"),
            times: 50
          }),
          Effect.catchIf(isOver, () => Effect.void),
          // It leaves the commands of the turn running.
          Effect.andThen(Effect.ignore(client.cleanTerminals(threadId)))
        ),
        settle: (request, answer) =>
          Effect.suspend(() => {
            const ask = state.asks.get(request.key)
            if (ask === undefined) return Effect.succeed("gone" as const)
            // A turn that goes on after a cancelled request is ended; one that is over by itself has another after it.
            const { turn } = state
            const ends = answer._tag === "cancel" && !requests.endsByCancel(ask.method) &&
              (request.turn === turn || request.agentPath !== undefined)
            return peer.answer(ask.id, requests.answered(ask.method, ask.params, answer)).pipe(
              Effect.tap((sent) => {
                // Not every method is said to be resolved afterwards.
                if (sent) state.asks.delete(request.key)
                return sent && ends && turn !== undefined
                  ? Effect.catchIf(client.interruptTurn(threadId, turn), isOver, () => Effect.void)
                  : Effect.void
              }),
              Effect.map((sent) => sent ? "delivered" as const : "gone" as const)
            )
          }),
        snapshot: (request) => record.snapshot(client, state, request),
        configure: Effect.fnUntraced(function*(change) {
          yield* checkMode(change.mode)
          if (change.title !== undefined) yield* client.nameThread(threadId, change.title)
          choice = {
            model: change.model ?? choice.model,
            effort: change.variant ?? (change.model === undefined ? choice.effort : undefined),
            mode: change.mode ?? choice.mode,
            approval: change.policy === undefined ? choice.approval : approvals.modeOf(change.policy)
          }
        }),
        history: (request) => record.history(client, threadId, request, state.turn !== undefined),
        accepts: parts.check,
        fork: Effect.fnUntraced(function*({ before, through }) {
          const { thread } = yield* client.forkThread(threadId, {
            cwd: session.cwd,
            ...(before === undefined ? undefined : { beforeTurnId: yield* turnOf(before) }),
            ...(through === undefined ? undefined : { lastTurnId: yield* turnOf(through) })
          })
          return cursors.make(thread.id)
        }),
        revert: Effect.fnUntraced(function*(turn) {
          yield* client.revertThread(threadId, yield* turnOf(turn))
          return { files: "kept" as const }
        }),
        compact: client.compactThread(threadId)
      }
      return connection
    })

    const probe = Effect.gen(function*() {
      const binary = yield* find(process.cwd())
      const { account, version } = yield* beside(
        here,
        ({ client, version }) => Effect.map(client.account, (account) => ({ account, version }))
      )
      const missing = account.requiresOpenaiAuth && (account.account === null || account.account === undefined)
      const order = version.localeCompare(testedVersion, undefined, { numeric: true })
      return {
        installed: true,
        binary: binary.path,
        version,
        support: order === 0 ? "tested" as const : order < 0 ? "older" as const : "newer" as const,
        protocol: "app-server",
        auth: missing ? "missing" as const : "ok" as const,
        ...(missing
          ? { advice: "Sign in with \"codex login\"." }
          : order === 0
          ? undefined
          : { advice: `Version ${version} was not tested; ${testedVersion} was.` })
      }
    }).pipe(
      Effect.catch((error) =>
        Effect.succeed({
          installed: error.reason._tag !== "NotInstalled",
          support: "unknown" as const,
          auth: "unknown" as const,
          advice: `${error.message} ${error.advice}`
        })
      )
    )

    const models = ({ client }: CodexServer.Live) =>
      Effect.map(
        client.listModels(),
        ({ data }) =>
          data.flatMap((model): ReadonlyArray<Model> =>
            model.hidden === true ? [] : [{
              id: model.model,
              name: model.displayName ?? model.model,
              variants: (model.supportedReasoningEfforts ?? []).map(({ reasoningEffort }) => reasoningEffort),
              images: (model.inputModalities ?? []).includes("image"),
              isDefault: model.isDefault === true
            }]
          )
      )

    return {
      id,
      kind: "codex",
      capabilities,
      connect,
      probe,
      models: (place) => beside(place, models),
      modes: () => Effect.succeed(modes),
      conversations: ({ after, cwd, limit = pageSize }) =>
        beside({ cwd: cwd ?? process.cwd() }, ({ client }) =>
          Effect.map(
            client.listThreads({
              limit,
              ...(cwd === undefined ? undefined : { cwd }),
              ...(after === undefined ? undefined : { cursor: after })
            }),
            ({ data, nextCursor }) => ({
              conversations: data.map(conversationOf),
              ...(nextCursor === undefined || nextCursor === null ? undefined : { after: nextCursor })
            })
          )),
      conversation: ({ cursor, cwd }) =>
        Effect.flatMap(
          cursors.decode(cursor),
          ({ threadId }) =>
            beside({ cwd: cwd ?? process.cwd() }, ({ client }) =>
              Effect.map(client.readThread(threadId), ({ thread }) => conversationOf(thread)))
        ),
      removeConversation: ({ cursor, cwd }) =>
        Effect.flatMap(
          cursors.decode(cursor),
          ({ threadId }) =>
            beside({ cwd }, ({ client }) =>
              client.deleteThread(threadId).pipe(
                Effect.as("deleted" as const),
                Effect.catchIf(({ reason }) => reason._tag === "SessionNotFound", () => Effect.succeed("gone" as const))
              ))
        )
    }
  })
})
