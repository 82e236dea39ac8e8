import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Schema } from "effect"
import { command, cwd, type Subject, subject, verdict } from "./fixtures/policies.ts"

describe("ApprovalPolicy.grantKey", () => {
  const key = ApprovalPolicy.grantKey

  it("pins a command by kind, argv and directory", () => {
    const pinned = key(command("git status"))
    assert.isDefined(pinned)
    for (
      const same of [
        command("git   status"),
        command("'git' status"),
        command("bash -lc 'git status'"),
        subject("command", { argv: ["git", "status"] }),
        subject("command", { command: "git status", cwd: `${cwd}/.` })
      ]
    ) assert.strictEqual(key(same), pinned)
    for (
      const other of [
        command("git status -s"),
        command("git"),
        command("git status; id"),
        command("git status", { cwd: "/tmp" }),
        subject("command", { command: "git status", cwd: "src" }),
        subject("tool", { command: "git status" }),
        subject("command", { argv: ["git status"] }),
        subject("command", { command: "git status", hosts: ["a.test"] })
      ]
    ) assert.notStrictEqual(key(other), pinned)
  })

  it("pins an unread command by its exact text", () => {
    assert.strictEqual(key(command("a; b")), key(command("a; b")))
    assert.notStrictEqual(key(command("a; b")), key(command("a;  b")))
    assert.notStrictEqual(key(subject("command", { argv: ["a;", "b"] })), key(command("a; b")))
  })

  it("pins reads and edits by kind and paths", () => {
    const of = (kind: string, ...paths: Array<string>) => key(subject(kind, { paths }))
    assert.strictEqual(of("edit", "a"), of("edit", `${cwd}/b/../a`))
    assert.strictEqual(of("edit", "a", "b"), of("edit", "b", "a"))
    assert.notStrictEqual(of("edit", "a"), of("edit", "a", "b"))
    assert.notStrictEqual(of("edit", "a"), of("read", "a"))
    assert.notStrictEqual(of("edit", "a"), of("edit", "a/b"))
  })

  it("pins tools by their input, whatever the order of its keys", () => {
    const of = (tool: string, input: Schema.Json, paths?: Array<string>) =>
      key(subject("tool", { tool, input, ...(paths === undefined ? undefined : { paths }) }))
    assert.strictEqual(of("t", { a: 1, b: { c: [1], d: 2 } }), of("t", { b: { d: 2, c: [1] }, a: 1 }))
    assert.notStrictEqual(of("t", { a: 1 }), of("t", { a: 2 }))
    assert.notStrictEqual(of("t", { a: 1 }), of("u", { a: 1 }))
    assert.notStrictEqual(of("t", [["a", 1]]), of("t", { a: 1 }))
    assert.notStrictEqual(of("read", {}, ["a"]), of("delete", {}, ["a"]))
  })

  it("pins nothing where nothing is named or a person is needed", () => {
    assert.isUndefined(key(subject("tool", { tool: "t" })))
    assert.isUndefined(key(subject("edit", { paths: [] })))
    assert.isUndefined(key(subject("question", { input: 1 })))
  })
})

describe("ApprovalPolicy.suggestedRule", () => {
  const again = (of: Subject, next: Subject) => {
    const rule = ApprovalPolicy.suggestedRule(of)
    return rule === undefined ? "none" : verdict(ApprovalPolicy.make({ rules: [rule] }), next)
  }

  it("accepts the same command again and no other", () => {
    for (const text of ["git status -s", "npm test", "bash -lc 'ls a'"]) {
      assert.strictEqual(again(command(text), command(text)), "accept", text)
    }
    assert.strictEqual(again(command("rm a"), command("rm a b")), "ask")
    assert.strictEqual(again(command("rm a"), subject("tool", { command: "rm a" })), "ask")
    assert.strictEqual(again(command("ls; id"), command("ls; id")), "none")
  })

  it("accepts the same paths again and no others", () => {
    const of = (kind: string, ...paths: Array<string>) => subject(kind, { paths })
    assert.strictEqual(again(of("edit", "app/[id]/{a}.ts"), of("edit", `${cwd}/app/[id]/{a}.ts`)), "accept")
    assert.strictEqual(again(of("edit", "app/[id]/a.ts"), of("edit", "app/i/a.ts")), "ask")
    assert.strictEqual(again(of("edit", "a", "b"), of("edit", "b")), "accept")
    assert.strictEqual(again(of("edit", "a"), of("edit", "a", "b")), "ask")
    assert.strictEqual(again(of("edit", "a"), of("read", "a")), "ask")
    assert.strictEqual(again(of("read", "/etc/hosts"), of("read", "/etc/hosts")), "accept")
    assert.strictEqual(again(of("read", "/etc/hosts"), of("read", "/etc/passwd")), "ask")
    assert.strictEqual(again(of("read", "/etc/hosts", "a"), of("read", "a", "/etc/hosts")), "accept")
  })

  it("suggests nothing where the request is not certain", () => {
    const none = [
      subject("edit", { paths: ["\u0430"] }),
      subject("edit", { paths: [] }),
      subject("tool", { tool: "t", input: 1 }),
      subject("question", {}),
      subject("command", { command: "ls", cwd: "/tmp" })
    ]
    for (const of of none) assert.isUndefined(ApprovalPolicy.suggestedRule(of))
  })
})
