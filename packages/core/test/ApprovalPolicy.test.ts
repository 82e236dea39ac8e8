import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { Effect, Schema } from "effect"
import * as fc from "fast-check"
import { lexPlain, startsWith } from "../src/internal/commandLexer.ts"
import {
  accepts,
  command,
  type Condition,
  cwd,
  declines,
  rule,
  type Subject,
  subject,
  verdict
} from "./fixtures/policies.ts"

const kinds = [
  "command",
  "edit",
  "read",
  "network",
  "externalDirectory",
  "tool",
  "subagent",
  "somethingNew"
]

const personal = ["question", "elicitation", "plan", "auth", "hostTool"]

describe("ApprovalPolicy rules", () => {
  it("lets the first matching rule decide, and names it", () => {
    const policy = ApprovalPolicy.make({
      rules: [
        rule({ kinds: ["edit"] }, "decline", "noEdits"),
        rule({ kinds: ["edit", "read"] }, "accept"),
        rule({}, "cancel")
      ],
      otherwise: { _tag: "accept" }
    })
    const decided = (kind: string) => {
      const decision = ApprovalPolicy.decide(policy, subject(kind, {}))
      return [decision.verdict._tag, decision.rule]
    }
    assert.deepStrictEqual(decided("edit"), ["decline", "noEdits"])
    assert.deepStrictEqual(decided("read"), ["accept", "rules[1]"])
    assert.deepStrictEqual(decided("other"), ["cancel", "rules[2]"])
    const none = ApprovalPolicy.decide(ApprovalPolicy.askAlways, subject("read", {}))
    assert.deepStrictEqual([none.verdict._tag, none.rule], ["ask", "otherwise"])
  })

  it("puts rules before others, and one policy before another", () => {
    const first = ApprovalPolicy.make({ rules: [rule({ kinds: ["edit"] }, "accept")], otherwise: { _tag: "cancel" } })
    const both = ApprovalPolicy.concat(first, ApprovalPolicy.declineAll)
    assert.strictEqual(verdict(both, subject("edit", {})), "accept")
    assert.strictEqual(verdict(both, subject("read", {})), "decline")
    const stricter = ApprovalPolicy.prepend(both, [rule({ kinds: ["edit"] }, "ask")])
    assert.strictEqual(verdict(stricter, subject("edit", {})), "ask")
  })

  it("holds a rule to all of its fields", () => {
    const policy = accepts({ kinds: ["tool"], tools: ["grep"], minDepth: 1, maxDepth: 2 })
    const of = (kind: string, tool: string | undefined, depth: number) =>
      verdict(policy, subject(kind, tool === undefined ? {} : { tool }, { agentPath: Array(depth).fill("a") }))
    assert.strictEqual(of("tool", "grep", 1), "accept")
    assert.strictEqual(of("tool", "grep", 2), "accept")
    assert.strictEqual(of("tool", "grep", 0), "ask")
    assert.strictEqual(of("tool", "grep", 3), "ask")
    assert.strictEqual(of("tool", "rm", 1), "ask")
    assert.strictEqual(of("tool", undefined, 1), "ask")
    assert.strictEqual(of("edit", "grep", 1), "ask")
    assert.strictEqual(verdict(accepts({ maxDepth: 0 }), subject("tool", {})), "accept")
  })

  it("matches hosts by name and below a wildcard", () => {
    const policy = accepts({ hosts: ["api.test", "*.docs.test"] })
    const of = (...hosts: Array<string>) => verdict(policy, subject("network", { hosts }))
    assert.strictEqual(of("api.test"), "accept")
    assert.strictEqual(of("API.test.", "api.test:443"), "accept")
    assert.strictEqual(of("a.docs.test", "b.a.docs.test"), "accept")
    for (
      const host of [
        "docs.test",
        "xdocs.test",
        "api.test.evil.test",
        "evil-api.test",
        "user@api.test",
        "",
        "\u0430pi.test"
      ]
    ) assert.strictEqual(of(host), "ask", host)
    assert.strictEqual(of("api.test", "evil.test"), "ask")
    assert.strictEqual(of(), "ask")
    const against = (...hosts: Array<string>) =>
      verdict(declines({ hosts: ["*.evil.test"] }), subject("network", { hosts }))
    assert.strictEqual(against("api.test", "a.evil.test"), "decline")
    assert.strictEqual(against("api.test"), "accept")
    assert.strictEqual(against("a.\u0435vil.test"), "ask")
  })

  it("combines conditions", () => {
    const either = accepts(ApprovalPolicy.any([{ kinds: ["read"] }, { tools: ["grep"] }]))
    assert.strictEqual(verdict(either, subject("tool", { tool: "grep" })), "accept")
    assert.strictEqual(verdict(either, subject("tool", { tool: "rm" })), "ask")
    const allBut = accepts({ kinds: ["command"], ...ApprovalPolicy.not({ argvPrefix: [["rm"], ["sudo"]] }) })
    assert.strictEqual(verdict(allBut, command("ls")), "accept")
    assert.strictEqual(verdict(allBut, command("rm a")), "ask")
    assert.strictEqual(verdict(allBut, command("env rm a")), "ask")
    assert.strictEqual(verdict(allBut, command("ls; rm a")), "ask")
    const notInside = accepts(ApprovalPolicy.not({ paths: { scope: "inside" } }))
    assert.strictEqual(verdict(notInside, subject("read", { paths: ["/tmp/a", "b"] })), "ask")
    assert.strictEqual(verdict(notInside, subject("read", { paths: ["/tmp/a"] })), "accept")
    assert.strictEqual(verdict(accepts({ any: [] }), subject("read", {})), "ask")
    let deep: Condition = {}
    for (let i = 0; i < 100; i++) deep = ApprovalPolicy.not(deep)
    assert.strictEqual(verdict(accepts(deep), subject("read", {})), "ask")
  })

  it("asks for kinds that need a person, whatever the policy says", () => {
    for (const policy of [...Object.values(ApprovalPolicy.presets), accepts({}), declines({})]) {
      for (const kind of personal) {
        const decision = ApprovalPolicy.decide(policy, subject(kind, {}))
        assert.strictEqual(decision.verdict._tag, "ask", `${policy.name} ${kind}`)
        assert.isUndefined(decision.rule)
      }
    }
  })

  it("asks, and does not throw, when judging fails", () => {
    const broken = {
      get kind(): string {
        throw new Error("broken")
      },
      facts: {},
      cwd
    }
    assert.strictEqual(verdict(ApprovalPolicy.fullAccess, broken), "ask")
    assert.isUndefined(ApprovalPolicy.suggestedRule({ ...command("ls"), cwd: "", facts: { command: "ls", cwd: "x" } }))
    assert.match(ApprovalPolicy.explain(ApprovalPolicy.fullAccess, broken).join("\n"), /^ask: /)
  })
})

