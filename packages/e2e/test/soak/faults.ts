/** What happens to the wire and to the server while a soak runs. */
import { Effect, Random } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Subject } from "./subjects.ts"

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
export const servers = ({ isServer, root }: Pick<Subject, "isServer" | "root">): ReadonlyArray<number> =>
  readdirSync("/proc").flatMap((name) => {
    const pid = Number(name)
    if (!Number.isInteger(pid) || !isServer(read(`/proc/${name}/cmdline`))) return []
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
export const happen = (kind: Kind, subject: Subject) =>
  Effect.gen(function*() {
    const { wire } = subject
    const moment = Effect.flatMap(Random.nextIntBetween(200, 3_000), (ms) => Effect.sleep(ms))
    switch (kind) {
      case "cut":
        return yield* wire.cut
      case "halfClose":
        return yield* wire.halfClose
      case "stall": {
        yield* wire.stall
        yield* moment
        return yield* wire.resume
      }
      case "slow": {
        yield* wire.delay(50)
        yield* moment
        return yield* wire.delay(0)
      }
      case "kill":
        return yield* signal(servers(subject), "SIGKILL")
      case "stop": {
        const pids = servers(subject)
        yield* signal(pids, "SIGSTOP")
        yield* moment
        return yield* signal(pids, "SIGCONT")
      }
    }
  })
