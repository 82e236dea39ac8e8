/**
 * Makes OpenCode ask. Its default runs commands and edits unasked, so the servers that we start and the sessions that
 * we make get rules of their own.
 */
import type * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
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
 * A policy that accepts everything needs no question; the user's own configuration stands as it is.
 */
export const acceptsAll = (policy: ApprovalPolicy.ApprovalPolicy): boolean =>
  policy.rules.length === 0 && policy.otherwise._tag === "accept"

/** Rules for `POST /session`. A child session does not inherit them (measured on 1.18.33): see `askConfig`. */
export const sessionRules = (policy: ApprovalPolicy.ApprovalPolicy): ReadonlyArray<AskRule> =>
  acceptsAll(policy)
    ? []
    : [
      { permission: "*", pattern: "*", action: "ask" },
      ...harmless.map((permission) => ({ permission, pattern: "*", action: "allow" as const }))
    ]

/** Whether a conversation's rules end with these already: OpenCode appends what it is given, every time. */
export const endsWith = (rules: unknown, ours: ReadonlyArray<AskRule>): boolean => {
  const there: ReadonlyArray<unknown> = Array.isArray(rules) ? rules : []
  const from = there.length - ours.length
  return from >= 0 && ours.every((rule, index) => {
    const other = there[from + index]
    return isObject(other) && other["permission"] === rule.permission && other["pattern"] === rule.pattern &&
      other["action"] === rule.action
  })
}

/**
 * Named one by one: where a user's file sets `*` first and `bash` after it, a merged `*` alone would keep its place
 * before `bash` and lose.
 */
const asked = [
  "bash",
  "edit",
  "read",
  "glob",
  "grep",
  "list",
  "lsp",
  "task",
  "skill",
  "webfetch",
  "websearch",
  "codesearch",
  "external_directory",
  "doom_loop"
] as const

const askAll: Readonly<Record<string, string>> = {
  "*": "ask",
  ...Object.fromEntries(asked.map((permission) => [permission, "ask"])),
  ...Object.fromEntries(harmless.map((permission) => [permission, "allow"]))
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  Predicate.isObject(value) && !Array.isArray(value)

/** Ours last, whatever place a key had before. */
const overlay = (permission: unknown): Record<string, unknown> => {
  const result: Record<string, unknown> = {}
  if (isObject(permission)) {
    for (const [key, value] of Object.entries(permission)) if (!(key in askAll)) result[key] = value
  }
  return { ...result, ...askAll }
}

/** What the user's own files allow besides `askAll`, turned into asks: by permission, and by agent and permission. */
export interface Extra {
  readonly permission: Readonly<Record<string, unknown>>
  readonly agent: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

export const noExtra: Extra = { permission: {}, agent: {} }

/** Each `allow` of a permission as `ask`; what it denies is left out, so that it stays denied. */
const asking = (value: unknown): unknown => {
  if (value === "allow") return "ask"
  if (!isObject(value)) return undefined
  const patterns = Object.entries(value).filter(([, action]) => action === "allow").map(([pattern]) => [pattern, "ask"])
  return patterns.length === 0 ? undefined : Object.fromEntries(patterns)
}

const allowed = (permission: unknown): Record<string, unknown> => {
  const rules = typeof permission === "string" ? { "*": permission } : isObject(permission) ? permission : {}
  const found: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(rules)) {
    const ask = asking(value)
    if (ask !== undefined && askAll[key] !== "allow") found[key] = ask
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
 * What an effective configuration (`GET /config`) still lets run unasked in subagents: permissions that the user's files
 * name and ours do not, such as those of an MCP server, and the user's own agents. `undefined`: nothing.
 */
export const unasked = (
  config: { readonly permission?: unknown; readonly agent?: unknown },
  before: Extra
): Extra | undefined => {
  const permission = allowed(config.permission)
  const agent: Record<string, Record<string, unknown>> = {}
  for (const [name, value] of Object.entries(isObject(config.agent) ? config.agent : {})) {
    const found = allowed(isObject(value) ? value["permission"] : undefined)
    if (Object.keys(found).length > 0) agent[name] = found
  }
  if (Object.keys(permission).length === 0 && Object.keys(agent).length === 0) return undefined
  return merged(before, { permission, agent }) as Extra
}

/**
 * The caller's `OPENCODE_CONFIG_CONTENT` with permissions that make every agent ask, subagents included. It is passed
 * by the environment: nothing is written into anybody's files. Rules appended by OpenCode's merge come last and win.
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
  const agents = isObject(config["agent"]) ? config["agent"] : {}
  const asking: Record<string, unknown> = { ...agents }
  for (const name of new Set(["general", "explore", ...Object.keys(agents)])) {
    const agent = agents[name]
    const own = isObject(agent) ? agent : {}
    asking[name] = { ...own, permission: overlay(own["permission"]) }
  }
  for (const [name, permission] of Object.entries(extra.agent)) {
    asking[name] = merged(asking[name] ?? {}, { permission })
  }
  return JSON.stringify({
    ...config,
    permission: merged(overlay(config["permission"]), extra.permission),
    agent: asking
  })
}

/**
 * `OPENCODE_PERMISSION`, which OpenCode merges after all files: what the caller or an administrator set there would win
 * over `askConfig` in subagents.
 */
export const askPermission = (extra: Extra = noExtra): string => JSON.stringify(merged(askAll, extra.permission))
