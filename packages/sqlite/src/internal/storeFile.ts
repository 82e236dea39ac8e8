/** Makes the file of a store, with its directory, and says in plain words what keeps it from being made. */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"

const is = (tag: PlatformError.PlatformError["reason"]["_tag"]) => ({ reason }: PlatformError.PlatformError): boolean =>
  reason._tag === tag

/** One level after the other: asked to make all of them, Node never answers where the kernel allows none, as below `/proc`. */
const makeDirectory = Effect.fnUntraced(function*(
  directory: string
): Effect.fn.Return<void, PlatformError.PlatformError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const make = fs.makeDirectory(directory, { mode: 0o700 }).pipe(Effect.catchIf(is("AlreadyExists"), () => Effect.void))
  const parent = path.dirname(directory)
  yield* make.pipe(
    Effect.catchIf(
      (error) => is("NotFound")(error) && parent !== directory,
      () => Effect.andThen(makeDirectory(parent), make)
    )
  )
})

/** The file is made here, so that nobody else can read it from its first moment on. */
export const make = Effect.fnUntraced(function*(
  filename: string
): Effect.fn.Return<void, AgentError.AgentError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const failed = (description: string, cause?: unknown) =>
    AgentError.make(new AgentError.StoreFailed({ operation: "open the store", path: filename, description, cause }))
  const directory = path.dirname(path.resolve(filename))
  yield* makeDirectory(directory).pipe(
    Effect.mapError((cause) => failed(`its directory cannot be made: ${cause.message}`, cause))
  )
  const typeOf = (place: string) =>
    Effect.orElseSucceed(Effect.map(fs.stat(place), ({ type }) => type), () => undefined)
  if ((yield* typeOf(directory)) === "File") return yield* failed(`"${directory}" is a file, and no directory`)
  // Looked at before it is opened: a pipe would wait for its reader.
  const type = yield* typeOf(filename)
  if (type === "Directory") return yield* failed("it is a directory, and no file")
  if (type !== undefined && type !== "File") return yield* failed("it is no regular file")
  yield* Effect.scoped(fs.open(filename, { flag: "a", mode: 0o600 })).pipe(
    Effect.mapError((cause) => failed(cause.message, cause))
  )
})
