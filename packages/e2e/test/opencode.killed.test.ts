/** A host that is killed with SIGKILL leaves its servers behind, and they are ended without it. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { Effect, FileSystem } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { serverOf } from "./fixtures/server.ts"
import { assertUsable } from "./fixtures/turns.ts"

const program = fileURLToPath(new URL("./fixtures/killedHost.ts", import.meta.url))

/** The MCP servers of such a host. */
const mcpServers = (leases: string) => Processes.withText(`mcpServer.mjs works ${leases}`)

/** Runs a host until it says where its server works, and kills it; says how many processes and MCP servers it had. */
const killed = (leases: string) =>
  Effect.callback<{ readonly root: string; readonly had: number; readonly mcp: number }>((resume) => {
    const child = spawn(process.execPath, ["--conditions=@reins/source", program, leases], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    let root = ""
    let had = 0
    let mcp = 0
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      root += text
      if (!root.endsWith("\n")) return
      had = Processes.withEnvironment(root.trim()).length
      mcp = mcpServers(leases).length
      child.kill("SIGKILL")
    })
    child.once("exit", () => resume(Effect.succeed({ root: root.trim(), had, mcp })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

describe("a host that was killed", () => {
  it.live(
    "trap 20: leaves its server, with a tool at work and MCP servers; the reaper ends all, and no server of a host that lives",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const leases = yield* fs.makeTempDirectoryScoped({ prefix: "reins-leases-" })
        const host = Host.layer({ policy: ApprovalPolicy.fullAccess, openCode: { leases } })
        yield* Effect.gen(function*() {
          const neighbour = yield* Host.open()
          const { pid } = yield* serverOf(neighbour)
          const { had, mcp, root } = yield* killed(leases)
          yield* Effect.addFinalizer(() => Effect.ignore(fs.remove(root, { recursive: true, force: true })))
          assert.match(root, /^\//)
          assert.isAtLeast(had, 2)
          assert.strictEqual(mcp, 2)
          // Within 5 seconds.
          yield* Processes.until(
            () => Processes.withEnvironment(root).length + mcpServers(leases).length === 0,
            "what was left behind still runs"
          )
          yield* Effect.gen(function*() {
            yield* assertUsable(yield* Host.open())
          }).pipe(Effect.scoped, Effect.provide(Host.layer({ openCode: { leases } })))
          assert.isTrue(Processes.isAlive(pid))
          yield* assertUsable(neighbour)
          // Only the living one is noted still.
          assert.strictEqual((yield* fs.readDirectory(leases)).length, 1)
        }).pipe(Effect.scoped, Effect.provide(host))
        assert.deepStrictEqual(yield* fs.readDirectory(leases), [])
      }).pipe(Effect.scoped, Effect.provide(Host.platform)),
    90_000
  )
})