describe("ApprovalPolicy commands", () => {
  const git = accepts({ argvPrefix: [["git", "status"], ["ls"]] })

  it("accepts by prefix what is read with certainty", () => {
    for (const text of ["git status", "git status -s", "ls", "ls -la a", "bash -lc 'git status -s'", "'git' status"]) {
      assert.strictEqual(verdict(git, command(text)), "accept", text)
    }
    for (
      const text of [
        "git statusx",
        "git",
        "git push",
        "git -c core.fsmonitor=id status",
        "git status; id",
        "git status && id",
        "git status\nid",
        "git status $(id)",
        "git status `id`",
        "(git status)",
        "git status > a",
        "git status <<E",
        "A=b git status",
        "sudo git status",
        "xargs git status",
        "g\u0456t status",
        "bash -c 'git status; id'",
        "env git status",
        "git status --output=a",
        "./ls",
        "/tmp/ls"
      ]
    ) assert.strictEqual(verdict(git, command(text)), "ask", text)
    assert.strictEqual(verdict(accepts({ argvPrefix: [[]] }), command("ls")), "ask")
    assert.strictEqual(verdict(git, subject("command", {})), "ask")
  })

  it("matches a program that runs others only by the whole command", () => {
    const policy = accepts({ argvPrefix: [["sudo"], ["npm", "test"], ["find", "."], ["git"], ["git", "-c", "a=b"]] })
    assert.strictEqual(verdict(policy, command("npm test")), "accept")
    assert.strictEqual(verdict(policy, command("git status")), "accept")
    for (
      const text of [
        "sudo ls",
        "npm test --script-shell=a",
        "find . -delete",
        "git -c a=b status",
        "git co",
        "git rebase -x id",
        "/usr/bin/npm test"
      ]
    ) assert.strictEqual(verdict(policy, command(text)), "ask", text)
  })

  it("matches a whole command by `argv`", () => {
    const policy = accepts({ argv: [["rm", "a"]] })
    assert.strictEqual(verdict(policy, command("rm a")), "accept")
    assert.strictEqual(verdict(policy, command("rm a b")), "ask")
  })

  it("takes the agent's words, and believes them only if they agree with its text", () => {
    const of = (facts: Subject["facts"]) => verdict(git, subject("command", facts))
    assert.strictEqual(of({ argv: ["git", "status"] }), "accept")
    assert.strictEqual(of({ argv: ["bash", "-lc", "git status"] }), "accept")
    assert.strictEqual(of({ argv: ["git", "status"], command: "git status" }), "accept")
    assert.strictEqual(of({ argv: ["bash", "-lc", "git status"], command: "git status" }), "accept")
    assert.strictEqual(of({ argv: ["git", "status"], command: "git status; id" }), "ask")
    assert.strictEqual(of({ argv: ["git", "status"], command: "git push" }), "ask")
    assert.strictEqual(of({ argv: ["git", "push"], command: "git status" }), "ask")
    assert.strictEqual(of({ argv: ["bash", "-lc", "git status; id"] }), "ask")
    assert.strictEqual(of({ argv: [] }), "ask")
  })

  it("accepts only commands that run inside the session's directory", () => {
    const of = (where: string) => verdict(git, subject("command", { command: "ls", cwd: where }))
    assert.strictEqual(of(cwd), "accept")
    assert.strictEqual(of(`${cwd}/src/`), "accept")
    assert.strictEqual(of("src"), "accept")
    assert.strictEqual(of("/etc"), "ask")
    assert.strictEqual(of(`${cwd}2`), "ask")
    assert.strictEqual(of(".."), "ask")
  })

  it("a rule that declines is not evaded by a command that cannot be read", () => {
    const policy = declines({ argvPrefix: [["sudo"], ["git", "push"]] })
    for (const text of ["sudo ls", "git push -f", "env git push", "bash -c 'git push'", "xargs sudo"]) {
      assert.strictEqual(verdict(policy, command(text)), "decline", text)
    }
    for (const text of ["true; sudo ls", "s\\udo ls", "$(echo sudo) ls", "bash -c 'a; sudo ls'"]) {
      assert.strictEqual(verdict(policy, command(text)), "ask", text)
    }
    assert.strictEqual(verdict(policy, command("ls")), "accept")
    assert.strictEqual(verdict(policy, subject("edit", { paths: ["a"] })), "accept")
  })

  it("never accepts by argv what the lexer does not read, whatever the command", () => {
    const word = fc.constantFrom(
      "git",
      "status",
      "ls",
      "a",
      "'a b'",
      "\"c\"",
      "sudo",
      "npm",
      "test",
      "bash",
      "-c",
      "-lc",
      "'git status'",
      "-x",
      "find"
    )
    const noise = fc.constantFrom(
      ";",
      "&&",
      "\n",
      "|",
      "$(id)",
      "`id`",
      ">",
      "*",
      "~",
      "\\",
      "'",
      "\"",
      "#",
      "A=b",
      "\u0430"
    )
    const text = fc.array(
      fc.tuple(
        fc.oneof({ weight: 8, arbitrary: word }, { weight: 1, arbitrary: noise }),
        fc.constantFrom(" ", " ", " ", "")
      ),
      { minLength: 1, maxLength: 6 }
    ).map((parts) => parts.flat().join(""))
    const list = fc.array(fc.constantFrom("git", "status", "ls", "a", "npm", "test", "sudo"), { maxLength: 2 })
    let accepted = 0
    fc.assert(
      fc.property(text, fc.array(list, { maxLength: 4 }), (text, argvPrefix) => {
        if (verdict(accepts({ argvPrefix }), command(text)) !== "accept") return
        accepted++
        const argv = lexPlain(text)
        assert.isTrue(argv !== undefined && argvPrefix.some((prefix) => startsWith(argv, prefix)))
      }),
      { numRuns: 20_000 }
    )
    assert.isAtLeast(accepted, 200)
  })
})

