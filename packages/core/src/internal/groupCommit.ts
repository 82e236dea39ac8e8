/**
 * Group commit: what comes while a transaction runs is written in the next one, together. Many sessions that write at
 * once then cost about as much as one of them, and none waits for the commits of all the others.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/** Most items of one transaction: bounds how long it holds the database. */
const limit = 64

interface Waiting<A, E> {
  readonly item: A
  readonly done: Deferred.Deferred<void, E>
}

export interface GroupCommitOptions<A, E> {
  readonly sql: SqlClient.SqlClient
  /** Runs inside a transaction, and again with each item by itself when that was rolled back. */
  readonly write: (items: ReadonlyArray<A>) => Effect.Effect<void, E>
  /** Nothing of it is known to be written. */
  readonly onRollback?: (item: A) => void
}

/**
 * Gives what writes an item and completes when it is committed. An item that fails fails alone: the others of its
 * transaction are then written by themselves. Whoever stops to wait takes an item back that no transaction has yet, and
 * otherwise still waits for it.
 */
export const make = <A, E>(
  options: GroupCommitOptions<A, E>
): Effect.Effect<(item: A) => Effect.Effect<void, E | SqlError>> =>
  Effect.map(Effect.context<never>(), (context) => {
    const { onRollback, sql, write } = options
    type Entry = Waiting<A, E | SqlError>
    const waiting: Array<Entry> = []
    let running = false

    const commit = (group: ReadonlyArray<Entry>) =>
      Effect.exit(
        Effect.onError(
          sql.withTransaction(write(group.map(({ item }) => item))),
          () => Effect.sync(() => group.forEach(({ item }) => onRollback?.(item)))
        )
      )

    const drain = Effect.gen(function*() {
      while (waiting.length > 0) {
        const group = waiting.splice(0, limit)
        const all = yield* commit(group)
        for (const entry of group) {
          const own = all._tag === "Success" || group.length === 1 ? all : yield* commit([entry])
          Deferred.doneUnsafe(entry.done, own)
        }
      }
    }).pipe(Effect.ensuring(Effect.sync(() => {
      running = false
    })))
    // Not a child of whoever came first, and in no transaction of theirs.
    const run = Effect.runForkWith(context)

    return (item) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const entry: Entry = { item, done: Deferred.makeUnsafe() }
          waiting.push(entry)
          if (!running) {
            running = true
            run(drain)
          }
          const taken = Deferred.await(entry.done)
          return Effect.onInterrupt(restore(taken), () => {
            const index = waiting.indexOf(entry)
            if (index < 0) return Effect.exit(taken)
            waiting.splice(index, 1)
            return Effect.void
          })
        })
      )
  })
