/** What the model says to the prompts of a host that is killed: `<kind> <name>`. */
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as script from "../fixtures/script.ts"

const nameOf = (request: ScriptedModel.ModelRequest): { readonly kind: string; readonly name: string } | undefined => {
  const found = /(text|long|tool) (P-[\w-]+)/.exec(request.lastUserText)
  return found === null ? undefined : { kind: found[1] ?? "", name: found[2] ?? "" }
}

export const answerTo = (name: string): string => `This is the answer to ${name}, and it ends here.`

/** A tool notes that it ran in a file of the project: a line for each time. */
export const respond = (request: ScriptedModel.ModelRequest): ScriptedModel.Script | undefined => {
  const asked = nameOf(request)
  if (asked === undefined) return undefined
  const { kind, name } = asked
  if (kind === "tool" && request.toolResultsAfterLastUser.length === 0) {
    return script.bash(`echo ${name} >> ran.txt; sleep 0.3`)
  }
  return { do: "text", text: answerTo(name), chunkSize: 4, delayMs: kind === "long" ? 60 : 30 }
}
