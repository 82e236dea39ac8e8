/**
 * Benchmarks of Reins against the peers.
 *
 * @since 0.1.0
 */
export * as Ingest from "./Ingest.ts"
