/** What Codex has stored, read with words that this release of ours does not know. */
import { assert, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as Wire from "../src/CodexSchema.ts"
import * as record from "../src/internal/record.ts"

const turn = (fields: object): Wire.Turn => {
  const decoded = Schema.decodeUnknownResult(Wire.Turn)({ id: "t", status: "completed", items: [], ...fields })
  return Result.isSuccess(decoded) ? decoded.success : assert.fail(decoded.failure.message)
}

const message = { type: "agentMessage", id: "m", text: "said" }

it("codex trap 20: unknown items, fields and words of a stored turn are read, and what is known of it is told", () => {
  const signals = record.signalsOf(
    turn({
      newField: 1,
      items: [
        { type: "userMessage", id: "u", clientId: "prm_1", content: [{ type: "hologram", beam: 7 }], mood: "fine" },
        { type: "teleport", id: "x", to: "mars" },
        { ...message, aura: { colour: "blue" } },
        { type: "commandExecution", id: "c", command: "ls", status: "evaporated" },
        "no item at all"
      ]
    }),
    false
  )
  const items = signals.flatMap((signal) => signal._tag === "item" ? [[signal.key, signal.item._tag]] : [])
  assert.deepStrictEqual(items, [["u", "userMessage"], ["x", "toolCall"], ["m", "assistantMessage"], ["c", "command"]])
  assert.isTrue(signals.some((signal) => signal._tag === "prompt" && signal.key === "prm_1"))
})

it("an unknown state of a stored turn is no success", () => {
  assert.strictEqual(record.verdict(turn({ status: "evaporated" }), false)._tag, "unfinished")
  assert.strictEqual(record.verdict(turn({ status: "evaporated" }), true)._tag, "unfinished")
})
