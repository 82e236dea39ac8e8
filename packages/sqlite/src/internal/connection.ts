/** One connection to a SQLite file; a busy file is waited for in Effect. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type * as SqlError from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SQLInputValue } from "node:sqlite"
import type { DatabaseThread } from "./databaseThread.ts"
import * as sqliteError from "./sqliteError.ts"

const firstWait = 1
const longestWait = 50

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

export const make = (thread: DatabaseThread, options: { readonly wait: number }): Connection => {
  /** Another process writes: tried again with growing waits, in which everything else goes on. */
  const patiently = <A>(effect: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
    Effect.catch(effect, (error) => {
      if (!sqliteError.isBusy(error)) return Effect.fail(error)
      return Effect.gen(function*() {
        const since = yield* Clock.currentTimeMillis
        for (let wait = firstWait;; wait = Math.min(longestWait, wait * 2)) {
          yield* Effect.sleep(wait * (0.5 + (yield* Random.next)))
          const result = yield* Effect.result(effect)
          if (result._tag === "Success") return result.success
          if (!sqliteError.isBusy(result.failure) || (yield* Clock.currentTimeMillis) - since >= options.wait) {
            return yield* result.failure
          }
        }
      })
    })

  const run = (sql: string, params: ReadonlyArray<unknown>, { keep = true, raw = false } = {}) =>
    Effect.withFiber<unknown, SqlError.SqlError>((fiber) => {
      const exact = raw || Context.get(fiber.context, SafeIntegers)
      let bound: Array<SQLInputValue>
      try {
        bound = params.map(bind)
      } catch (cause) {
        return Effect.fail(sqliteError.make(cause, "execute"))
      }
      return patiently(thread.request({ sql, params: bound, keep, exact, raw }))
    })

  const rows = (sql: string, params: ReadonlyArray<unknown>, keep: boolean) =>
    Effect.map(run(sql, params, { keep }), (found) => found as ReadonlyArray<object>)

  const values = (sql: string, params: ReadonlyArray<unknown>, keep: boolean) =>
    Effect.map(rows(sql, params, keep), (found) => found.map((row) => Object.values(row) as ReadonlyArray<unknown>))

  return {
    execute: (sql, params, transform) => {
      const found = rows(sql, params, true)
      return transform === undefined ? found : Effect.map(found, transform)
    },
    executeRaw: (sql, params) => run(sql, params, { raw: true }),
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
