import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { mkdirSync, mkdtempSync, readlinkSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { accepts, cwd, declines, subject, verdict } from "./fixtures/policies.ts"

describe("ApprovalPolicy paths", () => {
  const inside = accepts({ paths: { scope: "inside" } })

  it("judges paths by their segments when links are not known", () => {
    const of = (...paths: Array<string>) => verdict(inside, subject("edit", { paths }))
    for (
      const path of [
        "a",
        "./a",
        "src/../a",
        `${cwd}/a`,
        `${cwd}//a/./b`,
        `${cwd}`,
        ".",
        "..a",
        "a/..b",
        "...",
        "app/[id]/$x.tsx",
        "../project/a",
        "a b",
        "src/a:b"
      ]
    ) assert.strictEqual(of(path), "accept", path)
    for (
      const path of [
        "..",
        "../a",
        "a/../../b",
        "/etc/passwd",
        `${cwd}2/a`,
        `${cwd}/../x`,
        "/home/me/Project/a",
        "//etc/passwd",
        "/",
        "~/a",
        "~",
        "$HOME/a",
        "file:///etc/passwd",
        "C:/a",
        "a\\..\\..\\b",
        "..\\a",
        "a\0b",
        "a\nb",
        "\u0430",
        "a\u202eb",
        "a\u2215..\u2215b",
        "\u2025/a",
        "*",
        "src/*",
        "",
        " /etc/passwd",
        "a ",
        "%2e%2e/a",
        "a%2Fb",
        "@/etc/passwd",
        "\"/etc/passwd\"",
        "a\u00a0",
        "a\t",
        `${"a/".repeat(3000)}a`
      ]
    ) assert.strictEqual(of(path), "ask", JSON.stringify(path.slice(0, 40)))
  })

  it("needs all paths to accept, and any to decline", () => {
    const of = (policy: ApprovalPolicy.ApprovalPolicy, ...paths: Array<string>) =>
      verdict(policy, subject("edit", { paths }))
    assert.strictEqual(of(inside, "a", "b"), "accept")
    assert.strictEqual(of(inside, "a", "/b"), "ask")
    assert.strictEqual(of(inside), "ask")
    const outside = declines({ paths: { scope: "outside" } })
    assert.strictEqual(of(outside, "a", "/b"), "decline")
    assert.strictEqual(of(outside, "a", "\u0430"), "decline")
    assert.strictEqual(of(outside, "a"), "accept")
  })

  it("matches globs below the directory, and absolute ones anywhere", () => {
    const of = (globs: ReadonlyArray<string>, ...paths: Array<string>) =>
      verdict(accepts({ paths: { scope: "any", globs } }), subject("edit", { paths }))
    assert.strictEqual(of(["src/**/*.ts"], "src/a.ts", `${cwd}/src/b/c.ts`, "x/../src/d.ts"), "accept")
    assert.strictEqual(of(["src/**/*.ts"], "src/a.ts", "src/a.js"), "ask")
    assert.strictEqual(of(["src/**/*.ts"], "src/../test/a.ts"), "ask")
    assert.strictEqual(of(["src/*"], "src/.hidden"), "accept")
    assert.strictEqual(of(["src/*"], "src/a/b"), "ask")
    assert.strictEqual(of(["**"], "/etc/passwd"), "ask")
    assert.strictEqual(of(["/tmp/**"], "/tmp/a/b"), "accept")
    assert.strictEqual(of(["/tmp/**"], "/tmp/../etc/passwd"), "ask")
    assert.strictEqual(of([], "a"), "ask")
    const secrets = declines({ paths: { scope: "any", globs: ["**/.env"] } })
    const against = (path: string) => verdict(secrets, subject("read", { paths: [path] }))
    assert.strictEqual(against("a/.env"), "decline")
    assert.strictEqual(against("a/b/../.env"), "decline")
    assert.strictEqual(against("a/.env.txt"), "accept")
    assert.strictEqual(against("a/.\u0435nv"), "ask")
  })

  it("starts relative paths where the request would run", () => {
    const of = (where: string, path: string) => verdict(inside, subject("edit", { cwd: where, paths: [path] }))
    assert.strictEqual(of("src", "../a"), "accept")
    assert.strictEqual(of("src", "../../a"), "ask")
    assert.strictEqual(of("/tmp", "a"), "ask")
    assert.strictEqual(of("~", "a"), "ask")
  })

  it("a glob is matched in time that grows with the path only", () => {
    const globs = ["**/*a*a*a*a*a*a*a*a*b", `${"**/".repeat(30)}b`]
    const path = `${"a/".repeat(500)}${"a".repeat(2000)}`
    assert.strictEqual(
      verdict(accepts({ paths: { scope: "inside", globs } }), subject("edit", { paths: [path] })),
      "ask"
    )
  })

  it("follows real links", () => {
    const base = realpathSync(mkdtempSync(join(tmpdir(), "reins-policy-")))
    try {
      const project = join(base, "project")
      mkdirSync(join(project, "src"), { recursive: true })
      mkdirSync(join(project, ".git"))
      mkdirSync(join(base, "other/deep"), { recursive: true })
      writeFileSync(join(base, "other/file"), "")
      writeFileSync(join(project, "src/file"), "")
      const links: ReadonlyArray<readonly [name: string, target: string]> = [
        ["away", "../other"],
        ["awayAbsolute", join(base, "other")],
        ["awayDeep", "../other/deep"],
        ["awayFile", "../other/file"],
        ["dangling", "../other/none"],
        ["deep", "src/sub"],
        ["danglingInside", "src/none"],
        ["home", "src"],
        ["up", ".."],
        ["chain", "away"],
        ["loop", "loop"],
        ["root", "/"],
        ["self", "."],
        ["src/git", "../.git"]
      ]
      for (const [name, target] of links) symlinkSync(target, join(project, name))
      symlinkSync(project, join(base, "alias"))
      const readLink = (path: string) => {
        try {
          return readlinkSync(path)
        } catch {
          return undefined
        }
      }
      const realPath = ApprovalPolicy.followLinks(readLink)
      const of = (policy: ApprovalPolicy.ApprovalPolicy, path: string, root = project) =>
        verdict(policy, { kind: "edit", facts: { paths: [path] }, cwd: root, realPath })
      const good = [
        "src/file",
        "src/new",
        "new/deep/file",
        "home/file",
        "home/new",
        "self/src/file",
        "self/self/new",
        "danglingInside",
        join(project, "src/file"),
        join(base, "alias/src/file"),
        "up/project/src/file",
        "away/../project/src/../src/file"
      ]
      const bad = [
        "away",
        "away/file",
        "away/new",
        "deep/../away/file",
        "awayAbsolute/file",
        "awayFile",
        "dangling",
        "chain/file",
        "root/etc/passwd",
        "up/x",
        "home/../../other/file",
        "awayDeep/../file",
        "awayDeep/../../other/file",
        "self/../x",
        "src/../away/file",
        join(base, "other/file"),
        join(base, "alias/away/file"),
        "up/other/file"
      ]
      assert.isAtLeast(good.length + bad.length, 20)
      // Shortened by its text, `away/../project` is `project/project`; the system goes to `other/..` and back.
      for (const path of good) assert.strictEqual(of(inside, path), "accept", path)
      for (const path of bad) assert.strictEqual(of(inside, path), "ask", path)
      // The directory itself may be named through a link.
      assert.strictEqual(of(inside, "src/file", join(base, "alias")), "accept")
      assert.strictEqual(of(inside, join(project, "src/file"), join(base, "alias")), "accept")
      assert.strictEqual(of(inside, "away/file", join(base, "alias")), "ask")
      // A glob is held against what a link leads to.
      const source = accepts({ paths: { scope: "inside", globs: ["src/**"] } })
      assert.strictEqual(of(source, "home/file"), "accept")
      assert.strictEqual(of(source, "src/git/config"), "ask")
      assert.strictEqual(of(source, "deep/../file"), "ask")
      assert.isUndefined(realPath(join(project, "loop")))
      const noGit = declines({ paths: { scope: "any", globs: [".git/**"] } })
      assert.strictEqual(of(noGit, "src/git/config"), "decline")
      assert.strictEqual(of(ApprovalPolicy.acceptEdits, "src/git/config"), "ask")
      assert.strictEqual(of(declines({ paths: { scope: "inside" } }), "away/file"), "decline")
      // Without a way to follow links the text alone counts.
      assert.strictEqual(verdict(inside, { kind: "edit", facts: { paths: ["away/file"] }, cwd: project }), "accept")
    } finally {
      rmSync(base, { recursive: true, force: true })
    }
  })

  it("counts a path as outside when its links cannot be followed", () => {
    const of = (realPath: (path: string) => string | undefined) =>
      verdict(inside, subject("edit", { paths: ["a"] }, { realPath }))
    assert.strictEqual(of((path) => path), "accept")
    assert.strictEqual(of(() => undefined), "ask")
    assert.strictEqual(of(() => "relative"), "ask")
    assert.strictEqual(
      of(() => {
        throw new Error("EIO")
      }),
      "ask"
    )
  })
})
