/**
 * One owner of a session at a time among processes, by a row that names it.
 *
 * A row changes hands by one statement that names the owner before: of those who race for it one wins. An owner that
 * cannot be looked up from here (another machine, another container) counts as dead when its row was not renewed.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import * as AgentError from "../AgentError.ts"
import type { SessionId } from "../Ids.ts"
import * as processIdentity from "./processIdentity.ts"
import * as sqlFailure from "./sqlFailure.ts"

/** How often a row is renewed, and after how long without it its owner counts as dead, in milliseconds. */
const beatEvery = 10_000
const deadAfter = 60_000
/** Lost races in a row; then the session counts as held by those who race for it. */
const maxAttempts = 16
/** A row that cannot be removed in this time stays, and its owner is dead when this process is. */
const releaseLimit = 2_000

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(processIdentity.ProcessIdentity))

interface Row {
  readonly nonce: string
  readonly owner: string
  readonly beat: unknown
}

export const make = (options: {
  readonly sql: SqlClient
  readonly fs: FileSystem.FileSystem
  readonly path?: string | undefined
}): Effect.Effect<
  (sessionId: SessionId) => Effect.Effect<void, AgentError.AgentError, Scope.Scope>,
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const { fs, path, sql } = options
    const self = yield* processIdentity.current(fs)
    const owner = JSON.stringify(self)
    const held = new Set<string>()
    let count = 0

    // Without a session there is nothing to renew, and the statement is not run.
    yield* Effect.suspend(() => {
      const [first, ...more] = held
      if (first === undefined) return Effect.void
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        sql`UPDATE reins_owners SET beat = ${now} WHERE ${sql.in("nonce", [first, ...more])}`)
    }).pipe(
      Effect.catchCause((cause) =>
        Effect.logWarning("The ownership of sessions could not be renewed.", cause)
      ),
      Effect.repeat(Schedule.spaced(beatEvery)),
      Effect.forkScoped
    )

    const busy = (
      row: Row,
      other: processIdentity.ProcessIdentity,
      fate: "alive" | "unknown",
      sessionId: SessionId
    ) => {
      const elsewhere = other.machine === undefined || other.machine === self.machine ? "" : ` on ${other.machine}`
      return AgentError.make(
        new AgentError.SessionBusy({
          holder: held.has(row.nonce) ? `this process (${other.pid})` : `process ${other.pid}${elsewhere}`,
          pid: other.pid,
          ...(fate === "alive" ? undefined : {
            description: `it cannot be looked up from here; it counts as dead ${deadAfter / 1000} s after its last sign`
          })
        }),
        { sessionId }
      )
    }

    const take = (sessionId: SessionId, nonce: string) =>
      Effect.gen(function*() {
        for (let attempt = 0; attempt < maxAttempts; attempt++) {
          const now = yield* Clock.currentTimeMillis
          yield* sql`INSERT INTO reins_owners ${
            sql.insert({ session_id: sessionId, nonce, owner, beat: now })
          } ON CONFLICT (session_id) DO NOTHING`
          const [row] = yield* sql<Row>`SELECT nonce, owner, beat FROM reins_owners WHERE session_id = ${sessionId}`
          if (row === undefined) continue
          if (row.nonce === nonce) return
          const other = yield* Effect.mapError(
            decode(row.owner),
            (cause) => sqlFailure.damaged("lock the session", "its owner cannot be read", { path, sessionId, cause })
          )
          let fate = yield* processIdentity.fate(fs, self, other)
          if (fate === "unknown" && now - Number(row.beat) > deadAfter) fate = "dead"
          if (fate !== "dead") return yield* busy(row, other, fate, sessionId)
          yield* sql`UPDATE reins_owners SET nonce = ${nonce}, owner = ${owner}, beat = ${now}
            WHERE session_id = ${sessionId} AND nonce = ${row.nonce}`
        }
        return yield* AgentError.make(
          new AgentError.SessionBusy({ holder: "other processes that open it now" }),
          { sessionId }
        )
      }).pipe(
        Effect.catchTag(
          "SqlError",
          (error) => Effect.fail(sqlFailure.make(error, "lock the session", { path, sessionId }))
        )
      )

    return (sessionId) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.gen(function*() {
          const random = (yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)
          const nonce = `${self.pid}-${self.start ?? 0}-${++count}-${random}`
          yield* take(sessionId, nonce)
          held.add(nonce)
          return nonce
        }),
        (nonce) =>
          sql`DELETE FROM reins_owners WHERE session_id = ${sessionId} AND nonce = ${nonce}`.pipe(
            Effect.timeoutOption(releaseLimit),
            Effect.catchCause((cause) => Effect.logWarning("The lock of a session could not be removed.", cause)),
            Effect.ensuring(Effect.sync(() => {
              held.delete(nonce)
            }))
          )
      ))
  })
