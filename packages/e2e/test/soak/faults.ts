/** What happens to the wire and to the server while a soak runs. */
import type { Proxy } from "@reins/testing/FaultInjector"
import { Effect, Random } from "effect"
import { readdirSync, readFileSync } from "node:fs"

export const kinds = ["cut", "halfClose", "stall", "kill", "stop", "slow"] as const
export type Kind = typeof kinds[number]

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1")
  } catch {
    return ""
  }
}

/** The servers that run in the sandbox now. */
export const servers = (root: string): ReadonlyArray<number> =>
  readdirSync("/proc").flatMap((name) => {
    const pid = Number(name)
    if (!Number.isInteger(pid) || !read(`/proc/${name}/cmdline`).includes("\0serve\0")) return []
    return read(`/proc/${name}/environ`).includes(root) ? [pid] : []
  })

const signal = (pids: ReadonlyArray<number>, name: NodeJS.Signals) =>
  Effect.sync(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, name)
      } catch {
        // Gone already.
      }
    }
  })

/** One fault; returns when the wire is whole again. */
export const happen = (kind: Kind, options: { readonly proxy: Proxy; readonly root: string }) =>
  Effect.gen(function*() {
    const { proxy, root } = options
    const moment = Effect.flatMap(Random.nextIntBetween(200, 3_000), (ms) => Effect.sleep(ms))
    switch (kind) {
      case "cut":
        return yield* proxy.cut()
      case "halfClose":
        return yield* proxy.halfClose()
      case "stall": {
        yield* proxy.stall()
        yield* moment
        return yield* proxy.resume
      }
      case "slow": {
        yield* proxy.delay(50)
        yield* moment
        return yield* proxy.delay(0)
      }
      case "kill":
        return yield* signal(servers(root), "SIGKILL")
      case "stop": {
        const pids = servers(root)
        yield* signal(pids, "SIGSTOP")
        yield* moment
        return yield* signal(pids, "SIGCONT")
      }
    }
  })
