/**
 * What a host leaves behind when it is killed: a file for each process that it started, by which the next host finds the
 * process and ends it, with all that it started.
 *
 * A pid alone proves nothing, it may have been given to somebody else since. A lease is acted on only where the boot of
 * the machine, the space of process ids, pid, start time and a mark in the environment of the process all agree, and
 * where its host is dead by the same measure. Linux only; elsewhere leases are neither written nor read.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Reaper from "./Reaper.ts"
import * as ProcessTree from "./ProcessTree.ts"

const Ref = Schema.Struct({ pid: Schema.Int, startTime: Schema.Int })

/**
 * The content of a lease.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Lease = Schema.Struct({
  v: Schema.Literal(1),
  /** The boot of the machine and the space of process ids, in which pids mean something. */
  bootId: Schema.NonEmptyString,
  pidNamespace: Schema.NonEmptyString,
  host: Ref,
  child: Ref,
  /** One of the words, divided by colons, of `REINS_OWNER` in the environment of the child and of what it started. */
  mark: Schema.NonEmptyString
})

/**
 * The content of a lease.
 *
 * @category models
 * @since 0.1.0
 */
export type Lease = typeof Lease.Type

/**
 * The leases of one host.
 *
 * @category models
 * @since 0.1.0
 */
export interface Leases {
  /** What each process that is leased needs in its environment. */
  readonly environment: Readonly<Record<string, string>>
  /**
   * Writes the lease of a process of ours, and has the reaper watch over it; both go with the scope. A lease that cannot
   * be written is only logged.
   */
  readonly hold: (child: ProcessTree.ProcessRef) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Ends what dead hosts left behind, each in at most 2.5 seconds, and removes their leases. Gives the number of
   * processes that were ended; never fails.
   */
  readonly sweep: Effect.Effect<number>
}

/**
 * The variable that marks the processes of a host. A host that runs inside of an agent adds its own mark.
 *
 * @category models
 * @since 0.1.0
 */
export const variable = "REINS_OWNER"

const environment = (name: string) => Config.String(name).pipe(Effect.orElseSucceed(() => ""))

/**
 * Where the leases of a user lie, by the XDG rules: `$XDG_STATE_HOME/reins/servers` or `~/.local/state/reins/servers`;
 * `false` where the environment says nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaultDirectory: Effect.Effect<string | false, never, Path.Path> = Effect.gen(function*() {
  const path = yield* Path.Path
  const given = yield* environment("XDG_STATE_HOME")
  const home = yield* environment("HOME")
  // A relative path does not count.
  if (path.isAbsolute(given)) return path.join(given, "reins", "servers")
  return path.isAbsolute(home) ? path.join(home, ".local/state/reins/servers") : false
})

/** Leases that one sweep looks at. */
const maxLeases = 1_000

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Lease))

const fileOf = (lease: Lease): string => `${lease.mark}-${lease.child.pid}-${lease.child.startTime}.json`

/**
 * Leases as files of a directory, which is made, closed to other users, when the first one is written.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: {
  /** Absolute path; shared by all hosts of a user. */
  readonly directory: string
}): Effect.fn.Return<Leases, never, FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  const { directory } = options
  const mark = crypto.randomUUID()
  const outer = yield* environment(variable)
  const space = yield* ProcessTree.space
  const startTime = yield* ProcessTree.startTime(process.pid)

  const write = Effect.fnUntraced(function*(lease: Lease) {
    yield* fs.makeDirectory(directory, { recursive: true, mode: 0o700 })
    yield* fs.writeFileString(`${directory}/${fileOf(lease)}`, JSON.stringify(lease), { mode: 0o600 })
  })

  const remove = (name: string) => fs.remove(`${directory}/${name}`, { force: true }).pipe(Effect.ignore)

  /** Ends what a lease names if its host is dead. */
  const settle = Effect.fnUntraced(function*(name: string) {
    const text = yield* fs.readFileString(`${directory}/${name}`)
    const decoded = decode(text)
    // Of a newer version, or half written by a host that lives.
    if (decoded._tag === "None" || space === undefined) return 0
    const lease = decoded.value
    if (lease.bootId !== space.bootId) {
      yield* remove(name)
      return 0
    }
    // Another container's processes are not to be seen from here.
    if (lease.pidNamespace !== space.pidNamespace || (yield* ProcessTree.isAlive(lease.host))) return 0
    const marked = yield* ProcessTree.marked(variable, lease.mark)
    const ended = marked.length
    if (ended > 0) {
      const survivors = yield* ProcessTree.killTree(lease.child, marked)
      if (survivors.length > 0) return ended - survivors.length
    }
    yield* remove(name)
    return ended
  })

  return {
    environment: space === undefined ? {} : { [variable]: outer === "" ? mark : `${outer}:${mark}` },
    hold: (child) => {
      if (space === undefined || startTime === undefined) return Effect.void
      const lease: Lease = { v: 1, ...space, host: { pid: process.pid, startTime }, child, mark }
      // In this order a caller may give up waiting for a slow disk.
      return Effect.andThen(
        Reaper.watch({ mark, directory, child }),
        Effect.andThen(
          Effect.addFinalizer(() => Effect.timeoutOption(remove(fileOf(lease)), "1 second")),
          Effect.catch(write(lease), (error) => Effect.logDebug("A process lease could not be written.", error))
        )
      )
    },
    sweep: Effect.gen(function*() {
      const names = yield* fs.readDirectory(directory)
      const counts = yield* Effect.forEach(
        names.filter((name) => name.endsWith(".json")).slice(0, maxLeases),
        (name) => Effect.orElseSucceed(settle(name), () => 0),
        { concurrency: 8 }
      )
      return counts.reduce((sum, count) => sum + count, 0)
    }).pipe(Effect.orElseSucceed(() => 0), Effect.withSpan("ProcessLease.sweep"))
  }
})
