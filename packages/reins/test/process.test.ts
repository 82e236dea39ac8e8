/** What the facade does to the process of its host: nothing. */
import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"

const home = fileURLToPath(new URL("..", import.meta.url))

interface Run {
  readonly code: number | null
  readonly output: string
  readonly messages: ReadonlyArray<unknown>
}

/** Runs Node until it ends by itself; 15 seconds at most. */
const node = (...args: ReadonlyArray<string>): Promise<Run> =>
  new Promise((resolve, reject) => {
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(?:VITEST|NODE_OPTIONS|REINS_)/.test(name))
    )
    const child = spawn(process.execPath, args, {
      cwd: home,
      env,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      timeout: 15_000,
      killSignal: "SIGKILL"
    })
    let output = ""
    const messages: Array<unknown> = []
    child.stdout?.on("data", (chunk) => output += chunk)
    child.stderr?.on("data", (chunk) => output += chunk)
    child.on("message", (message) => messages.push(message))
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, output, messages }))
  })

describe("the process of a host", () => {
  it("sees no unhandled rejection and no output, keeps its signals, and ends by itself", async () => {
    const run = await node("--conditions=@reins/source", "test/fixtures/careless.ts")
    assert.deepStrictEqual(run, {
      code: 0,
      output: "",
      messages: [{ unhandled: 0, uncaught: 0, warnings: 0, listeners: [], left: 0 }]
    })
  })

  it("is told when its Node is too old, before anything else is loaded", async () => {
    const run = await node(
      "--conditions=@reins/source",
      "--input-type=module",
      "--eval",
      `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.20.2" } })
       const { Reins, ReinsError } = await import("reins")
       const error = await Reins.create({ providers: { a: Reins.openCode() } }).catch((error) => error)
       const own = process.getActiveResourcesInfo().filter((name) => !/Pipe|TTY/.test(name))
       process.send({ is: ReinsError.is(error, "UnsupportedVersion"), message: error.message, own })
       process.disconnect()`
    )
    assert.deepStrictEqual(run.messages, [{
      is: true,
      message: "Reins needs Node 22.19.0 or newer, and this is Node 20.20.2.",
      own: []
    }], run.output)
  })
})

describe("the declarations", () => {
  it("reach no module of Effect, and serve a host that knows none", async () => {
    const out = mkdtempSync(join(tmpdir(), "reins-types-"))
    try {
      const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc")
      const emitted = await node(
        tsc,
        "-p",
        "tsconfig.json",
        "--composite",
        "false",
        "--incremental",
        "false",
        "--emitDeclarationOnly",
        "--declarationMap",
        "false",
        "--outDir",
        out
      )
      assert.strictEqual(emitted.code, 0, emitted.output)
      const reached = new Map<string, ReadonlyArray<string>>()
      const visit = (file: string): void => {
        if (reached.has(file)) return
        const text = readFileSync(file, "utf8")
        const named = [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? "")
        reached.set(relative(out, file), named)
        assert.notMatch(text.replace(/\/\*[\s\S]*?\*\//g, ""), /\b(?:Effect|Stream|Layer|Schema|Scope)\b/)
        for (const name of named) {
          if (name.startsWith(".")) visit(join(dirname(file), name.replace(/\.(?:js|ts)$/, ".d.ts")))
          else assert.isTrue(name.startsWith("@reins/core/"), `${relative(out, file)} imports ${name}`)
        }
      }
      assert.include(readdirSync(out), "index.d.ts")
      visit(join(out, "index.d.ts"))
      assert.includeMembers([...reached.keys()], ["Reins.d.ts", "ReinsSession.d.ts", "ReinsError.d.ts", "Model.d.ts"])
    } finally {
      rmSync(out, { recursive: true, force: true })
    }
  })
})
