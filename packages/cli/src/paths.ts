/**
 * Where `reins` keeps what it knows, by the XDG base directories.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { homedir } from "node:os"

/**
 * The folders of `reins`, closed to other users.
 *
 * @category models
 * @since 0.1.0
 */
export interface Paths {
  /** `$XDG_STATE_HOME/reins`, by default `~/.local/state/reins`: which conversation belongs to which session. */
  readonly state: string
  /** `$XDG_DATA_HOME/reins`, by default `~/.local/share/reins`. */
  readonly data: string
  /** The bindings of the sessions, below `state`. */
  readonly sessions: string
}

const variable = (name: string) => Config.String(name).pipe(Effect.orElseSucceed(() => ""))

/**
 * The folders that the environment names. A relative path in a variable does not count, as the XDG rules demand.
 *
 * @category constructors
 * @since 0.1.0
 */
export const resolve: Effect.Effect<Paths, never, Path.Path> = Effect.gen(function*() {
  const path = yield* Path.Path
  const home = (yield* variable("HOME")) || homedir()
  const folder = (given: string, otherwise: string) =>
    path.join(path.isAbsolute(given) ? given : path.join(home, otherwise), "reins")
  const state = folder(yield* variable("XDG_STATE_HOME"), ".local/state")
  const data = folder(yield* variable("XDG_DATA_HOME"), ".local/share")
  return { state, data, sessions: path.join(state, "sessions") }
})

const close = Effect.fnUntraced(function*(
  directory: string
): Effect.fn.Return<void, AgentError.AgentError, FileSystem.FileSystem> {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(directory, { recursive: true, mode: 0o700 }).pipe(
    // A folder that exists already may have been made with a wider mode.
    Effect.andThen(fs.chmod(directory, 0o700)),
    Effect.mapError((cause) =>
      AgentError.make(new AgentError.StoreFailed({ operation: "make the folder", path: directory, cause }))
    )
  )
})

/**
 * Makes the folders where they are missing, open to nobody else (0700).
 *
 * @category constructors
 * @since 0.1.0
 */
export const ensure: Effect.Effect<Paths, AgentError.AgentError, Path.Path | FileSystem.FileSystem> = Effect.gen(
  function*() {
    const paths = yield* resolve
    yield* close(paths.state)
    yield* close(paths.data)
    return paths
  }
)
