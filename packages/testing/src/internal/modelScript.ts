/**
 * The script language of the scripted model: what a step may say, its short forms, and how a script is found in a
 * prompt.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

const maxWords = 1_000_000
const maxChars = 16_000_000
/** Longest pause between two chunks, ms. */
const maxDelayMs = 600_000
/** Closing brackets tried before a script counts as broken; a text may hold many `>>>`. */
const maxCandidates = 64

const Count = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

/** Token counts reported at the end of an answer. */
export const Usage = Schema.Struct({
  prompt: Schema.optionalKey(Count(1e9)),
  completion: Schema.optionalKey(Count(1e9)),
  total: Schema.optionalKey(Count(2e9)),
  cached: Schema.optionalKey(Count(1e9))
})

/** One tool call; `rawArgs` is sent as it stands, so it may be broken JSON; `input` is the text for a custom tool. */
export const ToolCall = Schema.Struct({
  name: Schema.String,
  namespace: Schema.optionalKey(Schema.String),
  args: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  rawArgs: Schema.optionalKey(Schema.String),
  input: Schema.optionalKey(Schema.String),
  id: Schema.optionalKey(Schema.String)
})

const content = {
  text: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(maxChars))),
  words: Schema.optionalKey(Count(maxWords)),
  chars: Schema.optionalKey(Count(maxChars)),
  chunkSize: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxChars }))),
  rate: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0.001, maximum: 1e6 }))),
  delayMs: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: maxDelayMs })))
}
const gate = { gate: Schema.optionalKey(Schema.NonEmptyString) }
const held = { ...gate, gateAfter: Schema.optionalKey(Count(maxWords)) }
const usage = { usage: Schema.optionalKey(Usage) }
const times = { times: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1e6 }))) }
const after = { after: Schema.optionalKey(Count(maxWords)) }
const thought = { reasoning: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(maxChars))) }

/** One answer of the model, discriminated by `do`. */
export const Step = Schema.Union([
  Schema.Struct({ do: Schema.tag("text"), ...content, ...thought, ...held, ...usage }),
  Schema.Struct({
    do: Schema.tag("reasoning"),
    ...content,
    answer: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(maxChars))),
    ...held,
    ...usage
  }),
  Schema.Struct({
    do: Schema.tag("tools"),
    tools: Schema.NonEmptyArray(ToolCall),
    ...content,
    ...thought,
    ...held,
    ...usage
  }),
  Schema.Struct({
    do: Schema.tag("status"),
    code: Schema.Int.check(Schema.isBetween({ minimum: 200, maximum: 599 })),
    headers: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
    body: Schema.optionalKey(Schema.Json),
    message: Schema.optionalKey(Schema.String),
    ...gate,
    ...times
  }),
  Schema.Struct({ do: Schema.tag("hang"), headers: Schema.optionalKey(Schema.Boolean), ...gate, ...times }),
  Schema.Struct({ do: Schema.tag("stall"), ...content, ...after, ...held, ...times }),
  Schema.Struct({
    do: Schema.tag("cut"),
    before: Schema.optionalKey(Schema.Literal("headers")),
    ...content,
    ...after,
    ...held,
    ...times
  }),
  Schema.Struct({ do: Schema.tag("malformed"), ...content, ...after, ...held, ...times }),
  Schema.Struct({
    do: Schema.tag("noFinish"),
    done: Schema.optionalKey(Schema.Boolean),
    ...content,
    ...held,
    ...usage,
    ...times
  }),
  Schema.Struct({
    do: Schema.tag("streamError"),
    message: Schema.optionalKey(Schema.String),
    code: Schema.optionalKey(Schema.String),
    ...content,
    ...after,
    ...held,
    ...times
  }),
  Schema.Struct({ do: Schema.tag("finish"), reason: Schema.String, ...content, ...held, ...usage, ...times })
]).pipe(Schema.toTaggedUnion("do"))

/** One answer of the model. */
export type Step = typeof Step.Type
/** One answer of the model, as JSON. */
export type StepEncoded = typeof Step.Encoded
/** A step with streamed content. */
export type ContentStep = Exclude<Step, { readonly do: "status" | "hang" }>

