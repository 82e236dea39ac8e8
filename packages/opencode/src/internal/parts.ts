/** The parts of a prompt as OpenCode takes them. */
import * as AgentError from "@reins/core/AgentError"
import type { PromptInput, PromptPart } from "@reins/core/Prompt"
import * as PromptFiles from "@reins/core/PromptFiles"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import type { PartInput } from "../OpenCodeClient.ts"

const unsupported = (operation: string) =>
  AgentError.make(new AgentError.Unsupported({ operation, provider: "opencode" }), { provider: "opencode" })

const invalid = (field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }), { provider: "opencode" })

/** The types that it decodes; with any other the prompt ends in an error of the server (measured on 1.18.33). */
const images: ReadonlySet<string> = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"])

const plain = (mediaType: string): string => {
  const name = mediaType.split(";")[0]?.trim().toLowerCase() ?? ""
  return name === "image/jpg" ? "image/jpeg" : name
}

/**
 * What is sent has to be what it is called: a wrong name is passed on to the model's provider. Text of every kind goes
 * as `text/plain`, the only type of text that the server itself turns into words for the model, with the file's name.
 */
const checked = (part: PromptPart, index: number): Result.Result<PromptPart, AgentError.AgentError> => {
  if (part._tag !== "Image" && part._tag !== "File") return Result.succeed(part)
  const declared = part.mediaType === undefined ? undefined : plain(part.mediaType)
  if (part._tag === "Image" && !images.has(declared ?? "")) {
    return Result.fail(unsupported(`an image of the type ${declared} in a prompt`))
  }
  const bytes = Base64.decode(part.data ?? "")
  if (Result.isFailure(bytes)) return Result.fail(invalid(`prompt.parts[${index}].data`, "The bytes are no base64."))
  const found = PromptFiles.mediaTypeOf(bytes.success)
  const pictured = declared !== undefined && (images.has(declared) || declared === "application/pdf")
  if (found === undefined && !pictured) {
    return Result.fail(
      unsupported(
        declared === undefined
          ? "a file that is neither text in UTF-8, nor a PDF, nor a PNG, JPEG, GIF or WebP"
          : `a file of the type ${declared} in a prompt`
      )
    )
  }
  if (found === undefined || (pictured && found !== declared)) {
    return Result.fail(
      invalid(
        `prompt.parts[${index}].mediaType`,
        `It is called ${declared}, and its bytes are ${found === undefined ? "something else" : found}.`
      )
    )
  }
  return Result.succeed({ ...part, mediaType: found })
}

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
    const read = yield* PromptFiles.read(input, options)
    const parts: Array<PromptPart> = []
    for (const [index, part] of read.parts.entries()) parts.push(yield* Effect.fromResult(checked(part, index)))
    return { parts }
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
