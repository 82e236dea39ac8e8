/** Writes that come at once share a transaction, and still succeed or fail each by itself. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as groupCommit from "../../core/src/internal/groupCommit.ts"
import * as Files from "./fixtures/files.ts"

/** A table and what writes names into it; the first transaction waits for the latch. */
const writer = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)`
  const latch = Latch.makeUnsafe(false)
  const groups: Array<ReadonlyArray<string>> = []
  const rolledBack: Array<string> = []
  const began = Latch.makeUnsafe(false)
  const add = yield* groupCommit.make({
    sql,
    write: (names: ReadonlyArray<string>) =>
      Effect.gen(function*() {
        groups.push(names)
        Latch.openUnsafe(began)
        yield* latch.await
        yield* Effect.forEach(names, (name) => sql`INSERT INTO things (name) VALUES (${name})`, {
          concurrency: "unbounded",
          discard: true
        })
      }),
    onRollback: (name) => rolledBack.push(name)
  })
  const stored = Effect.map(
    sql<{ name: string }>`SELECT name FROM things ORDER BY name`,
    (rows) => rows.map(({ name }) => name)
  )
  const fork = (name: string) => Effect.forkChild(add(name), { startImmediately: true })
  /** Has begun, and holds up what comes. */
  const first = Effect.tap(fork("first"), () => began.await)
  return { sql, add, groups, latch, rolledBack, stored, fork, first }
})

const inFile = <A, E>(body: Effect.Effect<A, E, SqlClient>) =>
  Effect.scoped(Effect.flatMap(Files.bareFile, (filename) => Files.client(filename)(body)))

describe("a group commit", () => {
  it.live("writes what came while a transaction ran as the next one", () =>
    inFile(Effect.gen(function*() {
      const { first, fork, groups, latch, stored } = yield* writer
      const one = yield* first
      const rest = yield* Effect.forEach(["b", "c", "d"], fork)
      Latch.openUnsafe(latch)
      yield* Effect.forEach([one, ...rest], Fiber.join)
      assert.deepStrictEqual(groups, [["first"], ["b", "c", "d"]])
      assert.deepStrictEqual(yield* stored, ["b", "c", "d", "first"])
    })))

  it.live("bounds a transaction", () =>
    inFile(Effect.gen(function*() {
      const { first, fork, groups, latch } = yield* writer
      const one = yield* first
      const rest = yield* Effect.forEach(Array.from({ length: 100 }, (_, n) => `n${n}`), fork)
      Latch.openUnsafe(latch)
      yield* Effect.forEach([one, ...rest], Fiber.join)
      assert.deepStrictEqual(groups.map((names) => names.length), [1, 64, 36])
    })))

  it.live("lets one that fails fail alone", () =>
    inFile(Effect.gen(function*() {
      const { first, fork, groups, latch, rolledBack, stored } = yield* writer
      const one = yield* first
      const rest = yield* Effect.forEach(["b", "first", "c"], fork)
      Latch.openUnsafe(latch)
      yield* Fiber.join(one)
      const exits = yield* Effect.forEach(rest, Fiber.await)
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true])
      assert.deepStrictEqual(groups.slice(1), [["b", "first", "c"], ["b"], ["first"], ["c"]])
      assert.deepStrictEqual(rolledBack, ["b", "first", "c", "first"])
      assert.deepStrictEqual(yield* stored, ["b", "c", "first"])
    })))

  it.live("takes back what nobody waits for, unless a transaction has it already", () =>
    inFile(Effect.gen(function*() {
      const { first, fork, latch, stored } = yield* writer
      const one = yield* first
      const two = yield* fork("b")
      yield* Fiber.interrupt(two)
      const ending = yield* Effect.forkChild(Fiber.interrupt(one), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(ending.pollUnsafe())
      Latch.openUnsafe(latch)
      yield* Fiber.join(ending)
      assert.deepStrictEqual(yield* stored, ["first"])
    })))

  it.live("is no part of a transaction of whoever asks, and needs nobody to go on", () =>
    inFile(Effect.gen(function*() {
      const { add, latch, sql, stored } = yield* writer
      Latch.openUnsafe(latch)
      const waiting = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(
          Effect.forkDetach(add("own"), { startImmediately: true }),
          Effect.fail("rolled back")
        )).pipe(Effect.exit)
      )
      yield* Fiber.join(waiting)
      yield* add("after")
      assert.deepStrictEqual(yield* stored, ["after", "own"])
    })))
})
