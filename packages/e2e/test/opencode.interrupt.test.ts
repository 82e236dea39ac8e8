/** Stopping the real OpenCode, at every moment. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { bash, gatedText, prompt, text } from "./fixtures/script.ts"

/** The next prompt works, and nothing of the turn before is in its turn. */
const assertNextWorks = Effect.fnUntraced(function*(session: Session) {
  const next = yield* session.prompt(prompt("next", text("fresh answer")))
  const events = yield* Stream.runCollect(next.events)
  assert.deepStrictEqual(yield* next.outcome, { _tag: "completed", stopReason: "endTurn" })
  const receipt = yield* next.receipt
  const turnId = receipt._tag === "consumed" ? receipt.turnId : ""
  const answers = [...events].flatMap((event) =>
    event._tag === "ItemCompleted" && event.turnId === turnId && event.item._tag !== "userMessage" ? [event.item] : []
  )
  assert.deepStrictEqual(answers.map((item) => "text" in item ? item.text : item._tag), ["fresh answer"])
  const all = yield* session.events().pipe(
    Stream.takeUntil((event) => event._tag === "TurnSettled" && event.turnId === turnId),
    Stream.runCollect
  )
  const started = [...all].filter(Host.isTag("TurnStarted")).map((event) => event.turnId)
  const settled = [...all].filter(Host.isTag("TurnSettled")).map((event) => event.turnId)
  assert.deepStrictEqual(settled, started)
})

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "an interrupt",
  (it) => {
    it.effect("mid-text: interrupting shows at once, the text so far stays, the next prompt works", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", gatedText("a long answer that stops", "int-1")))
        yield* model.awaitGate("int-1")
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo")
        )
        yield* session.interrupt
        assert.deepStrictEqual((yield* session.view).turn?.state, { _tag: "interrupting", by: "user" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* assertNextWorks(session)
      }))

    it.effect("mid-tool: the command is gone", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", bash("echo begun; sleep 300"), text("never")))
        yield* Host.awaitEvent(session, (event) =>
          event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun"))
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* assertNextWorks(session)
      }))

    it.effect("with an approval open: the request is settled and never shown again", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("go", bash("echo asked"), text("never")))
        const opened = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        const settled = yield* Host.awaitEvent(session, Host.isTag("RequestSettled"))
        assert.strictEqual(settled.requestId, opened.requestId)
        assert.strictEqual(settled.by, "teardown")
        assert.deepStrictEqual(yield* session.requests, [])
        yield* assertNextWorks(session)
      }))

    it.effect("twice, and when idle: one settlement, no error", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        yield* session.interrupt
        const turn = yield* session.prompt(prompt("go", gatedText("a long answer that stops", "int-2")))
        yield* model.awaitGate("int-2")
        yield* Effect.all([session.interrupt, session.interrupt], { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* session.interrupt
        yield* assertNextWorks(session)
      }))

    it.effect("right behind the prompt: either it ran or it did not, and the session goes on", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", bash("sleep 300"), text("never")))
        yield* session.interrupt
        assert.strictEqual((yield* turn.outcome)._tag, "interrupted")
        yield* turn.receipt
        yield* assertNextWorks(session)
      }))

    it.effect("queued prompts stay queued and run after it", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", gatedText("a long answer that stops", "int-3")))
        yield* model.awaitGate("int-3")
        const queued = yield* session.prompt(prompt("queued", text("ran after")))
        yield* session.interrupt
        assert.strictEqual((yield* turn.outcome)._tag, "interrupted")
        assert.strictEqual((yield* queued.outcome)._tag, "completed")
      }))
  }
)
