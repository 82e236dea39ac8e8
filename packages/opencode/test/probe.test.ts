import { assert, describe, it } from "@effect/vitest"
import * as probe from "../src/internal/probe.ts"

describe("a version", () => {
  it("is told from the tested one, part by part", () => {
    const cases = [
      ["1.18.33", "tested"],
      ["v1.18.33", "tested"],
      ["1.18.33-dev+1", "tested"],
      ["1.18.32", "older"],
      ["1.9.40", "older"],
      ["0.99.99", "older"],
      ["1.18.100", "newer"],
      ["1.100.0", "newer"],
      ["2.x", "newer"],
      ["none", "unknown"],
      [undefined, "unknown"]
    ] as const
    for (const [version, support] of cases) assert.strictEqual(probe.supportOf(version, "1.18.33"), support, version)
  })
})
