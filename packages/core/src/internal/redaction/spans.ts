/** Places in a text. */

/** A place in a text, `end` exclusive, in UTF-16 units. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** What stands in the place of a secret. */
export const replacement = "‹redacted›"

/** Sorted and without overlap; places that touch become one. */
export const union = (spans: Array<Span>): ReadonlyArray<Span> => {
  spans.sort((a, b) => a.start - b.start)
  const merged: Array<{ start: number; end: number }> = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last !== undefined && span.start <= last.end) last.end = Math.max(last.end, span.end)
    else merged.push({ start: span.start, end: span.end })
  }
  return merged
}

/** The text with each place replaced. */
export const replace = (text: string, spans: ReadonlyArray<Span>): string => {
  if (spans.length === 0) return text
  let out = ""
  let at = 0
  for (const span of spans) {
    out += text.slice(at, span.start) + replacement
    at = span.end
  }
  return out + text.slice(at)
}
