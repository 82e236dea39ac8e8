/** A prompt in Codex's words. */
import * as AgentError from "@reins/core/AgentError"
import type { PromptInput } from "@reins/core/Prompt"
import * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"

/** What Codex takes of a prompt, or what it cannot take. */
export const inputOf = (input: PromptInput): ReadonlyArray<Json> =>
  input.parts.map((part): Json => {
    switch (part._tag) {
      case "Text":
        return { type: "text", text: part.text, text_elements: [] }
      case "Image":
        return { type: "image", url: `data:${part.mediaType};base64,${part.data}` }
      case "File":
        return { type: "mention", name: part.name ?? part.path ?? "file", path: part.path ?? "" }
      case "Mention":
        return { type: "text", text: `@${part.agent}`, text_elements: [] }
      case "Command":
        return { type: "text", text: `/${part.name} ${part.arguments}`.trimEnd(), text_elements: [] }
    }
  })

const unsupported = (part: PromptInput["parts"][number]): string | undefined => {
  switch (part._tag) {
    case "Command":
      return "a slash command in a prompt"
    case "Mention":
      return "a subagent that is called by its name"
    case "File":
      return part.path === undefined ? "a file without a path in a prompt" : undefined
    case "Text":
    case "Image":
      return undefined
  }
}

/** Refuses a prompt that cannot be taken, before anything of it is sent. */
export const check = (input: PromptInput): Effect.Effect<void, AgentError.AgentError> => {
  for (const part of input.parts) {
    const operation = unsupported(part)
    if (operation !== undefined) {
      return AgentError.fail(new AgentError.Unsupported({ operation, provider: "codex" }), { provider: "codex" })
    }
  }
  return Effect.void
}
