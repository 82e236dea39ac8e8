/**
 * Keeps bindings in a database, through `effect/sql`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as AgentError from "./AgentError.ts"
import * as BindingStore from "./BindingStore.ts"
import type { SessionId } from "./Ids.ts"
import * as groupCommit from "./internal/groupCommit.ts"
import * as sqlFailure from "./internal/sqlFailure.ts"
import * as sqlOwners from "./internal/sqlOwners.ts"
import * as sqlSchema from "./internal/sqlSchema.ts"

/**
 * A binding store over the `SqlClient` at hand; tables are made if they are missing. `path` names the database in errors.
 *
 * Who owns a session is a row that names its process; that of a process which died is taken over.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: { readonly path?: string } = {}): Effect.Effect<
  BindingStore.BindingStore["Service"],
  AgentError.AgentError,
  SqlClient.SqlClient | FileSystem.FileSystem | Scope.Scope
> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const fs = yield* FileSystem.FileSystem
    const { path } = options
    yield* sqlSchema.prepare(sql, path)
    const acquire = yield* sqlOwners.make({ sql, fs, path })

    const run = <A>(
      effect: Effect.Effect<A, SqlError>,
      operation: string,
      sessionId?: SessionId
    ): Effect.Effect<A, AgentError.AgentError> =>
      Effect.mapError(effect, (error) => sqlFailure.make(error, operation, { path, sessionId }))

    const set = yield* groupCommit.make({
      sql,
      write: (
        rows: ReadonlyArray<{ readonly session_id: SessionId; readonly updated_at: number; readonly body: string }>
      ) =>
        Effect.forEach(
          rows,
          (row) =>
            sql`INSERT INTO reins_bindings ${sql.insert(row)}
              ON CONFLICT (session_id) DO UPDATE SET updated_at = excluded.updated_at, body = excluded.body`,
          { discard: true }
        )
    })

    return {
      get: (sessionId) =>
        Effect.flatMap(
          run(
            sql<{ readonly body: string }>`SELECT body FROM reins_bindings WHERE session_id = ${sessionId}`,
            "read the binding",
            sessionId
          ),
          ([row]) => row === undefined ? Effect.succeedNone : Effect.asSome(BindingStore.decode(row.body, path))
        ),
      set: (binding) =>
        Effect.flatMap(BindingStore.encode(binding, path), (body) =>
          run(
            set({ session_id: binding.sessionId, updated_at: binding.updatedAt, body }),
            "write the binding",
            binding.sessionId
          )),
      remove: (sessionId) =>
        run(sql`DELETE FROM reins_bindings WHERE session_id = ${sessionId}`, "remove the binding", sessionId),
      list: Effect.flatMap(
        run(
          sql<{ readonly body: string }>`SELECT body FROM reins_bindings ORDER BY updated_at DESC, session_id ASC`,
          "list the bindings"
        ),
        (rows) =>
          Effect.map(
            Effect.forEach(rows, ({ body }) =>
              BindingStore.decode(body, path).pipe(
                Effect.asSome,
                Effect.catch((error) =>
                  Effect.as(
                    Effect.logWarning(`A binding is left out: ${error.message}`),
                    Option.none<BindingStore.Binding>()
                  )
                )
              )),
            (found) => found.flatMap(Option.toArray)
          )
      ),
      acquire
    }
  })
