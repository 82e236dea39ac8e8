/** Checks the events of a session as they come, and keeps nothing of what has ended. */
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import { answerTo } from "./prompts.ts"

const finals = new Set(["consumed", "withdrawn", "returned", "failed"])
/** Things that have ended and are remembered, so that one that ends or begins again is seen. */
const remembered = 2_000
/** Events that are shown with a problem: what came before it. */
const shown = 80

/** An event in a line, without what every event has. */
const line = (event: SessionEvent): string => {
  const { at, seq, sessionId: _, v: __, ...rest } = event
  return `${at} ${seq ?? ""} ${JSON.stringify(rest).slice(0, 300)}`
}

export interface Ledger {
  readonly take: (event: SessionEvent | Lagged) => void
  /** What a prompt of this name was told, once it has its outcome. */
  readonly expect: (promptId: string, name: string) => void
  /** All that has begun and not ended, but for items that say that they outlive their turn: they end with the session. */
  readonly open: () => ReadonlyArray<string>
  readonly turns: () => number
  /** The number of the last event. */
  readonly seq: () => number
  readonly outcomes: ReadonlyMap<string, number>
  /** The newest events, a line each. */
  readonly recent: () => ReadonlyArray<string>
}

export const make = (session: string, problem: (kind: "lost" | "doubled" | "law", text: string) => void): Ledger => {
  const open = new Set<string>()
  const background = new Set<string>()
  const ended = new Set<string>()
  const names = new Map<string, string>()
  const consumed = new Map<string, Array<string>>()
  const texts = new Map<string, Array<string>>()
  const laid = new Map<string, string>()
  const outcomes = new Map<string, number>()
  const recent: Array<string> = []
  let seq = 0
  let turns = 0
  const begin = (what: string) => {
    if (open.has(what) || ended.has(what)) problem("doubled", `${session}: ${what} began twice`)
    open.add(what)
  }
  const end = (what: string) => {
    if (!open.delete(what)) problem("doubled", `${session}: ${what} ended, and was not open`)
    ended.add(what)
    if (ended.size > remembered) { for (const oldest of ended) return void ended.delete(oldest) }
  }
  return {
    expect: (promptId, name) => void names.set(promptId, name),
    open: () => [...open].filter((what) => !background.has(what)),
    turns: () => turns,
    seq: () => seq,
    outcomes,
    recent: () => recent,
    take: (event) => {
      if (event._tag === "Lagged") {
        problem("lost", `${session}: a reader missed ${event.from} to ${event.to}`)
        seq = event.to
        return
      }
      recent.push(line(event))
      if (recent.length > shown) recent.shift()
      if (event._tag === "ItemDelta") {
        const before = laid.get(event.itemId) ?? ""
        if (event.offset > before.length) problem("lost", `${session}: text of ${event.itemId} is missing`)
        laid.set(event.itemId, before.slice(0, event.offset) + event.text)
        return
      }
      if (event.seq !== ++seq) {
        problem("law", `${session}: ${event._tag} has the number ${event.seq}, not ${seq}`)
        seq = event.seq ?? seq
      }
      switch (event._tag) {
        case "TurnStarted":
          begin(`turn ${event.turnId}`)
          return
        case "ItemStarted":
          begin(`item ${event.itemId}`)
          return
        case "ItemUpdated":
          if (event.background === true) background.add(`item ${event.itemId}`)
          return
        case "ItemCompleted": {
          background.delete(`item ${event.itemId}`)
          end(`item ${event.itemId}`)
          const text = laid.get(event.itemId)
          laid.delete(event.itemId)
          if (event.item._tag !== "assistantMessage" || event.turnId === undefined) return
          if (event.status !== "discarded" && (text ?? "") !== event.item.text) {
            problem("lost", `${session}: the deltas of ${event.itemId} are not its text`)
          }
          texts.set(event.turnId, [...texts.get(event.turnId) ?? [], event.item.text])
          return
        }
        case "RequestOpened":
          begin(`request ${event.requestId}`)
          return
        case "RequestSettled":
          end(`request ${event.requestId}`)
          return
        case "PromptChanged": {
          if (event.state._tag === "queued") begin(`prompt ${event.promptId}`)
          else if (finals.has(event.state._tag)) end(`prompt ${event.promptId}`)
          if (event.state._tag === "consumed") {
            consumed.set(event.state.turnId, [...consumed.get(event.state.turnId) ?? [], event.promptId])
          }
          return
        }
        case "TurnSettled": {
          end(`turn ${event.turnId}`)
          turns++
          outcomes.set(event.outcome._tag, (outcomes.get(event.outcome._tag) ?? 0) + 1)
          const said = texts.get(event.turnId) ?? []
          for (const promptId of consumed.get(event.turnId) ?? []) {
            const name = names.get(promptId)
            names.delete(promptId)
            if (event.outcome._tag === "completed" && name !== undefined && !said.includes(answerTo(name))) {
              problem(
                "lost",
                `${session}: ${name} is completed without its whole answer: ${JSON.stringify(said)}, after\n  ${
                  recent.join("\n  ")
                }`
              )
            }
          }
          consumed.delete(event.turnId)
          texts.delete(event.turnId)
        }
      }
    }
  }
}
