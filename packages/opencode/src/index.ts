/**
 * @since 0.1.0
 */
export * as OpenCode from "./OpenCode.ts"
export * as OpenCodeBinary from "./OpenCodeBinary.ts"
export * as OpenCodeClient from "./OpenCodeClient.ts"
export * as OpenCodeSchema from "./OpenCodeSchema.ts"
export * as OpenCodeServer from "./OpenCodeServer.ts"
export * as OpenCodeTape from "./OpenCodeTape.ts"
