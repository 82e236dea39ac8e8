/** Gathers what an agent wrote in the turn of one prompt. */
import type { PromptId, TurnId } from "@reins/core/Ids"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"

/** Settled turns whose texts are kept until it is known whose turn they were. */
const maxTurns = 8

export interface TurnText {
  /** Takes the next event; `true`: nothing more will come. */
  readonly take: (event: SessionEvent | Lagged) => boolean
  readonly text: () => string
}

export const make = (promptId: PromptId): TurnText => {
  const texts = new Map<TurnId, Array<string>>()
  const settled = new Set<TurnId>()
  let own: TurnId | undefined
  return {
    take: (event) => {
      switch (event._tag) {
        case "PromptChanged": {
          if (event.promptId !== promptId) return false
          if (event.state._tag !== "consumed") {
            return event.state._tag === "returned" || event.state._tag === "withdrawn" || event.state._tag === "failed"
          }
          own = event.state.turnId
          return settled.has(own)
        }
        case "ItemCompleted": {
          if (event.turnId === undefined || event.agentPath !== undefined) return false
          if (event.item._tag !== "assistantMessage" || event.status === "discarded" || event.item.text === "") {
            return false
          }
          const before = texts.get(event.turnId)
          if (before === undefined) texts.set(event.turnId, [event.item.text])
          else before.push(event.item.text)
          return false
        }
        case "TurnSettled": {
          if (own !== undefined) return event.turnId === own
          settled.add(event.turnId)
          for (const old of settled) {
            if (settled.size <= maxTurns) break
            settled.delete(old)
            texts.delete(old)
          }
          return false
        }
        default:
          return false
      }
    },
    text: () => own === undefined ? "" : (texts.get(own) ?? []).join("\n\n")
  }
}
