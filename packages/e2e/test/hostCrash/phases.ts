/** In the middle of what a host is, by what it is told. */
import type { SessionEvent } from "@reins/core/SessionEvent"
import { readdirSync } from "node:fs"
import { lines } from "./verdict.ts"

export const phases = ["opening", "idle", "waiting", "text", "tool", "approval", "queued"] as const
/** `waiting`: a turn has begun, and nothing of it is under way. `queued`: a prompt waits, whatever else goes on. */
export type Phase = typeof phases[number]

/** Follows the events of one session. */
export const follow = () => {
  const turns = new Set<string>()
  const requests = new Set<string>()
  const queued = new Set<string>()
  const items = new Map<string, string>()
  return {
    take: (event: SessionEvent): void => {
      if (event._tag === "TurnStarted") turns.add(event.turnId)
      else if (event._tag === "TurnSettled") turns.delete(event.turnId)
      else if (event._tag === "RequestOpened") requests.add(event.requestId)
      else if (event._tag === "RequestSettled") requests.delete(event.requestId)
      else if (event._tag === "ItemStarted") items.set(event.itemId, event.item._tag)
      else if (event._tag === "ItemCompleted") items.delete(event.itemId)
      else if (event._tag === "PromptChanged") {
        if (event.state._tag === "queued") queued.add(event.promptId)
        else queued.delete(event.promptId)
      }
    },
    now: (): ReadonlyArray<Phase> => {
      const open = new Set(items.values())
      const found: Array<Phase> = []
      if (requests.size > 0) found.push("approval")
      else if (open.has("command")) found.push("tool")
      else if (open.has("assistantMessage")) found.push("text")
      else if (turns.size > 0) found.push("waiting")
      if (queued.size > 0) found.push("queued")
      return found
    }
  }
}

/** What went on in any of the sessions when the host was killed that has left its notes in this directory. */
export const at = (state: string): ReadonlySet<Phase> => {
  const found = new Set<Phase>()
  for (const name of readdirSync(state)) {
    if (!name.endsWith(".ndjson") || name === "prompts.ndjson") continue
    const session = follow()
    for (const event of lines<SessionEvent>(`${state}/${name}`)) session.take(event)
    for (const phase of session.now()) found.add(phase)
  }
  return found.size === 0 ? found.add("idle") : found
}
