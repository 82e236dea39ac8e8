/**
 * One recorded turn of OpenCode 1.18.33 and its multiplication: the envelope, the fields and their order are the
 * recorded ones, ids and text are those of the running turn.
 */
import * as fs from "node:fs"

const recorded = {
  session: "ses_e03edf2abffeFhi2oCKykQNWlO",
  user: "msg_1fc120d60001g9BjUlaCFyGaNC",
  assistant: "msg_1fc120d70001e9hTKuSNKHMXEz",
  part: "prt_1fc120d9c001nVuHYsWdaPBZc7",
  directory: "/sandbox/proj",
  text: "word word word word word ",
  delta: "word ",
  stamp: "1fc120"
} as const

/** Who speaks in a turn. */
export interface Turn {
  readonly session: string
  readonly directory: string
  readonly user: string
  readonly assistant: string
  readonly part: string
}

/**
 * `global`: the frames of `/global/event`, which Reins reads. `event`: those of `/event`, which the SDK reads. `floor`:
 * the frames of `/global/event` on a stream of their own.
 */
export type Feed = "global" | "event" | "floor"

/** A turn whose user message has this id; the other ids follow from it. */
export const turnOf = (session: string, directory: string, user: string): Turn => ({
  session,
  directory,
  user,
  assistant: `${user.slice(0, -3)}zzz`,
  part: `prt_${user.slice(4, -3)}txt`
})

const lines = fs.readFileSync(new URL("../../recordings/opencode-text.jsonl", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")

const isDelta = (line: string): boolean => line.includes("\"type\":\"message.part.delta\"")

const firstDelta = lines.findIndex(isDelta)
const lastDelta = lines.findLastIndex(isDelta)
const template = lines[firstDelta]
if (template === undefined) throw new Error("The recording holds no delta.")

const inner = (text: string): string => JSON.stringify(text).slice(1, -1)

/** Gives a recorded line the ids of a turn. What else has an id gets one that no other turn has. */
const fill = (line: string, turn: Turn, text: string): string =>
  line
    .replaceAll(recorded.session, turn.session)
    .replaceAll(recorded.user, turn.user)
    .replaceAll(recorded.assistant, turn.assistant)
    .replaceAll(recorded.part, turn.part)
    .replaceAll(recorded.directory, inner(turn.directory))
    .replaceAll(`"${recorded.text}"`, () => JSON.stringify(text))
    .replaceAll(`prt_${recorded.stamp}`, `prt_${turn.user.slice(4, 16)}`)

/** What comes before the text of a turn. */
export const before = (turn: Turn): ReadonlyArray<string> =>
  lines.slice(0, firstDelta).map((line) => fill(line, turn, ""))

/** What comes after it, with the text that was sent. */
export const after = (turn: Turn, text: string): ReadonlyArray<string> =>
  lines.slice(lastDelta + 1).map((line) => fill(line, turn, text))

/** The deltas of one turn: what stands before the number of the event, between it and the text, and after the text. */
export const deltaFrame = (turn: Turn, feed: Feed): (index: number, json: string) => string => {
  const [head = "", rest = ""] = fill(template, turn, "").split("1fc120d9e")
  const [middle = "", tail = ""] = rest.split(`"${recorded.delta}"`)
  const [open, close] = envelope(turn.directory, feed)
  const start = `data: ${open}${head}`
  const end = `${tail}${close}\n\n`
  return (index, json) => `${start}${(0x1fc120d9e + index).toString(16)}${middle}${json}${end}`
}

const envelope = (directory: string, feed: Feed): readonly [string, string] =>
  feed === "event" ? ["", ""] : [`{"directory":${JSON.stringify(directory)},"project":"global","payload":`, "}"]

/** A whole frame as the stream carries it. */
export const frame = (directory: string, feed: Feed, payload: string): string => {
  const [open, close] = envelope(directory, feed)
  return `data: ${open}${payload}${close}\n\n`
}

const toolLines = fs.readFileSync(new URL("../../recordings/opencode-tool.jsonl", import.meta.url), "utf8")
  .split("\n")
  .filter((line) => line !== "")

/** A recorded shell command that begins and ends, as frames: what is kept of it are its two events. */
export const tool = (turn: Turn, index: number): string =>
  toolLines.map((line) =>
    frame(
      turn.directory,
      "global",
      line
        .replaceAll("ses_000000000001RecordedFrames", turn.session)
        .replaceAll("msg_000000000004RecordedFrames", turn.assistant)
        .replaceAll(
          "prt_000000000006RecordedFrames",
          `prt_${turn.user.slice(4, -8)}${index.toString(36).padStart(8, "0")}`
        )
        .replaceAll("call_1", `call_${index}`)
    )
  ).join("")

/** Pieces of a model's answer: words, punctuation, code with quotes, and lines that end. */
const pieces = [
  "The ",
  "parser ",
  "keeps ",
  "the ",
  "last ",
  "line ",
  "until ",
  "its ",
  "end ",
  "has ",
  "come",
  ", ",
  "so ",
  "a ",
  "character ",
  "that ",
  "is ",
  "split ",
  "between ",
  "two ",
  "chunks ",
  "is ",
  "read ",
  "whole",
  ".",
  "\n\n",
  "```",
  "ts",
  "\n",
  "const ",
  "name ",
  "= ",
  "\"value\"",
  "\n",
  "return ",
  "[name, ",
  "name.length]",
  "\n",
  "```",
  "\n"
]
const encoded = pieces.map((piece) => JSON.stringify(piece))

/** The text of delta `index`. */
export const textAt = (index: number): string => pieces[index % pieces.length] ?? ""

/** The same as JSON. */
export const jsonAt = (index: number): string => encoded[index % encoded.length] ?? ""

/** The text of `count` deltas: every `step`th from `first`. */
export const textOf = (count: number, first = 0, step = 1): string => {
  const parts: Array<string> = []
  for (let i = first; i < count; i += step) parts.push(textAt(i))
  return parts.join("")
}