describe("ApprovalPolicy presets", () => {
  const here = { paths: ["src/a.ts"] }
  const there = { paths: ["/etc/passwd"] }

  it("askAlways asks about everything", () => {
    for (const kind of kinds) assert.strictEqual(verdict(ApprovalPolicy.askAlways, subject(kind, here)), "ask")
  })

  it("acceptReads accepts reads inside the directory and nothing else", () => {
    assert.strictEqual(verdict(ApprovalPolicy.acceptReads, subject("read", here)), "accept")
    assert.strictEqual(verdict(ApprovalPolicy.acceptReads, subject("read", there)), "ask")
    assert.strictEqual(verdict(ApprovalPolicy.acceptReads, subject("read", {})), "ask")
    assert.strictEqual(verdict(ApprovalPolicy.acceptReads, command("ls")), "ask")
    for (const kind of kinds.filter((kind) => kind !== "read")) {
      assert.strictEqual(verdict(ApprovalPolicy.acceptReads, subject(kind, here)), "ask", kind)
    }
  })

  it("acceptEdits also accepts edits inside the directory, but not in `.git`", () => {
    const of = (kind: string, ...paths: Array<string>) => verdict(ApprovalPolicy.acceptEdits, subject(kind, { paths }))
    assert.strictEqual(of("read", "a"), "accept")
    assert.strictEqual(of("edit", "a", "b/c"), "accept")
    assert.strictEqual(of("edit", "a", "/b"), "ask")
    assert.strictEqual(of("edit"), "ask")
    for (const path of [".git/config", ".git", "a/.GIT/hooks/pre-commit", "a/../.git/config"]) {
      assert.strictEqual(of("edit", "a", path), "ask", path)
    }
    assert.strictEqual(of("edit", ".gitignore"), "accept")
    for (const kind of kinds.filter((kind) => kind !== "read" && kind !== "edit")) {
      assert.strictEqual(of(kind, "a"), "ask", kind)
    }
  })

  it("fullAccess accepts everything, known kinds or not", () => {
    for (const kind of kinds) assert.strictEqual(verdict(ApprovalPolicy.fullAccess, subject(kind, there)), "accept")
    assert.strictEqual(verdict(ApprovalPolicy.fullAccess, command("a; b")), "accept")
  })

  it("declineAll declines everything with a reason", () => {
    for (const kind of kinds) {
      const decision = ApprovalPolicy.decide(ApprovalPolicy.declineAll, subject(kind, here))
      assert.strictEqual(decision.verdict._tag, "decline")
      assert.isNotEmpty(decision.verdict._tag === "decline" ? decision.verdict.reason : "")
    }
  })

  it("are found by their names", () => {
    for (const [name, policy] of Object.entries(ApprovalPolicy.presets)) assert.strictEqual(policy.name, name)
  })
})

