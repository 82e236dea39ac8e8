/** The servers of one provider: found, started when they are needed, and shared by who may share them. */
import * as AgentError from "@reins/core/AgentError"
import * as McpServer from "@reins/core/McpServer"
import type { Place } from "@reins/core/Provider"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import type { WebSocketConstructor } from "effect/socket/Socket"
import type { AttachOptions, Options } from "../Codex.ts"
import * as CodexBinary from "../CodexBinary.ts"
import * as CodexServer from "../CodexServer.ts"
import * as attachedServer from "./attachedServer.ts"

export interface Servers {
  /** The server of a place, and its conversation, for which one that starts is waited for. */
  readonly of: (
    place: Place
  ) => Effect.Effect<
    {
      readonly server: CodexServer.CodexServer
      readonly live: Effect.Effect<CodexServer.Live, AgentError.AgentError>
    },
    AgentError.AgentError,
    Scope.Scope
  >
  /** The binary that is run for a directory; `undefined` where a server of others is used. */
  readonly binary: (cwd: string) => Effect.Effect<string | undefined, AgentError.AgentError>
  /** Whether the servers run on the files of this host. */
  readonly local: boolean
}

/** Asks a server beside all sessions. */
export const beside = <A>(
  servers: Servers,
  place: Place,
  ask: (live: CodexServer.Live) => Effect.Effect<A, AgentError.AgentError>
): Effect.Effect<A, AgentError.AgentError> =>
  Effect.scoped(Effect.gen(function*() {
    const { live } = yield* servers.of(place)
    return yield* ask(yield* live)
  }))

/** Servers of our own, one for each binary with its environment. */
export const own = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Servers, never, ChildProcessSpawner | FileSystem.FileSystem | Path.Path | Scope.Scope> {
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

  return {
    local: true,
    binary: (cwd) => Effect.map(find(cwd), (binary) => binary.path),
    of: Effect.fnUntraced(function*(place) {
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
  }
})

/** The one server of others. */
export const ofOthers = Effect.fnUntraced(function*(
  options: AttachOptions
): Effect.fn.Return<Servers, never, WebSocketConstructor | Scope.Scope> {
  const server = yield* attachedServer.make(options)
  return {
    local: false,
    binary: () => Effect.succeed(undefined),
    of: Effect.fnUntraced(function*({ env, mcpServers }) {
      if (McpServer.secrets(mcpServers ?? {}).length > 0 && !attachedServer.isPrivate(options.url)) {
        return yield* AgentError.make(
          new AgentError.InvalidRequest({
            field: "mcpServers",
            description: "They hold secrets, and over ws everybody on the way could read them: use wss."
          }),
          { provider: "codex" }
        )
      }
      if (env !== undefined && Object.keys(env).length > 0) {
        return yield* AgentError.make(
          new AgentError.InvalidRequest({
            field: "env",
            description: "The server is not ours: its environment is what it was started with."
          }),
          { provider: "codex" }
        )
      }
      return { server, live: server.live }
    })
  }
})
