/** The servers of a provider: one for each binary, environment, set of MCP servers and way of asking, started when needed. */
import * as AgentError from "@reins/core/AgentError"
import * as McpServer from "@reins/core/McpServer"
import type { ConnectOptions, Place } from "@reins/core/Provider"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as HttpClient from "effect/http/HttpClient"
import * as Path from "effect/Path"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import type { Options } from "../OpenCode.ts"
import * as OpenCodeBinary from "../OpenCodeBinary.ts"
import * as OpenCodeServer from "../OpenCodeServer.ts"
import * as askRules from "./askRules.ts"
import * as attachedServer from "./attachedServer.ts"
import * as mcp from "./mcp.ts"

/** Servers that are tried until one asks about all that the user's files allow. */
const maxAsking = 3

export const make = Effect.fnUntraced(function*(id: string, options: Options) {
  const spawner = yield* ChildProcessSpawner
  const http = yield* HttpClient.HttpClient
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { password, url, username } = options
  const others = url === undefined ? undefined : attachedServer.at({
    url,
    ...(username === undefined ? undefined : { username }),
    ...(password === undefined ? undefined : { password })
  })

  const state = url === undefined ? options.leases ?? (yield* ProcessLease.defaultDirectory) : false
  const leases = state === false ? undefined : yield* ProcessLease.make({ directory: state })
  // What hosts left behind that were killed, is ended beside the first work of this one.
  if (leases !== undefined) yield* Effect.forkScoped(leases.sweep)

  const sets = mcp.makeSets()
  const mcpServers = mcp.makeConnector(yield* Effect.scope)

  /** The server that a new session would get, by key. */
  const newest = new Map<string, OpenCodeServer.OpenCodeServer>()
  const servers = yield* RcMap.make({
    idleTimeToLive: options.idleTimeToLive ?? "5 minutes",
    lookup: (key: string) =>
      (others ?? Effect.suspend(() => {
        const { mcp: set, ...plain } = JSON.parse(key) as OpenCodeServer.Options & { readonly mcp?: string }
        return OpenCodeServer.make({ ...plain, secrets: McpServer.secrets(sets.of(set)) }, leases)
      })).pipe(
        Effect.provideService(ChildProcessSpawner, spawner),
        Effect.provideService(HttpClient.HttpClient, http),
        Effect.tap((server) =>
          Effect.acquireRelease(
            Effect.sync(() => newest.set(key, server)),
            () => Effect.sync(() => newest.get(key) === server && newest.delete(key))
          )
        )
      )
  })

  const find = (cwd: string) =>
    OpenCodeBinary.find({
      from: [...(options.searchFrom ?? [process.cwd()]), cwd],
      ...(options.binary === undefined ? undefined : { binary: options.binary })
    }).pipe(Effect.provideService(FileSystem.FileSystem, fs), Effect.provideService(Path.Path, path))

  const keyOf = Effect.fnUntraced(function*(place: Place, ask: askRules.Extra | false) {
    if (url !== undefined) {
      if (Object.keys(place.mcpServers ?? {}).length > 0) {
        return yield* AgentError.make(
          new AgentError.Unsupported({ operation: "MCP servers on a server of others", provider: id }),
          { provider: id }
        )
      }
      if (place.env === undefined || Object.keys(place.env).length === 0) return url
      return yield* AgentError.make(
        new AgentError.InvalidRequest({
          field: "env",
          description: "The server is not ours: its environment is what it was started with."
        })
      )
    }
    const binary = yield* find(place.cwd)
    const merged = { ...options.env, ...place.env }
    const set = sets.nameOf(place.mcpServers)
    const key: OpenCodeServer.Options & { readonly build: string; readonly mcp?: string } = {
      binary: binary.path,
      build: binary.key,
      env: Object.fromEntries(Object.entries(merged).toSorted(([a], [b]) => a < b ? -1 : 1)),
      startTimeout: Duration.toMillis(Duration.fromInputUnsafe(options.startTimeout ?? "60 seconds")),
      ...(options.restarts === undefined ? undefined : {
        restarts: { ...options.restarts, window: Duration.toMillis(options.restarts.window) }
      }),
      ...(options.modelTimeout === undefined
        ? undefined
        : { modelTimeout: Duration.toMillis(Duration.fromInputUnsafe(options.modelTimeout)) }),
      ...(set === undefined ? undefined : { mcp: set }),
      ask
    }
    return JSON.stringify(key)
  })

  const serverFor = Effect.fnUntraced(function*(name: string) {
    const server = yield* RcMap.get(servers, name)
    // A server that could not be had, or that has read a configuration which does not work, is not kept for the next.
    // Another session may have replaced it already.
    const discard = Effect.suspend(() => newest.get(name) === server ? RcMap.invalidate(servers, name) : Effect.void)
    return { server, discard }
  })

  /** Asks a server beside all sessions: one that runs, whatever its agents ask about. */
  const beside = <A>(
    place: Place,
    ask: (live: OpenCodeServer.Live) => Effect.Effect<A, AgentError.AgentError, Scope.Scope>
  ): Effect.Effect<A, AgentError.AgentError> =>
    Effect.scoped(Effect.gen(function*() {
      const names = yield* Effect.forEach([askRules.noExtra, false] as const, (ask) => keyOf(place, ask))
      const { discard, server } = yield* serverFor(names.find((name) => newest.has(name)) ?? names[0])
      return yield* ask(yield* server.live.pipe(Effect.tapError(() => discard)))
    }))

  /** A server that answers for the directory of a session, and how its agents are configured there. */
  const prepare = Effect.fnUntraced(function*(session: ConnectOptions, ask: askRules.Extra | false) {
    const { discard, server } = yield* serverFor(yield* keyOf(session, ask))
    yield* server.listen(session.report)
    const { client } = yield* server.live.pipe(Effect.tapError(() => discard))
    // A broken configuration leaves the server healthy and every route of the directory failing.
    const config = yield* client.config(session.cwd).pipe(
      Effect.tapError((error) => error.reason._tag === "InvalidConfig" ? discard : Effect.void)
    )
    return { server, client, config }
  })

  /**
   * One whose agents ask about what the user's own files allow, and keep what these deny: only the server itself knows
   * the files.
   */
  const asking = Effect.fnUntraced(function*(session: ConnectOptions) {
    let extra = askRules.noExtra
    for (let attempt = 1;; attempt++) {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const prepared = yield* prepare(session, extra).pipe(Scope.provide(scope))
      const rules = yield* prepared.client.agentRules(session.cwd)
      const more = askRules.missing(prepared.config, rules, extra)
      if (more === undefined) return prepared
      if (attempt === maxAsking) {
        return yield* AgentError.make(
          new AgentError.InvalidConfig({ issue: "OpenCode could not be made to ask before its tools run." })
        )
      }
      yield* Scope.close(scope, Exit.void)
      extra = more
    }
  })

  /** Asks a server, with the MCP servers that a session would have. */
  const asked = <A>(
    place: Place,
    ask: (client: OpenCodeServer.Live["client"]) => Effect.Effect<A, AgentError.AgentError>
  ): Effect.Effect<A, AgentError.AgentError> =>
    beside(place, ({ client }) =>
      place.mcpServers === undefined ? ask(client) : Effect.andThen(
        mcpServers.connect({ client, directory: place.cwd, servers: place.mcpServers, report: () => {} }),
        ask(client)
      ))

  return { find, prepare, asking, beside, asked, mcpServers }
})
