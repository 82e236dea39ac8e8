/** The end of a stream of text, redacted over the joins of its chunks and never cut inside of a secret. */
import { replace, type Span } from "./spans.ts"

interface Source {
  readonly redact: (text: string) => string
  readonly find: (text: string, options?: { readonly growing?: boolean }) => ReadonlyArray<Span>
  readonly longest: () => number
}

const csi = "(?:\\u001b\\[|\\u009b)[0-?]*[ -/]*"
const osc = "\\u001b\\][^\\u0007\\u001b]*"

/** Colours and cursor moves, titles and links, other escapes, and the characters that no terminal prints. */
const escapes = new RegExp(
  `${csi}[@-~]|${osc}(?:\\u0007|\\u001b\\\\)|\\u001b[ -/]*[0-Z\\\\^-~]|\\r(?=\\n)|[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]`,
  "g"
)

/** The beginning of such a sequence at the end of a chunk. */
const unfinished = new RegExp(`(?:${csi}|${osc}\\u001b?|\\u001b[ -/]*|\\r)$`)

/** Longest unfinished escape sequence that is waited for, in characters. */
const maxEscape = 4096

/** Characters that stay raw, because a credential may still be growing there. */
const minHold = 4096

/** How far the name of a value may lie before it, in characters. */
const context = 256

export interface Tail {
  readonly push: (chunk: string) => void
  readonly text: () => string
}

export const make = (source: Source, maxChars: number, maxLines: number): Tail => {
  // Redacted text, more of it than is shown: a value that is learnt later is then still found whole.
  let settled = ""
  let raw = ""
  let escape = ""

  const settleTo = (end: number) => {
    settled = cutFront(settled + source.redact(raw.slice(0, end)), 2 * maxChars)
    raw = raw.slice(end)
  }

  const settle = () => {
    const hold = Math.max(minHold, source.longest() + context)
    if (raw.length <= 2 * hold) return
    const spans = source.find(raw)
    const limit = raw.length - hold
    const cut = settleAt(spans, limit)
    if (cut > 0) return settleTo(cut)
    // Credentials follow each other closely from the beginning on: the end of one is a safe place too.
    const span = spans.findLast((span) => span.end <= limit) ?? spans.find((span) => span.end > limit)
    if (span !== undefined && span.end < raw.length) return settleTo(span.end)
    // One fills the window and has not ended. Its beginning is kept, so that what follows still belongs to it.
    if (span !== undefined) raw = raw.slice(0, span.start + hold)
  }

  return {
    push: (chunk) => {
      const joined = escape + chunk
      const open = unfinished.exec(joined)
      escape = open !== null && open[0].length <= maxEscape ? open[0] : ""
      const whole = escape === "" ? joined : joined.slice(0, joined.length - escape.length)
      raw += whole.replace(escapes, "").replaceAll("\r", "\n")
      settle()
    },
    text: () => {
      const text = settled + raw
      return cutFront(lastLines(replace(text, source.find(text, { growing: true })), maxLines), maxChars)
    }
  }
}

/** The last place up to `limit` that is neither inside of a credential nor between its name and itself. */
const settleAt = (spans: ReadonlyArray<Span>, limit: number): number => {
  let at = limit
  for (let index = spans.length - 1; index >= 0; index--) {
    const span = spans[index]
    if (span === undefined || span.end <= at) break
    if (span.start - context < at) at = span.start - context
  }
  return at
}

const lastLines = (text: string, count: number): string => {
  let at = text.endsWith("\n") ? text.length - 1 : text.length
  for (let lines = 0; lines < count; lines++) {
    at = at === 0 ? -1 : text.lastIndexOf("\n", at - 1)
    if (at === -1) return text
  }
  return text.slice(at + 1)
}

/** Keeps the end; from the beginning of a line where one is near. */
const cutFront = (text: string, max: number): string => {
  if (text.length <= max) return text
  const at = text.length - max
  const line = text.indexOf("\n", at - 1)
  if (line !== -1 && line - at < max / 2) return text.slice(line + 1)
  const code = text.charCodeAt(at)
  return text.slice(code >= 0xdc00 && code <= 0xdfff ? at + 1 : at)
}
