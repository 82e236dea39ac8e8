import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as utf8Decoder from "../../src/internal/utf8Decoder.ts"

const decodeIn = (bytes: Uint8Array, size: number): string => {
  const decode = utf8Decoder.make()
  let text = ""
  for (let at = 0; at < bytes.length; at += size) {
    const chunk = bytes.slice(at, at + size)
    text += decode(chunk)
    // The memory of a chunk belongs to its reader only until the next one.
    chunk.fill(0x58)
  }
  return text
}

describe("utf8Decoder", () => {
  it("gives what whole bytes give, wherever they are cut and whatever is wrong with them", () => {
    const byte = fc.oneof(
      fc.constantFrom(
        0x41,
        0x80,
        0xbf,
        0xc2,
        0xc0,
        0xe2,
        0x82,
        0xac,
        0xe0,
        0xed,
        0xa0,
        0xf0,
        0x9f,
        0x98,
        0x80,
        0xf4,
        0xf8,
        0xff
      ),
      fc.integer({ min: 0, max: 255 })
    )
    const piece = fc.oneof(
      fc.array(byte, { maxLength: 4 }),
      fc.constantFrom("é", "€", "😀", "\uFEFF", "a").map((text) => [...new TextEncoder().encode(text)])
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), fc.integer({ min: 1, max: 9 }), (pieces, size) => {
        // A last line feed ends whatever had begun.
        const bytes = Uint8Array.from([...pieces.flat(), 10])
        assert.strictEqual(decodeIn(bytes, size), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes))
      }),
      { numRuns: 5_000 }
    )
  })

  it("holds back nothing but the character that has begun", () => {
    const decode = utf8Decoder.make()
    assert.strictEqual(decode(Uint8Array.of(0x61, 0xe2, 0x82)), "a")
    assert.strictEqual(decode(Uint8Array.of(0xac, 0xc3, 0xa9)), "€é")
  })
})
