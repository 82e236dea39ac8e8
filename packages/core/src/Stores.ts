/**
 * Where a host keeps its sessions: their bindings and their events.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as AgentError from "./AgentError.ts"
import * as BindingStore from "./BindingStore.ts"
import * as EventJournal from "./EventJournal.ts"
import * as sqlFailure from "./internal/sqlFailure.ts"
import * as SqlBindingStore from "./SqlBindingStore.ts"
import * as SqlEventJournal from "./SqlEventJournal.ts"

/**
 * Keeps both in the database of the `SqlClient` at hand: SQLite by `@reins/sqlite`, or PostgreSQL by its own client.
 * `path` names the database in errors.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql = (
  options: { readonly path?: string; readonly retention?: EventJournal.Retention } = {}
): Layer.Layer<BindingStore.BindingStore, AgentError.AgentError, SqlClient | FileSystem.FileSystem> =>
  Layer.effect(BindingStore.BindingStore, SqlBindingStore.make(options)).pipe(
    Layer.merge(Layer.effect(EventJournal.Current, SqlEventJournal.make(options)))
  )

/**
 * Keeps both in memory: nothing outlives the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<BindingStore.BindingStore> = Layer.merge(
  BindingStore.layerMemory,
  Layer.effect(EventJournal.Current, Effect.sync(() => EventJournal.memory()))
)

/**
 * What a failure of a database means for people: for those who open one. `path` names it.
 *
 * @category errors
 * @since 0.1.0
 */
export const failure = (error: SqlError, operation: string, path?: string): AgentError.AgentError =>
  sqlFailure.make(error, operation, { path })