describe("ApprovalPolicy.explain", () => {
  it("tells for each rule what did not hold, and ends with the decision", () => {
    assert.deepStrictEqual(ApprovalPolicy.explain(ApprovalPolicy.acceptEdits, subject("edit", { paths: ["a"] })), [
      "readInside (accept): the kind \"edit\" is none of read",
      "editGit (ask): no path is inside and of **/.[gG][iI][tT] **/.[gG][iI][tT]/**",
      "editInside (accept): matched",
      "accept: Rule \"editInside\" says accept."
    ])
    assert.deepStrictEqual(ApprovalPolicy.explain(ApprovalPolicy.declineAll, subject("plan", {})), [
      "ask: No policy answers a request of kind \"plan\" for a person."
    ])
    assert.deepStrictEqual(ApprovalPolicy.explain(accepts({ argvPrefix: [["sudo"]] }), command("sudo ls")), [
      "rules[0] (accept): \"sudo\" may run other programs, so the rule must name the whole command",
      "ask: No rule matched: otherwise ask."
    ])
    assert.deepStrictEqual(ApprovalPolicy.explain(declines({ argvPrefix: [["sudo"]] }), command("a; b")), [
      "rules[0] (decline): the command is not a single plain command that is read with certainty",
      "ask: Rule \"rules[0]\" says decline and cannot be ruled out: the command is not a single plain command that is read with certainty."
    ])
  })

  it("agrees with decide", () => {
    const policies = Object.values(ApprovalPolicy.presets)
    for (const policy of policies) {
      for (const kind of [...kinds, ...personal]) {
        const of = subject(kind, { paths: ["a"], command: "ls" })
        assert.match(ApprovalPolicy.explain(policy, of).at(-1) ?? "", new RegExp(`^${verdict(policy, of)}: `))
      }
    }
  })

  it("shows what the agent wrote without characters that deceive", () => {
    const lines = ApprovalPolicy.explain(ApprovalPolicy.acceptReads, subject("read", { paths: ["a\u202eb\u001b[2K"] }))
    assert.match(lines.join("\n"), /^[\x20-\x7e\n]*$/)
    assert.include(lines.join("\n"), "\\u{202e}")
  })
})

