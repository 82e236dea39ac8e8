export * as OpenCodeSandbox from "./OpenCodeSandbox.ts"
export * as ScriptedModel from "./ScriptedModel.ts"
