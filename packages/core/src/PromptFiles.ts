/**
 * Images and files of prompts: read, measured and told apart before anything is sent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as AgentError from "./AgentError.ts"
import type { PromptInput, PromptPart } from "./Prompt.ts"

const refuse = (index: number, field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field: `prompt.parts[${index}].${field}`, description }))

/**
 * How many bytes a text in base64 stands for.
 *
 * @category getters
 * @since 0.1.0
 */
export const sizeOf = (base64: string): number => {
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0
  return Math.max(0, Math.floor(base64.length / 4) * 3 - padding)
}

/**
 * Bytes of all the images and files that a prompt holds.
 *
 * @category getters
 * @since 0.1.0
 */
export const attached = (input: PromptInput): number =>
  input.parts.reduce(
    (sum, part) =>
      sum + (part._tag === "Image" ? sizeOf(part.data) : part._tag === "File" ? sizeOf(part.data ?? "") : 0),
    0
  )

/**
 * The same prompt without the bytes of its images and files.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withoutData = (input: PromptInput): PromptInput =>
  attached(input) === 0 ? input : {
    parts: input.parts.map((part) => part._tag === "Image" || part._tag === "File" ? { ...part, data: "" } : part)
  }

const mebibytes = (bytes: number): string =>
  bytes >= 1024 * 1024 ? `${Math.ceil(bytes / 1024 / 102.4) / 10} MiB` : `${bytes} bytes`

/**
 * Why an image or a file cannot be taken as it was given: both or neither of path and bytes, bytes that are no base64,
 * too many of them.
 *
 * @category getters
 * @since 0.1.0
 */
export const problem = (part: PromptPart, index: number, maxBytes: number): AgentError.AgentError | undefined => {
  if (part._tag !== "Image" && part._tag !== "File") return undefined
  const { data } = part
  if (part._tag === "File" && (part.path === undefined) === (data === undefined)) {
    return refuse(index, "path", "A file has either a path or its bytes.")
  }
  if (part._tag === "File" && part.path !== undefined && part.path.trim() === "") {
    return refuse(index, "path", "The path of the file is empty.")
  }
  if (data === undefined) return undefined
  const size = sizeOf(data)
  if (size > maxBytes) {
    return refuse(index, "data", `It has ${mebibytes(size)}; the limit is ${mebibytes(maxBytes)}.`)
  }
  if (data === "" && part._tag === "Image") return refuse(index, "data", "The image is empty.")
  return Result.isFailure(Base64.decode(data))
    ? refuse(index, "data", "The bytes are not written in base64.")
    : undefined
}

