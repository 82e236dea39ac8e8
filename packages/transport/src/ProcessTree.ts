/**
 * The processes below an agent server: listing them, and ending them for certain.
 *
 * An agent starts its tools in sessions of their own, which a signal to the server's process group does not reach. So
 * the descendants are collected while their ancestors still live, and each is signalled by its pid, which is only done
 * after its start time was compared: a pid alone may belong to somebody else by then.
 *
 * This is the one file that speaks to the operating system. Linux is read through `/proc`; other POSIX systems through
 * `ps`, which is unverified; on Windows nothing is listed, and the spawner's own `taskkill` ends the tree.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import type { ProcessRow } from "./internal/processTable.ts"
import * as processTable from "./internal/processTable.ts"

/**
 * One process for as long as it lives: a pid together with the moment it started, in a unit of the platform.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessRef {
  readonly pid: number
  readonly startTime: number
}

/**
 * A living process with its parent, process group and session.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessInfo extends ProcessRef {
  readonly ppid: number
  readonly pgid: number
  readonly sid: number
}

/**
 * Signals that this library sends.
 *
 * @category models
 * @since 0.1.0
 */
export type Signal = "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP"

const isLinux = process.platform === "linux"
const isWindows = process.platform === "win32"

const pollEvery = Duration.millis(15)

const readStat = (pid: number): ProcessRow | undefined => {
  try {
    return processTable.parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return undefined
  }
}

const readProc = (): Map<number, ProcessRow> => {
  const table = new Map<number, ProcessRow>()
  for (const name of readdirSync("/proc")) {
    const first = name.charCodeAt(0)
    if (first < 48 || first > 57) continue
    const row = readStat(Number(name))
    if (row !== undefined) table.set(row.pid, row)
  }
  return table
}