/** Puts the kind a short form implies into `do`; anything else is left for the schema to judge. */
const expand = (input: unknown): unknown => {
  if (!Predicate.isObject(input) || "do" in input) {
    return input
  }
  const raw: Record<string, unknown> = { ...input }
  const named = (kind: string, value: unknown, key: string): unknown => {
    const { [kind]: _, ...rest } = raw
    return value === true
      ? { do: kind, ...rest }
      : Predicate.isObject(value)
      ? { do: kind, ...rest, ...value }
      : { do: kind, ...rest, [key]: value }
  }
  if ("tools" in raw) return { do: "tools", ...raw }
  if ("status" in raw) return named("status", raw["status"], "code")
  if ("finish" in raw) return named("finish", raw["finish"], "reason")
  if ("streamError" in raw) return named("streamError", raw["streamError"], "message")
  for (const kind of ["hang", "stall", "cut", "malformed", "noFinish"]) {
    if (kind in raw) return named(kind, raw[kind], "after")
  }
  if ("text" in raw || "words" in raw || "chars" in raw) return { do: "text", ...raw }
  if ("reasoning" in raw) return named("reasoning", raw["reasoning"], "text")
  return raw
}

const decodeSteps = Schema.decodeUnknownResult(Schema.Array(Step), { onExcessProperty: "error" })

/** Decodes one step or a list of steps, short forms included. */
export const decode = (input: unknown): Result.Result<ReadonlyArray<Step>, string> =>
  Result.mapError(decodeSteps((Array.isArray(input) ? input : [input]).map(expand)), (error) => error.message)

const parseJson = (text: string): Result.Result<unknown, string> =>
  Result.try({ try: (): unknown => JSON.parse(text), catch: String })

/** Undoes one level of string quoting: what an agent adds when it hands a prompt on inside quotes. */
const unquote = (text: string): string =>
  Result.getOrElse(
    Result.map(parseJson(`"${text.replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t")}"`), String),
    () => text.replaceAll("\\\"", "\"")
  )

const parseBody = (body: string): Result.Result<unknown, string> => {
  const plain = parseJson(body)
  if (Result.isSuccess(plain) || !body.includes("\\\"")) {
    return plain
  }
  const once = unquote(body)
  const parsed = parseJson(once)
  return Result.isSuccess(parsed) ? parsed : parseJson(unquote(once))
}

/** What a prompt text holds. */
export type Found =
  | { readonly _tag: "None" }
  | { readonly _tag: "Steps"; readonly steps: ReadonlyArray<Step> }
  | { readonly _tag: "Broken"; readonly message: string }

/** Finds the first script between triple angle brackets; the outermost pair wins, so a script may carry another one. */
export const find = (text: string): Found => {
  // A bracket of a conflict marker or a shift expression is no script: it must open JSON.
  const opening = /<<<\s*(?=[[{])/.exec(text)
  if (opening === null) {
    return { _tag: "None" }
  }
  const start = opening.index + opening[0].length
  let problem = "the script is not closed by >>>"
  let end = text.indexOf(">>>", start)
  for (let tried = 0; end !== -1 && tried < maxCandidates; tried++, end = text.indexOf(">>>", end + 1)) {
    const parsed = parseBody(text.slice(start, end).trim())
    if (Result.isSuccess(parsed)) {
      const decoded = decode(parsed.success)
      return Result.isSuccess(decoded)
        ? { _tag: "Steps", steps: decoded.success }
        : { _tag: "Broken", message: decoded.failure }
    }
    problem = parsed.failure
  }
  return { _tag: "Broken", message: problem }
}

/** Writes steps as they stand in a prompt. Angle brackets inside strings are escaped, so nothing can end it early. */
export const render = (steps: ReadonlyArray<Step>): string =>
  `<<<${JSON.stringify(steps).replaceAll("<", "\\u003c").replaceAll(">", "\\u003e")}>>>`
