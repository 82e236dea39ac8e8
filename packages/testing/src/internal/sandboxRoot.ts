/** The temporary directory of a sandbox. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"

/**
 * Made and removed with the scope, here rather than by the scoped helper: an agent that ends late may still write into it,
 * which makes a single removal fail.
 */
export const make = (prefix: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) =>
    Effect.acquireRelease(
      Effect.flatMap(fs.makeTempDirectory({ prefix }), fs.realPath),
      (root) => fs.remove(root, { recursive: true, force: true }).pipe(Effect.retry({ times: 3 }), Effect.ignore)
    ))
