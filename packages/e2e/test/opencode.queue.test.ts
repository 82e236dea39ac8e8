/** Prompts that arrive while the real OpenCode works. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "prompts during a turn",
  (it) => {
    it.effect("trap 5: queue: each gets a turn of its own, in order", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const one = yield* session.prompt(prompt("one", gatedText("first answer", "queue-1")))
        yield* model.awaitGate("queue-1")
        const two = yield* session.prompt(prompt("two", text("second answer")))
        const three = yield* session.prompt(prompt("three", text("third answer")))
        assert.deepStrictEqual((yield* session.view).queue.map((waiting) => waiting.state._tag), ["queued", "queued"])
        yield* model.open("queue-1")
        for (const turn of [one, two, three]) {
          assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        }
        const receipts = [yield* one.receipt, yield* two.receipt, yield* three.receipt]
        const turns = receipts.map((receipt) => receipt._tag === "consumed" ? receipt.turnId : receipt._tag)
        assert.strictEqual(new Set(turns).size, 3)
        const events = yield* session.events().pipe(
          Stream.takeUntil((event) => event._tag === "TurnSettled" && event.turnId === turns[2]),
          Stream.runCollect
        )
        const answers = [...events].flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage"
            ? [[event.turnId, event.item.text]]
            : []
        )
        assert.deepStrictEqual(answers, [[turns[0], "first answer"], [turns[1], "second answer"], [
          turns[2],
          "third answer"
        ]])
      }))

    it.effect("steer: joins the running turn, and the receipt says which", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const one = yield* session.prompt(prompt("one", gatedText("first answer", "steer-1")))
        yield* model.awaitGate("steer-1")
        const two = yield* session.prompt(prompt("two", text("steered answer")), { delivery: "steer" })
        yield* Host.awaitEvent(session, (event) =>
          event._tag === "PromptChanged" && event.promptId === two.id && event.state._tag === "steered")
        yield* model.open("steer-1")
        const first = yield* one.receipt
        const second = yield* two.receipt
        assert.isTrue(first._tag === "consumed" && second._tag === "consumed" && first.turnId === second.turnId)
        assert.strictEqual((yield* one.outcome)._tag, "completed")
        assert.strictEqual((yield* two.outcome)._tag, "completed")
        const events = yield* session.events().pipe(
          Stream.takeUntil((event) =>
            event._tag === "TurnSettled"
          ),
          Stream.runCollect
        )
        assert.strictEqual([...events].filter(Host.isTag("TurnStarted")).length, 1)
        assert.isTrue([...events].some((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" &&
          event.item.text === "steered answer"
        ))
      }))

    it.effect("withdraw: takes a queued prompt back, and the model never sees it", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const one = yield* session.prompt(prompt("one", gatedText("first answer", "withdraw-1")))
        yield* model.awaitGate("withdraw-1")
        const two = yield* session.prompt(prompt("withdrawn-words", text("never")))
        assert.isTrue(yield* session.withdraw(two.id))
        yield* model.open("withdraw-1")
        assert.strictEqual((yield* one.outcome)._tag, "completed")
        assert.deepStrictEqual(yield* two.outcome, { _tag: "notRun", receipt: { _tag: "withdrawn" } })
        yield* session.quiescent
        const seen = (yield* model.requests).some(({ text }) => text.includes("withdrawn-words"))
        assert.isFalse(seen)
      }))

    it.effect("quiescent waits for all of them", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turns = yield* Effect.forEach([1, 2, 3], (n) => session.prompt(prompt(`p${n}`, text(`a${n}`))))
        yield* session.quiescent
        for (const turn of turns) assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.deepStrictEqual((yield* session.view).queue, [])
      }))
  }
)
