import { assert, describe, it } from "@effect/vitest"
import type * as AgentError from "@reins/core/AgentError"
import type { Binding } from "@reins/core/BindingStore"
import { BindingStore } from "@reins/core/BindingStore"
import * as EventJournal from "@reins/core/EventJournal"
import { SessionId } from "@reins/core/Ids"
import * as SqlEventJournal from "@reins/core/SqlEventJournal"
import type { Scope } from "effect"
import type { Json } from "effect/Schema"
import { Effect, Exit, Option } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { execFileSync } from "node:child_process"
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import * as Files from "./fixtures/files.ts"
import { notices } from "./fixtures/notices.ts"

const id = SessionId.make("ses_1")

const binding = (sessionId: string, fields?: Partial<Binding>): Binding => ({
  v: 1,
  sessionId: SessionId.make(sessionId),
  provider: "agent",
  cwd: "/repo",
  createdAt: 1,
  updatedAt: 2,
  lastSeq: 0,
  started: false,
  ...fields
})

const journal = Effect.flatMap(
  EventJournal.Current,
  (found) => found === undefined ? Effect.die("no journal") : Effect.succeed(found)
)

const withFile = <A, E>(
  body: (filename: string) => Effect.Effect<A, E, Scope.Scope>
) => Effect.scoped(Effect.flatMap(Files.file, body))

const failure = (error: AgentError.AgentError): string => `${error.reason._tag}: ${error.message}`

describe("the binding store", () => {
  it.live("gives back what was set, byte by byte, and lists the newest first", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        const cursor = { v: 3, text: "ü\u0000 \u2028 \"", list: [1, null, "x", { a: 1e21 }] }
        yield* Effect.provide(
          Effect.gen(function*() {
            const store = yield* BindingStore
            yield* store.set(binding("a", { cursor, updatedAt: 5 }))
            yield* store.set(binding("b", { updatedAt: 9 }))
            yield* store.set(binding("c", { updatedAt: 1 }))
            yield* store.set(binding("c", { updatedAt: 7, title: "third" }))
            yield* store.remove(SessionId.make("nobody"))
          }),
          Files.stores(filename)
        )
        yield* Effect.provide(
          Effect.gen(function*() {
            const store = yield* BindingStore
            const found = Option.getOrThrow(yield* store.get(SessionId.make("a")))
            assert.strictEqual(JSON.stringify(found.cursor), JSON.stringify(cursor))
            assert.deepStrictEqual((yield* store.list).map(({ sessionId }) => sessionId), ["b", "c", "a"])
            yield* store.remove(SessionId.make("b"))
            assert.deepStrictEqual((yield* store.list).map(({ title }) => title), ["third", undefined])
          }),
          Files.stores(filename)
        )
        assert.strictEqual(statSync(filename).mode & 0o777, 0o600)
      })
    ))

  it.live("has one owner of a session at a time, among processes too, and takes over from one that was killed", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        const first = yield* Files.child("owner.ts", filename)
        yield* first.says("owner")
        const second = yield* Files.child("owner.ts", filename)
        yield* second.ended
        assert.include(second.out(), "refused SessionBusy")
        yield* Effect.provide(
          Effect.gen(function*() {
            const store = yield* BindingStore
            const busy = yield* Effect.flip(Effect.scoped(store.acquire(id)))
            assert.strictEqual(busy.reason._tag, "SessionBusy")
            yield* first.kill
            yield* Effect.scoped(Effect.gen(function*() {
              yield* store.acquire(id)
              const again = yield* Effect.flip(Effect.scoped(store.acquire(id)))
              assert.include(again.message, "this process")
            }))
            yield* Effect.scoped(store.acquire(id))
          }),
          Files.stores(filename)
        )
      })
    ))

  it.live("goes to exactly one of several that race for a dead owner's session", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        const dead = yield* Files.child("owner.ts", filename)
        yield* dead.says("owner")
        yield* dead.kill
        const racers = yield* Effect.forEach([1, 2, 3, 4], () => Files.child("owner.ts", filename))
        yield* Effect.forEach(racers, (racer) => Effect.raceFirst(racer.says("owner"), racer.ended), {
          concurrency: "unbounded"
        })
        assert.strictEqual(racers.filter((racer) => racer.out().includes("owner")).length, 1)
      })
    ))
})

