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
 * What bytes are, by themselves: one of the four image types that models take, a PDF, text in UTF-8, or none of these.
 *
 * @category getters
 * @since 0.1.0
 */
export const mediaTypeOf = (
  bytes: Uint8Array
): "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "application/pdf" | "text/plain" | undefined => {
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
