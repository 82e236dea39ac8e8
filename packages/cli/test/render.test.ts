import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import { ItemId, PromptId, RequestId, SessionId, TurnId } from "@reins/core/Ids"
import type { Item } from "@reins/core/Item"
import type { SessionEvent } from "@reins/core/SessionEvent"
import type { TurnState } from "@reins/core/Turn"
import * as render from "../src/render.ts"

const turnId = TurnId.make("trn_1")
const itemId = ItemId.make("itm_1")
const base = { v: 1, at: 1_000, sessionId: SessionId.make("ses_1"), origin: "native" } as const

const started = (item: Item): SessionEvent => ({ ...base, _tag: "ItemStarted", itemId: item.id, item })
const completed = (
  item: Item,
  status: "completed" | "failed" | "declined" | "discarded" = "completed"
): SessionEvent => ({
  ...base,
  _tag: "ItemCompleted",
  itemId: item.id,
  item,
  status
})
const delta = (offset: number, text: string, id = itemId): SessionEvent => ({
  ...base,
  _tag: "ItemDelta",
  itemId: id,
  stream: "text",
  offset,
  text
})
const message = (text: string, id = itemId): Item => ({ _tag: "assistantMessage", id, text })
const command = (exitCode: number, output = ""): Item => ({
  _tag: "command",
  id: ItemId.make("itm_cmd"),
  command: "npm test",
  output,
  exitCode
})
const turn = (state: TurnState, at = 1_000): SessionEvent => ({ ...base, at, _tag: "TurnChanged", turnId, state })

/** What stands on each output after these events. */
const play = (
  events: ReadonlyArray<SessionEvent>,
  options: render.Options = { screen: true, raw: false, color: false }
) => {
  let state = render.initial(options)
  let answer = ""
  let notes = ""
  let all = ""
  for (const event of events) {
    const [next, fragments] = render.render(state, event)
    state = next
    for (const { text, to } of fragments) {
      if (to === "answer") answer += text
      else notes += text
      all += text
    }
  }
  return { state, answer, notes, all }
}

