/** Waits for a state that others change. */
import * as Effect from "effect/Effect"

export interface Waiters {
  readonly notify: () => void
  /** The first value that `check` finds, now or after a change. */
  readonly until: <A>(check: () => A | undefined) => Effect.Effect<A>
}

export const make = (): Waiters => {
  const checks = new Set<() => void>()
  return {
    notify: () => {
      for (const check of [...checks]) check()
    },
    until: (check) =>
      Effect.callback((resume) => {
        const attempt = () => {
          const found = check()
          if (found === undefined) return
          checks.delete(attempt)
          resume(Effect.succeed(found))
        }
        checks.add(attempt)
        attempt()
        return Effect.sync(() => checks.delete(attempt))
      })
  }
}
