/** What a host that was killed again and again has kept: its logs against the model, the tools and each other. */
import type { SessionEvent } from "@reins/core/SessionEvent"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { answerTo } from "./crashModel.ts"

interface Sent {
  readonly session: string
  readonly id: string
  readonly name: string
  readonly kind: string
}

export interface Verdict {
  readonly prompts: number
  readonly turns: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly receipts: Readonly<Record<string, number>>
  readonly problems: ReadonlyArray<string>
}

/** Lines that were written whole: a kill may cut the last one of a file. */
export const lines = <A>(file: string): ReadonlyArray<A> =>
  existsSync(file)
    ? readFileSync(file, "utf8").split("\n").flatMap((line) => line.endsWith("}") ? [JSON.parse(line) as A] : [])
    : []

const finals = new Set(["consumed", "withdrawn", "returned", "failed"])

/** One session: numbered without gap or repetition, and everything that began has ended once. */
const ofSession = (name: string, events: ReadonlyArray<SessionEvent>, problems: Array<string>): void => {
  const open = new Map<string, string>()
  const ended = new Set<string>()
  const begin = (what: string) => {
    if (open.has(what) || ended.has(what)) problems.push(`${name}: ${what} began twice`)
    open.set(what, what)
  }
  const end = (what: string) => {
    if (!open.delete(what)) problems.push(`${name}: ${what} ended, and was not open`)
    ended.add(what)
  }
  for (const [index, event] of events.entries()) {
    if (event.seq !== index + 1) {
      problems.push(`${name}: ${event._tag} has the number ${event.seq}, not ${index + 1}`)
      return
    }
    if (event._tag === "TurnStarted") begin(`turn ${event.turnId}`)
    else if (event._tag === "TurnSettled") end(`turn ${event.turnId}`)
    else if (event._tag === "ItemStarted") begin(`item ${event.itemId}`)
    else if (event._tag === "ItemCompleted") end(`item ${event.itemId}`)
    else if (event._tag === "RequestOpened") begin(`request ${event.requestId}`)
    else if (event._tag === "RequestSettled") end(`request ${event.requestId}`)
    else if (event._tag === "PromptChanged") {
      const what = `prompt ${event.promptId}`
      if (event.state._tag === "queued") begin(what)
      else if (finals.has(event.state._tag)) end(what)
    }
  }
  for (const what of open.keys()) problems.push(`${name}: ${what} never ended`)
}

export const judge = (options: {
  readonly state: string
  readonly cwd: string
  /** How often the model was asked for the first time about each prompt. */
  readonly asked: ReadonlyMap<string, number>
}): Verdict => {
  const problems: Array<string> = []
  const outcomes: Record<string, number> = {}
  const receipts: Record<string, number> = {}
  const consumed = new Map<string, string>()
  const settled = new Map<string, string>()
  const texts = new Map<string, Array<string>>()
  const final = new Map<string, string>()
  let turns = 0
  for (
    const file of readdirSync(options.state).filter((name) => name.endsWith(".ndjson") && name !== "prompts.ndjson")
  ) {
    const events = lines<SessionEvent>(`${options.state}/${file}`)
    ofSession(file, events, problems)
    for (const event of events) {
      if (event._tag === "TurnSettled") {
        turns++
        outcomes[event.outcome._tag] = (outcomes[event.outcome._tag] ?? 0) + 1
        settled.set(event.turnId, event.outcome._tag)
      } else if (event._tag === "PromptChanged" && finals.has(event.state._tag)) {
        receipts[event.state._tag] = (receipts[event.state._tag] ?? 0) + 1
        final.set(event.promptId, event.state._tag)
        if (event.state._tag === "consumed") consumed.set(event.promptId, event.state.turnId)
      } else if (
        event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" && event.turnId !== undefined
      ) {
        texts.set(event.turnId, [...texts.get(event.turnId) ?? [], event.item.text])
      }
    }
  }
  const ran = new Map<string, number>()
  for (
    const name of existsSync(`${options.cwd}/ran.txt`)
      ? readFileSync(`${options.cwd}/ran.txt`, "utf8").split("\n")
      : []
  ) {
    ran.set(name, (ran.get(name) ?? 0) + 1)
  }
  const sent = lines<Sent>(`${options.state}/prompts.ndjson`)
  for (const { id, name } of sent) {
    if (!final.has(id)) problems.push(`${name} (${id}) was accepted, and has no final receipt: lost`)
    const turn = consumed.get(id)
    if (turn !== undefined && settled.get(turn) === "completed" && !texts.get(turn)?.includes(answerTo(name))) {
      problems.push(`${name} is completed without its whole answer: ${JSON.stringify(texts.get(turn))}`)
    }
  }
  for (const [name, times] of ran)
    if (name !== "" && times > 1) problems.push(`the tool of ${name} ran ${times} times: doubled`)
  for (const [name, times] of options.asked)
    if (times > 1) problems.push(`the model was asked ${times} times about ${name}: doubled`)
  return { prompts: sent.length, turns, outcomes, receipts, problems }
}