describe("the event journal", () => {
  it.live("gives events in their order, and what is open, also to the next host", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        const events = notices(id, 1, 250)
        yield* Effect.provide(
          Effect.gen(function*() {
            const store = yield* journal
            assert.deepStrictEqual(yield* store.range(id), { first: 1, last: 0 })
            yield* store.append({
              sessionId: id,
              events,
              open: new Map<string, Json>([["a", { x: [1] }], ["b", "text"]])
            })
            yield* store.append({
              sessionId: id,
              events: [],
              open: new Map<string, Json | undefined>([["a", undefined], ["c", null]])
            })
          }),
          Files.stores(filename)
        )
        yield* Effect.provide(
          Effect.gen(function*() {
            const store = yield* journal
            assert.deepStrictEqual(yield* store.range(id), { first: 1, last: 250 })
            assert.deepStrictEqual([...yield* store.read(id, { after: 0, limit: 1000 })], [...events])
            assert.deepStrictEqual((yield* store.read(id, { after: 240, limit: 3 })).map(({ seq }) => seq), [
              241,
              242,
              243
            ])
            assert.deepStrictEqual([...yield* store.open(id)].sort(), [["b", "text"], ["c", null]])
            const stale = yield* Effect.flip(
              store.append({ sessionId: id, events: notices(id, 250, 1), open: new Map([["d", 1]]) })
            )
            assert.include(failure(stale), "another host")
            assert.isFalse((yield* store.open(id)).has("d"))
            yield* store.append({ sessionId: id, events: notices(id, 260, 2), open: new Map() })
            assert.deepStrictEqual((yield* store.read(id, { after: 249, limit: 9 })).map(({ seq }) => seq), [
              250,
              260,
              261
            ])
            yield* store.remove(id)
            assert.deepStrictEqual(yield* store.range(id), { first: 1, last: 0 })
          }),
          Files.stores(filename)
        )
      })
    ))

  it.live("drops the oldest beyond the limit of a session, by number and by bytes, and the newest never", () =>
    withFile((filename) =>
      Effect.provide(
        Effect.gen(function*() {
          const store = yield* journal
          for (let seq = 1; seq <= 2_000; seq += 100) {
            yield* store.append({ sessionId: id, events: notices(id, seq, 100), open: new Map() })
          }
          const range = yield* store.range(id)
          assert.strictEqual(range.last, 2_000)
          const kept = yield* store.read(id, { after: 0, limit: 10_000 })
          assert.isAtMost(kept.length, 800)
          assert.strictEqual(kept[0]?.seq, range.first)
          const big = SessionId.make("big")
          for (let seq = 1; seq <= 6; seq++) {
            yield* store.append({ sessionId: big, events: notices(big, seq, 1, "y".repeat(40_000)), open: new Map() })
          }
          assert.isAtMost((yield* store.read(big, { after: 0, limit: 10 })).length, 2)
          yield* store.append({ sessionId: big, events: notices(big, 7, 1, "y".repeat(400_000)), open: new Map() })
          assert.deepStrictEqual((yield* store.read(big, { after: 0, limit: 10 })).map(({ seq }) => seq), [7])
        }),
        Files.stores(filename, { retention: { events: 500, bytes: 100_000 } })
      )
    ))

  it.live("drops the events of the sessions that were written longest ago beyond the limit of all", () =>
    withFile((filename) =>
      Effect.provide(
        Effect.gen(function*() {
          const store = yield* journal
          const old = SessionId.make("old")
          yield* store.append({ sessionId: old, events: notices(old, 1, 100), open: new Map([["a", 1]]) })
          for (let seq = 1; seq <= 5_000; seq += 100) {
            yield* store.append({ sessionId: id, events: notices(id, seq, 100), open: new Map() })
          }
          assert.deepStrictEqual(yield* store.range(old), { first: 101, last: 100 })
          assert.isTrue((yield* store.open(old)).has("a"))
          yield* store.append({ sessionId: old, events: notices(old, 101, 1), open: new Map() })
          assert.deepStrictEqual(yield* store.range(old), { first: 101, last: 101 })
        }),
        Files.stores(filename, { retention: { total: 200_000 } })
      )
    ))

  it.live("is whole after its process was killed in the middle of writing: no gap, and what is open agrees", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        for (let round = 1; round <= 4; round++) {
          const writer = yield* Files.child("appender.ts", filename)
          yield* writer.says("at ")
          yield* Effect.sleep(round * 7)
          yield* writer.kill
          const told = Number(writer.out().trim().split("\n").findLast((line) => line.endsWith("."))?.slice(3, -1))
          yield* Effect.provide(
            Effect.gen(function*() {
              const store = yield* journal
              const { first, last } = yield* store.range(id)
              const events = yield* store.read(id, { after: 0, limit: 1_000_000 })
              assert.deepStrictEqual(events.map(({ seq }) => seq), events.map((_, index) => first + index))
              assert.strictEqual(events.at(-1)?.seq, last)
              assert.strictEqual((yield* store.open(id)).get("at"), last)
              assert.isAtLeast(last, told)
            }),
            Files.stores(filename)
          )
        }
      })
    ))
})

