/**
 * What becomes of a server process, told to the sessions that use it.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { ProcessStatus } from "@reins/core/SessionEvent"
import type { Signal } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { StartProgress } from "./ServerProcess.ts"
import type { Status, Supervisor } from "./Supervisor.ts"

/**
 * Takes the signals of one session. Never blocks.
 *
 * @category models
 * @since 0.1.0
 */
export type Report = (signal: Signal) => void

/**
 * The listeners of one server.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProcessReports {
  /** Tells how far a start has come. */
  readonly progress: (progress: StartProgress) => Effect.Effect<void>
  /**
   * Tells a session of the process while the scope lives, from its state now on. A session whose connection broke before
   * the exit of the process was seen hears of it, with the last output, when it listens again.
   */
  readonly listen: (report: Report) => Effect.Effect<void, never, Scope.Scope>
  /** Follows a supervisor while the scope lives. */
  readonly follow: <Info extends { readonly version: string }>(
    supervisor: Supervisor<Info>,
    protocol: string
  ) => Effect.Effect<void, never, Scope.Scope>
}

/** States that are kept for sessions which are between two connections. */
const maxHistory = 64

const statusOf = (
  status: Status<{ readonly version: string }>,
  protocol: string
): ProcessStatus | undefined => {
  switch (status._tag) {
    case "starting":
      return { _tag: "starting" }
    case "ready":
      return { _tag: "ready", version: status.info.version, protocol, pid: status.pid }
    case "exited":
      return {
        _tag: "exited",
        ...(status.code === undefined ? undefined : { code: status.code }),
        ...(status.signal === undefined ? undefined : { signal: status.signal }),
        ...(status.stderrTail === "" || status.stderrTail === undefined ? undefined : { stderrTail: status.stderrTail })
      }
    case "restarting":
      return { _tag: "restarting", attempt: status.attempt, in: status.in }
    case "unavailable":
      return { _tag: "unavailable", error: AgentError.toInfo(status.error) }
    case "idle":
    case "stopped":
      return undefined
  }
}

/**
 * Makes an empty list of listeners.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (): ProcessReports => {
  const listeners = new Set<Report>()
  // What was told lately, and how far each session has heard it.
  const history: Array<ProcessStatus> = []
  let told = 0
  const heard = new WeakMap<Report, number>()
  let current: () => ProcessStatus | undefined = () => undefined

  const tell = (status: ProcessStatus): void => {
    history.push(status)
    if (history.length > maxHistory) history.shift()
    told++
    for (const report of listeners) {
      heard.set(report, told)
      report({ _tag: "process", status })
    }
  }

  return {
    progress: ({ elapsed, stage }) => Effect.sync(() => tell({ _tag: "starting", stage, elapsed })),
    follow: (supervisor, protocol) => {
      current = () => statusOf(SubscriptionRef.getUnsafe(supervisor.status), protocol)
      return SubscriptionRef.changes(supervisor.status).pipe(
        Stream.runForEach((status) =>
          Effect.sync(() => {
            const known = statusOf(status, protocol)
            if (known !== undefined) tell(known)
          })
        ),
        Effect.forkScoped,
        Effect.asVoid
      )
    },
    listen: (report) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const before = heard.get(report)
          const status = current()
          const missed = before === undefined
            ? status === undefined ? [] : [status]
            : history.slice(Math.max(0, history.length - (told - before)))
          listeners.add(report)
          heard.set(report, told)
          for (const one of missed) report({ _tag: "process", status: one })
        }),
        () =>
          Effect.sync(() => {
            listeners.delete(report)
          })
      )
  }
}
