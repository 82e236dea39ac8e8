/**
 * From a step to what happens on the wire: the pieces of the answer, their pace, and how it ends.
 */
import type { Delta, UsageCounts } from "./modelWire.ts"
import type { ContentStep, Step } from "./modelScript.ts"

/** How a streamed answer ends. */
export type Ending =
  | { readonly _tag: "Finish"; readonly reason: string }
  | { readonly _tag: "NoFinish"; readonly done: boolean }
  | { readonly _tag: "StreamError"; readonly message: string; readonly code?: string }
  | { readonly _tag: "Malformed" }
  | { readonly _tag: "Stall" }
  | { readonly _tag: "Cut" }

/** What one request is answered with. */
export type Plan =
  | {
    readonly _tag: "Status"
    readonly code: number
    readonly headers: Readonly<Record<string, string>>
    /** Absent: the wire's own words for the code. */
    readonly body: string | undefined
    readonly message: string | undefined
  }
  | { readonly _tag: "Hang"; readonly headers: boolean }
  | { readonly _tag: "CutBeforeHeaders" }
  | {
    readonly _tag: "Answer"
    readonly deltas: ReadonlyArray<Delta>
    /** Pause before each delta but the first, ms. */
    readonly intervalMs: number
    /** A gate held in front of the delta with this index. */
    readonly hold: { readonly gate: string; readonly after: number } | undefined
    readonly ending: Ending
    readonly usage: UsageCounts
    /** Token counts are sent even to a client that did not ask. */
    readonly usageForced: boolean
  }

const lexicon = "the model reads its script and answers with plain words so that a test can count them one by one"
  .split(" ")

const wordChunks = (count: number): Array<string> => {
  const chunks: Array<string> = []
  for (let index = 0; index < count; index++) {
    const word = lexicon[index % lexicon.length] ?? ""
    chunks.push(index === count - 1 ? word : `${word} `)
  }
  return chunks
}

/** Cuts by code points: a surrogate pair is never torn. */
const sliced = (text: string, size: number): Array<string> => {
  const points = Array.from(text)
  const chunks: Array<string> = []
  for (let index = 0; index < points.length; index += size) {
    chunks.push(points.slice(index, index + size).join(""))
  }
  return chunks
}

/** Without a size, a chunk is a word with the white space after it. */
const split = (text: string, size: number | undefined): Array<string> =>
  size === undefined ? text.match(/\s*\S+\s*|\s+/gu) ?? [] : sliced(text, size)

const charChunks = (count: number, size: number): Array<string> => {
  const words = wordChunks(lexicon.length).join("")
  return sliced(`${words} `.repeat(Math.ceil(count / (words.length + 1))).slice(0, count), size)
}

const contentChunks = (step: ContentStep, fallbackWords: number): Array<string> => {
  if (step.text !== undefined) {
    return split(step.text, step.chunkSize)
  }
  if (step.chars !== undefined) {
    return charChunks(step.chars, step.chunkSize ?? 16)
  }
  const words = wordChunks(step.words ?? fallbackWords)
  return step.chunkSize === undefined ? words : sliced(words.join(""), step.chunkSize)
}

const texts = (chunks: ReadonlyArray<string>): Array<Delta> => chunks.map((text) => ({ kind: "text", text }))
const thoughts = (chunks: ReadonlyArray<string>): Array<Delta> => chunks.map((text) => ({ kind: "reasoning", text }))

/** Arguments travel in pieces of this many characters, as real models send them. */
const argumentPiece = 48

const calls = (step: Extract<Step, { readonly do: "tools" }>, serial: number): Array<Delta> =>
  step.tools.flatMap((call, index) => [
    {
      kind: "call",
      index,
      id: call.id ?? `call_${serial}_${index}`,
      name: call.name,
      custom: call.input !== undefined,
      ...(call.namespace === undefined ? undefined : { namespace: call.namespace })
    } as const,
    ...sliced(call.input ?? call.rawArgs ?? JSON.stringify(call.args ?? {}), step.chunkSize ?? argumentPiece)
      .map((text) => ({ kind: "arguments", index, text }) as const)
  ])

