/**
 * Ends what this host leaves behind when it is killed.
 *
 * One small shell process (about 2 MB) in a session of its own holds a pipe to the host. It is started with the first
 * process that is leased, and started again when somebody ends it. When the host dies, by SIGKILL too, the reaper ends
 * the processes of the host and all below them; when the host leaves nothing, it goes without a trace. It needs `/proc`
 * and a POSIX `sh`; elsewhere there is none, and the sweep of the next start is all.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { Socket } from "node:net"
import { script } from "./internal/reaperScript.ts"
import type * as ProcessTree from "./ProcessTree.ts"

/** Starts of a reaper in one host: somebody who ends it again and again wants none. */
const maxStarts = 5

interface Held {
  readonly mark: string
  readonly directory: string
  readonly child: ProcessTree.ProcessRef
}

const held = new Set<Held>()
let running: ChildProcess | undefined
let starts = 0

const write = (lines: ReadonlyArray<string>): void => {
  const input = running?.stdin
  if (input?.writable === true) input.write(lines.map((line) => `${line}\n`).join(""))
}

const linesOf = (one: Held): ReadonlyArray<string> => [
  `m ${one.mark} ${one.directory}`,
  `+ ${one.child.pid} ${one.child.startTime}`
]

const start = (): void => {
  if (running !== undefined || starts >= maxStarts) return
  starts++
  const child = spawn("/bin/sh", ["-c", script, "reins-reaper"], {
    detached: true,
    cwd: "/",
    // Without a mark: a reaper is not what another reaper ends.
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
    stdio: ["pipe", "ignore", "ignore"]
  })
  running = child
  const ended = (): void => {
    if (running !== child) return
    running = undefined
    if (held.size > 0) start()
  }
  child.on("error", ended).on("exit", ended)
  child.stdin.on("error", () => {})
  // Neither keeps the host running.
  child.unref()
  if (child.stdin instanceof Socket) child.stdin.unref()
  write([...held].flatMap(linesOf))
}

/**
 * Has the reaper watch over a process of ours until the scope closes. `mark` is what the process and what it starts have
 * in their environment, `directory` where its lease lies, which the reaper removes.
 *
 * @category combinators
 * @since 0.1.0
 */
export const watch = (options: {
  readonly mark: string
  readonly directory: string
  readonly child: ProcessTree.ProcessRef
}): Effect.Effect<void, never, Scope.Scope> =>
  process.platform !== "linux" ? Effect.void : Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const one: Held = { ...options }
      held.add(one)
      if (running === undefined) start()
      else write(linesOf(one))
      return one
    }),
    (one) =>
      Effect.sync(() => {
        held.delete(one)
        write([`- ${one.child.pid} ${one.child.startTime}`])
      })
  ))

/**
 * The pid of the reaper that runs, for those who look at what a host has started.
 *
 * @category getters
 * @since 0.1.0
 */
export const pid: Effect.Effect<number | undefined> = Effect.sync(() => running?.pid)
