/**
 * Benchmarks of Reins against the peers.
 *
 * @since 0.1.0
 */
export * as CodexStarts from "./CodexStarts.ts"
export * as Imports from "./Imports.ts"
export * as Ingest from "./Ingest.ts"
export * as Isolation from "./Isolation.ts"
export * as Journal from "./Journal.ts"
export * as OpenSessions from "./OpenSessions.ts"
export * as Rpc from "./Rpc.ts"
export * as Times from "./Times.ts"
