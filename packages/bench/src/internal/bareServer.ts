/** `opencode serve` started by hand: what the start of a session is beside. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import * as readline from "node:readline"
import * as bench from "./bench.ts"

const readyLine = /listening on (https?:\/\/\S+)/
const exitLimit = 5_000

/** A server that has said that it is ready. */
export interface BareServer {
  readonly url: string
  /** When the process was spawned, on the clock of `performance.now()`. */
  readonly spawnedAt: number
  /** When its ready line came. */
  readonly readyAt: number
}

const freePort = async (): Promise<number> => {
  const server = createServer()
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  return typeof address === "object" && address !== null ? address.port : 0
}

/** Starts one; with the scope it is killed. */
export const make = (options: {
  readonly binary: string
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly limit: number
}): Effect.Effect<BareServer, bench.BenchFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* bench.attempt(freePort)
    const { child, spawnedAt } = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const spawnedAt = performance.now()
        const child = spawn(options.binary, ["serve", "--hostname=127.0.0.1", `--port=${port}`], {
          cwd: options.cwd,
          env: { ...process.env, ...options.env },
          stdio: ["ignore", "pipe", "ignore"]
        })
        return { child, spawnedAt }
      }),
      ({ child }) =>
        Effect.promise(async () => {
          if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
          const exited = once(child, "exit")
          child.kill("SIGKILL")
          await bench.within(exitLimit, "The end of a bare server", exited).catch(() => {})
        })
    )
    return yield* bench.attempt(() =>
      bench.within(
        options.limit,
        "The ready line of a bare server",
        new Promise<BareServer>((resolve, reject) => {
          readline.createInterface({ input: child.stdout }).on("line", (line) => {
            const url = readyLine.exec(line)?.[1]
            if (url !== undefined) resolve({ url, spawnedAt, readyAt: performance.now() })
          })
          child.once("error", reject)
          child.once("exit", (code, signal) => {
            reject(new Error(`A bare server ended (${signal ?? code}) before it was ready.`))
          })
        })
      )
    )
  })
