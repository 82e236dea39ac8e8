/** A new reader finds the parts by name: in the README, and in the files that it names. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as EventLog from "@reins/core/EventLog"
import * as PromptQueue from "@reins/core/PromptQueue"
import * as EventStream from "@reins/transport/EventStream"
import * as ServerProcess from "@reins/transport/ServerProcess"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../../", import.meta.url))
const readme = readFileSync(`${root}README.md`, "utf8")

const parts = [
  { name: "server process", path: "packages/transport/src/ServerProcess.ts", main: ServerProcess.spawn },
  { name: "SSE stream", path: "packages/transport/src/EventStream.ts", main: EventStream.make },
  { name: "prompt queue", path: "packages/core/src/PromptQueue.ts", main: PromptQueue.make },
  { name: "event queue", path: "packages/core/src/EventLog.ts", main: EventLog.make },
  { name: "approval policy", path: "packages/core/src/ApprovalPolicy.ts", main: ApprovalPolicy.make }
]

describe("layout", () => {
  for (const { main, name, path } of parts) {
    it(`the ${name} lies at ${path}, and the README says so`, () => {
      assert.isTrue(existsSync(`${root}${path}`), path)
      assert.isFunction(main)
      assert.match(readFileSync(`${root}${path}`, "utf8"), /^\/\*\*\n \* \S/, "the file begins with what it is")
      const row = readme.split("\n").find((line) => line.split("|")[1]?.trim() === name)
      assert.include(row ?? "", `[\`${path}\`](${path})`)
    })
  }

  it("the README draws the data flow with all five", () => {
    const picture = /^```mermaid\n([\s\S]*?)^```$/m.exec(readme)?.[1] ?? ""
    for (const { path } of parts) assert.include(picture, path.replace(/^.*\/(\w+)\.ts$/, "$1"))
  })

  it("the README says where readers of older Effect find things, and the pages of docs/", () => {
    for (const name of ["effect/http", "effect/process", "effect/FileSystem", "effect/Schema"]) {
      assert.include(readme, `\`${name}\``)
    }
    for (const page of ["getting-started", "concepts", "events", "errors", "approvals", "opencode"]) {
      assert.include(readme, `(docs/${page}.md)`)
    }
  })
})
