/** The lines of a child's output, for whoever waits for one of them. */
import { stripVTControlCharacters } from "node:util"

/** Longest line that is kept together, in characters: output without a newline must not grow without end. */
export const maxLine = 64 * 1024

/** Answers a function that takes the output in pieces and calls `onLine` with each complete line that is not empty. */
export const make = (onLine: (line: string) => void): (text: string) => void => {
  let pending = ""
  const emit = (line: string) => {
    const plain = stripVTControlCharacters(line)
    if (plain !== "") onLine(plain)
  }
  return (text) => {
    const lines = (pending + text).split(/\r\n|\n|\r/)
    pending = lines.pop() ?? ""
    for (const line of lines) emit(line)
    if (pending.length > maxLine) {
      emit(pending)
      pending = ""
    }
  }
}