const startsWith = (bytes: Uint8Array, at: number, text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false
  return true
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/**
 * What bytes can be told to be by themselves.
 *
 * @category models
 * @since 0.1.0
 */
export type MediaType = "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "application/pdf" | "text/plain"

/**
 * The image types that models take.
 *
 * @category constants
 * @since 0.1.0
 */
export const images: ReadonlySet<MediaType> = new Set<MediaType>(["image/png", "image/jpeg", "image/gif", "image/webp"])

/**
 * What bytes are, by themselves: one of the four image types that models take, a PDF, text in UTF-8, or none of these.
 *
 * @category getters
 * @since 0.1.0
 */
export const mediaTypeOf = (bytes: Uint8Array): MediaType | undefined => {
  if (startsWith(bytes, 0, "\x89PNG\r\n\x1a\n")) return "image/png"
  if (startsWith(bytes, 0, "\xff\xd8\xff")) return "image/jpeg"
  if (startsWith(bytes, 0, "GIF87a") || startsWith(bytes, 0, "GIF89a")) return "image/gif"
  if (startsWith(bytes, 0, "RIFF") && startsWith(bytes, 8, "WEBP")) return "image/webp"
  if (startsWith(bytes, 0, "%PDF-")) return "application/pdf"
  if (bytes.includes(0)) return undefined
  try {
    utf8.decode(bytes)
    return "text/plain"
  } catch {
    return undefined
  }
}

/**
 * The same prompt with the bytes of every file that it names by path. A path that does not exist, cannot be read, is a
 * directory or no regular file, or holds more than `maxBytes`, is an `InvalidRequest` that says which part it is.
 *
 * @category constructors
 * @since 0.1.0
 */
export const read = Effect.fnUntraced(function*(
  input: PromptInput,
  options: {
    /** What a relative path is relative to. */
    readonly cwd: string
    readonly maxBytes: number
  }
): Effect.fn.Return<PromptInput, AgentError.AgentError, FileSystem.FileSystem | Path.Path> {
  if (!input.parts.some((part) => part._tag === "File" && part.path !== undefined)) return input
  const path = yield* Path.Path
  const parts = yield* Effect.forEach(input.parts, (part, index) => {
    if (part._tag !== "File" || part.path === undefined) return Effect.succeed(part)
    const { path: given, ...rest } = part
    return Effect.map(
      bytesOf(index, path.resolve(options.cwd, given), options.maxBytes),
      (bytes): PromptPart => ({ name: path.basename(given), ...rest, data: Base64.encode(bytes) })
    )
  })
  return { parts }
})

const names: Readonly<Record<MediaType, string>> = {
  "text/plain": "text in UTF-8",
  "application/pdf": "PDF",
  "image/png": "PNG",
  "image/jpeg": "JPEG",
  "image/gif": "GIF",
  "image/webp": "WebP"
}

const plainType = (mediaType: string): string => {
  const name = mediaType.split(";")[0]?.trim().toLowerCase() ?? ""
  return name === "image/jpg" ? "image/jpeg" : name
}

/**
 * The same prompt with every image and file called what its bytes are. Refused are what is of none of the `types` (as
 * `Unsupported`) and what is called something else than it is: a wrong name would be passed on to the model's provider.
 * Text of every kind is `text/plain`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const typed = (
  input: PromptInput,
  options: { readonly provider: string; readonly types: ReadonlySet<MediaType> }
): Result.Result<PromptInput, AgentError.AgentError> => {
  const parts: Array<PromptPart> = []
  for (const [index, part] of input.parts.entries()) {
    const known = typedPart(part, index, options)
    if (Result.isFailure(known)) return Result.fail(known.failure)
    parts.push(known.success)
  }
  return Result.succeed({ parts })
}

const typedPart = (
  part: PromptPart,
  index: number,
  { provider, types }: { readonly provider: string; readonly types: ReadonlySet<MediaType> }
): Result.Result<PromptPart, AgentError.AgentError> => {
  if (part._tag !== "Image" && part._tag !== "File") return Result.succeed(part)
  const unsupported = (operation: string) =>
    Result.fail(AgentError.make(new AgentError.Unsupported({ operation, provider }), { provider }))
  const declared = part.mediaType === undefined ? undefined : plainType(part.mediaType)
  const isType = (type: string | undefined): type is MediaType => type !== undefined && types.has(type as MediaType)
  if (part._tag === "Image" && !(isType(declared) && images.has(declared))) {
    return unsupported(`an image of the type ${declared} in a prompt`)
  }
  const bytes = Base64.decode(part.data ?? "")
  if (Result.isFailure(bytes)) return Result.fail(refuse(index, "data", "The bytes are not written in base64."))
  const found = mediaTypeOf(bytes.success)
  // Text has types without number: what is none by its bytes and called one of the others is called wrong.
  const other = isType(declared) && declared !== "text/plain" ? declared : undefined
  if (other !== undefined && found !== other) {
    return Result.fail(
      refuse(index, "mediaType", `It is called ${declared}, and its bytes are ${found ?? "something else"}.`)
    )
  }
  if (!isType(found)) {
    return unsupported(
      declared === undefined
        ? `a file that is none of ${[...types].map((type) => names[type]).join(", ")}`
        : `a file of the type ${declared} in a prompt`
    )
  }
  return Result.succeed({ ...part, mediaType: found })
}

const bytesOf = Effect.fnUntraced(function*(index: number, file: string, maxBytes: number) {
  const fs = yield* FileSystem.FileSystem
  const cannot = Effect.mapError((error: { readonly reason: { readonly _tag: string } }) =>
    refuse(
      index,
      "path",
      error.reason._tag === "NotFound"
        ? `The file "${file}" does not exist.`
        : `The file "${file}" cannot be read (${error.reason._tag}).`
    )
  )
  // Asked before it is opened: opening a pipe would wait for its writer.
  const info = yield* fs.stat(file).pipe(cannot)
  if (info.type !== "File") {
    return yield* refuse(
      index,
      "path",
      info.type === "Directory" ? `"${file}" is a directory, not a file.` : `"${file}" is no regular file.`
    )
  }
  const tooLarge = (size: number) =>
    refuse(index, "path", `The file "${file}" has ${mebibytes(size)}; the limit is ${mebibytes(maxBytes)}.`)
  if (Number(info.size) > maxBytes) return yield* tooLarge(Number(info.size))
  // It may have grown since.
  const chunks = yield* fs.stream(file, { bytesToRead: maxBytes + 1 }).pipe(Stream.runCollect, cannot)
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (size > maxBytes) return yield* tooLarge(size)
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
})
