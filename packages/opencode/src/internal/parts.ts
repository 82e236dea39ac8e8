/** The parts of a prompt as OpenCode takes them. */
import * as AgentError from "@reins/core/AgentError"
import type { PromptInput, PromptPart } from "@reins/core/Prompt"
import * as PromptFiles from "@reins/core/PromptFiles"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import type { PartInput } from "../OpenCodeClient.ts"

const invalid = (field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }), { provider: "opencode" })

/** What it decodes; with any other image the prompt ends in an error of the server (measured on 1.18.33). */
const types: ReadonlySet<PromptFiles.MediaType> = new Set([...PromptFiles.images, "application/pdf", "text/plain"])

/** A command stands for the whole of a prompt: its text comes from its own file. */
const alone = (input: PromptInput): AgentError.AgentError | undefined => {
  if (!input.parts.some((part) => part._tag === "Command")) return undefined
  const others = input.parts.filter((part) => part._tag !== "Image" && part._tag !== "File")
  return others.length === 1 ? undefined : invalid(
    "prompt.parts",
    "A command takes its text as arguments: beside it a prompt holds images and files, and nothing else."
  )
}

/** Reads the files of a prompt, and refuses what OpenCode can never take. */
export const prepare = (
  input: PromptInput,
  options: { readonly cwd: string; readonly maxBytes: number }
): Effect.Effect<PromptInput, AgentError.AgentError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const wrong = alone(input)
    if (wrong !== undefined) return yield* wrong
    // Text of every kind goes as `text/plain`, the only type of text that the server turns into words for the model.
    return yield* Effect.fromResult(
      PromptFiles.typed(yield* PromptFiles.read(input, options), { provider: "opencode", types })
    )
  })

/** Data URLs: the server may run on a host that has none of our files. */
const fileOf = (id: string | undefined, part: Extract<PromptPart, { readonly _tag: "Image" | "File" }>) => {
  const mime = part.mediaType ?? "text/plain"
  return {
    ...(id === undefined ? undefined : { id }),
    type: "file" as const,
    mime,
    url: `data:${mime};base64,${part.data ?? ""}`,
    ...(part.name === undefined ? undefined : { filename: part.name })
  }
}

const isFile = (part: PromptPart): part is Extract<PromptPart, { readonly _tag: "Image" | "File" }> =>
  part._tag === "Image" || part._tag === "File"

/** Ids of parts derive from the key of the prompt, so that a part that is sent again is known. */
const partId = (key: string, index: number): string => `prt_${key.slice(4, -2)}${index.toString(36).padStart(2, "0")}`

/**
 * The parts of a prompt. `again`: the server has the message. Then files of text are left out, for it writes what it
 * reads in them into parts of its own, which it would write once more.
 */
export const of = (key: string, input: PromptInput, again: boolean): ReadonlyArray<PartInput> =>
  input.parts.flatMap((part, index): ReadonlyArray<PartInput> => {
    const id = partId(key, index)
    if (part._tag === "Text") return [{ id, type: "text", text: part.text }]
    if (part._tag === "Mention") return [{ id, type: "agent", name: part.agent }]
    if (!isFile(part) || (again && part.mediaType === "text/plain")) return []
    return [fileOf(id, part)]
  })

/** The files beside a command. */
export const beside = (key: string, input: PromptInput) =>
  input.parts.flatMap((part, index) => isFile(part) ? [fileOf(partId(key, index), part)] : [])

/** The command that a prompt is, if it is one. */
export const commandOf = (input: PromptInput) => input.parts.find((part) => part._tag === "Command")
