/** Errors of Codex: the status says more than the words. */
import { assert, it } from "@effect/vitest"
import * as errors from "../src/internal/errors.ts"

it.each<readonly [status: number | undefined, words: string, reason: string]>([
  [401, "usage_limit: your credit balance is low", "AuthRequired"],
  [403, "insufficient_quota", "AuthRequired"],
  [502, "the context window of the upstream", "UpstreamFailed"],
  [429, "maximum context length of tokens per minute", "RateLimited"],
  [429, "insufficient_quota", "QuotaExceeded"],
  [400, "maximum context length is 8192 tokens", "ContextOverflow"],
  [undefined, "context_length_exceeded", "ContextOverflow"],
  [undefined, "You exceeded your current quota", "QuotaExceeded"]
])("%s with \"%s\" is %s", (status, message, reason) => {
  const error = errors.reasonOf({
    message,
    ...(status === undefined ? {} : { codexErrorInfo: { httpConnectionFailed: { httpStatusCode: status } } })
  })
  assert.strictEqual(error._tag, reason)
})
