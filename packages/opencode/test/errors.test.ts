import { assert, describe, it } from "@effect/vitest"
import * as errors from "../src/internal/errors.ts"

const api = (message: string, more: { readonly [key: string]: unknown } = {}) => ({
  name: "APIError",
  data: { message, ...more }
})

describe("errors", () => {
  it("finds the reason by name, status, code and words", () => {
    const table: ReadonlyArray<readonly [error: Parameters<typeof errors.reasonOf>[0], tag: string]> = [
      [{ name: "ProviderAuthError", data: { providerID: "x", message: "no key" } }, "AuthRequired"],
      [api("no", { statusCode: 401 }), "AuthRequired"],
      [api("no", { statusCode: 403 }), "AuthRequired"],
      [api("slow down", { statusCode: 429 }), "RateLimited"],
      [api("You exceeded your current quota", { statusCode: 429 }), "QuotaExceeded"],
      [api("no", { statusCode: 429, responseBody: "{\"error\":{\"code\":\"insufficient_quota\"}}" }), "QuotaExceeded"],
      [api("x", { statusCode: 529 }), "Overloaded"],
      [api("Overloaded"), "Overloaded"],
      [{ name: "ContextOverflowError", data: { message: "too long" } }, "ContextOverflow"],
      [api("x", { statusCode: 400, responseBody: "context_length_exceeded" }), "ContextOverflow"],
      [{ name: "UnknownError", data: { message: "Model not found: fake/nope." } }, "ModelNotFound"],
      [{ name: "ProviderModelNotFoundError", data: { message: "Model not found: a/b" } }, "ModelNotFound"],
      [{ name: "UnknownError", data: { message: "Agent not found: \"x\"." } }, "InvalidRequest"],
      [api("bad", { statusCode: 400 }), "InvalidRequest"],
      [api("broken", { statusCode: 500 }), "UpstreamFailed"],
      [api("timeout", { statusCode: 408 }), "UpstreamFailed"],
      [{ name: "SomethingNew" }, "UpstreamFailed"],
      [{ name: "UnknownError", data: { message: "Failed to initialize provider: x" } }, "InvalidConfig"],
      [{ name: "ConfigJsonError", data: { path: "/p/opencode.json", message: "no" } }, "InvalidConfig"]
    ]
    for (const [error, tag] of table) assert.strictEqual(errors.reasonOf(error)._tag, tag, JSON.stringify(error))
  })

  it("reads the model, the limit and the wait", () => {
    const model = errors.reasonOf(api("Model not found: fake/nope."))
    assert.strictEqual(model._tag === "ModelNotFound" ? model.model : "", "fake/nope")
    const overflow = errors.reasonOf(api("This model's maximum context length is 8192 tokens."))
    assert.strictEqual(overflow._tag === "ContextOverflow" ? overflow.limit : 0, 8192)
    const wait = (responseHeaders: { readonly [name: string]: string }) =>
      errors.reasonOf(api("x", { statusCode: 429, responseHeaders })).retryAfter
    assert.strictEqual(wait({ "retry-after": "3" }), 3000)
    assert.strictEqual(wait({ "retry-after-ms": "250", "retry-after": "3" }), 250)
    assert.strictEqual(
      wait({ "retry-after": "Sat, 21 Nov 2026 03:08:50 GMT", date: "Sat, 21 Nov 2026 03:08:45 GMT" }),
      5000
    )
    assert.isUndefined(wait({ "retry-after": "soon" }))
    assert.isUndefined(wait({}))
  })

  it("names the file and what is wrong in it", () => {
    const invalid = errors.configReason({
      name: "ConfigInvalidError",
      data: { path: "OPENCODE_CONFIG_CONTENT", issues: [{ path: ["model"], message: "Expected string, got 5" }] }
    })
    assert.strictEqual(invalid?.file, "OPENCODE_CONFIG_CONTENT")
    assert.strictEqual(invalid?.issue, "model: Expected string, got 5")
    assert.isUndefined(errors.configReason({ name: "APIError" }))
  })

  it("bounds the excerpt of a body and redacts what looks like a key", () => {
    const key = `sk-${"a1B2c3D4e5".repeat(4)}`
    const reason = errors.reasonOf(api("x", { statusCode: 500, responseBody: `${key} ${"y".repeat(100_000)}` }))
    assert.isAtMost(reason.excerpt?.length ?? 0, 2048)
    assert.notInclude(reason.excerpt ?? "", key)
  })

  it("leaves the stack trace out of the words", () => {
    const trace = "ProviderModelNotFoundError: Model not found: a/b\n    at f (/x.js:1:2)\n    at g (/y.js:3:4)"
    assert.strictEqual(errors.wordsOf(trace), "ProviderModelNotFoundError: Model not found: a/b")
    assert.isTrue(errors.isTrace(trace))
    assert.isFalse(errors.isTrace("look at this"))
  })

  it("tells the reasons to stop from errors", () => {
    assert.strictEqual(errors.judge({ name: "MessageAbortedError" })._tag, "aborted")
    assert.deepStrictEqual(errors.judge({ name: "ContentFilterError" }), { _tag: "finish", stopReason: "refusal" })
    assert.deepStrictEqual(errors.judge({ name: "MessageOutputLengthError" }), {
      _tag: "finish",
      stopReason: "maxTokens"
    })
    assert.strictEqual(errors.judge(api("x"))._tag, "error")
  })
})
