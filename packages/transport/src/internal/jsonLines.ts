/**
 * Bytes to lines, for a wire of one JSON value per line.
 *
 * Works on whole chunks and synchronously; a line that spans chunks is joined once, when it ends.
 */
import * as utf8Decoder from "./utf8Decoder.ts"

export interface JsonLines {
  /** The lines that a chunk ends, without their ends. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<string>
  /** What came after the last line. */
  readonly rest: () => string
  /** Characters of the line that has not ended yet. */
  readonly pendingSize: () => number
}

/** Bytes that are no UTF-8 become U+FFFD: they spoil their line, not the ones after it. */
export const make = (): JsonLines => {
  const decode = utf8Decoder.make()
  let pending: Array<string> = []
  let size = 0
  return {
    push: (chunk) => {
      const text = decode(chunk)
      const lines: Array<string> = []
      let start = 0
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
        const head = text.slice(start, end)
        lines.push(pending.length === 0 ? head : pending.join("") + head)
        if (pending.length > 0) pending = []
        start = end + 1
      }
      if (start > 0) size = 0
      if (start < text.length) {
        pending.push(start === 0 ? text : text.slice(start))
        size += text.length - start
      }
      return lines
    },
    rest: () => pending.join(""),
    pendingSize: () => size
  }
}
