/** The end of a stream of text, redacted over the joins of its chunks and never cut inside of a secret. */
import type { Span } from "./spans.ts"

interface Source {
  readonly redact: (text: string) => string
  readonly find: (text: string) => ReadonlyArray<Span>
  readonly longest: () => number
}

const control = {
  // Colours and cursor moves, titles and links, other escapes, and the characters that no terminal prints.
  // eslint-disable-next-line no-control-regex
  escapes:
    /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|\r(?=\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g,
  // eslint-disable-next-line no-control-regex
  open: /(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b\][^\x07\x1b]*\x1b?|\x1b[ -/]*|\r)$/
}

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

  const settle = () => {
    const hold = Math.max(minHold, source.longest() + context)
    if (raw.length <= 2 * hold) return
    const spans = source.find(raw)
    const cut = settleAt(spans, raw.length - hold)
    if (cut > 0) {
      settled = cutFront(settled + source.redact(raw.slice(0, cut)), 2 * maxChars)
      raw = raw.slice(cut)
      return
    }
    // A credential fills the window and has not ended. Its beginning is kept, so that what follows still belongs to it.
    const last = spans.at(-1)
    if (last !== undefined && last.end >= raw.length && last.end - last.start > hold) {
      raw = raw.slice(0, last.start + context)
      return
    }
    if (raw.length <= 8 * hold) return
    const end = last === undefined ? raw.length - hold : last.end
    settled = cutFront(settled + source.redact(raw.slice(0, end)), 2 * maxChars)
    raw = raw.slice(end)
  }

  return {
    push: (chunk) => {
      const joined = escape + chunk
      const open = control.open.exec(joined)
      escape = open !== null && open[0].length <= maxEscape ? open[0] : ""
      const whole = escape === "" ? joined : joined.slice(0, joined.length - escape.length)
      raw += whole.replace(control.escapes, "").replaceAll("\r", "\n")
      settle()
    },
    text: () => cutFront(lastLines(source.redact(settled + raw), maxLines), maxChars)
  }
}

/** The last place up to `limit` that is neither inside of a credential nor between its name and itself. */
const settleAt = (spans: ReadonlyArray<Span>, limit: number): number => {
  let at = limit
  for (let index = spans.length - 1; index >= 0; index--) {
    const span = spans[index]
    if (span === undefined || span.end <= at && span.start - context >= at) continue
    if (span.end <= at) return at
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
