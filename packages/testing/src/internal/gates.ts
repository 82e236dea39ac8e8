/**
 * Named gates: an answer waits at one until the test opens it, and the test can wait until an answer has arrived there.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

interface Gate {
  readonly opened: Deferred.Deferred<void>
  readonly reached: Deferred.Deferred<void>
}

/** A set of gates, made on first mention. */
export interface Gates {
  /** Reports the arrival, then waits for the gate. */
  readonly pass: (name: string) => Effect.Effect<void>
  readonly open: (name: string) => Effect.Effect<void>
  readonly openAll: Effect.Effect<void>
  readonly awaitReached: (name: string) => Effect.Effect<void>
}

const maxGates = 10_000

/** Makes a set of gates. A gate once opened stays open. */
export const make = (): Gates => {
  const gates = new Map<string, Gate>()
  let allOpen = false

  const gate = (name: string): Gate => {
    const existing = gates.get(name)
    if (existing !== undefined) {
      return existing
    }
    const [oldest] = gates
    if (gates.size >= maxGates && oldest !== undefined) {
      // Nobody may be left waiting at a gate that can no longer be named.
      gates.delete(oldest[0])
      Deferred.doneUnsafe(oldest[1].opened, Effect.void)
    }
    const created: Gate = { opened: Deferred.makeUnsafe(), reached: Deferred.makeUnsafe() }
    if (allOpen) {
      Deferred.doneUnsafe(created.opened, Effect.void)
    }
    gates.set(name, created)
    return created
  }

  return {
    pass: (name) =>
      Effect.suspend(() => {
        const { opened, reached } = gate(name)
        Deferred.doneUnsafe(reached, Effect.void)
        return Deferred.await(opened)
      }),
    open: (name) => Effect.sync(() => Deferred.doneUnsafe(gate(name).opened, Effect.void)),
    openAll: Effect.sync(() => {
      allOpen = true
      for (const { opened } of gates.values()) {
        Deferred.doneUnsafe(opened, Effect.void)
      }
    }),
    awaitReached: (name) => Effect.suspend(() => Deferred.await(gate(name).reached))
  }
}
