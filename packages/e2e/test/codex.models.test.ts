/** A conversation of the real Codex whose model is changed. */
import { assert, layer } from "@effect/vitest"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { prompt, text } from "./fixtures/script.ts"
import type { Events } from "./fixtures/turns.ts"
import { answers, assertWhole, turnOf } from "./fixtures/turns.ts"

const completed = { _tag: "completed", stopReason: "endTurn" } as const

const older = "gpt-5.5"
const newer = "gpt-5.6-luna"

/** The second step is the summary: no prompt of the host comes before it. */
const first = prompt("one", text("the first answer"), text("a summary of it"))

const second = prompt("two", text("the second answer, and all of it"))

/** What is told of items other than prompts, in order. */
const told = (events: Events) =>
  events.flatMap((event) =>
    (event._tag === "ItemStarted" || event._tag === "ItemCompleted") && event.item._tag !== "userMessage"
      ? [`${event._tag} ${event.item._tag}`]
      : []
  )

const warnings = (events: Events) =>
  events.flatMap((event) => event._tag === "Notice" && event.text.includes(newer) ? [event.code] : [])

/** How many answers a request holds. */
const answered = (recorded: ScriptedModel.RecordedRequest | undefined) =>
  recorded?.request.messages.filter(({ content, role }) => role === "assistant" && content !== undefined).length

/** The first request asks the model before the change, the second one the model after it. */
const assertCompacted = (requests: ReadonlyArray<ScriptedModel.RecordedRequest>) => {
  assert.deepStrictEqual(requests.map(({ request }) => request.model), [older, newer])
  const [compaction, turn] = requests
  // It is paid for with all that was said, and no tool is on offer.
  assert.include(compaction?.text ?? "", "COMPACTION")
  assert.strictEqual(answered(compaction), 1)
  assert.deepStrictEqual(compaction?.request.tools, [])
  // Of all that was answered the new model hears the summary.
  assert.strictEqual(answered(turn), 0)
  assert.match(turn?.text ?? "", /produced by the other language model[^"]*a summary of it"/)
  assert.strictEqual(turn?.request.lastUserText, second)
}

const items = [
  "ItemStarted compaction",
  "ItemCompleted compaction",
  "ItemStarted assistantMessage",
  "ItemCompleted assistantMessage"
]

const asked = Effect.flatMap(ScriptedModel.ScriptedModel, (model) => model.requests)

/** The first turn with another model: paid for twice, and told whole. */
const assertChanged = Effect.fnUntraced(function*(session: Session, before: number) {
  const { events, outcome } = yield* turnOf(session, second)
  assertCompacted((yield* asked).slice(before))
  assert.deepStrictEqual(outcome, completed)
  assert.deepStrictEqual(answers(events), ["the second answer, and all of it"])
  assert.deepStrictEqual(told(events), items)
  // Between the item's start and its end the turn says what it waits for.
  const states = events.flatMap((event) => event._tag === "TurnChanged" ? [event.state._tag] : [])
  assert.deepStrictEqual(states.slice(0, 2), ["compacting", "running"])
  assertWhole(events)
})

layer(Codex.layer(), { excludeTestServices: true, timeout: "60 seconds" })("the model of a conversation", (it) => {
  it.effect("codex trap 14: that is changed makes the old one sum up what was said, and the new one answers", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open({ model: older })
      const heard = yield* Host.record(session)
      assert.deepStrictEqual((yield* turnOf(session, first)).outcome, completed)
      const before = (yield* asked).length
      yield* session.configure({ model: newer })
      yield* assertChanged(session, before)
      // The item is all that Codex says of it here.
      assert.deepStrictEqual(warnings(heard), [])
    }))

  it.effect("codex trap 14: that is another one after a restart of the server is told as a notice, too", () =>
    Effect.gen(function*() {
      const id = yield* Effect.scoped(Effect.gen(function*() {
        const session = yield* Codex.open({ model: older })
        assert.deepStrictEqual((yield* turnOf(session, first)).outcome, completed)
        return session.id
      }))
      for (const pid of yield* Codex.servers) yield* Processes.kill(pid, "SIGKILL")
      const before = (yield* asked).length
      const session = yield* Codex.open({ id, model: newer })
      const notice = yield* Host.awaitEvent(
        session,
        (event) => event._tag === "Notice" && event.text.includes(newer)
      )
      assert.deepInclude(notice, { level: "warning", code: "codexWarning" })
      yield* assertChanged(session, before)
    }))
})
