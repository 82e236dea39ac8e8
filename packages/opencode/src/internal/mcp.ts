/**
 * MCP servers of sessions. They are added to a running server over HTTP: neither its environment, which every tool
 * inherits and `env` prints, nor a file holds their secrets, and one that hangs holds up no turn.
 */
import * as McpServer from "@reins/core/McpServer"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { OpenCodeClient } from "../OpenCodeClient.ts"
import { remember } from "./state.ts"
import type * as wire from "./wire.ts"

/** Sets that are told apart; one that was forgotten gets a server of its own again. */
const maxSets = 1_024

/** Longest reason of a notice, in characters. */
const maxReason = 500

/** The server tries two transports one after the other for a URL; then the rest of the call. */
const callGrace = 5_000

/** What a session waits beyond the time of an MCP server before it goes on without it. */
const sessionGrace = 1_000

/** Names sets of MCP servers, so that sessions with the same one share a server. The names hold no secret. */
export interface Sets {
  readonly nameOf: (servers: McpServer.McpServers | undefined) => string | undefined
  readonly of: (name: string | undefined) => McpServer.McpServers
}

/** In an order of their own, for the name of a set. */
const sorted = (values: Parameters<typeof McpServer.revealed>[0]) =>
  Object.fromEntries(Object.entries(McpServer.revealed(values)).toSorted(([a], [b]) => a < b ? -1 : 1))

/** A server as OpenCode's configuration writes it. */
const configOf = (server: McpServer.McpServer) => {
  const common = {
    enabled: server.enabled ?? true,
    timeout: server.startTimeout ?? McpServer.startTimeout
  }
  return server._tag === "local"
    ? {
      type: "local",
      command: server.command,
      ...(server.cwd === undefined ? undefined : { cwd: server.cwd }),
      ...(server.env === undefined ? undefined : { environment: sorted(server.env) }),
      ...common
    }
    : {
      type: "remote",
      url: server.url,
      ...(server.headers === undefined ? undefined : { headers: sorted(server.headers) }),
      ...common
    }
}

export const makeSets = (): Sets => {
  const names = new Map<string, string>()
  const sets = new Map<string, McpServer.McpServers>()
  let count = 0
  return {
    nameOf: (servers) => {
      const entries = Object.entries(servers ?? {})
      if (servers === undefined || entries.length === 0) return undefined
      const content = JSON.stringify(
        entries.map(([name, server]) => [name, configOf(server)] as const).toSorted(([a], [b]) => a < b ? -1 : 1)
      )
      const known = names.get(content)
      if (known !== undefined) return known
      const name = `mcp${++count}`
      remember(names, content, name, maxSets)
      remember(sets, name, servers, maxSets)
      return name
    },
    of: (name) => name === undefined ? {} : sets.get(name) ?? {}
  }
}

type Status = wire.McpStatus

/** The words for a state, for people. */
const noticeOf = (
  name: string,
  status: Status,
  redact: (text: string) => string
): Extract<Signal, { readonly _tag: "notice" }> => {
  const reason = status.error === undefined || status.error === null
    ? ""
    : ` ${redact(status.error).slice(0, maxReason)}`
  switch (status.status) {
    case "connected":
      return { _tag: "notice", level: "info", code: "mcpConnected", text: `The MCP server "${name}" is connected.` }
    case "disabled":
      return { _tag: "notice", level: "info", code: "mcpDisabled", text: `The MCP server "${name}" is disabled.` }
    case "needs_auth":
    case "needs_client_registration":
      return {
        _tag: "notice",
        level: "warning",
        code: "mcpNeedsAuth",
        text: `The MCP server "${name}" asks for a sign-in, and the session does without it.${reason}`
      }
    case "slow":
      return {
        _tag: "notice",
        level: "warning",
        code: "mcpSlow",
        text: `The MCP server "${name}" has not answered yet, and the session goes on without it.`
      }
    default:
      return {
        _tag: "notice",
        level: "warning",
        code: "mcpFailed",
        text: `The MCP server "${name}" failed, and the session does without it.${reason}`
      }
  }
}

/** The MCP servers that were added to the running servers, and what each session was told of them. */
export interface Connector {
  /**
   * Adds what a directory lacks, tells each server's state, and returns when all are there or their time is over; what
   * comes later is told for as long as the scope lives.
   */
  readonly connect: (options: {
    readonly client: OpenCodeClient
    readonly directory: string
    readonly servers: McpServer.McpServers
    readonly report: (signal: Signal) => void
  }) => Effect.Effect<void, never, Scope.Scope>
}

/** `scope` owns the additions: a session that closes must not leave one half made for the next. */
export const makeConnector = (scope: Scope.Scope): Connector => {
  const added = new WeakMap<OpenCodeClient, Map<string, Deferred.Deferred<Status>>>()
  const told = new WeakMap<(signal: Signal) => void, Map<string, string>>()

  const add = (
    client: OpenCodeClient,
    directory: string,
    name: string,
    server: McpServer.McpServer
  ): Effect.Effect<Deferred.Deferred<Status>> =>
    Effect.suspend(() => {
      const all = added.get(client) ?? new Map<string, Deferred.Deferred<Status>>()
      added.set(client, all)
      const key = `${directory}\u0000${name}`
      const known = all.get(key)
      if (known !== undefined) return Effect.succeed(known)
      const state = Deferred.makeUnsafe<Status>()
      all.set(key, state)
      const wait = 2 * (server.startTimeout ?? McpServer.startTimeout) + callGrace
      return client.addMcp(name, configOf(server), directory, wait).pipe(
        Effect.map((states) => states[name] ?? { status: "failed", error: "OpenCode does not tell its state." }),
        Effect.catch((error) => {
          // Nobody knows whether it was added: the next session tries again.
          all.delete(key)
          return Effect.succeed<Status>({ status: "failed", error: error.message })
        }),
        Effect.flatMap((status) => Deferred.succeed(state, status)),
        Effect.forkIn(scope),
        Effect.as(state)
      )
    })

  return {
    connect: Effect.fnUntraced(function*({ client, directory, report, servers }) {
      const { redact } = Redaction.make({ values: McpServer.secrets(servers) })
      const before = told.get(report) ?? new Map<string, string>()
      told.set(report, before)
      const tell = (name: string, status: Status): void => {
        if (before.get(name) === status.status) return
        before.set(name, status.status)
        report(noticeOf(name, status, redact))
      }
      yield* Effect.forEach(
        Object.entries(servers),
        Effect.fnUntraced(function*([name, server]) {
          const state = yield* add(client, directory, name, server)
          const limit = server.startTimeout ?? McpServer.startTimeout
          const status = yield* Effect.timeoutOption(Deferred.await(state), limit + sessionGrace)
          if (Option.isSome(status)) return tell(name, status.value)
          tell(name, { status: "slow" })
          yield* Deferred.await(state).pipe(
            Effect.map((status) => tell(name, status)),
            Effect.forkScoped
          )
        }),
        { concurrency: "unbounded", discard: true }
      )
    })
  }
}
