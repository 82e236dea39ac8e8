/** Our answers in Codex's words. */
import { assert, describe, it } from "@effect/vitest"
import type { Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { Result } from "effect"
import * as normalise from "../src/internal/normalise.ts"
import * as requests from "../src/internal/requests.ts"
import type { ItemRecord } from "../src/internal/state.ts"

const decisions: ReadonlyArray<Answer> = [
  { _tag: "accept" },
  { _tag: "acceptForSession" },
  { _tag: "decline", reason: "no" },
  { _tag: "cancel" }
]

describe("codex trap 1: an answer", () => {
  it.each([
    ["item/commandExecution/requestApproval", ["accept", "acceptForSession", "decline", "cancel"]],
    ["item/fileChange/requestApproval", ["accept", "acceptForSession", "decline", "cancel"]],
    ["execCommandApproval", ["approved", "approved_for_session", "denied", "abort"]],
    ["applyPatchApproval", ["approved", "approved_for_session", "denied", "abort"]]
  ])("to %s is in the words that it takes, and in no other", (method, words) => {
    assert.deepStrictEqual(
      decisions.map((answer) => requests.answered(method, {}, answer)),
      words.map((decision) => ({ decision }))
    )
    // Never a permanent rule, and never a yes for what is no decision.
    assert.deepStrictEqual(requests.answered(method, {}, { _tag: "content", value: { decision: "accept" } }), {
      decision: words[2]
    })
  })

  it("to a question names it by its id; a refusal with words is an answer", () => {
    const params = { threadId: "t", questions: [{ id: "a", question: "A?" }, { id: "b", question: "B?" }] }
    const answered = (answer: Answer) => requests.answered("item/tool/requestUserInput", params, answer)
    assert.deepStrictEqual(answered({ _tag: "answers", answers: [["Blue"], ["x", "y"]] }), {
      answers: { a: { answers: ["Blue"] }, b: { answers: ["x", "y"] } }
    })
    assert.deepStrictEqual(answered({ _tag: "decline", reason: "none of them" }), {
      answers: { a: { answers: ["none of them"] }, b: { answers: ["none of them"] } }
    })
    assert.deepStrictEqual(answered({ _tag: "cancel" }), { answers: {} })
  })

  it("to a wish for permissions grants what was asked for, and nothing otherwise", () => {
    const permissions = { network: { enabled: true } }
    const answered = (answer: Answer) =>
      requests.answered("item/permissions/requestApproval", { threadId: "t", permissions }, answer)
    assert.deepStrictEqual(decisions.map(answered), [
      { permissions, scope: "turn" },
      { permissions, scope: "session" },
      { permissions: {}, scope: "turn" },
      { permissions: {}, scope: "turn" }
    ])
  })

  it("to a tool of an MCP server accepts for the session at the most, and fills a form as it was filled", () => {
    const tool = {
      threadId: "t",
      serverName: "lab",
      mode: "form",
      _meta: { codex_approval_kind: "mcp_tool_call", tool_name: "danger", persist: ["session", "always"] }
    }
    const answered = (params: object, answer: Answer) =>
      requests.answered("mcpServer/elicitation/request", params, answer)
    assert.deepStrictEqual(decisions.map((answer) => answered(tool, answer)), [
      { action: "accept", content: {}, _meta: null },
      { action: "accept", content: {}, _meta: { persist: "session" } },
      { action: "decline", content: null, _meta: null },
      { action: "cancel", content: null, _meta: null }
    ])
    const form = { threadId: "t", serverName: "lab", mode: "form", message: "Who?", _meta: null }
    assert.deepStrictEqual(answered(form, { _tag: "content", value: { name: "Bob" } }), {
      action: "accept",
      content: { name: "Bob" },
      _meta: null
    })
  })
})

describe("a request of Codex", () => {
  const opened = (method: string, params: object, changes?: ItemRecord["changes"]) => {
    const state = normalise.make("t")
    if (changes !== undefined) {
      state.items.set("i", {
        key: "i",
        type: "fileChange",
        turn: "u",
        content: undefined,
        spoken: "no",
        open: true,
        voided: false,
        changes
      })
    }
    const result = requests.opened(state, { id: 0, method, params: { threadId: "t", conversationId: "t", ...params } })
    if (result === undefined || Result.isFailure(result)) return assert.fail("the request is not known")
    return result.success
  }

  it("names where a file is moved to: it is written to as well", () => {
    const moved = { path: "a.txt", change: "moved" as const, movedTo: "/var/tmp/b.txt", additions: 0, deletions: 0 }
    const request = opened("item/fileChange/requestApproval", { turnId: "u", itemId: "i", grantRoot: "/etc" }, [moved])
    assert.deepStrictEqual(request.facts.paths, ["a.txt", "/var/tmp/b.txt", "/etc"])
    assert.include(request.subject, "/var/tmp/b.txt")
    const policy = ApprovalPolicy.decide(ApprovalPolicy.acceptEdits, {
      kind: "edit",
      facts: request.facts,
      cwd: "/work"
    })
    assert.strictEqual(policy.verdict._tag, "ask")
  })

  it("of the first protocol names it, too, and what it wants to be granted", () => {
    for (
      const change of [
        { update: { unified_diff: "", move_path: "/etc/b" } },
        { type: "update", unified_diff: "", move_path: "/etc/b" }
      ]
    ) {
      const { facts } = opened("applyPatchApproval", {
        callId: "c",
        fileChanges: { "/w/a": change },
        grantRoot: "/opt"
      })
      assert.deepStrictEqual(facts.paths, ["/w/a", "/etc/b", "/opt"])
    }
  })

  it("for a tool of an MCP server is one in each form in which it may be kept", () => {
    for (const persist of ["session", ["session", "always"], null, undefined]) {
      const request = opened("mcpServer/elicitation/request", {
        serverName: "lab",
        mode: "form",
        message: "May I?",
        _meta: {
          codex_approval_kind: "mcp_tool_call",
          tool_name: "danger",
          ...(persist === undefined ? {} : { persist })
        }
      })
      assert.strictEqual(request.kind, "tool")
      const kept = persist !== null && persist !== undefined
      assert.strictEqual(request.options.includes("acceptForSession"), kept)
    }
  })

  it("that wants a secret says so", () => {
    const { facts } = opened("item/tool/requestUserInput", {
      questions: [{ id: "k", question: "Key?", isSecret: true }, { id: "n", question: "Name?", isSecret: false }]
    })
    assert.deepStrictEqual(facts.questions?.map(({ secret }) => secret === true), [true, false])
  })
})
