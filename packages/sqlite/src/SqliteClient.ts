/**
 * An `effect/sql` client over `node:sqlite`.
 *
 * - One connection, one user at a time; transactions begin with `BEGIN IMMEDIATE`, nested ones are savepoints.
 * - The file is used in a thread of its own: the host's thread never waits for the disk. A statement that was sent is
 *   waited for; the thread keeps the process alive only meanwhile.
 * - A file that another process writes is waited for in Effect, where the wait can be interrupted.
 * - Integers are numbers, and `bigint` where `SafeIntegers` is set. A `Date` is refused, `true` is 1.
 * - A stream reads its whole result first.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as connection from "./internal/connection.ts"
import * as databaseThread from "./internal/databaseThread.ts"

/**
 * Which file, and how.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqliteClientOptions {
  /** Path of the file, or `:memory:`. It is made if it is missing; its directory is not. */
  readonly filename: string
  /** Default: false. */
  readonly readonly?: boolean
  /** How long a file is waited for that another process writes. Default: 5 seconds. */
  readonly wait?: Duration.Input
  /**
   * `normal`, the default: what was committed survives the end of the process, however it ends, but not a power loss.
   * `full`: it survives that as well; each commit waits for the disk.
   */
  readonly synchronous?: "normal" | "full"
}

/**
 * Opens the file; it is closed with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: SqliteClientOptions
): Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function*() {
    const thread = yield* databaseThread.make({ filename: options.filename, readonly: options.readonly === true })
    const wait = Duration.toMillis(Duration.fromInputUnsafe(options.wait ?? "5 seconds"))
    const conn = connection.make(thread, { wait })
    const pragma = (text: string) => conn.executeUnprepared(`PRAGMA ${text}`, [], undefined)
    yield* pragma("busy_timeout = 0")
    if (options.readonly !== true) {
      yield* pragma("journal_mode = WAL")
      yield* pragma(`synchronous = ${options.synchronous === "full" ? "FULL" : "NORMAL"}`)
    }
    yield* pragma("foreign_keys = ON")
    const semaphore = yield* Semaphore.make(1)
    return yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(conn),
        semaphore,
        isTransaction: thread.isTransaction
      }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node:sqlite",
      beginTransaction: "BEGIN IMMEDIATE",
      prepareTransactionControls: true,
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [["db.system.name", "sqlite"]]
    })
  })

/**
 * The same as a layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: SqliteClientOptions): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(options)).pipe(Layer.provide(Reactivity.layer))
