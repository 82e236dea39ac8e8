import { assert, describe, it } from "@effect/vitest"
import type { AgentRequest, Question } from "@reins/core/AgentRequest"
import { RequestId } from "@reins/core/Ids"
import * as dialogue from "../../src/internal/dialogue.ts"
import * as style from "../../src/internal/style.ts"

const request: AgentRequest = {
  id: RequestId.make("req_1"),
  kind: "command",
  subject: "Run npm test",
  options: ["accept", "acceptForSession", "decline", "cancel"],
  facts: { command: "npm test", cwd: "/repo" },
  openedAt: 0
}
const plain = style.make(false)

describe("dialogue", () => {
  it("reads y, n and always, in any case, and takes the words after n as the reason", () => {
    assert.deepStrictEqual(dialogue.approval(request, " Y "), { _tag: "accept" })
    assert.deepStrictEqual(dialogue.approval(request, "always"), { _tag: "acceptForSession" })
    assert.deepStrictEqual(dialogue.approval(request, "n"), { _tag: "decline" })
    assert.deepStrictEqual(dialogue.approval(request, "no, use yarn"), { _tag: "decline", reason: "use yarn" })
  })

  it("takes nothing else for an answer", () => {
    for (const typed of ["", "maybe", "yn", "node", "yes please"]) assert.isUndefined(dialogue.approval(request, typed))
    assert.isUndefined(dialogue.approval({ ...request, options: ["accept", "decline"] }, "a"))
  })

  it("shows what a command hides", () => {
    const hidden = "ls\u001b[2K\r\u202erm -rf"
    const text = dialogue.describe({ ...request, subject: `Run ${hidden}`, facts: { command: hidden } }, plain)
    // oxlint-disable-next-line no-control-regex
    assert.notMatch(text, /[\u0000-\u0009\u000b-\u001f\u202a-\u202e]/)
    assert.match(text, /<U\+202E>rm -rf/)
  })

  it("shows all lines of a command that its one-line subject cannot hold", () => {
    const command = "cat > x <<END\nsecret\nEND"
    const text = dialogue.describe({ ...request, subject: "Run cat > x", facts: { command } }, plain)
    assert.match(text, /\n {4}cat > x <<END\n {4}secret\n {4}END/)
  })

  it("reads the answers to a question by number, by label, or in words where it takes them", () => {
    const asked: Question = {
      text: "Which?",
      options: [{ label: "red" }, { label: "blue" }],
      multiple: false,
      freeText: false
    }
    assert.deepStrictEqual(dialogue.answers(asked, "2"), ["blue"])
    assert.deepStrictEqual(dialogue.answers(asked, "RED"), ["red"])
    assert.isUndefined(dialogue.answers(asked, "3"))
    assert.isUndefined(dialogue.answers(asked, "1,2"))
    assert.isUndefined(dialogue.answers(asked, "green"))
    assert.deepStrictEqual(dialogue.answers({ ...asked, multiple: true }, "1, 2"), ["red", "blue"])
    assert.isUndefined(dialogue.answers({ ...asked, multiple: true }, "1, 3"))
    assert.deepStrictEqual(dialogue.answers({ ...asked, freeText: true }, "green"), ["green"])
    assert.deepStrictEqual(dialogue.answers(asked, " "), [])
  })

  it("refuses in the way that the request offers", () => {
    assert.deepStrictEqual(dialogue.refusal(request, "why"), { _tag: "decline", reason: "why" })
    assert.deepStrictEqual(dialogue.refusal({ ...request, options: ["answers", "cancel"] }, "why"), { _tag: "cancel" })
  })
})
