/**
 * Keeps the events of sessions in a database, through `effect/sql`.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as AgentError from "./AgentError.ts"
import * as EventJournal from "./EventJournal.ts"
import type { SessionId } from "./Ids.ts"
import * as groupCommit from "./internal/groupCommit.ts"
import * as sqlFailure from "./internal/sqlFailure.ts"
import * as sqlSchema from "./internal/sqlSchema.ts"
import type { DurableEvent } from "./SessionEvent.ts"

/** Rows of one statement: databases bound the number of its parameters. */
const chunk = 100
/** A session is looked at for what has to leave once per this many events. */
const trimEvery = 256
/** All sessions are looked at once per this many events. */
const trimAllEvery = 4_096
/** What is over the limit leaves down to this part of it, so that not every look finds something. */
const trimTo = 0.9

/** A statement waits for its answer, not for that of the one before it: a thread or a server has more to do meanwhile. */
const together = (statements: ReadonlyArray<Effect.Effect<unknown, SqlError>>): Effect.Effect<void, SqlError> =>
  Effect.all(statements, { concurrency: "unbounded", discard: true })

interface Known {
  first: number
  last: number
  bytes: number
  untrimmed: number
}

interface JournalRow {
  readonly first_seq: unknown
  readonly last_seq: unknown
  readonly bytes: unknown
}

