/**
 * Tokens and cost. A figure that is unknown is absent, not 0.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

const tokens = Schema.optionalKey(Schema.Number)

/**
 * Tokens by class and cost in a currency.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Usage = Schema.Struct({
  input: tokens,
  output: tokens,
  reasoning: tokens,
  cacheRead: tokens,
  cacheWrite: tokens,
  total: tokens,
  /** Size of the model's context window in tokens. */
  window: tokens,
  cost: Schema.optionalKey(Schema.Struct({ amount: Schema.Number, currency: Schema.String }))
})
/**
 * @category models
 * @since 0.1.0
 */
export type Usage = typeof Usage.Type

const sum = (a: number | undefined, b: number | undefined) => a === undefined ? b : b === undefined ? a : a + b

/**
 * Adds two figures of usage; the window is that of the later one.
 *
 * @category combinators
 * @since 0.1.0
 */
export const add = (a: Usage, b: Usage): Usage => {
  const result: { -readonly [K in keyof Usage]: Usage[K] } = {}
  for (const key of ["input", "output", "reasoning", "cacheRead", "cacheWrite", "total"] as const) {
    const value = sum(a[key], b[key])
    if (value !== undefined) result[key] = value
  }
  const window = b.window ?? a.window
  if (window !== undefined) result.window = window
  if (a.cost !== undefined && b.cost !== undefined && a.cost.currency === b.cost.currency) {
    result.cost = { amount: a.cost.amount + b.cost.amount, currency: a.cost.currency }
  } else {
    const cost = b.cost ?? a.cost
    if (cost !== undefined) result.cost = cost
  }
  return result
}
