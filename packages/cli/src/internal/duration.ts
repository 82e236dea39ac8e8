/** Durations as people write them: `90s`, `1h30m`, `500ms`. */
import * as Duration from "effect/Duration"

const units: { readonly [unit: string]: number } = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const whole = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/
const part = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g

/** Longest that a timer of the platform can wait, a little below 25 days. */
const longest = 2_000_000_000

/** The duration, or what is wrong with the text. */
export const parse = (input: string): Duration.Duration | string => {
  const text = input.trim().toLowerCase()
  if (/^\d+(?:\.\d+)?$/.test(text)) return `"${input}" has no unit: write ${text}s for seconds or ${text}m for minutes`
  if (!whole.test(text)) return `"${input}" is no duration: write it like 90s, 5m or 1h30m`
  let millis = 0
  for (const [, amount, unit] of text.matchAll(part)) millis += Number(amount) * (units[unit ?? ""] ?? 0)
  if (millis < 1) return `"${input}" is no time at all: give at least 1ms`
  if (millis > longest) return `"${input}" is too long: give at most 23d`
  return Duration.millis(Math.round(millis))
}

/** Milliseconds for a person, in seconds up to two minutes. */
export const show = (millis: number): string => {
  const seconds = Math.max(0, Math.ceil(millis / 1_000))
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** A duration as it was given: in the largest unit that keeps it whole. */
export const precise = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  for (const [unit, size] of [["h", 3_600_000], ["min", 60_000], ["s", 1_000]] as const) {
    if (millis >= size && millis % size === 0) return `${millis / size} ${unit}`
  }
  return millis >= 1_000 ? `${millis / 1_000} s` : `${millis} ms`
}
