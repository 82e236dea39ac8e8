/** What a relay and its controller say to each other: a JSON object a line. */
import type * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Fault } from "./faultLink.ts"

export const StreamName = Schema.Literals(["stdin", "stdout", "stderr"])
export type StreamName = typeof StreamName.Type

export const Rule = Schema.Struct({
  stream: StreamName,
  n: Schema.Int,
  delimiter: Schema.optionalKey(Schema.String),
  do: Fault
})
export type Rule = typeof Rule.Type

export const Command = Schema.Union([
  /** The first one: rules that hold from the first byte. The agent is started after it. */
  Schema.Struct({ op: Schema.Literal("go"), rules: Schema.Array(Rule) }),
  Schema.Struct({ op: Schema.Literal("fault"), id: Schema.Int, stream: StreamName, fault: Fault }),
  Schema.Struct({ op: Schema.Literal("resume"), id: Schema.Int, stream: StreamName }),
  Schema.Struct({ op: Schema.Literal("rule"), id: Schema.Int, rule: Rule })
])
export type Command = typeof Command.Type

export const Report = Schema.Union([
  Schema.Struct({ type: Schema.Literal("started"), pid: Schema.Int, childPid: Schema.Int }),
  Schema.Struct({ type: Schema.Literal("frames"), stream: StreamName, count: Schema.Int }),
  Schema.Struct({ type: Schema.Literal("ack"), id: Schema.Int }),
  Schema.Struct({
    type: Schema.Literal("exited"),
    code: Schema.NullOr(Schema.Int),
    signal: Schema.NullOr(Schema.String)
  })
])
export type Report = typeof Report.Type

const readCommand = Schema.decodeUnknownOption(Schema.fromJsonString(Command))
const readReport = Schema.decodeUnknownOption(Schema.fromJsonString(Report))

export const commandOf = (line: string): Command | undefined => Option.getOrUndefined(readCommand(line))
export const reportOf = (line: string): Report | undefined => Option.getOrUndefined(readReport(line))

/** Longest line of control, in characters. */
const maxLine = 1_048_576

/** Splits what arrives into lines. */
export const lines = (onLine: (line: string) => void): (text: string) => void => {
  let pending = ""
  return (text) => {
    const all = (pending + text).split("\n")
    pending = (all.pop() ?? "").slice(0, maxLine)
    for (const line of all) if (line !== "") onLine(line)
  }
}

/** A rule as an argument: `stdout:5:cut`, `stdin:1:delay:200`, `stderr:2:noise:text`. */
export const parseRule = (text: string): Effect.Effect<Rule, Schema.SchemaError> => {
  const [stream, n, name, ...rest] = text.split(":")
  const value = rest.join(":")
  const fault = name === "delay"
    ? { delay: value === "" ? Number.NaN : Number(value) }
    : name === "noise"
    ? { noise: value }
    : name
  return Schema.decodeUnknownEffect(Arguments)({ stream, n: Number(n), do: fault })
}

const Arguments = Schema.Struct({ ...Rule.fields, n: Schema.Int.check(Schema.isGreaterThan(0)) })
