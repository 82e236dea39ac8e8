/** The tables of the stores, in the SQL that SQLite and PostgreSQL share. */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type * as AgentError from "../AgentError.ts"
import * as sqlFailure from "./sqlFailure.ts"

/** The version of the tables; a file of a newer one is refused, as it may hold what this program does not know. */
const version = 1

const statements = [
  `CREATE TABLE IF NOT EXISTS reins_bindings (
    session_id TEXT NOT NULL PRIMARY KEY, updated_at BIGINT NOT NULL, body TEXT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS reins_owners (
    session_id TEXT NOT NULL PRIMARY KEY, nonce TEXT NOT NULL, owner TEXT NOT NULL, beat BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS reins_journals (
    session_id TEXT NOT NULL PRIMARY KEY, first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL,
    bytes BIGINT NOT NULL, written_at BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS reins_events (
    session_id TEXT NOT NULL, seq BIGINT NOT NULL, size BIGINT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (session_id, seq))`,
  `CREATE TABLE IF NOT EXISTS reins_open (
    session_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session_id, name))`
]

/** Makes the tables, or sees that they are of a version that is known. */
export const prepare = (sql: SqlClient, path?: string): Effect.Effect<void, AgentError.AgentError> =>
  Effect.gen(function*() {
    yield* sql`CREATE TABLE IF NOT EXISTS reins_schema (version BIGINT NOT NULL)`
    const [found] = yield* sql<{ readonly version: unknown }>`SELECT version FROM reins_schema`
    const known = found === undefined ? 0 : Number(found.version)
    if (known > version) {
      return yield* sqlFailure.damaged(
        "open the store",
        `it has version ${known} and only ${version} is known; update this program or name another file`,
        { path }
      )
    }
    for (const statement of statements) yield* sql.unsafe(statement)
    if (known === 0) yield* sql`INSERT INTO reins_schema (version) VALUES (${version})`
  }).pipe(
    sql.withTransaction,
    Effect.catchTag("SqlError", (error) => Effect.fail(sqlFailure.make(error, "open the store", { path })))
  )
