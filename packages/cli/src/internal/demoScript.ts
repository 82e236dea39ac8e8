/** What the model of the demo says: the one thing in it that is not real. */
import type * as ScriptedModel from "@reins/testing/ScriptedModel"

/** Chunks of text in a second: a pace that a person can read. */
const rate = 30

export const prompts = {
  work: "Write a program hello.js that greets the reader, and run it.",
  explain: "Explain in detail how the program works.",
  again: "You were cut off. Tell me in one sentence what the program does."
} as const

const file = "console.log(\"Hello! An agent wrote this file and ran it.\")\n"

const long =
  "The program is a single line. It calls console.log, which writes its argument to the standard output of " +
  "the process, followed by a line break. Node reads the file, compiles it, runs it from top to bottom, and since " +
  "nothing is left to wait for, ends with exit code 0. Had there been"

/** Chunks that come before the model falls silent, which is when the server is killed. */
const chunksBeforeKill = 40

export const respond = (request: ScriptedModel.ModelRequest): ScriptedModel.Script | undefined => {
  switch (request.lastUserText) {
    case prompts.work:
      return [
        {
          do: "tools",
          text: "I write the program first.",
          rate,
          tools: [{ name: "write", args: { filePath: "hello.js", content: file } }]
        },
        {
          do: "tools",
          text: "Now I run it.",
          rate,
          tools: [{ name: "bash", args: { command: "node hello.js", description: "Runs the program" } }]
        },
        { do: "text", text: "It works: the program greets the reader.", rate }
      ]
    case prompts.explain:
      return { do: "text", text: long, rate, gate: "never", gateAfter: chunksBeforeKill }
    case prompts.again:
      return { do: "text", text: "It prints one line that greets the reader, and ends.", rate }
    default:
      return undefined
  }
}
