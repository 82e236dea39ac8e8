/**
 * The model of a soak, in a process of its own: its memory is not the host's. Notes each prompt that it is asked about; a
 * question that it is too busy for is no such, it has to come again.
 */
import { NodeServices } from "@effect/platform-node"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import { appendFileSync } from "node:fs"
import * as script from "../fixtures/script.ts"
import { answerTo, nameOf } from "./prompts.ts"

const asked = process.argv[2] ?? ""
/** A command, in the words of the agent. */
const run = (command: string): ScriptedModel.Step =>
  process.argv[3] === "codex" ? script.tools(["exec_command", { cmd: command }]) : script.bash(command)

const respond = (request: ScriptedModel.ModelRequest): ScriptedModel.Script | undefined => {
  const found = nameOf(request.lastUserText)
  if (found === undefined) return undefined
  const { kind, name } = found
  const results = request.toolResultsAfterLastUser.length
  if (kind === "busy" && !busy.delete(name)) {
    busy.add(name)
    return { do: "status", code: 503, message: "overloaded", headers: { "retry-after": "1" } }
  }
  if (results === 0) appendFileSync(asked, `${name}\n`)
  if (kind === "tool" && results === 0) return run(`echo ${name} >> ran.txt; sleep 0.1`)
  if (kind === "wait" && results === 0) return run(`echo ${name} >> ran.txt; sleep 2`)
  if (kind === "refused") return { do: "status", code: 400, message: `refused ${name}` }
  const slow = kind === "long" ? 40 : 2
  return { do: "text", text: answerTo(name), chunkSize: 4, delayMs: slow }
}

/** Prompts that were told once that the model has no time. */
const busy = new Set<string>()

await Effect.gen(function*() {
  const model = yield* ScriptedModel.ScriptedModel
  console.log(model.url)
  return yield* Effect.never
}).pipe(
  Effect.provide(Layer.merge(ScriptedModel.layer({ respond, titles: false }), NodeServices.layer)),
  Effect.runPromise
)
