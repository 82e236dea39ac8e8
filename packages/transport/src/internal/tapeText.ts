/**
 * Text in chunks whose secrets may be split over them: a chunk is let go when nothing in it can still become a secret.
 */
import type { Redactor, Span } from "@reins/core/Redaction"
import { replacement } from "@reins/core/Redaction"

/** Characters of an unfinished line that stay back, because a credential may still be growing there. */
const minHold = 4096

/** How far the name of a value may lie before it, in characters. */
const context = 256

/** Characters that are held at most, over the longest known value. */
const maxHold = 65_536

export interface TapeText<A> {
  /** Takes a chunk, with what the caller knows it by. */
  readonly push: (tag: A, text: string) => void
  /** Nothing follows: all of it is let go. */
  readonly end: () => void
}

/** A chunk of which `length` characters are still held; what was let go of it is in `kept`. */
interface Piece<A> {
  readonly tag: A
  kept: string
  length: number
}

/**
 * `emit` is called with each chunk, redacted, in order and once. A secret over several chunks is replaced in the first,
 * and its rest is taken out of the others.
 */
export const make = <A>(
  redactor: Redactor,
  delimiter: string,
  emit: (tag: A, text: string) => void
): TapeText<A> => {
  let pieces: Array<Piece<A>> = []
  let text = ""
  /** A credential without an end filled the window: what follows is taken for it until the next delimiter. */
  let inside = false

  /** Lets go of what is before `cut`, where no secret reaches over. A chunk is told when all of it has gone. */
  const settle = (cut: number, spans: ReadonlyArray<Span>) => {
    let at = 0
    let count = 0
    for (const piece of pieces) {
      const end = Math.min(at + piece.length, cut)
      piece.kept += clip(text, at, end, spans)
      piece.length -= end - at
      at = end
      if (piece.length > 0) break
      emit(piece.tag, piece.kept)
      count++
    }
    pieces = pieces.slice(count)
    text = text.slice(cut)
  }

  const push = (tag: A, chunk: string) => {
    if (inside) {
      const at = chunk.indexOf(delimiter)
      if (at === -1) return emit(tag, replacement)
      inside = false
      chunk = replacement + chunk.slice(at)
    }
    pieces.push({ tag, kept: "", length: chunk.length })
    text += chunk
    const hold = Math.max(minHold, redactor.longest() + context)
    // A delimiter may itself be split; what it ended is then let go with the next.
    const long = text.length > 2 * hold
    if (!long && !chunk.includes(delimiter)) return
    const spans = redactor.find(text, { growing: true })
    let cut = afterDelimiter(text, delimiter, spans)
    if (long && cut < text.length - 2 * hold) cut = Math.max(cut, beforeSpans(spans, text.length - hold))
    settle(cut, spans)
    if (text.length > maxHold + hold) {
      settle(text.length, redactor.find(text, { growing: true }))
      inside = true
    }
  }

  return {
    push,
    end: () => {
      settle(text.length, redactor.find(text, { growing: true }))
      inside = false
    }
  }
}

/** The end of the last line that no secret reaches over. */
const afterDelimiter = (text: string, delimiter: string, spans: ReadonlyArray<Span>): number => {
  let from = text.length
  while (from > 0) {
    const at = text.lastIndexOf(delimiter, from - 1)
    if (at === -1) return 0
    const cut = at + delimiter.length
    const span = spans.find((span) => span.start < cut && span.end > cut)
    if (span === undefined) return cut
    from = span.start
  }
  return 0
}

/**
 * The last place up to `limit` that is neither inside of a secret nor between its name and itself. Where secrets follow
 * each other closely from the beginning on, the end of one is such a place too.
 */
const beforeSpans = (spans: ReadonlyArray<Span>, limit: number): number => {
  let at = limit
  for (let index = spans.length - 1; index >= 0; index--) {
    const span = spans[index]
    if (span === undefined || span.end <= at) break
    if (span.start - context < at) at = span.start - context
  }
  return at > 0 ? at : spans.findLast((span) => span.end <= limit)?.end ?? 0
}

/** What of the secrets begins before `from` is gone here, what begins between `from` and `to` is replaced. */
const clip = (text: string, from: number, to: number, spans: ReadonlyArray<Span>): string => {
  let out = ""
  let at = from
  for (const span of spans) {
    if (span.end <= at) continue
    if (span.start >= to) break
    out += text.slice(at, Math.max(at, span.start))
    if (span.start >= from) out += replacement
    at = Math.min(span.end, to)
  }
  return out + text.slice(at, to)
}
