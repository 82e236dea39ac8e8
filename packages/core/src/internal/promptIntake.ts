/** Takes prompts in: refuses what cannot be taken, reads the files, and bounds what waits. */
import * as Effect from "effect/Effect"
import * as AgentError from "../AgentError.ts"
import type { PromptInput } from "../Prompt.ts"
import * as PromptFiles from "../PromptFiles.ts"
import type { ProviderInstance } from "../Provider.ts"
import type { CallLimits, Driver } from "./driver.ts"

/** Bytes before base64. */
export interface AttachmentLimits {
  readonly one: number
  readonly waiting: number
}

export interface Taken {
  readonly input: PromptInput
  /** Bytes of its images and files. */
  readonly attached: number
}

/** Reasons that say what is wrong with the prompt. Any other says that nobody could be asked: submitting asks again. */
const refusals = new Set(["Unsupported", "InvalidRequest"])

/** What the provider can never take, and what nobody can. */
export const refuses = (
  provider: ProviderInstance,
  input: PromptInput,
  maxBytes: number
): AgentError.AgentError | undefined => {
  const unsupported = (operation: string) =>
    AgentError.make(new AgentError.Unsupported({ operation, provider: provider.id }))
  if (input.parts.length === 0 || input.parts.every((part) => part._tag === "Text" && part.text.trim() === "")) {
    return AgentError.make(new AgentError.InvalidRequest({ field: "prompt", description: "The prompt is empty." }))
  }
  const { capabilities } = provider
  for (const [index, part] of input.parts.entries()) {
    if (part._tag === "Image" && !capabilities.images) return unsupported("an image in a prompt")
    if (part._tag === "File" && !capabilities.files) return unsupported("a file in a prompt")
    if (part._tag === "Mention" && !capabilities.subagents) return unsupported("calling a subagent by name")
    if (part._tag === "Command" && !capabilities.commands) return unsupported("a slash command in a prompt")
    const problem = PromptFiles.problem(part, index, maxBytes)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** The prompt with all it needs, or why it cannot be taken. Text alone is taken without a wait. */
export const take = Effect.fnUntraced(function*(
  options: {
    readonly provider: ProviderInstance
    readonly cwd: string
    readonly driver: Driver
    readonly calls: CallLimits
    readonly limits: AttachmentLimits
  },
  input: PromptInput
): Effect.fn.Return<Taken, AgentError.AgentError> {
  const { calls, driver, limits, provider } = options
  const refused = refuses(provider, input, limits.one)
  if (refused !== undefined) return yield* refused
  if (input.parts.every((part) => part._tag === "Text")) return { input, attached: 0 }
  const whole = provider.prepare === undefined
    ? input
    : yield* provider.prepare(input, { cwd: options.cwd, maxBytes: limits.one })
  const attached = PromptFiles.attached(whole)
  if (attached > 0) {
    let waiting = attached
    for (const waiter of driver.waiters.values()) waiting += waiter.attached
    if (waiting > limits.waiting) {
      return yield* AgentError.make(
        new AgentError.InvalidRequest({
          field: "prompt",
          description:
            `With its images and files ${waiting} bytes would wait in the session; the limit is ${limits.waiting}.`
        })
      )
    }
  }
  const connection = driver.connection
  if (connection?.accepts !== undefined) {
    yield* driver.callOn(
      connection,
      (connection) => connection.accepts?.(whole) ?? Effect.void,
      calls.call,
      "whether it can take a prompt"
    ).pipe(Effect.catch((error) => refusals.has(error.reason._tag) ? Effect.fail(error) : Effect.void))
  }
  return { input: whole, attached }
})
