/** A prompt in Codex's words. */
import * as AgentError from "@reins/core/AgentError"
import type { PromptInput } from "@reins/core/Prompt"
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

/** Why a prompt cannot be taken, before anything of it is sent. */
export const problem = (input: PromptInput): AgentError.AgentError | undefined => {
  for (const part of input.parts) {
    const operation = part._tag === "Command"
      ? "a slash command in a prompt"
      : part._tag === "Mention"
      ? "a subagent that is called by its name"
      : part._tag === "File" && part.path === undefined
      ? "a file without a path in a prompt"
      : undefined
    if (operation !== undefined) {
      return AgentError.make(new AgentError.Unsupported({ operation, provider: "codex" }), { provider: "codex" })
    }
  }
  return undefined
}
