/**
 * The entry of the `reins` command.
 *
 * @since 0.1.0
 */
import { complaint } from "./internal/nodeVersion.ts"

const tooOld = complaint(process.versions.node, "reins")
if (tooOld === undefined) {
  // Loaded only now: an old Node fails on the program itself, in words that help nobody.
  await import("./internal/program.ts")
} else {
  console.error(tooOld)
  process.exitCode = 2
}
