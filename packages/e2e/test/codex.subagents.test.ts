/** Subagents of the real Codex: what they do and ask is told with their path. */
import { assert, layer } from "@effect/vitest"
import type { Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import { prompt, text } from "./fixtures/script.ts"
import type { Events } from "./fixtures/turns.ts"
import { assertWhole } from "./fixtures/turns.ts"

const call = (name: string, args: Record<string, string> = {}): ScriptedModel.Step => ({
  do: "tools",
  tools: [{ name, namespace: "collaboration", args }]
})

/** Gives work to a child, and waits until it is done. */
const delegated = (...steps: ReadonlyArray<ScriptedModel.Step>) =>
  prompt(
    "delegate",
    call("spawn_agent", { task_name: "helper", message: prompt("child", ...steps) }),
    call("wait_agent"),
    text("parent done")
  )

const ofChild = (events: Events) => events.filter((event) => event._tag !== "Lagged" && event.agentPath !== undefined)

layer(
  Codex.layer({ policy: ApprovalPolicy.askAlways, config: "[features]\nmulti_agent_v2 = true\n" }),
  { excludeTestServices: true, timeout: "60 seconds" }
)("a subagent of Codex", (it) => {
  const run = Effect.fnUntraced(function*(steps: ReadonlyArray<ScriptedModel.Step>, answer: Answer) {
    const session = yield* Codex.open()
    yield* session.attach()
    const turn = yield* session.prompt(delegated(...steps))
    const events: Array<Events[number]> = []
    yield* turn.events.pipe(Stream.runForEach((event) =>
      Effect.suspend(() => {
        events.push(event)
        return event._tag === "RequestOpened" ? Effect.orDie(session.answer(event.requestId, answer)) : Effect.void
      })
    ))
    return { events, outcome: yield* turn.outcome, session }
  })

  it.effect("is told from its start to its end, with its words, its command and its question apart from the parent's", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Codex.Place
      const { events, outcome } = yield* run([Codex.exec("echo seen > child.txt"), text("child done")], {
        _tag: "accept"
      })
      assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
      assertWhole(events)
      const started = events.find(Host.isTag("SubagentStarted"))
      assert.strictEqual(started?.agent, "helper")
      assert.lengthOf(started?.agentPath ?? [], 1)
      const child = ofChild(events)
      for (const event of child) {
        assert.deepStrictEqual("agentPath" in event ? event.agentPath : undefined, started?.agentPath)
      }
      const request = child.find(Host.isTag("RequestOpened"))
      assert.strictEqual(request?.facts.command, "echo seen > child.txt")
      const texts = (all: Events) =>
        all.flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" ? [event.item.text] : []
        )
      assert.deepStrictEqual(texts(child), ["child done"])
      assert.deepStrictEqual(texts(events.filter((event) => !child.includes(event))), ["parent done"])
      assert.strictEqual(events.find(Host.isTag("SubagentSettled"))?.outcome._tag, "completed")
      assert.strictEqual(yield* fs.readFileString(`${cwd}/child.txt`), "seen\n")
    }))

  it.effect("whose command is declined goes on, and nothing was run", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Codex.Place
      const { events, outcome } = yield* run([Codex.exec("echo seen > declined.txt"), text("child done")], {
        _tag: "decline"
      })
      assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
      assertWhole(events)
      assert.isFalse(yield* fs.exists(`${cwd}/declined.txt`))
    }))

  it.effect("ends with its parent when that is interrupted", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open({ policy: ApprovalPolicy.fullAccess })
      const turn = yield* session.prompt(delegated(Codex.exec("sleep 300"), text("never said")))
      yield* Host.awaitEvent(
        session,
        (event) => event._tag === "ItemStarted" && event.item._tag === "command" && event.agentPath !== undefined
      )
      yield* session.interrupt
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
      const settled = yield* Host.awaitEvent(session, Host.isTag("SubagentSettled"))
      assert.strictEqual(settled.outcome._tag, "interrupted")
      const next = yield* session.prompt(prompt("go on", text("went on")))
      assert.deepStrictEqual(yield* next.outcome, { _tag: "completed", stopReason: "endTurn" })
    }))
})