describe("render", () => {
  it("writes a message once, however its text arrives", () => {
    const { answer } = play([
      started(message("")),
      delta(0, "Hello "),
      delta(0, "Hello "),
      delta(3, "lo the"),
      delta(9, "re"),
      completed(message("Hello there."))
    ])
    assert.strictEqual(answer, "Hello there.\n")
  })

  it("gives the whole text of a message that came without deltas", () => {
    assert.strictEqual(play([completed(message("All at once"))]).answer, "All at once\n")
  })

  it("keeps what the user and the model's reasoning say out of the answer", () => {
    const thought = ItemId.make("itm_2")
    const { answer, notes } = play([
      started({ _tag: "userMessage", id: itemId, text: "" }),
      delta(0, "my prompt"),
      started({ _tag: "reasoning", id: thought, text: "" }),
      delta(0, "hm", thought),
      completed({ _tag: "reasoning", id: thought, text: "hm" })
    ])
    assert.strictEqual(answer + notes, "")
  })

  it("ends the line of the answer before a note on the same screen, and only there", () => {
    const events = [started(message("")), delta(0, "Hel"), turn({ _tag: "silent", since: -59_000 }), delta(3, "lo")]
    assert.match(play(events).all, /^Hel\n {2}Silent for 60 s.*\nlo$/)
    assert.strictEqual(play(events, { screen: false, raw: true, color: false }).answer, "Hello")
  })

  it("says that a text does not count when the model begins again", () => {
    const again = ItemId.make("itm_2")
    const { all } = play([
      started(message("")),
      delta(0, "wrong"),
      completed(message("wrong"), "discarded"),
      started(message("", again)),
      delta(0, "right", again),
      completed(message("right", again))
    ])
    assert.match(all, /^wrong\n.*does not count\nright\n$/)
  })

  it("shows a command that failed with the end of its output, one that went well in a line", () => {
    assert.strictEqual(play([completed(command(0, "fine"))]).notes, "  \u2713 Ran npm test\n")
    assert.strictEqual(
      play([completed(command(1, "a\n1 failing\n"))]).notes,
      "  \u2717 Ran npm test (exit code 1)\n      a\n      1 failing\n"
    )
  })

  it("shows changed files by name and extent", () => {
    const item: Item = {
      _tag: "fileChange",
      id: itemId,
      output: "",
      changes: [{ path: "a.ts", change: "updated", additions: 3, deletions: 1 }]
    }
    assert.strictEqual(play([completed(item)]).notes, "  \u2713 Changed a.ts (+3 -1)\n")
    assert.strictEqual(play([completed(item, "declined")]).notes, "  \u2298 Changed a.ts (+3 -1) (declined)\n")
  })

  it("tells every state in which a turn does not go on as usual", () => {
    const error = AgentError.fromReason(new AgentError.Overloaded({}))
    const { notes } = play([
      turn({ _tag: "retryingUpstream", attempt: 2, until: 5_000, error }),
      turn({ _tag: "compacting" }),
      turn({ _tag: "silent", since: 1_000 }, 61_000)
    ])
    assert.match(notes, /Retrying in 4 s \(attempt 2\): The provider is overloaded/)
    assert.match(notes, /compacts the conversation/)
    assert.match(notes, /Silent for 60 s/)
  })

  it("tells the loss of the agent and its return, and nothing of an ordinary start", () => {
    const error = AgentError.fromReason(new AgentError.ConnectionLost({ target: "opencode serve" }))
    const process = (status: Extract<SessionEvent, { _tag: "ProcessChanged" }>["status"]): SessionEvent => ({
      ...base,
      _tag: "ProcessChanged",
      status
    })
    const connection = (status: Extract<SessionEvent, { _tag: "ConnectionChanged" }>["status"]): SessionEvent => ({
      ...base,
      _tag: "ConnectionChanged",
      status
    })
    const begin = [
      connection({ _tag: "connecting" }),
      process({ _tag: "starting" }),
      process({ _tag: "ready", pid: 1 }),
      connection({ _tag: "live" })
    ]
    assert.strictEqual(play(begin).all, "")
    const { notes, state } = play([
      ...begin,
      process({ _tag: "exited", signal: "SIGKILL" }),
      connection({ _tag: "lost", error }),
      process({ _tag: "restarting", attempt: 1, in: 700 }),
      process({ _tag: "restarting", attempt: 1, in: 700 }),
      connection({ _tag: "retrying", attempt: 2, in: 4_000 })
    ])
    assert.match(
      notes,
      /process ended by SIGKILL\n.*Reconnecting: .*\n.*Starting it again in 1 s\n.*Reconnecting in 4 s \(attempt 2\)\n$/
    )
    assert.strictEqual(render.status(state, 1_000), "Reconnecting")
    const [after, fragments] = render.render(state, connection({ _tag: "resynced", gap: "lossy", detail: "a delta" }))
    assert.match(fragments.map(({ text }) => text).join(""), /something may be missing: a delta/)
    assert.isUndefined(render.status(after, 1_000))
  })

  it("renders the error of a failed turn with its advice", () => {
    const { notes } = play([{
      ...base,
      _tag: "TurnSettled",
      turnId,
      evidence: [],
      outcome: { _tag: "failed", error: AgentError.fromReason(new AgentError.AuthRequired({})) }
    }])
    assert.match(notes, /credentials[\s\S]*What to do: /)
  })

  it("sums up a completed turn", () => {
    const { notes } = play([
      { ...base, _tag: "TurnStarted", turnId },
      { ...base, _tag: "DiffUpdated", files: [{ path: "a", change: "added" }] },
      {
        ...base,
        at: 13_000,
        _tag: "TurnSettled",
        turnId,
        evidence: [],
        outcome: { _tag: "completed", stopReason: "endTurn" },
        usage: { total: 1_204, cost: { amount: 0.0032, currency: "USD" } }
      }
    ])
    assert.strictEqual(notes, "Done after 12 s, 1 file changed, 1,204 tokens, 0.0032 USD\n")
  })

  it("lets no control character of the agent reach a terminal", () => {
    const { all } = play([
      started(message("")),
      delta(0, "a\u001b[2Jb\u0007"),
      completed({ ...command(0), command: "rm x\u001b[1A\rls" } as Item)
    ])
    // oxlint-disable-next-line no-control-regex
    assert.notMatch(all, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
  })

  it("colours only when told to", () => {
    // oxlint-disable-next-line no-control-regex
    assert.match(play([completed(command(0))], { screen: true, raw: false, color: true }).notes, /\u001b\[32m/)
  })

  it("tells in the status what is waited for", () => {
    const begin: ReadonlyArray<SessionEvent> = [{ ...base, _tag: "TurnStarted", turnId }]
    const at = (events: ReadonlyArray<SessionEvent>, now: number) =>
      render.status(play([...begin, ...events]).state, now)
    assert.strictEqual(at([], 1_500), "Waiting for the model")
    assert.strictEqual(at([], 13_000), "Waiting for the model 12 s")
    assert.strictEqual(at([started(command(0))], 1_500), "Running npm test")
    assert.strictEqual(at([started(command(0)), completed(command(0))], 1_500), "Waiting for the model")
    assert.strictEqual(at([turn({ _tag: "retryingUpstream", attempt: 1, until: 5_000 })], 2_000), "Retrying in 3 s")
    assert.isUndefined(at([started(message("")), delta(0, "mid")], 1_500))
    assert.isUndefined(
      at([{
        ...base,
        _tag: "RequestOpened",
        requestId: RequestId.make("req_1"),
        kind: "command",
        subject: "Run ls",
        options: ["accept", "decline"],
        facts: {}
      }], 1_500)
    )
  })

  it("tells a prompt that was not run", () => {
    const { notes } = play([{
      ...base,
      _tag: "PromptChanged",
      promptId: PromptId.make("prm_1"),
      state: { _tag: "returned", reason: "The session is closing." }
    }])
    assert.match(notes, /not run: The session is closing/)
  })
})
