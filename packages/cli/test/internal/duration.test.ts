import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as duration from "../../src/internal/duration.ts"

const millis = (text: string) => {
  const parsed = duration.parse(text)
  return typeof parsed === "string" ? parsed : Duration.toMillis(parsed)
}

describe("duration", () => {
  it("reads numbers with units, also several", () => {
    assert.strictEqual(millis("500ms"), 500)
    assert.strictEqual(millis("1.5s"), 1_500)
    assert.strictEqual(millis("1h30m"), 5_400_000)
  })

  it("says what is wrong with anything else", () => {
    assert.match(String(millis("90")), /no unit: write 90s/)
    for (const text of ["", "abc", "-5s", "5 s", "1s2", "5sec"]) assert.match(String(millis(text)), /is no duration/)
    assert.match(String(millis("0s")), /no time at all/)
    assert.match(String(millis("25d")), /too long/)
  })

  it("says a duration in its largest whole unit", () => {
    assert.deepStrictEqual(
      ["90s", "2m", "1h", "1500ms", "20ms"].map((text) => {
        const parsed = duration.parse(text)
        return typeof parsed === "string" ? parsed : duration.precise(parsed)
      }),
      ["90 s", "2 min", "1 h", "1.5 s", "20 ms"]
    )
  })
})
