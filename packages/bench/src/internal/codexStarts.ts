/** One start of `codex app-server` until it has answered `initialize`: by hand, and by Reins. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CodexBinary from "@reins/codex/CodexBinary"
import * as CodexServer from "@reins/codex/CodexServer"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as ProcessLease from "@reins/transport/ProcessLease"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as readline from "node:readline"
import { fileURLToPath } from "node:url"
import * as bench from "./bench.ts"

/** A start that is over, its process gone. */
export interface Start {
  /** Milliseconds. */
  readonly ready: number
  /** The agent's version, as it told it. */
  readonly version: string
}

/**
 * Keeps the agent off the network. In the file, because Reins gives as arguments what the file does not name, and the two
 * are to differ in nothing.
 */
const config = `[features]
plugins = false
unbounded_connection_retries = false`

/** The environment of a start, with a home that no agent has seen: what a start leaves there makes the next one faster. */
const home: Effect.Effect<
  Readonly<Record<string, string>>,
  bench.BenchFailed,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> = Effect.gen(function*() {
  // Nobody is asked before the first turn, so nobody has to listen there.
  const { env } = yield* CodexSandbox.make({ url: "http://127.0.0.1:9/v1", config })
  return env
}).pipe(Effect.mapError(bench.unexpected))

/** The native binary, found as the adapter finds it. */
export const binary: Effect.Effect<string, bench.BenchFailed> = CodexBinary.find({
  from: [fileURLToPath(new URL(".", import.meta.url))]
}).pipe(Effect.map(({ path }) => path), Effect.provide(NodeServices.layer), Effect.mapError(bench.unexpected))

/** What Reins sends. */
const initialize = JSON.stringify({
  id: 1,
  method: "initialize",
  params: {
    clientInfo: { name: "reins", title: "Reins", version: "0.1.0" },
    capabilities: { experimentalApi: true }
  }
})

interface Answer {
  readonly id?: number
  readonly result?: { readonly userAgent?: string }
}

/** From the spawn to the line of the answer; then its input is ended and its exit waited for. */
const exchange = async (
  binary: string,
  env: Readonly<Record<string, string>>,
  limit: number
): Promise<Start> => {
  const mark = crypto.randomUUID()
  const args = ["app-server", "-c", `shell_environment_policy.set.${ProcessLease.variable}="${mark}"`]
  const spawnedAt = performance.now()
  const child = spawn(binary, args, {
    env: { ...process.env, ...env, [ProcessLease.variable]: mark },
    stdio: ["pipe", "pipe", "ignore"]
  })
  const exited = once(child, "exit")
  // An end of the process before its input was taken is told by its exit.
  child.stdin.on("error", () => {})
  try {
    const answer = new Promise<Start>((resolve, reject) => {
      readline.createInterface({ input: child.stdout }).on("line", (line) => {
        const { id, result } = JSON.parse(line) as Answer
        if (id !== 1) return
        resolve({
          ready: performance.now() - spawnedAt,
          version: /^[^/]*\/(\S+)/.exec(result?.userAgent ?? "")?.[1] ?? "unknown"
        })
      })
      exited.then(
        ([code, signal]: ReadonlyArray<unknown>) =>
          reject(new Error(`A bare Codex ended (${String(signal ?? code)}) before it answered.`)),
        reject
      )
    })
    child.stdin.write(`${initialize}\n`)
    const start = await bench.within(limit, "The answer of a bare Codex", answer)
    child.stdin.end()
    await bench.within(limit, "The end of a bare Codex", exited)
    return start
  } finally {
    child.kill("SIGKILL")
  }
}

/** By `node:child_process` and `readline`. */
export const byHand = (binary: string, limit: number): Effect.Effect<Start, bench.BenchFailed> =>
  home.pipe(
    Effect.flatMap((env) => bench.attempt(() => exchange(binary, env, limit))),
    Effect.scoped,
    Effect.provide(NodeServices.layer)
  )

/** From nothing to a server that is ready; then its scope is closed. With `leases` it is noted for the next host. */
export const byReins = (
  binary: string,
  limit: number,
  leases?: ProcessLease.Leases
): Effect.Effect<Start, bench.BenchFailed> =>
  Effect.gen(function*() {
    const env = yield* home
    // Its own scope: the directories go after the process.
    return yield* Effect.scoped(Effect.gen(function*() {
      const begin = performance.now()
      const server = yield* CodexServer.make({ binary, env, startTimeout: limit }, leases)
      const { version } = yield* server.live
      return { ready: performance.now() - begin, version }
    })).pipe(Effect.mapError(bench.unexpected))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

/** Leases in a directory that goes with the scope. */
export const leases: Effect.Effect<ProcessLease.Leases, never, Scope.Scope> = Effect.flatMap(
  bench.directory,
  (directory) => ProcessLease.make({ directory })
).pipe(Effect.provide(NodeServices.layer))