/**
 * A journal over the `SqlClient` at hand; tables are made if they are missing. `path` names the database in errors.
 *
 * A batch is written whole or not at all, together with batches of other sessions that wait at the time. What has to
 * leave by the retention leaves with a later batch: for a moment a session may hold a tenth more.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: { readonly path?: string; readonly retention?: EventJournal.Retention } = {}
): Effect.Effect<EventJournal.EventJournal, AgentError.AgentError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { path } = options
    const limits = { ...EventJournal.defaultRetention, ...options.retention }
    yield* sqlSchema.prepare(sql, path)
    /** Of sessions that this host writes: nobody else does. */
    const known = new Map<SessionId, Known>()
    let untrimmed = 0

    const run = <A>(
      effect: Effect.Effect<A, SqlError | AgentError.AgentError>,
      operation: string,
      sessionId: SessionId
    ): Effect.Effect<A, AgentError.AgentError> =>
      Effect.mapError(
        effect,
        (error) => error._tag === "SqlError" ? sqlFailure.make(error, operation, { path, sessionId }) : error
      )

    const look = (sessionId: SessionId): Effect.Effect<Known, SqlError> =>
      Effect.map(
        sql<JournalRow>`SELECT first_seq, last_seq, bytes FROM reins_journals WHERE session_id = ${sessionId}`,
        ([row]) => {
          const last = Number(row?.last_seq ?? 0)
          return { first: Number(row?.first_seq ?? last + 1), last, bytes: Number(row?.bytes ?? 0), untrimmed: 0 }
        }
      )

    /** The seq up to which events leave, so that the session is within its limits. */
    const cutOf = (sessionId: SessionId, state: Known): Effect.Effect<number, SqlError> =>
      Effect.gen(function*() {
        const count = state.last - state.first + 1
        let cut = count > limits.events ? state.last - Math.floor(limits.events * trimTo) : state.first - 1
        if (state.bytes <= limits.bytes) return cut
        let excess = state.bytes - Math.floor(limits.bytes * trimTo)
        let at = state.first - 1
        while (excess > 0) {
          const rows = yield* sql<{ readonly seq: unknown; readonly size: unknown }>`
            SELECT seq, size FROM reins_events WHERE session_id = ${sessionId} AND seq > ${at} ORDER BY seq LIMIT 1000`
          if (rows.length === 0) break
          for (const row of rows) {
            if (excess <= 0) break
            excess -= Number(row.size)
            at = Number(row.seq)
          }
        }
        // The newest stays, however large it is.
        cut = Math.max(cut, Math.min(at, state.last - 1))
        return cut
      })

    const trim = (sessionId: SessionId, state: Known): Effect.Effect<Known, SqlError> =>
      Effect.gen(function*() {
        const cut = yield* cutOf(sessionId, state)
        if (cut < state.first) return state
        const [row] = yield* sql<{ readonly size: unknown }>`
          SELECT SUM(size) AS size FROM reins_events WHERE session_id = ${sessionId} AND seq <= ${cut}`
        yield* sql`DELETE FROM reins_events WHERE session_id = ${sessionId} AND seq <= ${cut}`
        return { ...state, first: cut + 1, bytes: Math.max(0, state.bytes - Number(row?.size ?? 0)) }
      })

    /** The sessions that were written longest ago lose their events until all fit. */
    const trimAll = (writing: ReadonlyArray<SessionId>): Effect.Effect<void, SqlError> =>
      Effect.gen(function*() {
        const [row] = yield* sql<{ readonly bytes: unknown }>`SELECT SUM(bytes) AS bytes FROM reins_journals`
        let excess = Number(row?.bytes ?? 0) - limits.total
        while (excess > 0) {
          const [oldest] = yield* sql<{ readonly session_id: SessionId; readonly bytes: unknown }>`
            SELECT session_id, bytes FROM reins_journals WHERE bytes > 0 AND NOT ${sql.in("session_id", writing)}
            ORDER BY written_at, session_id LIMIT 1`
          if (oldest === undefined) return
          yield* sql`DELETE FROM reins_events WHERE session_id = ${oldest.session_id}`
          yield* sql`UPDATE reins_journals SET bytes = 0, first_seq = last_seq + 1
            WHERE session_id = ${oldest.session_id}`
          known.delete(oldest.session_id)
          excess -= Number(oldest.bytes)
        }
      })

    const write = (batch: EventJournal.JournalBatch): Effect.Effect<void, SqlError | AgentError.AgentError> =>
      Effect.gen(function*() {
        const { events, open, sessionId } = batch
        const before = known.get(sessionId) ?? (yield* look(sessionId))
        yield* EventJournal.follows(batch, before.last)
        const rows = events.map((event) => {
          const body = JSON.stringify(event)
          return { session_id: sessionId, seq: event.seq ?? 0, size: body.length, body }
        })
        const statements: Array<Effect.Effect<unknown, SqlError>> = []
        for (const some of Arr.chunksOf(rows, chunk)) statements.push(sql`INSERT INTO reins_events ${sql.insert(some)}`)
        const set = [...open].flatMap(([name, value]) =>
          value === undefined ? [] : [{ session_id: sessionId, name, body: JSON.stringify(value) }]
        )
        for (const some of Arr.chunksOf(set, chunk)) {
          statements.push(sql`INSERT INTO reins_open ${sql.insert(some)}
            ON CONFLICT (session_id, name) DO UPDATE SET body = excluded.body`)
        }
        const gone = [...open].flatMap(([name, value]) => value === undefined ? [name] : [])
        for (const some of Arr.chunksOf(gone, chunk)) {
          statements.push(sql`DELETE FROM reins_open WHERE session_id = ${sessionId} AND ${sql.in("name", some)}`)
        }
        if (events.length === 0) return yield* together(statements)
        const none = before.first > before.last
        let state: Known = {
          first: none ? events[0]?.seq ?? before.first : before.first,
          last: events.at(-1)?.seq ?? before.last,
          bytes: rows.reduce((sum, { size }) => sum + size, before.bytes),
          untrimmed: before.untrimmed + events.length
        }
        if (state.untrimmed >= trimEvery || state.bytes > limits.bytes) {
          yield* together(statements.splice(0))
          state = { ...(yield* trim(sessionId, state)), untrimmed: 0 }
        }
        const row = {
          session_id: sessionId,
          first_seq: state.first,
          last_seq: state.last,
          bytes: state.bytes,
          written_at: yield* Clock.currentTimeMillis
        }
        statements.push(sql`INSERT INTO reins_journals ${sql.insert(row)} ON CONFLICT (session_id) DO UPDATE SET
          first_seq = excluded.first_seq, last_seq = excluded.last_seq, bytes = excluded.bytes,
          written_at = excluded.written_at`)
        yield* together(statements)
        known.set(sessionId, state)
      })

    const writeAll = (batches: ReadonlyArray<EventJournal.JournalBatch>) =>
      Effect.gen(function*() {
        yield* Effect.forEach(batches, write, { concurrency: "unbounded", discard: true })
        untrimmed += batches.reduce((sum, { events }) => sum + events.length, 0)
        if (untrimmed < trimAllEvery) return
        untrimmed = 0
        yield* trimAll(batches.map(({ sessionId }) => sessionId))
      })

    const append = yield* groupCommit.make({
      sql,
      write: writeAll,
      // What is true of it is read again: the transaction may have been rolled back, or not.
      onRollback: ({ sessionId }) => known.delete(sessionId)
    })

    const parse = <A>(text: string, sessionId: SessionId): Effect.Effect<A, AgentError.AgentError> =>
      Effect.try({
        try: () => JSON.parse(text) as A,
        catch: (cause) =>
          sqlFailure.damaged("read the events of a session", "what is stored is no JSON", { path, sessionId, cause })
      })

    return {
      append: (batch) => run(append(batch), "write the events of a session", batch.sessionId),
      read: (sessionId, { after, limit }) =>
        Effect.flatMap(
          run(
            sql<{ readonly body: string }>`SELECT body FROM reins_events
              WHERE session_id = ${sessionId} AND seq > ${after} ORDER BY seq LIMIT ${Math.max(0, limit)}`,
            "read the events of a session",
            sessionId
          ),
          Effect.forEach(({ body }) => parse<DurableEvent>(body, sessionId))
        ),
      range: (sessionId) =>
        Effect.map(run(look(sessionId), "read the events of a session", sessionId), (state) => {
          known.set(sessionId, state)
          return { first: state.first, last: state.last }
        }),
      open: (sessionId) =>
        Effect.flatMap(
          run(
            sql<{ readonly name: string; readonly body: string }>`SELECT name, body FROM reins_open
              WHERE session_id = ${sessionId}`,
            "read what is open of a session",
            sessionId
          ),
          (rows) =>
            Effect.map(
              Effect.forEach(rows, ({ body, name }) =>
                Effect.map(parse<Json>(body, sessionId), (value) => [name, value] as const)),
              (entries) =>
                new Map(entries)
            )
        ),
      remove: (sessionId) =>
        run(
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`DELETE FROM reins_events WHERE session_id = ${sessionId}`
            yield* sql`DELETE FROM reins_open WHERE session_id = ${sessionId}`
            yield* sql`DELETE FROM reins_journals WHERE session_id = ${sessionId}`
          })),
          "forget the events of a session",
          sessionId
        ).pipe(Effect.ensuring(Effect.sync(() => known.delete(sessionId))))
    }
  })
