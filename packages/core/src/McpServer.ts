/**
 * MCP servers that a session brings along: the agent connects to them and offers their tools to the model.
 *
 * They are kept in memory only. Whoever opens a stored session again gives them again.
 *
 * @since 0.1.0
 */
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AgentError from "./AgentError.ts"
import * as Redaction from "./Redaction.ts"

const optional = Schema.optionalKey
const Secret = Schema.Redacted(Schema.String, { disallowJsonEncode: true })

/**
 * How the agent reaches the server. Headers are secrets; so are variables that are given as `Redacted`, and others that
 * are neither short (`Redaction.minLength`) nor a single word, a number or an absolute path. No event, error or log line
 * shows them. Waits are in milliseconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const McpServer = Schema.TaggedUnion({
  /** A program that the agent starts, and speaks to over its standard input and output. */
  local: {
    /** The program and its arguments; no shell reads them. */
    command: Schema.NonEmptyArray(Schema.String),
    /** Added to the agent's own environment. */
    env: optional(Schema.Record(Schema.String, Schema.Union([Schema.String, Secret]))),
    /** Where it runs; default: the session's directory. */
    cwd: optional(Schema.String),
    /** How long it may take until it answers; then the session goes on without it. Default 10 seconds. */
    startTimeout: optional(Schema.Int),
    /** `false` keeps it from being started. Default `true`. */
    enabled: optional(Schema.Boolean)
  },
  /** A server that runs already, over HTTP. */
  remote: {
    url: Schema.String,
    headers: optional(Schema.Record(Schema.String, Secret)),
    /** How long it may take until it answers; then the session goes on without it. Default 10 seconds. */
    startTimeout: optional(Schema.Int),
    /** `false` keeps it from being used. Default `true`. */
    enabled: optional(Schema.Boolean)
  }
})
/**
 * @category models
 * @since 0.1.0
 */
export type McpServer = typeof McpServer.Type

/**
 * MCP servers by the names under which the agent shows their tools.
 *
 * @category schemas
 * @since 0.1.0
 */
export const McpServers = Schema.Record(Schema.String, McpServer)
/**
 * @category models
 * @since 0.1.0
 */
export type McpServers = typeof McpServers.Type

/**
 * How long a server may take until it answers, in milliseconds, where it does not say.
 *
 * @category constants
 * @since 0.1.0
 */
export const startTimeout: number = 10_000

/**
 * A program as an MCP server.
 *
 * @category constructors
 * @since 0.1.0
 */
export const local = (
  command: readonly [string, ...Array<string>],
  options: Omit<Extract<McpServer, { readonly _tag: "local" }>, "_tag" | "command"> = {}
): McpServer => ({ _tag: "local", command, ...options })

/**
 * A URL as an MCP server; headers given as plain strings become `Redacted`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remote = (
  url: string,
  options: Omit<Extract<McpServer, { readonly _tag: "remote" }>, "_tag" | "url" | "headers"> & {
    readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>>
  } = {}
): McpServer => {
  const { headers, ...rest } = options
  return {
    _tag: "remote",
    url,
    ...rest,
    ...(headers === undefined ? undefined : {
      headers: Object.fromEntries(
        Object.entries(headers).map((
          [name, value]
        ) => [name, Redacted.isRedacted(value) ? value : Redacted.make(value)])
      )
    })
  }
}

const problemOf = (name: string, server: McpServer): string | undefined => {
  if (!/^[A-Za-z0-9][\w-]{0,63}$/.test(name)) {
    return "The name of an MCP server has letters, digits, _ and -, 64 at the most."
  }
  const { startTimeout } = server
  if (startTimeout !== undefined && !(Number.isSafeInteger(startTimeout) && startTimeout > 0)) {
    return "The wait for an MCP server is a whole number of milliseconds above 0."
  }
  if (server._tag === "local" && (server.command[0] ?? "").trim() === "") return "The command is empty."
  if (server._tag === "remote" && !(URL.canParse(server.url) && /^https?:$/.test(new URL(server.url).protocol))) {
    return "The URL is none of http or https."
  }
  return undefined
}

/**
 * What keeps a set from being used, whatever the agent is. Sessions and catalogues look before they ask a provider.
 *
 * @category getters
 * @since 0.1.0
 */
export const problem = (servers: McpServers): AgentError.AgentError | undefined => {
  for (const [name, server] of Object.entries(servers)) {
    const description = problemOf(name, server)
    if (description !== undefined) {
      return AgentError.make(new AgentError.InvalidRequest({ field: `mcpServers.${name}`, description }))
    }
  }
  return undefined
}

/**
 * Variables or headers as the agent needs them, with their secrets: for adapters, on their way to the agent alone.
 *
 * @category getters
 * @since 0.1.0
 */
export const revealed = (
  values: Readonly<Record<string, string | Redacted.Redacted<string>>>
): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typeof value === "string" ? value : Redacted.value(value)])
  )

/** A word, a number or a path: taken out it would take the protocol's own words and the names of files along. */
const isOrdinary = (value: string): boolean =>
  value.length < Redaction.minLength || /^(?:[A-Za-z]+|[\d.]+|(?:[A-Za-z]:)?[\\/][^+=]*)$/.test(value)

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * The values that must not be shown: headers, each also without the scheme before it, the variables that count as
 * secrets, and what stands before the host of a URL or is asked in it.
 *
 * @category getters
 * @since 0.1.0
 */
export const secrets = (servers: McpServers): ReadonlyArray<Redacted.Redacted<string>> => {
  const found = new Set<string>()
  for (const server of Object.values(servers)) {
    if (server._tag === "local") {
      for (const value of Object.values(server.env ?? {})) {
        const plain = typeof value === "string" ? value : Redacted.value(value)
        if (typeof value !== "string" || !isOrdinary(plain)) found.add(plain)
      }
      continue
    }
    for (const value of Object.values(server.headers ?? {})) {
      const plain = Redacted.value(value)
      found.add(plain)
      const bare = /^\S+ +(\S.*)$/.exec(plain)?.[1]
      if (bare !== undefined) found.add(bare)
    }
    if (!URL.canParse(server.url)) continue
    const url = new URL(server.url)
    // As they are written, and as they are read.
    const written = url.search.slice(1).split("&").map((pair) => pair.slice(pair.indexOf("=") + 1))
    for (const value of [url.password, decoded(url.password), ...url.searchParams.values(), ...written])
      if (value.length >= Redaction.minLength) found.add(value)
  }
  return [...found].filter((value) => value !== "").map((value) => Redacted.make(value))
}
