/**
 * Names a process so that it is not taken for another one that got its number later: pid, start time, boot, and the
 * machine and pid namespace in which the pid means something. Read through `/proc`; where there is none the pid is all.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"

const optional = Schema.optionalKey

export const ProcessIdentity = Schema.Struct({
  pid: Schema.Int,
  /** Clock ticks since the boot; comparable only on the same boot. */
  start: optional(Schema.Int),
  boot: optional(Schema.String),
  namespace: optional(Schema.String),
  machine: optional(Schema.String)
})
export type ProcessIdentity = typeof ProcessIdentity.Type

interface Host {
  readonly pid: number
  readonly kill: (pid: number, signal: 0) => unknown
}

// The runtime's own `process` is asked for, so that this package imports no platform.
const host = (): Host | undefined => (globalThis as { readonly process?: Host }).process

interface Stat {
  readonly start: number
  readonly ended: boolean
}

/** One `/proc/<pid>/stat`: the name is in parentheses and may hold some itself, so fields count from the last one. */
const parseStat = (text: string): Stat | undefined => {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
  const start = Number(fields[19])
  const state = fields[0]
  if (!Number.isSafeInteger(start) || state === undefined) return undefined
  // A zombie runs nothing any more.
  return { start, ended: state === "Z" || state === "X" || state === "x" }
}

const statOf = (fs: FileSystem.FileSystem, pid: number): Effect.Effect<Stat | undefined> =>
  fs.readFileString(`/proc/${pid}/stat`).pipe(Effect.map(parseStat), Effect.orElseSucceed(() => undefined))

const line = (fs: FileSystem.FileSystem, path: string): Effect.Effect<string | undefined> =>
  fs.readFileString(path).pipe(
    Effect.map((text) => text.trim() || undefined),
    Effect.orElseSucceed(() => undefined)
  )

/** Who this process is. */
export const current = (fs: FileSystem.FileSystem): Effect.Effect<ProcessIdentity> =>
  Effect.gen(function*() {
    const pid = host()?.pid ?? 0
    const stat = yield* statOf(fs, pid)
    const boot = yield* line(fs, "/proc/sys/kernel/random/boot_id")
    const machine = yield* line(fs, "/proc/sys/kernel/hostname")
    const namespace = yield* Effect.orElseSucceed(fs.readLink("/proc/self/ns/pid"), () => undefined)
    return {
      pid,
      ...(stat === undefined ? undefined : { start: stat.start }),
      ...(boot === undefined ? undefined : { boot }),
      ...(namespace === undefined ? undefined : { namespace }),
      ...(machine === undefined ? undefined : { machine })
    }
  })

const exists = (pid: number): boolean => {
  try {
    host()?.kill(pid, 0)
    return true
  } catch (error) {
    // Somebody else's process cannot be signalled, and lives.
    return (error as { readonly code?: unknown }).code !== "ESRCH"
  }
}

/** `unknown`: it may live where its pid cannot be looked up from here. */
export const fate = (
  fs: FileSystem.FileSystem,
  self: ProcessIdentity,
  other: ProcessIdentity
): Effect.Effect<"alive" | "dead" | "unknown"> =>
  Effect.gen(function*() {
    if (other.boot !== self.boot) {
      // The same machine after a boot, or another machine.
      const same = other.machine === self.machine && other.boot !== undefined && self.boot !== undefined
      return same ? "dead" : "unknown"
    }
    if (other.boot === undefined && other.machine !== self.machine) return "unknown"
    if (other.namespace !== self.namespace || other.pid <= 0) return "unknown"
    const stat = yield* statOf(fs, other.pid)
    if (stat === undefined) return exists(other.pid) ? "alive" : "dead"
    if (stat.ended) return "dead"
    return other.start === undefined || other.start === stat.start ? "alive" : "dead"
  })
