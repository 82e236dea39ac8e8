/**
 * Jittered exponential back-off: the one rule by which server restarts and stream reconnects wait.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/**
 * How the wait grows from one attempt to the next.
 *
 * @category models
 * @since 0.1.0
 */
export interface Backoff {
  /** Wait before the first retry. Default 250 ms. */
  readonly base: Duration.Input
  /** Longest wait before jitter. Default 10 s. */
  readonly cap: Duration.Input
  /** Share of the wait by which it may be shorter or longer, so that many clients do not return in step. Default 0.25. */
  readonly jitter: number
}

/**
 * 250 ms doubling up to 10 s, give or take a quarter.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defaults: Backoff = { base: "250 millis", cap: "10 seconds", jitter: 0.25 }

/**
 * The wait in milliseconds before retry number `attempt`, where the first retry is 0.
 *
 * @category constructors
 * @since 0.1.0
 */
export const delayMillis = (attempt: number, backoff: Backoff = defaults): Effect.Effect<number> => {
  const base = Duration.toMillis(backoff.base)
  const cap = Duration.toMillis(backoff.cap)
  // 2^n overflows to Infinity long before the cap could matter, and min() brings that back to the cap.
  const plain = Math.min(base * 2 ** Math.max(attempt, 0), cap)
  return Effect.map(Random.nextBetween(1 - backoff.jitter, 1 + backoff.jitter), (factor) => Math.round(plain * factor))
}
