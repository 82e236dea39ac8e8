import { assert, describe, it } from "@effect/vitest"
import { textOf } from "@reins/core/Item"
import type { ReplayOptions } from "./fixtures/replay.ts"
import { frames, laid, replay } from "./fixtures/replay.ts"

type Row = readonly [name: string, outcome: string, options?: ReplayOptions]

/** As vitest wants it: of three values, the last may be absent. */
const rows = (): Array<[name: string, outcome: string, options: ReplayOptions | undefined]> =>
  table.map(([name, outcome, options]) => [name, outcome, options])

const aborted = (frame: unknown): boolean => JSON.stringify(frame).includes("MessageAbortedError")

const table: ReadonlyArray<Row> = [
  ["02b-text-warm", "completed endTurn"],
  ["02c-reasoning", "completed endTurn"],
  ["03a-perm-once", "completed endTurn"],
  ["03a-perm-once", "completed endTurn", { answer: { _tag: "accept" } }],
  ["03d-perm-reject", "interrupted provider"],
  ["03d-perm-reject", "interrupted user", { answer: { _tag: "cancel" } }],
  ["03e-perm-reject-message", "completed endTurn", { answer: { _tag: "decline" } }],
  ["03h-perm-two-parallel", "completed endTurn"],
  ["03i-perm-reject-one-of-two", "interrupted provider"],
  ["03j-edit-write-ask", "completed endTurn"],
  ["03k-external-dir", "completed endTurn"],
  ["04a-question-reply", "completed endTurn"],
  ["05a-abort-text", "interrupted user", { interruptBefore: aborted }],
  ["05a-abort-text", "interrupted provider"],
  ["05c-abort-bash-running", "interrupted user", { interruptBefore: aborted }],
  ["05e-abort-question-pending", "interrupted user", { interruptBefore: aborted }],
  ["06a-401", "failed AuthRequired"],
  ["06b-400", "failed InvalidRequest"],
  ["06c-context-overflow-400", "completed endTurn"],
  ["06d-429-retryafter1-x2", "completed endTurn"],
  ["06f-cut-midstream-once", "completed endTurn"],
  ["06f2-cut-midstream-forever", "interrupted user", {
    // An abort while it waits for the next try leaves no error: the message just has an end.
    interruptBefore: (frame) => JSON.stringify(frame).includes("\"end\":")
  }],
  ["06i-garbage-sse", "failed UpstreamFailed"],
  ["06l-finish-length", "completed maxTokens"],
  ["06m-finish-content_filter", "completed refusal"],
  ["06p-tool-unknown", "completed endTurn"],
  ["06q-tool-bad-json", "completed endTurn"],
  ["06s-tool-nonzero-exit", "completed endTurn"],
  ["06t-tool-timeout", "completed endTurn"],
  ["06u-bad-model", "failed ModelNotFound"],
  ["06x-autocompact", "completed endTurn"],
  ["07a-two-prompts-while-running", "completed endTurn"],
  ["07d-abort-with-queued", "interrupted user", { interruptBefore: aborted }],
  ["20-subagent", "completed endTurn"],
  ["20-subagent", "completed endTurn", { answer: { _tag: "accept" } }],
  ["21-todo", "completed endTurn"],
  ["23-webfetch", "completed endTurn"],
  ["24-grep", "completed endTurn"],
  ["25-loop", "failed UpstreamFailed"],
  ["26-slow", "completed endTurn"],
  ["27-workdir", "completed endTurn"]
]

const described = ({ settled }: ReturnType<typeof replay>): ReadonlyArray<string> =>
  settled.map(({ outcome }) => {
    switch (outcome._tag) {
      case "completed":
        return `completed ${outcome.stopReason}`
      case "interrupted":
        return `interrupted ${outcome.by}`
      case "failed":
      case "lost":
        return `${outcome._tag} ${outcome.error._tag}`
    }
  })

