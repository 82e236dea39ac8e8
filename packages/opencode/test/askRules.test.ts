import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as askRules from "../src/internal/askRules.ts"

type Permission = Readonly<Record<string, unknown>>
interface Parsed {
  readonly model?: string
  readonly permission: Permission
  readonly agent: Readonly<Record<string, { readonly mode?: string; readonly permission: Permission }>>
}

const parsed = (content: string | undefined, extra?: askRules.Extra): Parsed =>
  JSON.parse(askRules.askConfig(content, extra) ?? "null") as Parsed

/** OpenCode's own reading: the last rule that matches wins. */
const decide = (permission: Permission, name: string): unknown => {
  let action: unknown = "allow"
  for (const [key, value] of Object.entries(permission)) if (key === "*" || key === name) action = value
  return action
}

const tools = ["bash", "edit", "read", "glob", "grep", "webfetch", "task", "external_directory", "mcp_anything"]

const assertAsks = (permission: Permission) => {
  for (const tool of tools) assert.strictEqual(decide(permission, tool), "ask", tool)
}

describe("askRules", () => {
  it("makes every agent ask where nothing is configured", () => {
    for (const content of [undefined, "", "  ", "{}"]) {
      const config = parsed(content)
      assertAsks(config.permission)
      for (const name of ["general", "explore"]) assertAsks(config.agent[name]?.permission ?? {})
      assert.strictEqual(decide(config.permission, "todowrite"), "allow")
    }
  })

  it("overrides what the caller's own content allows, whatever its place, and keeps the rest of it", () => {
    const config = parsed(JSON.stringify({
      model: "a/b",
      permission: { mcp_anything: "allow", "*": "allow", bash: { "git *": "allow" }, edit: "allow" },
      agent: { general: { permission: { bash: "allow" } }, own: { mode: "subagent", permission: "allow" } }
    }))
    assert.strictEqual(config.model, "a/b")
    assertAsks(config.permission)
    assertAsks(config.agent["general"]?.permission ?? {})
    assertAsks(config.agent["own"]?.permission ?? {})
    assert.strictEqual(config.agent["own"]?.mode, "subagent")
    assertAsks(parsed(JSON.stringify({ permission: "allow" })).permission)
  })

  it("reads comments and trailing commas as the agent does, and leaves the text of strings alone", () => {
    const config = parsed(
      "\uFEFF{ // , }\n \"model\": \"http://x/*no*/,]\", /* \" */ \"permission\": { \"bash\": \"allow\", }, }"
    )
    assert.strictEqual(config.model, "http://x/*no*/,]")
    assertAsks(config.permission)
  })

  it("leaves content that is broken, or no object, to the agent", () => {
    for (const content of ["{ not json", "5", "[]", "null"]) assert.isUndefined(askRules.askConfig(content), content)
  })

  it("finds what an effective configuration still allows, and asks about that too", () => {
    const config = {
      permission: { ...parsed("{}").permission, mcp_anything: "allow", other: { "a *": "allow", "b *": "deny" } },
      agent: {
        general: { permission: parsed("{}").agent["general"]?.permission },
        build: {},
        own: { mode: "subagent", permission: { "*": "allow", edit: "deny", bash: { "*": "allow", "rm *": "deny" } } }
      }
    }
    const extra = askRules.unasked(config, askRules.noExtra)
    assert.deepStrictEqual(extra, {
      permission: { mcp_anything: "ask", other: { "a *": "ask" } },
      agent: { own: { "*": "ask", bash: { "*": "ask" } } }
    })
    const next = parsed("{}", extra)
    assert.strictEqual(next.permission["mcp_anything"], "ask")
    assert.deepStrictEqual(next.agent["own"]?.permission, { "*": "ask", bash: { "*": "ask" } })
    assert.isUndefined(askRules.unasked(next, askRules.noExtra))
    assert.strictEqual((JSON.parse(askRules.askPermission(extra)) as Permission)["mcp_anything"], "ask")
  })

  it("keeps what was found before when more is found", () => {
    const first = askRules.unasked({ permission: { a: "allow" } }, askRules.noExtra)
    const second = askRules.unasked({ agent: { x: { permission: "allow" } } }, first ?? askRules.noExtra)
    assert.deepStrictEqual(second, { permission: { a: "ask" }, agent: { x: { "*": "ask" } } })
  })

  it("gives a conversation rules unless its policy accepts everything", () => {
    assert.deepStrictEqual(askRules.sessionRules(ApprovalPolicy.fullAccess), [])
    const rules = askRules.sessionRules(ApprovalPolicy.askAlways)
    assert.deepStrictEqual(rules[0], { permission: "*", pattern: "*", action: "ask" })
    assert.isTrue(rules.slice(1).every((rule) => rule.action === "allow" && !tools.includes(rule.permission)))
    for (const policy of [ApprovalPolicy.acceptEdits, ApprovalPolicy.acceptReads, ApprovalPolicy.declineAll]) {
      assert.deepStrictEqual(askRules.sessionRules(policy), rules)
    }
  })

  it("knows rules that a conversation has already", () => {
    const rules = askRules.sessionRules(ApprovalPolicy.askAlways)
    const allow = { permission: "*", pattern: "*", action: "allow" }
    assert.isTrue(askRules.endsWith(rules, rules))
    assert.isTrue(askRules.endsWith([allow, ...rules], rules))
    assert.isFalse(askRules.endsWith([...rules, allow], rules))
    assert.isFalse(askRules.endsWith(undefined, rules))
    assert.isFalse(askRules.endsWith(rules.slice(1), rules))
    assert.isTrue(askRules.endsWith(undefined, []))
  })
})
