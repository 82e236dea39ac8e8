/** Skills that Codex finds for a directory: what a prompt calls as a command. */
import * as AgentError from "@reins/core/AgentError"
import type { Command } from "@reins/core/Catalogue"
import type { PromptInput } from "@reins/core/Prompt"
import * as Effect from "effect/Effect"
import type { CodexClient } from "../CodexClient.ts"
import type * as Wire from "../CodexSchema.ts"

export type Skill = Wire.Skill

/** Those that are switched on, of one directory. */
export const of = (client: CodexClient, cwd: string): Effect.Effect<ReadonlyArray<Skill>, AgentError.AgentError> =>
  Effect.map(
    client.listSkills(cwd),
    ({ data }) => data.flatMap(({ skills }) => skills).filter(({ enabled }) => enabled !== false)
  )

export const commandOf = ({ description, interface: shown, name, shortDescription }: Skill): Command => {
  const words = shown?.shortDescription ?? shortDescription ?? description
  return { name, source: "skill", ...(words === undefined || words === "" ? undefined : { description: words }) }
}

/** Codex takes the name of a skill that it does not have for plain text. */
export const check = (input: PromptInput, skills: ReadonlyArray<Skill>): Effect.Effect<void, AgentError.AgentError> => {
  const missing = input.parts.findIndex((part) =>
    part._tag === "Command" && !skills.some(({ name }) => name === part.name)
  )
  if (missing === -1) return Effect.void
  const names = skills.map(({ name }) => name)
  const shown = names.length === 0 ? "none" : names.slice(0, 20).join(", ")
  return AgentError.fail(
    new AgentError.InvalidRequest({
      field: `prompt.parts[${missing}].name`,
      description: `Codex has no such skill here. It has: ${shown}${
        names.length > 20 ? `, and ${names.length - 20} more` : ""
      }.`
    }),
    { provider: "codex" }
  )
}
