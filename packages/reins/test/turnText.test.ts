/** What counts as the text of a turn. */
import { assert, it } from "@effect/vitest"
import { ItemId, PromptId, SessionId, TurnId } from "@reins/core/Ids"
import type { ItemStatus } from "@reins/core/Item"
import type { PromptState } from "@reins/core/Prompt"
import type { SessionEvent } from "@reins/core/SessionEvent"
import * as turnText from "../src/internal/turnText.ts"

const own = PromptId.make("p")
const base = { v: 1 as const, at: 0, sessionId: SessionId.make("s"), origin: "native" as const }
const prompt = (state: PromptState, promptId = own): SessionEvent => ({
  ...base,
  _tag: "PromptChanged",
  promptId,
  state
})
const consumed = (turn: string, promptId = own) => prompt({ _tag: "consumed", turnId: TurnId.make(turn) }, promptId)
const message = (
  turn: string,
  text: string,
  more: { readonly status?: ItemStatus; readonly agentPath?: ReadonlyArray<string>; readonly tag?: "reasoning" } = {}
): SessionEvent => ({
  ...base,
  _tag: "ItemCompleted",
  turnId: TurnId.make(turn),
  itemId: ItemId.make(text),
  status: more.status ?? "completed",
  item: { _tag: more.tag ?? "assistantMessage", id: ItemId.make(text), text },
  ...(more.agentPath === undefined ? undefined : { agentPath: more.agentPath })
})
const settled = (turn: string): SessionEvent => ({
  ...base,
  _tag: "TurnSettled",
  turnId: TurnId.make(turn),
  outcome: { _tag: "completed", stopReason: "endTurn" },
  evidence: []
})

/** The text, and how many events it took. */
const gather = (...events: ReadonlyArray<SessionEvent>) => {
  const gathered = turnText.make(own)
  const end = events.findIndex((event) => gathered.take(event))
  return [gathered.text(), end + 1]
}

it("is the messages of the agent itself that stand", () => {
  assert.deepStrictEqual(
    gather(
      prompt({ _tag: "queued" }),
      consumed("t"),
      message("t", "one"),
      message("t", "a thought", { tag: "reasoning" }),
      message("t", "a child", { agentPath: ["child"] }),
      message("t", "taken back", { status: "discarded" }),
      message("t", "broken off", { status: "interrupted" }),
      settled("t"),
      message("t", "late")
    ),
    ["one\n\nbroken off", 8]
  )
})

it("leaves out other turns, and finds a turn that was over before the prompt was known to be in it", () => {
  assert.deepStrictEqual(
    gather(
      message("before", "other"),
      settled("before"),
      consumed("before", PromptId.make("other")),
      message("t", "mine"),
      settled("t"),
      consumed("t")
    ),
    ["mine", 6]
  )
})

it("is empty and ends when there is no turn", () => {
  for (const state of [{ _tag: "withdrawn" }, { _tag: "returned", reason: "closed" }] as const) {
    assert.deepStrictEqual(gather(message("t", "other"), prompt(state)), ["", 2])
  }
  assert.deepStrictEqual(gather(message("t", "other"), prompt({ _tag: "withdrawn" }, PromptId.make("q"))), ["", 0])
})
