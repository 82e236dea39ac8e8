/**
 * Where in its script a conversation stands. The conversation itself says how many steps were answered; only faults,
 * which leave no trace in it, are counted here.
 */
import { createHash } from "node:crypto"
import type { Step } from "./modelScript.ts"

/** Turns with counted faults, before the oldest is forgotten. */
const maxTurns = 10_000

/** What is said when a script is at its end. */
export const exhausted: Step = { do: "text", text: "done" }

/** Picks steps and counts faults. */
export interface Turns {
  /**
   * The step for a call that `answers` answered calls of the same turn precede. A step with `times` is handed out that
   * often, then the next one takes its place.
   */
  readonly next: (key: ReadonlyArray<string>, steps: ReadonlyArray<Step>, answers: number) => Step
}

const timesOf = (step: Step): number | undefined => ("times" in step ? step.times : undefined)

interface Fault {
  /** How often it was handed out. */
  count: number
  /** Answers it left in the conversation all the same: a cut text may be kept, a refused call leaves nothing. */
  traces: number
}

interface Turn {
  readonly faults: Map<number, Fault>
  last: { readonly fault: Fault; readonly answers: number } | undefined
}

/** Makes a counter that knows no turn yet. */
export const make = (): Turns => {
  const turns = new Map<string, Turn>()

  const turnOf = (key: string): Turn => {
    const existing = turns.get(key)
    if (existing !== undefined) {
      return existing
    }
    const [oldest] = turns.keys()
    if (turns.size >= maxTurns && oldest !== undefined) {
      turns.delete(oldest)
    }
    const created: Turn = { faults: new Map(), last: undefined }
    turns.set(key, created)
    return created
  }

  const pick = (turn: Turn, steps: ReadonlyArray<Step>, answers: number): Step => {
    if (turn.last !== undefined && answers > turn.last.answers) {
      turn.last.fault.traces += answers - turn.last.answers
    }
    turn.last = undefined
    let answered = 0
    for (const [index, step] of steps.entries()) {
      const times = timesOf(step)
      const fault = turn.faults.get(index) ?? { count: 0, traces: 0 }
      answered += fault.traces
      if (times !== undefined && fault.count >= times) {
        continue
      }
      if (answered < answers) {
        answered++
        continue
      }
      if (times !== undefined) {
        fault.count++
        turn.faults.set(index, fault)
        turn.last = { fault, answers }
      }
      return step
    }
    return exhausted
  }

  return {
    next: (key, steps, answers) =>
      steps.every((step) => timesOf(step) === undefined)
        ? steps[answers] ?? exhausted
        : pick(turnOf(createHash("sha256").update(JSON.stringify(key)).digest("base64")), steps, answers)
  }
}
