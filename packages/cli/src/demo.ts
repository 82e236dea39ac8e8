/**
 * The entry of `npm start`: shows what Reins does with a real agent and a model that follows a script.
 *
 * @since 0.1.0
 */
import { complaint } from "./internal/nodeVersion.ts"

const tooOld = complaint(process.versions.node, "The demo of Reins")
if (tooOld === undefined) {
  // Loaded only now: an old Node fails on the program itself, in words that help nobody.
  await import("./internal/demoProgram.ts")
} else {
  console.error(tooOld)
  process.exitCode = 2
}
