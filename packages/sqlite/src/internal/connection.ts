/** One connection to a SQLite file: statements are kept prepared, and a busy file is waited for without blocking. */
import * as Context from "effect/Context"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import * as SqlError from "effect/sql/SqlError"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

/** Statements that are kept prepared; the one that was used longest ago leaves. */
const kept = 128
const firstWait = 1
const longestWait = 50

/** `node:sqlite` names the code of an error `errcode`; Effect reads `errno`. */
export const errorOf = (cause: unknown, message: string, operation: string): SqlError.SqlError => {
  if (typeof cause === "object" && cause !== null && "errcode" in cause && !("errno" in cause)) {
    Object.assign(cause, { errno: cause.errcode })
  }
  return new SqlError.SqlError({ reason: SqlError.classifySqliteError(cause, { message, operation }) })
}

/** Only what another attempt can change: not a snapshot that is too old to be written from. */
const isBusy = (error: SqlError.SqlError): boolean => {
  const { cause } = error.reason
  const code = typeof cause === "object" && cause !== null && "errcode" in cause ? Number(cause.errcode) : 0
  return (code & 0xff) === 5 && code !== 517
}

/** What SQLite can hold; anything else would be stored as something that nobody meant. */
const bind = (value: unknown): SQLInputValue => {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
      return value
    case "boolean":
      return value ? 1 : 0
    case "undefined":
      return null
    case "object": {
      if (value === null || value instanceof Uint8Array) return value
      if (value instanceof Date) {
        throw new TypeError("a Date is no value of SQLite: give its epoch milliseconds, or its text")
      }
    }
  }
  throw new TypeError(`a ${typeof value} is no value of SQLite`)
}

/** Integers beyond what a number holds come as bigint when they are asked for, else as the nearest number. */
const plain = (value: unknown): unknown => typeof value === "bigint" ? Number(value) : value

const plainRow = (row: object): object => {
  let out: Record<string, unknown> | undefined
  for (const [name, value] of Object.entries(row)) {
    if (typeof value !== "bigint") continue
    out ??= { ...row }
    out[name] = plain(value)
  }
  return out ?? row
}

export const make = (db: DatabaseSync, options: { readonly wait: number }): Connection => {
  const statements = new Map<string, StatementSync>()

  const prepare = (sql: string): StatementSync => {
    const known = statements.get(sql)
    if (known !== undefined) {
      statements.delete(sql)
      statements.set(sql, known)
      return known
    }
    const statement = db.prepare(sql)
    // Asked for always: a number that does not fit would be an error otherwise, in the middle of a result.
    statement.setReadBigInts(true)
    statements.set(sql, statement)
    if (statements.size > kept) {
      for (const oldest of statements.keys()) {
        statements.delete(oldest)
        break
      }
    }
    return statement
  }

  const attempt = <A>(operation: string, run: () => A): Effect.Effect<A, SqlError.SqlError> =>
    Effect.suspend(() => {
      try {
        return Effect.succeed(run())
      } catch (cause) {
        return Effect.fail(errorOf(cause, cause instanceof Error ? cause.message : "The statement failed", operation))
      }
    })

  /** Another process writes: tried again with growing waits, in which everything else goes on. */
  const patiently = <A>(effect: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
    Effect.catch(effect, (error) => {
      if (!isBusy(error)) return Effect.fail(error)
      return Effect.gen(function*() {
        const since = yield* Clock.currentTimeMillis
        for (let wait = firstWait;; wait = Math.min(longestWait, wait * 2)) {
          yield* Effect.sleep(wait * (0.5 + (yield* Random.next)))
          const result = yield* Effect.result(effect)
          if (result._tag === "Success") return result.success
          if (!isBusy(result.failure) || (yield* Clock.currentTimeMillis) - since >= options.wait) {
            return yield* result.failure
          }
        }
      })
    })

  const rows = (sql: string, params: ReadonlyArray<unknown>, prepared: boolean) =>
    Effect.withFiber<ReadonlyArray<object>, SqlError.SqlError>((fiber) => {
      const exact = Context.get(fiber.context, SafeIntegers)
      return patiently(attempt("execute", () => {
        const statement = prepared ? prepare(sql) : db.prepare(sql)
        if (!prepared) statement.setReadBigInts(true)
        const values = params.map(bind)
        if (statement.columns().length === 0) {
          statement.run(...values)
          return []
        }
        const found = statement.all(...values) as ReadonlyArray<object>
        return exact ? found : found.map(plainRow)
      }))
    })

  const values = (sql: string, params: ReadonlyArray<unknown>, prepared: boolean) =>
    Effect.map(rows(sql, params, prepared), (found) => found.map((row) => Object.values(row) as ReadonlyArray<unknown>))

  return {
    execute: (sql, params, transform) => {
      const found = rows(sql, params, true)
      return transform === undefined ? found : Effect.map(found, transform)
    },
    executeRaw: (sql, params) =>
      patiently(attempt("execute", () => {
        const statement = prepare(sql)
        const bound = params.map(bind)
        return statement.columns().length > 0 ? statement.all(...bound) : statement.run(...bound)
      })),
    executeStream: (sql, params, transform) =>
      Stream.fromIterableEffect(Effect.map(rows(sql, params, true), (found) => transform?.(found) ?? found)),
    executeValues: (sql, params) => values(sql, params, true),
    executeValuesUnprepared: (sql, params) => values(sql, params, false),
    executeUnprepared: (sql, params, transform) => {
      const found = rows(sql, params, false)
      return transform === undefined ? found : Effect.map(found, transform)
    }
  }
}
