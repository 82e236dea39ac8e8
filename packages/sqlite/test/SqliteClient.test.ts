import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { SafeIntegers, SqlClient } from "effect/sql/SqlClient"
import { existsSync, writeFileSync } from "node:fs"
import * as Files from "./fixtures/files.ts"

const table = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)`
  return sql
})

const names = Effect.gen(function*() {
  const sql = yield* SqlClient
  return (yield* sql<{ name: string }>`SELECT name FROM things ORDER BY id`).map(({ name }) => name)
})

/** With a file of its own. */
const inFile = <A, E>(body: Effect.Effect<A, E, SqlClient>) =>
  Effect.scoped(Effect.flatMap(Files.bareFile, (filename) => Files.client(filename)(body)))

describe("SqliteClient", () => {
  it.live("commits a transaction, rolls one back that fails or is interrupted, and nested ones alone", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* table
      const add = (name: string) => sql`INSERT INTO things (name) VALUES (${name})`
      yield* sql.withTransaction(add("kept"))
      yield* Effect.exit(sql.withTransaction(Effect.andThen(add("failed"), Effect.fail("no"))))
      const hanging = yield* Effect.forkChild(
        sql.withTransaction(Effect.andThen(add("interrupted"), Effect.never)),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(hanging)
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* add("outer")
        yield* Effect.exit(sql.withTransaction(Effect.andThen(add("inner"), Effect.fail("no"))))
        yield* sql.withTransaction(add("nested"))
      }))
      assert.deepStrictEqual(yield* names, ["kept", "outer", "nested"])
    })))

  it.live("keeps the transactions of fibers apart", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* table
      yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n),
        (n) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`INSERT INTO things (name) VALUES (${`a${n}`})`
            yield* Effect.yieldNow
            if (n % 2 === 1) return yield* Effect.fail("no")
            yield* sql`INSERT INTO things (name) VALUES (${`b${n}`})`
          })).pipe(Effect.exit),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* names).length, 20)
    })))

  it.live("refuses a Date and what SQLite cannot hold, and takes booleans, bytes and null", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient
      const error = yield* Effect.flip(sql`SELECT ${new Date(0)} AS x`)
      assert.include(String(error.reason.message), "Date")
      const [row] = yield* sql<Record<string, unknown>>`SELECT ${true} AS yes, ${null} AS none, ${new Uint8Array([
        1,
        2
      ])} AS bytes`
      assert.deepStrictEqual(
        row,
        { yes: 1, none: null, bytes: new Uint8Array([1, 2]) }
      )
    })))

  it.live("gives integers as numbers, and exactly where that is asked for", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient
      const big = 9_007_199_254_740_993n
      const [row] = yield* sql<{ x: unknown; y: unknown }>`SELECT ${big} AS x, ${7} AS y`
      assert.deepStrictEqual([row?.x, row?.y], [Number(big), 7])
      const [exact] = yield* sql<{ x: unknown }>`SELECT ${big} AS x`.pipe(Effect.provideService(SafeIntegers, true))
      assert.strictEqual(exact?.x, big)
    })))

  it.live("says what kind of error it was", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* table
      yield* sql`INSERT INTO things (name) VALUES ('a')`
      const twice = yield* Effect.flip(sql`INSERT INTO things (name) VALUES ('a')`)
      assert.strictEqual(twice.reason._tag, "UniqueViolation")
      const wrong = yield* Effect.flip(sql.unsafe("SELEC"))
      assert.include(String(wrong.reason.message), "SELEC")
    })))

  it.live("streams, and gives values", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* table
      yield* sql`INSERT INTO things ${sql.insert([{ name: "a" }, { name: "b" }])}`
      const rows = yield* Stream.runCollect(sql<{ name: string }>`SELECT name FROM things ORDER BY id`.stream)
      assert.deepStrictEqual([...rows].map(({ name }) => name), ["a", "b"])
      assert.deepStrictEqual(yield* sql`SELECT id, name FROM things ORDER BY id`.values, [[1, "a"], [2, "b"]])
    })))

  it.live("waits for a file that another process writes, without holding up anything else", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* Files.bareFile
      yield* Effect.asVoid(Files.client(filename)(table))
      const holder = yield* Files.child("holdLock.ts", filename)
      yield* holder.says("held")
      yield* Files.client(filename)(Effect.gen(function*() {
        const sql = yield* SqlClient
        const writing = yield* Effect.forkChild(sql`INSERT INTO things (name) VALUES ('late')`, {
          startImmediately: true
        })
        let ticks = 0
        while (ticks < 20) {
          ticks++
          yield* Effect.sleep(1)
        }
        assert.isUndefined(writing.pollUnsafe())
        holder.say("go\n")
        yield* Fiber.join(writing)
        assert.deepStrictEqual(yield* names, ["late"])
      }))
    })))

  it.live("leaves the thread of the host free while a statement takes long, and waits for what was sent", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient
      const counting = yield* Effect.forkChild(
        sql`WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(x) AS c FROM n`,
        { startImmediately: true }
      )
      for (let ticks = 0; ticks < 20; ticks++) yield* Effect.sleep(1)
      assert.isUndefined(counting.pollUnsafe())
      yield* Fiber.interrupt(counting)
      assert.deepStrictEqual(yield* sql`SELECT 1 AS one`, [{ one: 1 }])
    })))

  it.live("gives the waiting up with a lock time-out", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* Files.bareFile
      yield* Effect.asVoid(Files.client(filename)(table))
      const holder = yield* Files.child("holdLock.ts", filename)
      yield* holder.says("held")
      const error = yield* Files.client(filename, { wait: 100 })(Effect.flip(Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql.withTransaction(sql`INSERT INTO things (name) VALUES ('never')`)
      })))
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
    })))

  it.live("is closed with its scope, and opens nothing that cannot be opened", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* Files.bareFile
      yield* Effect.asVoid(Files.client(filename)(table))
      // The write-ahead log goes when the last connection is closed.
      assert.isFalse(existsSync(`${filename}-wal`))
      const missing = yield* Effect.exit(Files.client(`${filename}/no/such.db`)(names))
      assert.isTrue(Exit.isFailure(missing))
      writeFileSync(`${filename}.txt`, "this is no database, but it is long enough to be read as one ".repeat(40))
      const foreign = yield* Effect.exit(Files.client(`${filename}.txt`)(names))
      assert.isTrue(Exit.isFailure(foreign))
    })))

  it.live("says nothing of an experimental feature on stderr, and lets other warnings through", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* Files.bareFile
      const warned = yield* Files.child("warnings.ts", filename)
      yield* warned.ended
      assert.notInclude(warned.err(), "SQLite")
      assert.include(warned.err(), "another warning")
      assert.include(warned.out(), "done")
    })))
})
