import { assert, describe, it } from "@effect/vitest"
import * as lineReader from "../../src/internal/lineReader.ts"

const read = (...pieces: ReadonlyArray<string>) => {
  const lines: Array<string> = []
  const push = lineReader.make((line) => lines.push(line))
  for (const piece of pieces) push(piece)
  return lines
}

describe("lineReader", () => {
  it("reads lines over the joins of their pieces, without colours and empty lines", () => {
    assert.deepStrictEqual(read("o", "ne\ntw", "o\r\n\r\n\u001b[3", "2mthree\u001b[0m\rfour"), ["one", "two", "three"])
  })

  it("hands on a line without an end before it grows too long", () => {
    const long = "x".repeat(lineReader.maxLine)
    assert.deepStrictEqual(read(long, "y", "z\n"), [`${long}y`, "z"])
  })
})