const ps = (selection: ReadonlyArray<string>): Effect.Effect<Map<number, ProcessRow>> =>
  Effect.callback((resume) => {
    const child = execFile(
      "ps",
      [...selection, "-o", "pid=,ppid=,pgid=,sess=,stat=,lstart="],
      { env: { ...process.env, LC_ALL: "C" }, timeout: 2_000, maxBuffer: 16 * 1024 * 1024 },
      // `ps -p` exits 1 for a pid that is gone, which is an empty answer.
      (_error, stdout) => resume(Effect.succeed(new Map(processTable.parsePs(stdout).map((row) => [row.pid, row]))))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const table: Effect.Effect<ReadonlyMap<number, ProcessRow>> = isLinux
  ? Effect.sync(readProc)
  : isWindows
  ? Effect.succeed(new Map())
  : ps(["-A"])

const lookup = (pid: number): Effect.Effect<ProcessRow | undefined> =>
  isLinux
    ? Effect.sync(() => readStat(pid))
    : isWindows
    ? Effect.succeed(undefined)
    : Effect.map(ps(["-p", String(pid)]), (rows) => rows.get(pid))

const send = (target: number, signal: Signal): boolean => {
  try {
    return process.kill(target, signal)
  } catch {
    // Gone already, or not ours to signal: both mean that it was not delivered.
    return false
  }
}

/**
 * All living descendants of a process, without itself. Give what was collected before to find also those whose parent
 * has ended since: they are known by their session and process group.
 *
 * @category accessors
 * @since 0.1.0
 */
export const descendants = (
  root: number | ProcessRef,
  collected: ReadonlyArray<ProcessInfo> = []
): Effect.Effect<ReadonlyArray<ProcessInfo>> =>
  Effect.map(
    table,
    (rows) => processTable.membersOf(rows, typeof root === "number" ? { pid: root } : root, collected, process.pid)
  )

/**
 * When the living process with this pid started, or nothing when none lives.
 *
 * @category accessors
 * @since 0.1.0
 */
export const startTime = (pid: number): Effect.Effect<number | undefined> =>
  Effect.map(lookup(pid), (row) => row?.startTime)

/**
 * Whether exactly this process still lives. A zombie is dead, and so is a pid that was given to another process.
 *
 * @category accessors
 * @since 0.1.0
 */
export const isAlive = (ref: ProcessRef): Effect.Effect<boolean> =>
  Effect.map(startTime(ref.pid), (found) => found === ref.startTime)

/**
 * The boot of the machine and the space of process ids that this process sees: only within both do a pid and a start
 * time name the same process. Nothing where the platform does not tell.
 *
 * @category accessors
 * @since 0.1.0
 */
export const space: Effect.Effect<{ readonly bootId: string; readonly pidNamespace: string } | undefined> = Effect.sync(
  () => {
    try {
      return {
        bootId: readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim(),
        pidNamespace: readlinkSync("/proc/self/ns/pid")
      }
    } catch {
      return undefined
    }
  }
)

/**
 * The living processes that were started with this mark among the words, divided by colons, of an environment variable.
 * One that changed its environment itself is found by what it was started with. On Linux only.
 *
 * @category accessors
 * @since 0.1.0
 */
export const marked = (variable: string, mark: string): Effect.Effect<ReadonlyArray<ProcessInfo>> =>
  Effect.sync(() => isLinux ? [...readProc().values()].filter((row) => isMarked(row.pid, variable, mark)) : [])

const isMarked = (pid: number, variable: string, mark: string): boolean => {
  if (pid === process.pid) return false
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0")
    const value = entries.find((entry) => entry.startsWith(`${variable}=`))?.slice(variable.length + 1)
    return value?.split(":").includes(mark) === true
  } catch {
    // Ended meanwhile, or somebody else's.
    return false
  }
}

/**
 * Sends a signal to exactly this process, after comparing its start time. Answers whether it was delivered.
 *
 * @category combinators
 * @since 0.1.0
 */
export const signalProcess = (ref: ProcessRef, signal: Signal): Effect.Effect<boolean> =>
  Effect.map(
    isAlive(ref),
    (alive) => alive && ref.pid > 1 && ref.pid !== process.pid && send(ref.pid, signal)
  )

/**
 * Sends a signal to a process group. Answers whether it was delivered. The ids 0 and 1, which the system reads as "my
 * own group" and "everyone", are refused. The caller knows that the group is its own: see `killTree`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const signalGroup = (pgid: number, signal: Signal): Effect.Effect<boolean> =>
  Effect.sync(() => !isWindows && Number.isSafeInteger(pgid) && pgid > 1 && send(-pgid, signal))

const living = (refs: ReadonlyArray<ProcessInfo>) => Effect.filter(refs, isAlive)

const signalAll = Effect.fnUntraced(function*(
  root: ProcessRef,
  members: ReadonlyArray<ProcessInfo>,
  signal: Signal
) {
  // The group in one system call, so that a member cannot fork away in between; it is ours as long as a process that
  // we verified is in it.
  const leads = (yield* isAlive(root)) || members.some((member) => member.pgid === root.pid)
  const delivered = leads && (yield* signalGroup(root.pid, signal))
  yield* Effect.forEach(
    members,
    (member) => delivered && member.pgid === root.pid ? Effect.void : signalProcess(member, signal),
    { discard: true }
  )
  if (!delivered) yield* signalProcess(root, signal)
})

/**
 * Ends a process that leads its own group, with all its descendants: SIGTERM to the group and to every descendant
 * outside it, a wait, then SIGKILL to what still lives. `collected` are the descendants as seen earlier, while their
 * parents lived. Takes at most `term` + `kill` and answers what survived even that (a process stuck in the kernel).
 *
 * @category combinators
 * @since 0.1.0
 */
export const killTree = Effect.fnUntraced(function*(
  root: ProcessRef,
  collected: ReadonlyArray<ProcessInfo>,
  options?: {
    /** How long SIGTERM may take before SIGKILL follows. Default 1.5 s. */
    readonly term?: Duration.Input | undefined
    /** How long to wait for the death of what was killed. Default 1 s. */
    readonly kill?: Duration.Input | undefined
  }
): Effect.fn.Return<ReadonlyArray<ProcessInfo>> {
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
  let seen = collected

  // What lives now, remembering all that was ever seen: a member may start another and end.
  const scan = Effect.gen(function*() {
    const members = yield* descendants(root, seen)
    const fresh = new Map(seen.map((member) => [member.pid, member]))
    for (const member of members) fresh.set(member.pid, member)
    seen = [...fresh.values()]
    const rootRow = yield* lookup(root.pid)
    return rootRow?.startTime === root.startTime ? [rootRow, ...members] : members
  })

  let alive = yield* scan
  if (alive.length === 0) return alive
  yield* signalAll(root, alive, "SIGTERM")
  const termUntil = now() + Duration.toMillis(options?.term ?? Duration.millis(1_500))
  while (now() < termUntil) {
    alive = yield* living(alive)
    // Only when all known ones are gone is it worth a full scan for what they left behind.
    if (alive.length === 0) {
      alive = yield* scan
      if (alive.length === 0) return alive
      yield* signalAll(root, alive, "SIGTERM")
    }
    yield* Effect.sleep(pollEvery)
  }

  const killUntil = now() + Duration.toMillis(options?.kill ?? Duration.seconds(1))
  do {
    alive = yield* scan
    if (alive.length === 0) return alive
    // Sent again in every round: a process that forks faster than one scan loses its new children in the next.
    yield* signalAll(root, alive, "SIGKILL")
    yield* Effect.sleep(pollEvery)
  } while (now() < killUntil)
  return yield* scan
})
