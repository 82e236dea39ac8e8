export * as exitCodes from "./exitCodes.ts"
export * as paths from "./paths.ts"
export * as render from "./render.ts"
export * as run from "./run.ts"
