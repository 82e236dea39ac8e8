/** The parts of a prompt as Codex takes them. */
import * as AgentError from "@reins/core/AgentError"
import type { PromptInput, PromptPart } from "@reins/core/Prompt"
import * as PromptFiles from "@reins/core/PromptFiles"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import type { Json } from "effect/Schema"
import type { Skill } from "./skills.ts"

/** It passes images on, and knows no other files: text goes into the prompt. */
const types: ReadonlySet<PromptFiles.MediaType> = new Set([...PromptFiles.images, "text/plain"])

const utf8 = new TextDecoder()

const text = (text: string): Json => ({ type: "text", text, text_elements: [] })

/** A file of text in the words of the prompt, between its name and an end that it does not hold itself. */
const quoted = ({ data = "", name = "file" }: Extract<PromptPart, { readonly _tag: "File" }>): string => {
  const content = utf8.decode(Result.getOrElse(Base64.decode(data), () => new Uint8Array()))
  let tag = "file"
  while (content.includes(`</${tag}>`)) tag += "_"
  return `<${tag} name=${JSON.stringify(name)}>\n${content}${content.endsWith("\n") ? "" : "\n"}</${tag}>`
}

/** A skill is called by its name in the text and named as an item, which puts its instructions before the model. */
const called = (part: Extract<PromptPart, { readonly _tag: "Command" }>, skills: ReadonlyArray<Skill>) => {
  const skill = skills.find(({ name }) => name === part.name)
  return [
    text(`$${part.name} ${part.arguments}`.trimEnd()),
    ...(skill === undefined ? [] : [{ type: "skill", name: skill.name, path: skill.path }])
  ]
}

export const inputOf = (input: PromptInput, skills: ReadonlyArray<Skill> = []): ReadonlyArray<Json> =>
  input.parts.flatMap((part): ReadonlyArray<Json> => {
    switch (part._tag) {
      case "Text":
        return [text(part.text)]
      case "Image":
      case "File":
        return part.mediaType === "text/plain"
          ? [text(quoted({ ...part, _tag: "File" }))]
          : [{ type: "image", url: `data:${part.mediaType ?? ""};base64,${part.data ?? ""}` }]
      case "Mention":
        return [text(`@${part.agent}`)]
      case "Command":
        return called(part, skills)
    }
  })

/** Reads the files of a prompt, and refuses what Codex can never take. */
export const prepare = (
  input: PromptInput,
  options: { readonly cwd: string; readonly maxBytes: number }
): Effect.Effect<PromptInput, AgentError.AgentError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    if (input.parts.some(({ _tag }) => _tag === "Mention")) {
      return yield* AgentError.make(
        new AgentError.Unsupported({ operation: "a subagent that is called by its name", provider: "codex" }),
        { provider: "codex" }
      )
    }
    return yield* Effect.fromResult(
      PromptFiles.typed(yield* PromptFiles.read(input, options), { provider: "codex", types })
    )
  })

/** Whether a prompt holds an image, as bytes of either kind. */
export const hasImage = (input: PromptInput): boolean =>
  input.parts.some((part) => part._tag === "Image" || (part._tag === "File" && part.mediaType !== "text/plain"))

/** Whether a prompt calls a skill. */
export const callsSkill = (input: PromptInput): boolean => input.parts.some(({ _tag }) => _tag === "Command")
