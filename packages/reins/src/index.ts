/**
 * Coding agents as promises and async iterables, for hosts without Effect.
 *
 * @since 0.1.0
 */
export type {
  AgentRequest,
  Answer,
  ApprovalPolicy,
  Approvals,
  Capabilities,
  ConnectionStatus,
  Conversation,
  ConversationPage,
  Delivery,
  DurableEvent,
  ErrorInfo,
  HistoryPage,
  HostTool,
  Item,
  ItemDelta,
  Lagged,
  McpServer,
  Probe,
  PromptInput,
  PromptOutcome,
  PromptPart,
  PromptState,
  ProviderCommand,
  ProviderMode,
  ProviderModel,
  Receipt,
  SessionEntry,
  SessionEvent,
  SessionFilter,
  SessionPage,
  SessionState,
  SessionSummary,
  SessionView,
  TurnOutcome,
  TurnState,
  Usage
} from "./Model.ts"
export { Reins } from "./Reins.ts"
export type {
  AdapterProvider,
  AdoptOptions,
  Limits,
  LogFields,
  OpenCodeOptions,
  OpenCodeProvider,
  OpenOptions,
  Place,
  ReinsLogger,
  ReinsOptions,
  ReinsProvider,
  Retention,
  Store
} from "./Reins.ts"
export { ReinsError } from "./ReinsError.ts"
export type { ReinsErrorTag } from "./ReinsError.ts"
export type { PromptHandle, PromptOptions, ReinsSession } from "./ReinsSession.ts"
