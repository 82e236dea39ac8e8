/**
 * The stores of a host in one SQLite file.
 *
 * @since 0.1.0
 */
import * as BindingStore from "@reins/core/BindingStore"
import * as EventJournal from "@reins/core/EventJournal"
import * as AgentError from "@reins/core/AgentError"
import * as SqlBindingStore from "@reins/core/SqlBindingStore"
import * as SqlEventJournal from "@reins/core/SqlEventJournal"
import * as Stores from "@reins/core/Stores"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as storeFile from "./internal/storeFile.ts"
import * as SqliteClient from "./SqliteClient.ts"

/**
 * Which file, and how much is kept in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqliteStoresOptions extends Pick<SqliteClient.SqliteClientOptions, "filename" | "wait"> {
  readonly retention?: EventJournal.Retention
}

/**
 * Keeps bindings and events in a SQLite file (WAL), which is made if it is missing (0600), with its directory (0700).
 *
 * Bindings wait for the disk (`synchronous=FULL`); events do not: what was committed survives the end of the process,
 * however it ends, and of a power loss the last moments may be missing. Several hosts can share the file.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: SqliteStoresOptions
): Layer.Layer<BindingStore.BindingStore, AgentError.AgentError, FileSystem.FileSystem | Path.Path> =>
  Layer.unwrap(Effect.as(
    prepare(options.filename),
    Layer.merge(
      Layer.effect(BindingStore.BindingStore, using(options, "full", SqlBindingStore.make({ path: options.filename }))),
      Layer.effect(
        EventJournal.Current,
        using(
          options,
          "normal",
          SqlEventJournal.make({
            path: options.filename,
            ...(options.retention === undefined ? undefined : { retention: options.retention })
          })
        )
      )
    )
  ))

/** Each store has a connection of its own: how a commit waits for the disk is a setting of the connection. */
const using = <A, R>(
  options: SqliteStoresOptions,
  synchronous: "full" | "normal",
  effect: Effect.Effect<A, AgentError.AgentError, SqlClient.SqlClient | R>
): Effect.Effect<A, AgentError.AgentError, Exclude<R, SqlClient.SqlClient> | Scope.Scope> =>
  SqliteClient.make({ ...options, synchronous }).pipe(
    Effect.mapError((error: SqlError) => Stores.failure(error, "open the store", options.filename)),
    Effect.flatMap((client) => Effect.provideService(effect, SqlClient.SqlClient, client)),
    Effect.provide(Reactivity.layer)
  )

const prepare = (filename: string): Effect.Effect<void, AgentError.AgentError, FileSystem.FileSystem | Path.Path> =>
  filename === ":memory:"
    ? Effect.fail(AgentError.make(
      new AgentError.InvalidConfig({ issue: "sessions are kept in a file; for memory there is Stores.layerMemory" })
    ))
    : storeFile.make(filename)
