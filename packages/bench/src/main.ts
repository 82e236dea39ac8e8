/**
 * The entry of `npm run bench`.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as commands from "./internal/commands.ts"

const program = Effect.suspend(() => {
  let chosen: commands.Chosen
  try {
    chosen = commands.choose(process.argv.slice(2))
  } catch (cause) {
    console.error(`${cause instanceof Error ? cause.message : String(cause)}\n\n${commands.usage}`)
    process.exitCode = 2
    return Effect.void
  }
  return Effect.map(chosen((line) => process.stderr.write(`${line}\n`)), (report) => {
    console.log(report)
  })
})

NodeRuntime.runMain(program)
