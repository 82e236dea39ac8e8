/** The questions of an agent as text, and what a person typed as answers. */
import type { AgentRequest, Answer, Question } from "@reins/core/AgentRequest"
import * as sanitise from "./sanitise.ts"
import type { Style } from "./style.ts"

/** Lines of a diff or a command that are shown before the question. */
const maxLines = 60

const block = (text: string, paint: (line: string) => string = (line) => line): ReadonlyArray<string> => {
  const lines = sanitise.exact(text).trimEnd().split("\n")
  const shown = lines.slice(0, maxLines).map((line) => `    ${paint(line)}`)
  return lines.length > maxLines ? [...shown, `    (${lines.length - maxLines} more lines)`] : shown
}

/** A diff without its head: the file is named in the question. */
const hunks = (diff: string): string => {
  const start = diff.search(/^@@/m)
  return start < 0 ? diff : diff.slice(start)
}

const diffLine = (paint: Style) => (line: string): string =>
  line.startsWith("+") ? paint.green(line) : line.startsWith("-") ? paint.red(line) : paint.dim(line)

/** What is asked about, with all that helps to decide. Paths below `cwd` are shown as seen from there. */
export const describe = (request: AgentRequest, paint: Style, cwd = ""): string => {
  const { facts } = request
  const subject = cwd.length > 1 ? request.subject.replaceAll(`${cwd}/`, "") : request.subject
  const lines = [paint.bold(`? ${sanitise.line(subject, 1_000)}`)]
  // The subject is one line and may be cut; what will run is shown as it is.
  if (facts.command !== undefined && !request.subject.includes(facts.command)) lines.push(...block(facts.command))
  const fact = (label: string, value: string | undefined) => {
    if (value !== undefined && value !== "") lines.push(paint.dim(`  ${label} ${sanitise.line(value, 1_000)}`))
  }
  if (request.agentPath !== undefined) fact("asked by the subagent", request.agentPath.join(" > "))
  fact("in", facts.cwd)
  fact("because", facts.reason)
  fact("files:", facts.paths?.filter((path) => !request.subject.includes(path)).join(", "))
  fact("address:", facts.url)
  if (facts.diff !== undefined) lines.push(...block(hunks(facts.diff), diffLine(paint)))
  if (facts.plan !== undefined) lines.push(...block(facts.plan))
  return lines.join("\n")
}

/** The answers that can be given, as the end of the question. */
export const choices = (request: AgentRequest, paint: Style): string => {
  const offered = ["[y]es", "[n]o"]
  if (request.options.includes("acceptForSession")) offered.push("[a]lways")
  return `  ${offered.join("  ")}  ${paint.dim("(\"n\" and a few words tell the agent why)")} > `
}

const yes = new Set(["y", "yes"])
const always = new Set(["a", "always"])

/** The answer to a request for approval; nothing when the line is none. */
export const approval = (request: AgentRequest, typed: string): Answer | undefined => {
  const line = typed.trim()
  const lower = line.toLowerCase()
  if (yes.has(lower)) return { _tag: "accept" }
  if (always.has(lower) && request.options.includes("acceptForSession")) return { _tag: "acceptForSession" }
  const no = /^no?(?:[\s,:]+(.*))?$/is.exec(line)
  if (no === null) return undefined
  const reason = no[1]?.trim() ?? ""
  return { _tag: "decline", ...(reason === "" ? undefined : { reason }) }
}

/** Whether a person can answer the request with yes or no. */
export const isApproval = (request: AgentRequest): boolean => request.options.includes("accept")

/** One question of the agent with its numbered options. */
export const question = (asked: Question, paint: Style): string => {
  const header = asked.header === undefined ? "" : `${sanitise.line(asked.header)}: `
  const lines = [paint.bold(`? ${header}${sanitise.line(asked.text, 1_000)}`)]
  asked.options.forEach((option, index) => {
    const what = option.description === undefined ? "" : paint.dim(` \u2013 ${sanitise.line(option.description)}`)
    lines.push(`  ${index + 1}. ${sanitise.line(option.label)}${what}`)
  })
  const ways: Array<string> = []
  if (asked.options.length > 0) ways.push(asked.multiple ? "numbers, with commas between" : "a number")
  if (asked.freeText || asked.options.length === 0) ways.push("your own words")
  lines.push(`  ${paint.dim(`(${ways.join(" or ")}; an empty line declines)`)} > `)
  return lines.join("\n")
}

/** The answers to one question; nothing when the line is none, and no answers when it is empty. */
export const answers = (asked: Question, typed: string): ReadonlyArray<string> | undefined => {
  const line = typed.trim()
  if (line === "") return []
  const numbers = line.split(/[\s,]+/).filter((word) => word !== "")
  if (asked.options.length > 0 && numbers.every((word) => /^\d+$/.test(word))) {
    const labels = numbers.map((word) => asked.options[Number(word) - 1]?.label)
    const found = labels.filter((label) => label !== undefined)
    if (found.length === labels.length) return asked.multiple || found.length === 1 ? [...new Set(found)] : undefined
    // A number that is no option may still be an answer in words.
    return asked.freeText ? [line] : undefined
  }
  const named = asked.options.find((option) => option.label.toLowerCase() === line.toLowerCase())
  if (named !== undefined) return [named.label]
  return asked.freeText || asked.options.length === 0 ? [line] : undefined
}

/** A refusal that the request can take. */
export const refusal = (request: AgentRequest, reason: string): Answer =>
  request.options.includes("decline") ? { _tag: "decline", reason } : { _tag: "cancel" }
