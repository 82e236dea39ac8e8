/** The event stream of the real OpenCode is cut while the server lives on. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { scissors } from "./fixtures/scissors.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"

const resynced = (session: Session, count: number) =>
  session.events().pipe(
    Stream.filter((event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"),
    Stream.take(count),
    Stream.runDrain,
    Effect.timeout("20 seconds")
  )

const delegating = (gate: string) =>
  prompt(
    "delegate",
    tools(["task", {
      description: "d",
      subagent_type: "general",
      prompt: prompt("child", bash("echo from-child"), gatedText("the child's long answer", gate), text("never"))
    }]),
    text("parent done")
  )

const whole = (events: ReadonlyArray<SessionEvent | Lagged>) => {
  const started = events.filter(Host.isTag("ItemStarted")).map((event) => event.itemId)
  const ended = events.filter(Host.isTag("ItemCompleted")).map((event) => event.itemId)
  assert.deepStrictEqual(ended.toSorted(), started.toSorted())
  assert.strictEqual(events.filter(Host.isTag("TurnSettled")).length, 1)
  const laid = Host.lay(events)
  for (const event of events) {
    if (event._tag !== "ItemCompleted" || event.status === "discarded" || !("text" in event.item)) continue
    assert.strictEqual(laid.get(event.itemId) ?? "", event.item.text)
  }
}

describe("a cut of the event stream", () => {
  it.live("trap 9: mid-text, three times: the text is whole, and not doubled", () => {
    const { cut, http } = scissors()
    return Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const turn = yield* session.prompt(prompt("go", gatedText("a long answer with an end", "cut-1")))
      yield* model.awaitGate("cut-1")
      yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
      for (const count of [1, 2, 3]) {
        yield* cut
        yield* resynced(session, count)
      }
      yield* model.open("cut-1")
      const events = [...yield* Stream.runCollect(turn.events)]
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      whole(events)
      const answers = events.flatMap((event) =>
        event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" && event.status !== "discarded"
          ? [event.item.text]
          : []
      )
      assert.deepStrictEqual(answers, ["a long answer with an end"])
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ http })))
  }, 60_000)

  it.live(
    "trap 18: with a subagent's ask open: it keeps its id and path, its answer arrives, and the subagent goes on",
    () => {
      const { cut, http } = scissors()
      return Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
        yield* session.attach()
        const turn = yield* session.prompt(delegating("cut-2"))
        const task = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.answer(task.requestId, { _tag: "accept" })
        const ask = yield* Host.awaitEvent(
          session,
          (event) => event._tag === "RequestOpened" && event.requestId !== task.requestId
        )
        yield* cut
        yield* resynced(session, 1)
        const open = yield* session.requests
        assert.deepStrictEqual(
          open.map((request) => [request.id, request.facts.command, request.agentPath?.length]),
          [[ask._tag === "RequestOpened" ? ask.requestId : "", "echo from-child", 1]]
        )
        for (const request of open) yield* session.answer(request.id, { _tag: "accept" })
        yield* model.awaitGate("cut-2")
        yield* model.open("cut-2")
        const events = [...yield* Stream.runCollect(turn.events)]
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        whole(events)
        const child = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.agentPath !== undefined ? [event.item] : []
        )
        assert.isTrue(child.some((item) => item._tag === "command" && item.output.includes("from-child")))
        assert.isTrue(child.some((item) => item._tag === "assistantMessage" && item.text === "the child's long answer"))
        assert.strictEqual(events.filter(Host.isTag("SubagentSettled")).length, 1)
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ http })))
    },
    60_000
  )

  it.live("before a subagent asks: its ask is heard on the new stream", () => {
    const { cut, http } = scissors()
    return Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
      yield* session.attach()
      const turn = yield* session.prompt(prompt(
        "delegate",
        tools(["task", {
          description: "d",
          subagent_type: "general",
          prompt: prompt(
            "child",
            { do: "tools", gate: "cut-3", tools: [{ name: "bash", args: { command: "echo late", description: "l" } }] },
            text("child done")
          )
        }]),
        text("parent done")
      ))
      const task = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
      yield* session.answer(task.requestId, { _tag: "accept" })
      yield* model.awaitGate("cut-3")
      yield* cut
      yield* resynced(session, 1)
      yield* model.open("cut-3")
      const ask = yield* Host.awaitEvent(
        session,
        (event) => event._tag === "RequestOpened" && event.requestId !== task.requestId
      )
      if (ask._tag === "RequestOpened") yield* session.answer(ask.requestId, { _tag: "accept" })
      const events = [...yield* Stream.runCollect(turn.events)]
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      whole(events)
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ http })))
  }, 60_000)

  it.live("while the turn ends: it is settled by what the server kept", () => {
    const { cut, http } = scissors()
    return Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const turn = yield* session.prompt(prompt("go", gatedText("a long answer with an end", "cut-4")))
      yield* model.awaitGate("cut-4")
      yield* cut
      yield* model.open("cut-4")
      const events = [...yield* Stream.runCollect(turn.events)]
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      whole(events)
      const next = yield* session.prompt(prompt("next", text("fine")))
      assert.strictEqual((yield* next.outcome)._tag, "completed")
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ http })))
  }, 60_000)
})
