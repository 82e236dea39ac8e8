/**
 * Codex as a provider of Reins.
 *
 * @since 0.1.0
 */
export * as Codex from "./Codex.ts"
export * as CodexBinary from "./CodexBinary.ts"
export * as CodexClient from "./CodexClient.ts"
export * as CodexSchema from "./CodexSchema.ts"
export * as CodexServer from "./CodexServer.ts"
