/**
 * @since 0.1.0
 */
export * as SqliteClient from "./SqliteClient.ts"
export * as SqliteStores from "./SqliteStores.ts"
