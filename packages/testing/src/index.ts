export * as FaultInjector from "./FaultInjector.ts"
export * as OpenCodeSandbox from "./OpenCodeSandbox.ts"
export * as ScriptedModel from "./ScriptedModel.ts"
export * as TestProvider from "./TestProvider.ts"
