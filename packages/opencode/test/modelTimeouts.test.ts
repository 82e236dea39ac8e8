import { assert, describe, it } from "@effect/vitest"
import { withTimeouts } from "../src/internal/modelTimeouts.ts"

describe("the time-outs of model providers", () => {
  it("are set where the configuration defines the provider, and only what is not set there", () => {
    const content = `{ // mine
      "model": "own/one",
      "provider": {
        "own": { "npm": "@ai-sdk/openai-compatible", "options": { "apiKey": "{env:KEY}", "chunkTimeout": 5 } },
        "bare": { "npm": "@ai-sdk/openai" },
        "anthropic": { "options": { "apiKey": "x" } }
      }
    }`
    assert.deepStrictEqual(JSON.parse(withTimeouts(content, 1_500) ?? ""), {
      model: "own/one",
      provider: {
        own: {
          npm: "@ai-sdk/openai-compatible",
          options: { headerTimeout: 1_500, chunkTimeout: 5, apiKey: "{env:KEY}" }
        },
        bare: { npm: "@ai-sdk/openai", options: { headerTimeout: 1_500, chunkTimeout: 1_500 } },
        anthropic: { options: { apiKey: "x" } }
      }
    })
  })

  it("leave alone what they do not understand, and everything where none is asked for", () => {
    for (const content of [undefined, "{ nope", "[]", "{\"provider\":5}", "{\"model\":\"a/b\"}"]) {
      assert.strictEqual(withTimeouts(content, 1_500), content)
    }
    assert.strictEqual(
      withTimeouts("{\"provider\":{\"a\":{\"npm\":\"b\"}}}", undefined),
      "{\"provider\":{\"a\":{\"npm\":\"b\"}}}"
    )
  })
})
