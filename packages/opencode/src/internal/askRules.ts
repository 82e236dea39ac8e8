/**
 * Makes OpenCode ask. Its default runs commands and edits unasked, so the servers that we start and the sessions that
 * we make get rules of their own.
 */
import type * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Predicate from "effect/Predicate"

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

/**
 * The caller's `OPENCODE_CONFIG_CONTENT` with permissions that make every agent ask, subagents included. It is passed
 * by the environment: nothing is written into anybody's files. Rules appended by OpenCode's merge come last and win.
 */
export const askConfig = (content: string | undefined): string | undefined => {
  let config: unknown = {}
  if (content !== undefined && content.trim() !== "") {
    try {
      config = JSON.parse(content)
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
  return JSON.stringify({
    ...config,
    permission: overlay(config["permission"]),
    agent: asking
  })
}