/** Words a faulty answer begins with when its step names no content. */
const faultWords = 12

const deltasOf = (step: ContentStep, serial: number): Array<Delta> => {
  switch (step.do) {
    case "text":
      return [...thoughts(split(step.reasoning ?? "", step.chunkSize)), ...texts(contentChunks(step, 1))]
    case "reasoning":
      return [...thoughts(contentChunks(step, 1)), ...texts(split(step.answer ?? "", step.chunkSize))]
    case "tools":
      return [
        ...thoughts(split(step.reasoning ?? "", step.chunkSize)),
        ...texts(contentChunks(step, 0)),
        ...calls(step, serial)
      ]
    case "noFinish":
    case "finish":
      return texts(contentChunks(step, faultWords))
    case "cut":
    case "stall":
      return texts(contentChunks(step, faultWords).slice(0, step.after ?? 1))
    case "malformed":
    case "streamError":
      return texts(contentChunks(step, faultWords).slice(0, step.after ?? 0))
  }
}

const endingOf = (step: ContentStep): Ending => {
  switch (step.do) {
    case "text":
    case "reasoning":
      return { _tag: "Finish", reason: "stop" }
    case "tools":
      return { _tag: "Finish", reason: "tool_calls" }
    case "finish":
      return { _tag: "Finish", reason: step.reason }
    case "noFinish":
      return { _tag: "NoFinish", done: step.done ?? true }
    case "streamError":
      return {
        _tag: "StreamError",
        message: step.message ?? "The model stopped with an error",
        ...(step.code === undefined ? undefined : { code: step.code })
      }
    case "malformed":
      return { _tag: "Malformed" }
    case "stall":
      return { _tag: "Stall" }
    case "cut":
      return { _tag: "Cut" }
  }
}

/** Four characters count as one token. */
const tokens = (characters: number): number => Math.max(1, Math.ceil(characters / 4))

const usageOf = (step: ContentStep, deltas: ReadonlyArray<Delta>, promptChars: number): UsageCounts => {
  const given = "usage" in step ? step.usage : undefined
  const prompt = given?.prompt ?? tokens(promptChars)
  const completion = given?.completion ??
    tokens(deltas.reduce((sum, delta) => sum + (delta.kind === "call" ? delta.name.length : delta.text.length), 0))
  return { prompt, completion, total: given?.total ?? prompt + completion, cached: given?.cached ?? 0 }
}

/** Lays out the answer to one request. `serial` makes ids of tool calls unique within the server. */
export const make = (step: Step, context: { readonly serial: number; readonly promptChars: number }): Plan => {
  if (step.do === "status") {
    return {
      _tag: "Status",
      code: step.code,
      headers: step.headers ?? {},
      body: step.body === undefined || typeof step.body === "string" ? step.body : JSON.stringify(step.body),
      message: step.message
    }
  }
  if (step.do === "hang") {
    return { _tag: "Hang", headers: step.headers ?? false }
  }
  if (step.do === "cut" && step.before === "headers") {
    return { _tag: "CutBeforeHeaders" }
  }
  const deltas = deltasOf(step, context.serial)
  return {
    _tag: "Answer",
    deltas,
    intervalMs: step.delayMs ?? (step.rate === undefined ? 0 : 1000 / step.rate),
    hold: step.gate === undefined || step.gateAfter === undefined
      ? undefined
      : { gate: step.gate, after: Math.min(step.gateAfter, deltas.length) },
    ending: endingOf(step),
    usage: usageOf(step, deltas, context.promptChars),
    usageForced: "usage" in step && step.usage !== undefined
  }
}

/** The gate in front of the whole answer, if the step names one without saying after which chunk. */
export const gateBefore = (step: Step): string | undefined =>
  "gateAfter" in step && step.gateAfter !== undefined ? undefined : step.gate