describe("ApprovalPolicy as data and as a service", () => {
  it("survives JSON", () => {
    const all: ApprovalPolicy.ApprovalPolicy = ApprovalPolicy.make({
      name: "all",
      rules: [
        {
          name: "one",
          when: {
            kinds: ["command"],
            tools: ["t"],
            argvPrefix: [["git", "status"]],
            argv: [["ls"]],
            paths: { scope: "any", globs: ["**"] },
            hosts: ["*.a.test"],
            minDepth: 0,
            maxDepth: 3,
            any: [{ not: { kinds: ["x"] } }, {}],
            not: { any: [] }
          },
          then: { _tag: "decline", reason: "no" }
        },
        rule({}, "acceptForSession"),
        rule({}, "cancel")
      ],
      otherwise: { _tag: "ask" }
    })
    const json = Schema.fromJsonString(ApprovalPolicy.ApprovalPolicy)
    for (const policy of [all, ...Object.values(ApprovalPolicy.presets)]) {
      assert.deepStrictEqual(Schema.decodeSync(json)(Schema.encodeSync(json)(policy)), policy)
    }
    assert.throws(() =>
      Schema.decodeSync(json)(`{"rules":[{"when":{},"then":{"_tag":"perhaps"}}],"otherwise":{"_tag":"ask"}}`)
    )
  })

  it.effect("asks where a host gives no policy, and takes the one that it gives", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* ApprovalPolicy.Current, ApprovalPolicy.askAlways)
      const given = yield* Effect.provide(ApprovalPolicy.Current, ApprovalPolicy.layer(ApprovalPolicy.acceptReads))
      assert.strictEqual(given, ApprovalPolicy.acceptReads)
    }))
})
