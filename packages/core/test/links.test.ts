import { assert, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as links from "../src/internal/links.ts"

it("a session's policy sees through a link that leaves the directory", () => {
  const root = mkdtempSync(join(tmpdir(), "reins-links-"))
  try {
    const cwd = join(root, "project")
    mkdirSync(cwd)
    mkdirSync(join(root, "outside"))
    symlinkSync(join(root, "outside"), join(cwd, "link"))
    const realPath = links.realPath()
    assert.isDefined(realPath)
    const verdict = (path: string) =>
      ApprovalPolicy.decide(ApprovalPolicy.acceptEdits, {
        kind: "edit",
        cwd,
        facts: { paths: [path] },
        ...(realPath === undefined ? undefined : { realPath })
      }).verdict._tag
    assert.strictEqual(verdict(join(cwd, "file.txt")), "accept")
    assert.strictEqual(verdict(join(cwd, "link", "file.txt")), "ask")
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
