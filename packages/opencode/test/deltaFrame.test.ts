/** The short way gives what the long way gives, or nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as deltaFrame from "../src/internal/deltaFrame.ts"
import * as normalise from "../src/internal/normalise.ts"
import * as replay from "./fixtures/replay.ts"

// The ids of the frames themselves were left out of the recordings.
const recorded = replay.frames("02b-text-warm").map((frame) => ({ id: "evt_1fc120d9e0013WEJfATydOWQGn", ...frame }))

const envelopes: ReadonlyArray<(frame: unknown) => unknown> = [
  (payload) => payload,
  (payload) => ({ payload }),
  (payload) => ({ directory: "/sandbox/proj", payload }),
  (payload) => ({ directory: "/sandbox/proj", project: "global", payload })
]

/** What both ways are asked for. */
const meaning = (event: normalise.OpenCodeEvent | undefined) => {
  if (event === undefined) return undefined
  const { delta, field, partID, sessionID } = event.properties as { readonly [key: string]: unknown }
  return { type: event.type, sessionID, partID, field, delta }
}

const longWay = (data: string) => meaning(normalise.fromEnvelope(JSON.parse(data)))

const delta = (text: string) => ({
  id: "evt_1fc120d9e0013WEJfATydOWQGn",
  type: "message.part.delta",
  properties: { sessionID: "ses_1", messageID: "msg_1", partID: "prt_1", field: "text", delta: text }
})

describe("deltaFrame", () => {
  it("reads every recorded delta, with and without the envelope, and nothing else that was recorded", () => {
    let deltas = 0
    for (const frame of recorded) {
      for (const envelope of envelopes) {
        const data = JSON.stringify(envelope(frame))
        const read = deltaFrame.read(data)
        assert.strictEqual(read !== undefined, frame.type === "message.part.delta", data)
        if (read === undefined) continue
        deltas++
        assert.deepStrictEqual(meaning(read), longWay(data))
      }
    }
    assert.isAbove(deltas, 0)
  })

  it("reads any text, whatever is escaped in it", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string({ unit: fc.constantFrom("\"", "\\", "}", "{", ",", ":", "\n", "\u2028", "\ud83d", "a") })
    )
    fc.assert(
      fc.property(text, fc.constantFrom(...envelopes), (text, envelope) => {
        const data = JSON.stringify(envelope(delta(text)))
        assert.deepStrictEqual(meaning(deltaFrame.read(data)), longWay(data))
      }),
      { numRuns: 2_000 }
    )
  })

  it("leaves frames of another shape to the long way", () => {
    const { id, properties, type } = delta("x")
    const others: ReadonlyArray<unknown> = [
      { id, type: "message.part.updated", properties },
      { type, id, properties },
      { id, type, properties: { ...properties, field: "output" } },
      { id, type, properties: { ...properties, delta: 1 } },
      { id, type, properties: { ...properties, more: true } },
      { id, type, properties: { ...properties, sessionID: "a\"b" } },
      { id, type, properties, more: true },
      { id: 1, type, properties }
    ]
    for (const other of others) {
      for (const envelope of envelopes) assert.isUndefined(deltaFrame.read(JSON.stringify(envelope(other))))
    }
    for (const envelope of envelopes.slice(1)) {
      const whole = JSON.stringify(envelope(delta("x")))
      assert.isUndefined(deltaFrame.read(JSON.stringify({ metadata: envelope(delta("x")) })))
      assert.isUndefined(deltaFrame.read(`${whole.slice(0, -1)},"more":{}}`))
      assert.isUndefined(deltaFrame.read(whole.slice(0, -1)))
      assert.isUndefined(deltaFrame.read(`${whole}}`))
      assert.isUndefined(deltaFrame.read(`${whole.slice(0, -1)}]`))
    }
  })
})
