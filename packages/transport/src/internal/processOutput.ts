/**
 * What a child writes, read for as long as it lives: complete lines for whoever waits for a ready line, and all of it,
 * without terminal codes, into a bounded tail.
 */

/** Longest line that is kept together. Output without a newline must not grow without end. */
export const maxLine = 64 * 1024

const escape = "\u001b"

// CSI, OSC (ended by BEL or ST), character set selection, and two-character sequences.
// oxlint-disable-next-line no-control-regex
const escapes = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[()*+][0-9A-Za-z]|[@-Z\\-_a-z=>])/g

/** Removes terminal control sequences. */
export const stripEscapes = (text: string): string => text.includes(escape) ? text.replace(escapes, "") : text

export interface ProcessOutput {
  readonly push: (chunk: Uint8Array) => void
  /** Hands on what the last, unfinished line holds so far. */
  readonly flush: () => void
  /** Stops splitting lines: nobody waits for one any more. */
  readonly ignoreLines: () => void
}

/** One of the two output streams of a child. `sink` receives clean text; `onLine` complete clean lines. */
export const make = (options: {
  readonly sink: (text: string) => void
  readonly onLine: ((line: string) => void) | undefined
}): ProcessOutput => {
  const decoder = new TextDecoder()
  let onLine = options.onLine
  // The unfinished line, and how much of it the sink already has.
  let pending = ""
  let handed = 0

  return {
    push(chunk) {
      const text = decoder.decode(chunk, { stream: true })
      const end = Math.max(text.lastIndexOf("\n"), text.lastIndexOf("\r")) + 1
      if (end > 0) {
        const complete = pending + text.slice(0, end)
        options.sink(stripEscapes(complete.slice(handed)))
        if (onLine !== undefined) {
          for (const line of stripEscapes(complete).split(/\r\n|\n|\r/)) {
            if (line !== "") onLine(line)
          }
        }
        pending = ""
        handed = 0
      }
      pending += text.slice(end)
      if (pending.length > maxLine) {
        options.sink(stripEscapes(pending.slice(handed)))
        pending = ""
        handed = 0
      }
    },
    flush() {
      if (handed < pending.length) {
        options.sink(stripEscapes(pending.slice(handed)))
        handed = pending.length
      }
    },
    ignoreLines() {
      onLine = undefined
    }
  }
}
