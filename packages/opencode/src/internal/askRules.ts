/**
 * Makes OpenCode ask about what would be allowed, and leaves denied what is denied. Its default runs commands and edits
 * unasked, so the servers that we start get rules of their own.
 *
 * Measured on 1.18.33: the rules of an agent are OpenCode's own, then the `permission` of the merged configuration, then
 * the agent's `permission`; the last that matches wins. A key that is merged again keeps its place. So a `*` of ours comes
 * after what the user's files name, and would turn their denials into questions; `GET /agent` tells what was lost that
 * way, and a server that is started again says it once more, behind ours.
 */
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Predicate from "effect/Predicate"
import * as jsonc from "./jsonc.ts"

/** One rule of OpenCode; the last that matches wins. */
export interface AskRule {
  readonly permission: string
  readonly pattern: string
  readonly action: "ask" | "allow" | "deny"
}

/**
 * Tools that touch nothing outside the conversation, so that asking would only be noise: the todo list, and the
 * question tool, which is answered by a person in any case.
 */
const harmless = ["todowrite", "todoread", "question", "plan_enter", "plan_exit"] as const

/**
 * Rules for a new conversation on a server that is not ours. A child session does not inherit them (measured on 1.18.33),
 * and they win over what the user denies; on our own servers `askConfig` asks instead.
 */
export const sessionRules = (policy: ApprovalPolicy.ApprovalPolicy): ReadonlyArray<AskRule> =>
  // The user's own configuration stands as it is.
  ApprovalPolicy.acceptsAll(policy)
    ? []
    : [
      { permission: "*", pattern: "*", action: "ask" },
      ...harmless.map((permission) => ({ permission, pattern: "*", action: "allow" as const }))
    ]

const actions: ReadonlyArray<unknown> = ["ask", "allow", "deny"]

const isRule = (value: unknown): value is AskRule =>
  isObject(value) && typeof value["permission"] === "string" && typeof value["pattern"] === "string" &&
  actions.includes(value["action"])

const rulesOf = (rules: unknown): ReadonlyArray<AskRule> => Array.isArray(rules) ? rules.filter(isRule) : []

/** Whether a conversation's rules end with these already: OpenCode appends what it is given, every time. */
export const endsWith = (rules: unknown, ours: ReadonlyArray<AskRule>): boolean => {
  const there = rulesOf(rules)
  const from = there.length - ours.length
  return from >= 0 && ours.every((rule, index) => {
    const other = there[from + index]
    return other?.permission === rule.permission && other.pattern === rule.pattern && other.action === rule.action
  })
}

/** What the rules of a conversation that was begun elsewhere allow, asked about; nothing where they allow nothing. */
export const askedAgain = (rules: unknown): ReadonlyArray<AskRule> => {
  const held = [...holding(rulesOf(rules))].flatMap(([permission, patterns]) =>
    [...patterns].map(([pattern, action]) => ({ permission, pattern, action }))
  )
  const isAllowed = ({ action, permission }: AskRule): boolean => action === "allow" && !isHarmless(permission)
  return held.some(isAllowed) ? held.map((rule) => isAllowed(rule) ? { ...rule, action: "ask" } : rule) : []
}

type Permissions = Readonly<Record<string, unknown>>

const isHarmless = (permission: string): boolean => (harmless as ReadonlyArray<string>).includes(permission)

const askAll: Permissions = {
  "*": "ask",
  ...Object.fromEntries(harmless.map((permission) => [permission, "allow"]))
}

