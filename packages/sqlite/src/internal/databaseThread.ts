/**
 * A database file in a thread of its own: the host's thread never waits for the disk, neither when a commit is written
 * through nor when the write-ahead log is moved over.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as SqlError from "effect/sql/SqlError"
import type { SQLInputValue } from "node:sqlite"
import { Worker } from "node:worker_threads"
import * as sqliteError from "./sqliteError.ts"
import { threadScript } from "./threadScript.ts"

/** How many statements are kept prepared. */
const kept = 128
/** How long the end of the thread is waited for. */
const closing = "5 seconds"

export interface Request {
  readonly sql: string
  readonly params: ReadonlyArray<SQLInputValue>
  /** Whether the statement is kept prepared. */
  readonly keep: boolean
  /** Whether all integers come as bigint. */
  readonly exact: boolean
  /** Whether a statement without rows tells what it changed. */
  readonly raw: boolean
}

interface Reply {
  readonly result?: unknown
  readonly error?: sqliteError.Told
  readonly isTransaction: boolean
}

export interface DatabaseThread {
  /** Answered in the order of the calls. What was sent is waited for: an interrupt takes effect behind it. */
  readonly request: (request: Request) => Effect.Effect<unknown, SqlError.SqlError>
  /** As of the last answer. */
  readonly isTransaction: () => boolean
}

type Resume = (effect: Effect.Effect<unknown, SqlError.SqlError>) => void

/** Opens the file; it is closed, and its thread is over, with the scope. */
export const make = (
  options: { readonly filename: string; readonly readonly: boolean }
): Effect.Effect<DatabaseThread, SqlError.SqlError, Scope.Scope> =>
  Effect.gen(function*() {
    const running = yield* Effect.acquireRelease(Effect.sync(() => start(options)), (running) => running.close)
    yield* running.opened
    return running
  })

const start = (options: { readonly filename: string; readonly readonly: boolean }) => {
  const worker = new Worker(threadScript, {
    eval: true,
    // Nothing but node:sqlite runs there; all it warns of is that it is experimental. Loaders of the host stay out.
    execArgv: ["--no-warnings"],
    workerData: { ...options, kept }
  })
  // The thread keeps the process alive only while an answer is waited for.
  worker.unref()
  const waiting: Array<Resume> = []
  let isTransaction = false
  let operation = "open"
  let over: Error | undefined
  let onOver: (() => void) | undefined

  const wait = (resume: Resume): void => {
    if (waiting.push(resume) === 1) worker.ref()
  }
  const settle = (effect: Effect.Effect<unknown, SqlError.SqlError>): void => {
    const resume = waiting.shift()
    if (waiting.length === 0) worker.unref()
    resume?.(effect)
  }
  const gone = (cause: Error): Effect.Effect<never, SqlError.SqlError> =>
    Effect.fail(sqliteError.make(cause, operation))

  worker.on("message", (reply: Reply) => {
    isTransaction = reply.isTransaction
    const asked = operation
    operation = "execute"
    settle(
      reply.error === undefined
        ? Effect.succeed(reply.result)
        : Effect.fail(sqliteError.make(sqliteError.fromTold(reply.error), asked))
    )
  })
  worker.on("error", (cause) => {
    over = new Error("The thread of the database ended.", { cause })
  })
  worker.on("exit", () => {
    over ??= new Error("The database is closed.")
    isTransaction = false
    while (waiting.length > 0) settle(gone(over))
    onOver?.()
  })

  return {
    opened: Effect.callback<unknown, SqlError.SqlError>((resume) => wait(resume)).pipe(Effect.uninterruptible),
    isTransaction: () => isTransaction,
    request: (request: Request) =>
      Effect.callback<unknown, SqlError.SqlError>((resume) => {
        if (over !== undefined) return resume(gone(over))
        wait(resume)
        worker.postMessage(request)
      }).pipe(Effect.uninterruptible),
    close: Effect.callback<void>((resume) => {
      if (over !== undefined) return resume(Effect.void)
      worker.ref()
      onOver = () => resume(Effect.void)
      worker.postMessage({})
    }).pipe(
      Effect.timeoutOrElse({
        duration: closing,
        orElse: () =>
          Effect.sync(() => {
            worker.unref()
            void worker.terminate()
          })
      }),
      Effect.asVoid
    )
  }
}
