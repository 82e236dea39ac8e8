/** The options of a host without Effect, checked and as the layers take them. */
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type * as CoreTool from "@reins/core/HostTool"
import * as CoreMcp from "@reins/core/McpServer"
import type { Provider } from "@reins/core/Provider"
import * as Codex from "@reins/codex/Codex"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { WebSocketConstructor } from "effect/socket/Socket"
import type * as NodeServices from "@effect/platform-node/NodeServices"
import type { Approvals, HostTool, McpServer } from "../Model.ts"
import type { CodexOptions, Limits, OpenCodeOptions, Place, ReinsProvider, Retention } from "../Reins.ts"
import * as errors from "./errors.ts"

/** What a provider may ask for. */
export type Platform = NodeServices.NodeServices | HttpClient.HttpClient | WebSocketConstructor

const words: Readonly<Record<string, ApprovalPolicy.ApprovalPolicy>> = {
  ask: ApprovalPolicy.askAlways,
  reads: ApprovalPolicy.acceptReads,
  edits: ApprovalPolicy.acceptEdits,
  all: ApprovalPolicy.fullAccess,
  none: ApprovalPolicy.declineAll
}

const isPolicy = Schema.is(ApprovalPolicy.ApprovalPolicy)

/** The policy that is meant; throws when none is. */
export const policy = (approvals: Approvals): ApprovalPolicy.ApprovalPolicy => {
  const found: unknown = typeof approvals === "string"
    ? Object.hasOwn(words, approvals) ? words[approvals] : undefined
    : approvals
  if (isPolicy(found)) return found
  throw errors.invalidConfig(
    `"approvals" is one of ${Object.keys(words).join(", ")}, or a policy with rules; it was ${
      typeof approvals === "string" ? `"${approvals}"` : "neither"
    }`
  )
}

const mcpServer = (name: string, given: McpServer): CoreMcp.McpServer => {
  if ("command" in given) {
    const { command, ...rest } = given
    return CoreMcp.local(command, rest)
  }
  if ("url" in given) {
    const { url, ...rest } = given
    return CoreMcp.remote(url, rest)
  }
  throw errors.invalidConfig(`"mcpServers.${name}" has a "command" or a "url"`)
}

/** MCP servers as the core takes them: their headers are secrets. */
export const mcpServers = (given: Readonly<Record<string, McpServer>>): CoreMcp.McpServers =>
  Object.fromEntries(Object.entries(given).map(([name, server]) => [name, mcpServer(name, server)]))

const messageOf = (thrown: unknown): string => thrown instanceof Error ? thrown.message : String(thrown)

const hostTool = (name: string, { run, ...rest }: HostTool): CoreTool.HostTool => {
  if (run !== undefined && typeof run !== "function") {
    throw errors.invalidConfig(`"tools.${name}.run" is a function, if it is there`)
  }
  return {
    description: rest.description,
    inputSchema: rest.inputSchema as Schema.Json,
    ...(run === undefined ? undefined : {
      run: (input, call) =>
        Effect.map(
          Effect.tryPromise({
            try: async (signal) => run(input, { ...call, signal }),
            catch: (thrown) => ({ message: messageOf(thrown) })
          }),
          // What is no JSON is found by the core; nothing at all is a tool that had nothing to say.
          (value) => (value === undefined ? "" : value) as Schema.Json
        )
    })
  }
}

/** Tools of the host as the core takes them. */
export const tools = (given: Readonly<Record<string, HostTool>>): CoreTool.HostTools =>
  Object.fromEntries(Object.entries(given).map(([name, tool]) => [name, hostTool(name, tool)]))

/** A place as the core takes it. */
export const place = ({ mcpServers: servers, ...rest }: Place) => ({
  ...rest,
  ...(servers === undefined ? undefined : { mcpServers: mcpServers(servers) })
})

/** Throws when a figure is none. */
export const figures = (name: string, values: Limits | OpenCodeOptions | CodexOptions | Retention): void => {
  for (const [key, value] of Object.entries(values)) {
    if (typeof value === "number" && !(Number.isFinite(value) && value >= 0)) {
      throw errors.invalidConfig(`"${name}.${key}" is a finite number of at least 0; it was ${value}`)
    }
  }
}

const codex = (name: string, { token, url, ...options }: CodexOptions): Provider<Platform> => {
  if (url === undefined) return Codex.make(options)
  const [other] = Object.keys(options)
  if (other !== undefined) {
    throw errors.invalidConfig(`"providers.${name}.${other}" does not go with "url": the server runs already`)
  }
  return Codex.make({ url, ...(token === undefined ? undefined : { token: Redacted.make(token) }) })
}

/** The provider that is meant; throws when it is none. */
export const provider = (name: string, given: ReinsProvider): Provider<Platform> => {
  if ("make" in given) {
    // What an adapter needs is erased from its type here; the platform of Node is what there is.
    const adapter = given as Provider<Platform>
    return {
      kind: adapter.kind,
      make: (id) => {
        const made = adapter.make(id)
        return Effect.isEffect(made)
          ? made
          : Effect.die(errors.invalidConfig(`the provider "${name}" is not one of this library`))
      }
    }
  }
  if (given.kind !== "opencode" && given.kind !== "codex") {
    throw errors.invalidConfig(`the provider "${name}" is not one of this library`)
  }
  figures(`providers.${name}`, given.options)
  if (given.kind === "codex") return codex(name, given.options)
  const { password, ...options } = given.options
  return OpenCode.make({ ...options, ...(password === undefined ? undefined : { password: Redacted.make(password) }) })
}
