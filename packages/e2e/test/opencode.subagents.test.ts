/** What subagents of the real OpenCode do, and how their failures reach the host. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"
import { answers, assertUsable, assertWhole, type Events, turnOf } from "./fixtures/turns.ts"

const task = (agent: string, ...steps: ReadonlyArray<ScriptedModel.Step>) =>
  tools(["task", { description: "d", subagent_type: agent, prompt: prompt("child", ...steps) }])

const ended = (events: Events) => events.filter(Host.isTag("SubagentSettled")).map((event) => event.outcome)

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "a subagent",
  (it) => {
    it.effect("that asks a question reaches the host with its path, and gets the answer", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const model = yield* ScriptedModel.ScriptedModel
        const { root } = yield* Host.Place
        const cwd = `${root}/asking`
        yield* fs.makeDirectory(cwd)
        // OpenCode's own subagents have no question tool (1.18.33); one of the user's may.
        yield* fs.writeFileString(
          `${cwd}/opencode.json`,
          JSON.stringify({
            agent: { helper: { mode: "subagent", description: "h", permission: { question: "allow" } } }
          })
        )
        const session = yield* Host.open({ cwd })
        yield* session.attach()
        const ask = tools(["question", {
          questions: [{
            question: "Which?",
            header: "W",
            options: [{ label: "Red", description: "r" }],
            multiple: false
          }]
        }])
        const turn = yield* session.prompt(prompt("go", task("helper", ask, text("child done")), text("parent done")))
        const opened = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        assert.strictEqual(opened.kind, "question")
        assert.strictEqual(opened.agentPath?.length, 1)
        yield* session.answer(opened.requestId, { _tag: "answers", answers: [["Red"]] })
        const events = [...yield* Stream.runCollect(turn.events)]
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.isTrue(
          (yield* model.requests).some(({ request }) =>
            request.toolResultsAfterLastUser.some((result) => result.content.includes("Red"))
          )
        )
        assert.deepStrictEqual(ended(events), [{ _tag: "completed", stopReason: "endTurn" }])
        assertWhole(events)
      }))

    it.effect("that is over does not end the turn of its parent", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(
          prompt(
            "go",
            task("general", bash("echo child"), text("child done")),
            gatedText("the parent goes on", "parent")
          )
        )
        yield* Host.awaitEvent(session, Host.isTag("SubagentSettled"))
        yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("the "))
        assert.strictEqual((yield* session.view).turn?.state._tag, "running")
        yield* model.open("parent")
        const events = [...yield* Stream.runCollect(turn.events)]
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["the parent goes on"])
        assertWhole(events)
      }))

    it.effect("whose model fails is the failure of one tool, and the parent goes on", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("go", task("general", { do: "status", code: 401, message: "no key" }), text("the parent goes on"))
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["the parent goes on"])
        const [child] = ended(events)
        assert.isTrue(child?._tag === "failed" && child.error._tag === "AuthRequired", JSON.stringify(child))
        assertWhole(events)
        yield* assertUsable(session)
      }))

    it.effect("in the endless loop is stopped at the third answer in a row, and the parent goes on", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "go",
            task("general", { do: "noFinish", text: "…", times: 3 }, { do: "hang" }),
            text("the parent goes on")
          )
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(events), ["the parent goes on"])
        const [child] = ended(events)
        assert.isTrue(child?._tag === "failed" && child.error._tag === "UpstreamFailed", JSON.stringify(child))
        assertWhole(events)
        yield* assertUsable(session)
      }))
  }
)