describe("the session engine on recorded turns", () => {
  it.each(rows())("%s settles once: %s", (name, outcome, options) => {
    const played = replay(name, options)
    assert.deepStrictEqual(described(played), [outcome])
    const texts = laid(played.events)
    const started = new Map<string, string>()
    const completed = new Set<string>()
    for (const event of played.events) {
      if (event._tag === "ItemStarted") started.set(event.itemId, event.item._tag)
      if (event._tag !== "ItemCompleted") continue
      assert.isFalse(completed.has(event.itemId))
      completed.add(event.itemId)
      assert.strictEqual(event.item._tag, started.get(event.itemId))
      assert.strictEqual(texts.get(event.itemId) ?? "", textOf(event.item))
    }
    assert.deepStrictEqual([...completed].sort(), [...started.keys()].sort())
    const opened = played.events.filter((event) => event._tag === "RequestOpened").length
    assert.strictEqual(played.events.filter((event) => event._tag === "RequestSettled").length, opened)
    const late = played.events.filter((event) => event._tag === "Notice" && event.code === "lateEvidence")
    if (options?.interruptBefore === undefined) assert.deepStrictEqual(late, [])
  })

  // An answer or an interrupt has its place between two frames, so only turns without one come in one piece.
  it.each(rows())("%s, with frames that arrive together: %s", (name, outcome, options) => {
    for (const chunk of options === undefined ? [3, 7, 1000] : [1]) {
      assert.deepStrictEqual(described(replay(name, { ...options, chunk })), [outcome], `chunks of ${chunk}`)
    }
  })

  const whole = (name: string, options: ReplayOptions = {}) =>
    replay(name, options).events.flatMap((event) =>
      event._tag === "ItemCompleted" && event.status !== "discarded"
        ? [`${event.item._tag} ${event.status} ${textOf(event.item)}`]
        : []
    ).sort()

  const cuts = [
    "02b-text-warm",
    "02c-reasoning",
    "03a-perm-once",
    "03j-edit-write-ask",
    "06c-context-overflow-400",
    "06f-cut-midstream-once",
    "06s-tool-nonzero-exit",
    "06x-autocompact",
    "20-subagent"
  ]

  it.each(cuts)("%s: a cut of the stream at any point changes neither outcome nor items", (name) => {
    const expected = whole(name)
    const count = frames(name).length
    const first = frames(name).findIndex((frame) => JSON.stringify(frame).includes("\"role\":\"assistant\""))
    for (let from = first; from < count; from++) {
      for (const length of [0, 1, 2, 4, 9]) {
        const options: ReplayOptions = { cut: [from, from + length] }
        assert.deepStrictEqual(described(replay(name, options)), ["completed endTurn"], `cut at ${from}+${length}`)
        assert.deepStrictEqual(whole(name, options), expected, `cut at ${from}+${length}`)
      }
    }
  })

  it.each(cuts)("trap 10: %s: frames that tell of what comes behind them change neither outcome nor items", (name) => {
    assert.deepStrictEqual(described(replay(name, { foresight: true })), ["completed endTurn"])
    assert.deepStrictEqual(whole(name, { foresight: true }), whole(name))
    const { events } = replay(name, { foresight: true })
    const settled = events.findIndex((event) => event._tag === "TurnSettled")
    assert.deepStrictEqual(events.slice(settled).filter((event) => event._tag.startsWith("Item")), [])
  })

  it("fails a prompt that the server refuses without a turn", () => {
    const { events, settled } = replay("06u4-bad-agent")
    assert.deepStrictEqual(settled, [])
    const last = events.filter((event) => event._tag === "PromptChanged").at(-1)
    assert.strictEqual(last?.state._tag, "failed")
    assert.strictEqual(last?.state._tag === "failed" ? last.state.error._tag : undefined, "InvalidRequest")
  })

  it("shows a compaction and a retry while they last", () => {
    const states = (name: string) =>
      replay(name).events.flatMap((event) => event._tag === "TurnChanged" ? [event.state._tag] : [])
    assert.deepStrictEqual(states("06x-autocompact"), ["compacting", "running"])
    assert.deepStrictEqual(states("06f-cut-midstream-once"), ["retryingUpstream", "running"])
    assert.deepStrictEqual(states("03a-perm-once"), ["awaitingApproval", "running"])
  })

  it("does not double what a retried step had streamed", () => {
    const completed = replay("06f-cut-midstream-once").events.flatMap((event) =>
      event._tag === "ItemCompleted" && event.item._tag === "assistantMessage"
        ? [[event.status, textOf(event.item)]]
        : []
    )
    assert.deepStrictEqual(completed, [["discarded", "word word word "], ["completed", "recovered recovered "]])
  })
})
