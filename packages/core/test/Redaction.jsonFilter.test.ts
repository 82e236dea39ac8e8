/** Known secrets in the messages of an agent. */
import { assert, it } from "@effect/vitest"
import * as Redaction from "@reins/core/Redaction"
import { Redacted } from "effect"

const secret = "a \"quoted\" \\ secret"
const filter = Redaction.jsonFilter([Redacted.make(secret), Redacted.make("on"), Redacted.make(`long ${secret}`)])

it("takes secrets out as they stand in JSON, and leaves JSON that can be read", () => {
  const inner = JSON.stringify({ output: `it is ${secret}!` })
  const text = JSON.stringify({ type: "on", data: inner, plain: `it is ${secret}!` })
  const clean = JSON.parse(filter(text)) as { readonly data: string; readonly plain: string; readonly type: string }
  assert.strictEqual(clean.plain, `it is ${Redaction.replacement}!`)
  assert.strictEqual((JSON.parse(clean.data) as { readonly output: string }).output, `it is ${Redaction.replacement}!`)
  // Too short to be told from the words of the protocol.
  assert.strictEqual(clean.type, "on")
})

it("takes a secret that holds another out whole", () => {
  assert.strictEqual(filter(`long ${secret}`), Redaction.replacement)
})

it("gives back the very text where there is none", () => {
  const text = JSON.stringify({ type: "message.updated" })
  assert.strictEqual(filter(text), text)
})