describe("a file that cannot be used", () => {
  const opening = (filename: string) => Effect.exit(Effect.scoped(Effect.provide(journal, Files.stores(filename))))
  const messageOf = (exit: Exit.Exit<unknown, AgentError.AgentError>): string =>
    Exit.isFailure(exit)
      ? failure(exit.cause.reasons.map((one) => "error" in one ? one.error : undefined)[0] as never)
      : ""

  it.live("of a newer version is refused, and left as it is", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        yield* Files.client(filename)(
          Effect.flatMap(SqlClient, (sql) => sql`UPDATE reins_schema SET version = 99`)
        )
        const message = messageOf(yield* opening(filename))
        assert.include(message, "StoreFailed")
        assert.include(message, "version 99")
        assert.include(message, filename)
      })
    ))

  it.live("that is no database, or damaged, is refused with its name", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        const good = readFileSync(filename)
        writeFileSync(filename, "no database at all ".repeat(500))
        const foreign = messageOf(yield* opening(filename))
        assert.include(foreign, "no database")
        assert.include(foreign, filename)
        good.fill(0xff, 100, 8_000)
        writeFileSync(filename, good)
        assert.include(messageOf(yield* opening(filename)), "damaged")
      })
    ))

  it.live("in a place that is no directory is refused, and one in memory too", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        assert.include(messageOf(yield* opening(`${filename}/reins.db`)), `"${filename}" is a file, and no directory`)
        assert.include(messageOf(yield* opening(":memory:")), "InvalidConfig")
      })
    ))

  it.live("where no directory can be made is refused, at once", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        for (const place of ["/proc/x/reins.db", "/proc/x/y/z/reins.db", `${filename}/a/b/c/reins.db`]) {
          const message = messageOf(yield* Effect.timeout(opening(place), "5 seconds"))
          assert.include(message, "StoreFailed")
          assert.include(message, "its directory cannot be made")
        }
      })
    ))

  it.live("that is a directory or a pipe is refused, and said to be one", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        mkdirSync(filename, { recursive: true })
        const pipe = `${filename}/pipe`
        execFileSync("mkfifo", [pipe])
        assert.include(messageOf(yield* opening(filename)), "it is a directory, and no file")
        assert.include(messageOf(yield* Effect.timeout(opening(pipe), "5 seconds")), "it is no regular file")
      })
    ))

  it.live("several levels deep is made, with directories that are closed to others", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        const deep = `${filename}/a/b/c/reins.db`
        assert.strictEqual(messageOf(yield* opening(deep)), "")
        for (const directory of ["", "/a", "/a/b", "/a/b/c"]) {
          assert.strictEqual(statSync(filename + directory).mode & 0o777, 0o700)
        }
      })
    ))

  it.live("that is full fails the write and keeps what was there; with room again it goes on", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        yield* Effect.scoped(Effect.provide(
          Effect.gen(function*() {
            const store = yield* journal
            yield* store.append({ sessionId: id, events: notices(id, 1, 1), open: new Map() })
          }),
          Files.stores(filename)
        ))
        yield* Files.client(filename)(Effect.gen(function*() {
          const sql = yield* SqlClient
          const store = yield* SqlEventJournal.make({ path: filename })
          yield* sql`PRAGMA max_page_count = 1`
          const full = yield* Effect.flip(
            store.append({ sessionId: id, events: notices(id, 2, 50, "z".repeat(10_000)), open: new Map() })
          )
          assert.include(failure(full), "disk is full")
          assert.strictEqual((yield* store.range(id)).last, 1)
          yield* sql`PRAGMA max_page_count = 1000000`
          yield* store.append({ sessionId: id, events: notices(id, 2, 50, "z".repeat(10_000)), open: new Map() })
          assert.strictEqual((yield* store.range(id)).last, 51)
        }))
      })
    ))

  it.live("that may only be read fails the write with a reason", () =>
    withFile((filename) =>
      Effect.gen(function*() {
        yield* opening(filename)
        chmodSync(filename, 0o400)
        const exit = yield* Effect.exit(
          Effect.catchTag(
            Files.client(filename, { readonly: true })(Effect.flatMap(
              SqlEventJournal.make({ path: filename }),
              (store) => store.append({ sessionId: id, events: notices(id, 1, 1), open: new Map() })
            )),
            "SqlError",
            Effect.die
          )
        )
        assert.include(messageOf(exit), "read-only")
      })
    ))
})
