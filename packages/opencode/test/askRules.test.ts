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
  it("makes every agent ask where nothing is configured, and keeps what OpenCode's own agents are denied", () => {
    for (const content of [undefined, "", "  ", "{}"]) {
      const config = parsed(content)
      assertAsks(config.permission)
      assert.strictEqual(decide(config.permission, "todowrite"), "allow")
      assert.strictEqual(decide(config.agent["explore"]?.permission ?? {}, "edit"), "deny")
      assert.strictEqual(decide(config.agent["explore"]?.permission ?? {}, "grep"), "ask")
      assert.deepInclude(config.agent["plan"]?.permission["edit"], { "*": "deny" })
    }
  })

  it("asks about what the caller's own content allows, whatever its place, and keeps the rest of it", () => {
    const config = parsed(JSON.stringify({
      model: "a/b",
      permission: { mcp_anything: "allow", "*": "allow", bash: { "git *": "allow" }, edit: "deny" },
      agent: {
        general: { permission: { bash: "allow", edit: "deny" } },
        own: { mode: "subagent", permission: "allow" },
        explore: { permission: { write: "allow" } }
      }
    }))
    assert.strictEqual(config.model, "a/b")
    assert.deepStrictEqual(config.permission["bash"], { "git *": "ask" })
    assert.strictEqual(decide(config.permission, "edit"), "deny")
    assert.strictEqual(decide(config.permission, "webfetch"), "ask")
    assert.deepStrictEqual(config.agent["general"]?.permission, { bash: "ask", edit: "deny" })
    assert.deepStrictEqual(config.agent["own"]?.permission, { "*": "ask" })
    assert.strictEqual(config.agent["own"]?.mode, "subagent")
    assert.strictEqual(decide(config.agent["explore"]?.permission ?? {}, "write"), "ask")
    assertAsks(parsed(JSON.stringify({ permission: "allow" })).permission)
    assert.strictEqual(decide(parsed(JSON.stringify({ permission: "deny" })).permission, "bash"), "deny")
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
      permission: {
        early: "allow",
        ...parsed("{}").permission,
        mcp_anything: "allow",
        other: { "a *": "allow", "b *": "deny" }
      },
      agent: {
        build: {},
        own: { mode: "subagent", permission: { "*": "allow", edit: "deny", bash: { "*": "allow", "rm *": "deny" } } }
      }
    }
    const extra = askRules.missing(config, [], askRules.noExtra)
    assert.deepStrictEqual(extra, {
      permission: { mcp_anything: "ask", other: { "a *": "ask" } },
      agent: { own: { "*": "ask", bash: { "*": "ask" } } }
    })
    const next = parsed("{}", extra)
    assert.strictEqual(next.permission["mcp_anything"], "ask")
    assert.deepStrictEqual(next.agent["own"]?.permission, { "*": "ask", bash: { "*": "ask" } })
    assert.isUndefined(askRules.missing(next, [], askRules.noExtra))
    assert.strictEqual((JSON.parse(askRules.askPermission(undefined, extra)) as Permission)["mcp_anything"], "ask")
  })

  it("finds what an agent was denied before our own rules, with its exceptions, and denies it again", () => {
    const rules = (...lines: ReadonlyArray<string>): ReadonlyArray<askRules.AskRule> =>
      lines.map((line) => {
        const [permission = "", pattern = "", action = ""] = line.split(" ")
        return { permission, pattern, action: action as askRules.AskRule["action"] }
      })
    const before = [
      "* * allow",
      "question * deny",
      "read *.env ask",
      "edit * deny",
      "read * allow",
      "read *.env deny",
      "read a.env allow"
    ]
    const agents = [
      { name: "build", permission: rules(...before, "* * ask", "todowrite * allow") },
      // The user's own rules, in an order in which they come behind ours.
      { name: "kept", permission: rules("* * allow", "* * ask", "edit * deny") },
      // Ours took its place again already.
      { name: "again", permission: rules(...before, "* * ask", "edit * deny", "read * ask", "read *.env deny") },
      // Denied first, and allowed by a later rule of the user's: nothing is denied.
      { name: "moot", permission: rules("edit * deny", "* * allow", "* * ask") }
    ]
    const extra = askRules.missing({}, agents, askRules.noExtra)
    assert.deepStrictEqual(extra?.agent, {
      build: { edit: "deny", read: { "*": "ask", "*.env": "deny", "a.env": "ask" } }
    })
    assert.deepStrictEqual(parsed("{}", extra).agent["build"]?.permission, extra?.agent["build"])
  })

  it("keeps what was found before when more is found", () => {
    const first = askRules.missing({ permission: { a: "allow" } }, [], askRules.noExtra)
    const second = askRules.missing({ agent: { x: { permission: "allow" } } }, [], first ?? askRules.noExtra)
    assert.deepStrictEqual(second, { permission: { a: "ask" }, agent: { x: { "*": "ask" } } })
  })

  it("keeps what the caller's OPENCODE_PERMISSION denies, and asks about what it allows", () => {
    const permission = JSON.parse(
      askRules.askPermission(JSON.stringify({ "*": "allow", bash: "allow", edit: "deny" }))
    ) as Permission
    assert.strictEqual(decide(permission, "bash"), "ask")
    assert.strictEqual(decide(permission, "edit"), "deny")
    assert.strictEqual(decide(permission, "webfetch"), "ask")
    assertAsks(JSON.parse(askRules.askPermission("{ broken")) as Permission)
  })

  it("gives a conversation rules on a server that is not ours, unless its policy accepts everything", () => {
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

  it("asks about what the rules of a conversation from elsewhere allow, and keeps what they deny", () => {
    const rule = (permission: string, pattern: string, action: askRules.AskRule["action"]) => ({
      permission,
      pattern,
      action
    })
    const there = [
      rule("bash", "git *", "deny"),
      rule("*", "*", "allow"),
      rule("edit", "*", "deny"),
      rule("bash", "ls", "allow")
    ]
    const again = askRules.askedAgain(there)
    assert.deepStrictEqual(again, [rule("*", "*", "ask"), rule("edit", "*", "deny"), rule("bash", "ls", "ask")])
    assert.deepStrictEqual(askRules.askedAgain([...there, ...again]), [])
    assert.deepStrictEqual(askRules.askedAgain([rule("todowrite", "*", "allow"), rule("edit", "*", "deny")]), [])
    assert.deepStrictEqual(askRules.askedAgain(undefined), [])
  })
})