/** What OpenCode's own agents are denied, said again behind our `*`; known, so that no second start has to tell it. */
const builtIn: Readonly<Record<string, Permissions>> = {
  explore: {
    "*": "deny",
    ...Object.fromEntries(
      ["grep", "glob", "list", "bash", "webfetch", "websearch", "read", "external_directory"].map((
        name
      ) => [name, "ask"])
    )
  },
  plan: {
    task: { general: "deny" },
    edit: { "*": "deny", ".opencode/plans/*.md": "ask", "*/opencode/plans/*.md": "ask" }
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  Predicate.isObject(value) && !Array.isArray(value)

/** A permission setting in its long form. */
const rulesIn = (permission: unknown): Record<string, unknown> =>
  typeof permission === "string" ? { "*": permission } : isObject(permission) ? permission : {}

/** Ours behind what is there; a `*` that was there keeps its place, and its denial of everything. */
const overlay = (permission: unknown): Record<string, unknown> => {
  const there = rulesIn(permission)
  return withAsks({ ...there, ...askAll, ...(there["*"] === "deny" ? { "*": "deny" } : undefined) })
}

/** What is said besides `askAll`: by permission, and by agent and permission. */
export interface Extra {
  readonly permission: Permissions
  readonly agent: Readonly<Record<string, Permissions>>
}

export const noExtra: Extra = { permission: {}, agent: {} }

/** Each `allow` of a permission as `ask`; what it denies is left out, so that it stays denied. */
const asking = (value: unknown): unknown => {
  if (value === "allow") return "ask"
  if (!isObject(value)) return undefined
  const patterns = Object.entries(value).filter(([, action]) => action === "allow").map(([pattern]) => [pattern, "ask"])
  return patterns.length === 0 ? undefined : Object.fromEntries(patterns)
}

/** What still runs unasked: what stands behind the `*` of ours, where there is one. */
const allowed = (permission: unknown): Record<string, unknown> => {
  const entries = Object.entries(rulesIn(permission))
  const ours = entries.findIndex(([key, value]) => key === "*" && value === "ask")
  const found: Record<string, unknown> = {}
  for (const [key, value] of entries.slice(ours + 1)) {
    const ask = asking(value)
    if (ask !== undefined && !isHarmless(key)) found[key] = ask
  }
  return found
}

const withAsks = (permission: unknown): Record<string, unknown> =>
  merged(rulesIn(permission), allowed(permission)) as Record<string, unknown>

/** OpenCode's own agents that have no tools. */
const toolless: ReadonlySet<string> = new Set(["title", "summary", "compaction"])

/** An agent as `GET /agent` tells it: its rules in their order. */
export interface Agent {
  readonly name: string
  readonly permission: ReadonlyArray<AskRule>
}

/** The rules that hold, by permission and pattern in their order: each drops those before it that it covers. */
const holding = (rules: ReadonlyArray<AskRule>): Map<string, Map<string, AskRule["action"]>> => {
  const found = new Map<string, Map<string, AskRule["action"]>>()
  for (const { action, pattern, permission } of rules) {
    if (permission === "*" && pattern === "*") found.clear()
    const patterns = (pattern === "*" ? undefined : found.get(permission)) ?? new Map<string, AskRule["action"]>()
    patterns.delete(pattern)
    patterns.set(pattern, action)
    found.delete(permission)
    found.set(permission, patterns)
  }
  return found
}

/** What an agent was denied before our `*`, and is not any more. Exceptions from a denial are asked about. */
const lost = (agent: Agent): Record<string, unknown> => {
  const ours = agent.permission.findLastIndex(({ action, pattern, permission }) =>
    permission === "*" && pattern === "*" && action === "ask"
  )
  const behind = holding(agent.permission.slice(ours + 1))
  const found: Record<string, unknown> = {}
  const before = holding(agent.permission.slice(0, Math.max(0, ours)))
  const everything = before.get("*")?.get("*") === "deny"
  for (const [permission, patterns] of before) {
    if (isHarmless(permission)) continue
    const again = behind.get(permission)
    const denies = [...patterns].some(([pattern, action]) => action === "deny" && again?.get(pattern) !== "deny")
    if (!denies && !(everything && again === undefined && behind.get("*") === undefined)) continue
    const rules = [...patterns].map(([pattern, action]) => [pattern, action === "deny" ? "deny" : "ask"] as const)
    const [first] = rules
    // Some permissions take no patterns, and are refused with them.
    found[permission] = rules.length === 1 && first?.[0] === "*" ? first[1] : Object.fromEntries(rules)
  }
  return found
}

const merged = (base: unknown, over: unknown): unknown => {
  if (!isObject(base) || !isObject(over)) return over
  const result: Record<string, unknown> = { ...base }
  for (const [key, value] of Object.entries(over)) result[key] = key in base ? merged(base[key], value) : value
  return result
}

/**
 * What has to be said besides, seen from a server that answers: permissions that the user's files allow behind our `*`,
 * in general (an MCP server's, say) and for an agent, and what an agent was denied before it. `undefined`: nothing.
 */
export const missing = (
  config: { readonly permission?: unknown; readonly agent?: unknown },
  agents: ReadonlyArray<Agent>,
  before: Extra
): Extra | undefined => {
  const permission = allowed(config.permission)
  const agent: Record<string, Record<string, unknown>> = {}
  for (const [name, value] of Object.entries(isObject(config.agent) ? config.agent : {})) {
    const found = allowed(isObject(value) ? value["permission"] : undefined)
    if (Object.keys(found).length > 0) agent[name] = found
  }
  for (const one of agents) {
    const denied = toolless.has(one.name) ? {} : lost(one)
    if (Object.keys(denied).length > 0)
      agent[one.name] = merged(agent[one.name] ?? {}, denied) as Record<string, unknown>
  }
  if (Object.keys(permission).length === 0 && Object.keys(agent).length === 0) return undefined
  return merged(before, { permission, agent }) as Extra
}

/**
 * The caller's `OPENCODE_CONFIG_CONTENT` with permissions that make every agent ask, subagents included. It is passed
 * by the environment: nothing is written into anybody's files.
 */
export const askConfig = (content: string | undefined, extra: Extra = noExtra): string | undefined => {
  let config: unknown = {}
  if (content !== undefined && content.trim() !== "") {
    try {
      config = jsonc.parse(content)
    } catch {
      // The agent itself reports what is wrong with it, with the place.
      return undefined
    }
  }
  if (!isObject(config)) return undefined
  const agents: Record<string, unknown> = {}
  for (const [name, permission] of Object.entries(builtIn)) agents[name] = { permission }
  for (const [name, agent] of Object.entries(isObject(config["agent"]) ? config["agent"] : {})) {
    const own = isObject(agent) && "permission" in agent
      ? { ...agent, permission: withAsks(agent["permission"]) }
      : agent
    agents[name] = merged(agents[name], own)
  }
  for (const [name, permission] of Object.entries(extra.agent)) {
    agents[name] = merged(agents[name] ?? {}, { permission })
  }
  return JSON.stringify({
    ...config,
    permission: merged(overlay(config["permission"]), extra.permission),
    agent: agents
  })
}

/**
 * `OPENCODE_PERMISSION`, which OpenCode merges after all files: what the caller or an administrator set there would win
 * over `askConfig`. What it denies is kept.
 */
export const askPermission = (content: string | undefined, extra: Extra = noExtra): string => {
  let theirs: unknown
  try {
    theirs = content === undefined || content.trim() === "" ? {} : jsonc.parse(content)
  } catch {
    theirs = {}
  }
  const asked: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(rulesIn(theirs))) {
    const ask = asking(value)
    if (ask !== undefined && !isHarmless(key)) asked[key] = ask
  }
  return JSON.stringify(merged(merged(overlay(theirs), asked), extra.permission))
}
