import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as sseDecoder from "../../src/internal/sseDecoder.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const decodeIn = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
  const decoder = sseDecoder.make()
  return chunks.flatMap((chunk) => [...decoder.push(chunk)])
}

// The processing model of the standard, written for clearness: whole text in, payloads out.
const oracle = (text: string): ReadonlyArray<string> => {
  const events: Array<string> = []
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/)
  lines.pop() // what no line end follows is no line
  let buffer = ""
  for (const line of lines) {
    if (line === "") {
      if (buffer !== "") events.push(buffer.slice(0, -1))
      buffer = ""
      continue
    }
    const colon = line.indexOf(":")
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "")
    if (field === "data") buffer += `${value}\n`
  }
  return events
}

describe("sseDecoder", () => {
  it("reads the payload of each event and passes over the other fields and comments", () => {
    const text = ": comment\nid: 7\nevent: delta\nretry: 10\ndata: one\n\n:\ndata:two\n\ndata:  three \n\nid: 8\n\n"
    assert.deepStrictEqual(decodeIn([bytes(text)]), ["one", "two", " three "])
  })

  it("joins data lines, keeps empty ones, and takes no longer field name for data", () => {
    const text = "data: a\ndata\ndata:\ndata: b\n\ndata\n\ndatabase: no\n\n data: no\n\nDATA: no\n\ndata: yes\n\n"
    assert.deepStrictEqual(decodeIn([bytes(text)]), ["a\n\n\nb", "", "yes"])
  })

  it("drops an event that the stream did not end", () => {
    assert.deepStrictEqual(decodeIn([bytes("data: whole\n\ndata: half\n")]), ["whole"])
  })

  it("drops one byte order mark and keeps a second", () => {
    assert.deepStrictEqual(decodeIn([bytes("\uFEFFdata: a\n\n")]), ["a"])
    assert.deepStrictEqual(decodeIn([bytes("\uFEFF\uFEFFdata: a\n\ndata: b\n\n")]), ["b"])
  })

  it("reads the same whatever byte a chunk ends at", () => {
    const text = "\uFEFFdata: aé€😀\r\ndata: z\r\n\r\ndata: {\"ü\":\"𝄞\"}\n\n:x\rdata: ☃\r\rdata: last\r\n\n"
    const whole = bytes(text)
    const expected = oracle(text)
    assert.deepStrictEqual(expected, ["aé€😀\nz", "{\"ü\":\"𝄞\"}", "☃", "last"])
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const chunks = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)]
        assert.deepStrictEqual(decodeIn(chunks), expected, `split at ${first} and ${second}`)
      }
    }
  })

  it("reads any stream as the standard does, in chunks of any size", () => {
    const piece = fc.constantFrom(
      "data",
      ":",
      " ",
      "\n",
      "\r",
      "\r\n",
      "\n\n",
      "data: x",
      "é",
      "😀",
      "id: 1",
      "\uFEFF",
      "d"
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.integer({ min: 1, max: 9 }), (pieces, size) => {
        const text = pieces.join("")
        const whole = bytes(text)
        const chunks: Array<Uint8Array> = []
        for (let at = 0; at < whole.length; at += size) chunks.push(whole.subarray(at, at + size))
        assert.deepStrictEqual(decodeIn(chunks), oracle(text))
      }),
      { numRuns: 2_000 }
    )
  })

  it("says how long the unfinished event is", () => {
    const decoder = sseDecoder.make()
    decoder.push(bytes("data: 12345\ndata: 67"))
    assert.strictEqual(decoder.pendingSize(), 5 + "data: 67".length)
    decoder.push(bytes("\n\n"))
    assert.strictEqual(decoder.pendingSize(), 0)
  })
})
