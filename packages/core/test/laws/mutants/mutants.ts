/** The engine with one law broken, for each law. What each does wrong is a mistake that one could really make. */
import type { ItemContent } from "../../../src/Item.ts"
import { textOf, withText } from "../../../src/Item.ts"
import type { EngineInput, EngineState } from "../../../src/internal/engine/state.ts"
import { step } from "../../../src/internal/engine/step.ts"
import type { SessionEvent } from "../../../src/SessionEvent.ts"
import type { Engine } from "../world.ts"

export interface Mutant {
  readonly law: number
  readonly mistake: string
  readonly engine: Engine
}

/** Changes what the engine wrote in a step. */
const writing = (change: (event: SessionEvent, S: EngineState) => ReadonlyArray<SessionEvent>): Engine => ({
  step: (S, inputs, now) => {
    step(S, inputs, now)
    S.events = S.events.flatMap((event) => change(event, S))
  }
})

/** Changes what the engine is told. */
const hearing = (change: (input: EngineInput) => EngineInput): Engine => ({
  step: (S, inputs, now) => step(S, inputs.map(change), now)
})

/** Changes the state after a step. */
const thinking = (change: (S: EngineState) => void): Engine => ({
  step: (S, inputs, now) => {
    step(S, inputs, now)
    change(S)
  }
})

/** Readers get so much of a text, and the completed item has no more: only who knows the agent sees it. */
const kept = 6
const shortened = <I extends ItemContent>(item: I): I => withText(item, textOf(item).slice(0, kept))

const settledEvents = new WeakMap<EngineState, Extract<SessionEvent, { readonly _tag: "TurnSettled" }>>()

export const mutants: ReadonlyArray<Mutant> = [
  {
    law: 1,
    mistake: "what was on its way when the session closed is given back as unread",
    engine: writing((event) =>
      event._tag === "PromptChanged" && event.state._tag === "failed" && event.state.error._tag === "ConnectionLost"
        ? [{ ...event, state: { _tag: "returned", reason: "closed" } }]
        : [event]
    )
  },
  {
    law: 2,
    mistake: "late evidence settles a turn again",
    engine: writing((event) =>
      event._tag === "Notice" && event.code === "lateEvidence" && event.turnId !== undefined
        ? [{
          ...event,
          _tag: "TurnSettled",
          turnId: event.turnId,
          outcome: { _tag: "interrupted", by: "provider" },
          evidence: []
        }]
        : [event]
    )
  },
  {
    law: 3,
    mistake: "an interrupt forgets the open requests",
    engine: writing((event) => event._tag === "RequestSettled" && event.by === "teardown" ? [] : [event])
  },
  {
    law: 4,
    mistake: "items that an interrupt left open are not completed",
    engine: writing((event) => event._tag === "ItemCompleted" && event.status === "interrupted" ? [] : [event])
  },
  {
    law: 5,
    mistake: "a number is left out when a request is settled",
    engine: thinking((S) => {
      if (S.events.some((event) => event._tag === "RequestSettled")) S.seq++
    })
  },
  {
    law: 6,
    mistake: "the tail of a text is dropped, from the deltas and from the item",
    engine: writing((event) => {
      if (event._tag === "ItemDelta") {
        const text = event.text.slice(0, Math.max(0, kept - event.offset))
        return text.length === 0 ? [] : [{ ...event, text }]
      }
      return event._tag === "ItemCompleted" || event._tag === "ItemUpdated"
        ? [{ ...event, item: shortened(event.item) }]
        : [event]
    })
  },
  {
    law: 7,
    mistake: "evidence is added to a settlement that readers have already",
    engine: {
      step: (S, inputs, now) => {
        const before = settledEvents.get(S)
        if (before !== undefined) {
          const evidence = before.evidence as Array<unknown>
          evidence.push({ at: now, source: "timer", fact: "later" })
        }
        step(S, inputs, now)
        for (const event of S.events) if (event._tag === "TurnSettled") settledEvents.set(S, event)
      }
    }
  },
  {
    law: 8,
    mistake: "a closed session still says something",
    engine: {
      step: (S, inputs, now) => {
        const closed = S.phase === "closed"
        step(S, inputs, now)
        if (!closed) return
        S.events.push({
          _tag: "Notice",
          v: 1,
          seq: ++S.seq,
          at: now,
          sessionId: S.options.sessionId,
          origin: "derived",
          level: "info",
          code: "late",
          text: "late"
        })
      }
    }
  },
  {
    law: 9,
    mistake: "closing waits for the agent",
    engine: thinking((S) => {
      if (S.closing === undefined || S.closing.why !== "test") return
      S.closing = { why: "waits", deadline: S.closing.deadline + 60_000 }
      if (S.wakeAt !== undefined) S.wakeAt = S.turn?.interrupt?.deadline ?? S.closing.deadline
    })
  },
  {
    law: 10,
    mistake: "a resync reads no items, and says that nothing is missing",
    engine: hearing((input) =>
      input._tag === "snapshot" && input.result !== undefined
        ? {
          ...input,
          result: {
            ...input.result,
            signals: input.result.signals.filter((signal) =>
              signal._tag !== "item" || signal.item._tag === "userMessage"
            )
          }
        }
        : input
    )
  },
  {
    law: 11,
    mistake: "snapshots are wanted and never asked for",
    engine: thinking((S) => {
      S.commands = S.commands.filter((command) => command._tag !== "snapshot")
    })
  }
]
