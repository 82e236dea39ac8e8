import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as TestProvider from "@reins/testing/TestProvider"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { completed, first, said, settled, texts, until, withSession } from "./fixtures/testProvider.ts"

describe("a prompt", () => {
  it.effect("is echoed by default: receipt, text and outcome arrive", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const turn = yield* session.prompt("hello")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.strictEqual((yield* turn.receipt)._tag, "consumed")
        assert.deepStrictEqual(texts([...yield* until(session, settled)]), ["hello"])
        const [prompt] = yield* agent.prompts
        assert.strictEqual(prompt?.promptId, turn.id)
        assert.strictEqual(prompt?.foreign, false)
      })
    ))

  it.effect("gets what the script says: chunks in a row are one item, kinds apart", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.think("hm")
            yield* turn.say("one ")
            yield* turn.say("two")
            yield* turn.message("whole")
            yield* turn.plan([{ text: "step", status: "running" }])
            yield* turn.usage({ input: 3, output: 4 })
            yield* turn.finish("maxTokens")
          })
        )
        const turn = yield* session.prompt("go")
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "maxTokens" })
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["one two", "whole"])
        const last = events.at(-1)
        assert.deepStrictEqual(last?._tag === "TurnSettled" ? last.usage : undefined, { input: 3, output: 4 })
        assert.isTrue(events.some((event) => event._tag === "PlanUpdated"))
        assert.strictEqual(
          events.filter((event) => event._tag === "ItemCompleted" && event.item._tag === "reasoning").length,
          1
        )
      })
    ))

  it.effect("waits for the one before it, in order", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        yield* agent.once((turn) => Effect.andThen(Deferred.await(gate), turn.say("done")))
        const handles = yield* Effect.forEach(["one", "two", "three"], (text) => session.prompt(text))
        yield* agent.awaitPrompt(0)
        assert.strictEqual((yield* agent.prompts).length, 1)
        yield* Deferred.succeed(gate, undefined)
        yield* Effect.forEach(handles, (handle) => handle.outcome)
        assert.deepStrictEqual((yield* agent.prompts).map(({ text }) => text), ["one", "two", "three"])
        assert.strictEqual((yield* agent.conversation)?.turns.length, 3)
      })
    ))

  it.effect("whose script dies has a failed turn, and the next one runs", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once(() => Effect.die(new Error("oops")))
        const outcome = yield* Effect.flatMap(session.prompt("one"), (turn) => turn.outcome)
        assert.strictEqual(outcome._tag, "failed")
        assert.include(outcome._tag === "failed" ? outcome.error.message : "", "oops")
        assert.deepStrictEqual(yield* Effect.flatMap(session.prompt("two"), (turn) => turn.outcome), completed)
      })
    ))

  it.effect("can fail with a reason of the script's choice", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond((turn) => turn.fail(new AgentError.QuotaExceeded({})))
        const outcome = yield* Effect.flatMap(session.prompt("one"), (turn) => turn.outcome)
        assert.strictEqual(outcome._tag === "failed" ? outcome.error._tag : "", "QuotaExceeded")
      })
    ))

  it.effect("that the agent retries upstream shows so; what the model threw away is discarded", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.say("half")
            yield* turn.retract
            yield* turn.retrying({ attempt: 1, after: "20 seconds", error: new AgentError.Overloaded({}) })
            yield* turn.say("whole")
          })
        )
        const turn = yield* session.prompt("go")
        yield* until(session, (event) => event._tag === "TurnChanged" && event.state._tag === "retryingUpstream")
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["whole"])
        assert.isTrue(events.some((event) => event._tag === "ItemCompleted" && event.status === "discarded"))
      })
    ))
})

describe("a request", () => {
  const run: TestProvider.Script = (turn) =>
    Effect.flatMap(
      turn.command({ command: "npm test", ask: true, output: "ok" }),
      (answer) => turn.say(answer._tag)
    )

  it.effect("is answered by the host, and the command runs", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond(run)
        const handler = yield* session.events().pipe(
          Stream.runForEach((event) =>
            event._tag === "RequestOpened"
              ? session.answer(event.requestId, { _tag: "accept" })
              : Effect.void
          ),
          Effect.forkChild
        )
        const turn = yield* session.prompt("go")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        yield* Fiber.interrupt(handler)
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["accept"])
        const done = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "command" ? [event] : []
        )
        assert.deepStrictEqual(done.map(({ status }) => status), ["completed"])
        assert.deepStrictEqual(
          done.map(({ item }) => item._tag === "command" ? [item.output, item.exitCode] : []),
          [["ok", 0]]
        )
      })
    ))

  it.effect("is settled by a policy without the host", () =>
    withSession(
      (agent, session) =>
        Effect.gen(function*() {
          yield* agent.respond((turn) => Effect.asVoid(turn.edit({ path: "src/a.ts", diff: "+x", ask: true })))
          const turn = yield* session.prompt("go")
          assert.deepStrictEqual(yield* turn.outcome, completed)
          const events = [...yield* until(session, settled)]
          assert.isTrue(events.some((event) => event._tag === "RequestSettled" && event.by === "policy"))
          assert.isTrue(events.some((event) => event._tag === "DiffUpdated" && event.files[0]?.path === "src/a.ts"))
        }),
      { policy: ApprovalPolicy.acceptEdits }
    ))

  it.effect("that is declined lets the agent go on without it", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond(run)
        const turn = yield* session.prompt("go")
        const request = yield* first(session, "RequestOpened")
        assert.isDefined(request)
        yield* session.answer(request.requestId, { _tag: "decline", reason: "no" })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["decline"])
        assert.isTrue(events.some((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "command" && event.status === "declined" &&
          event.item.output === ""
        ))
        assert.deepStrictEqual(
          (yield* agent.answers).map(({ answer }) =>
            answer
          ),
          [{ _tag: "decline", reason: "no" }]
        )
      })
    ))

  it.effect("that is cancelled ends the turn", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond(run)
        const turn = yield* session.prompt("go")
        const request = yield* first(session, "RequestOpened")
        assert.isDefined(request)
        yield* session.answer(request.requestId, { _tag: "cancel" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        assert.strictEqual((yield* agent.conversation)?.turns[0]?.verdict._tag, "interrupted")
      })
    ))

  it.effect("can be a question, which the script gets answered", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond((turn) =>
          Effect.flatMap(
            turn.ask({
              kind: "question",
              subject: "Which?",
              facts: { questions: [{ text: "Which?", options: [{ label: "a" }], multiple: false, freeText: true }] }
            }),
            (answer) => turn.say(answer._tag === "answers" ? answer.answers.flat().join() : answer._tag)
          )
        )
        const turn = yield* session.prompt("go")
        const request = yield* first(session, "RequestOpened")
        assert.isDefined(request)
        assert.strictEqual((yield* session.view).turn?.state._tag, "awaitingInput")
        yield* session.answer(request.requestId, { _tag: "answers", answers: [["a"]] })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual(texts([...yield* until(session, settled)]), ["a"])
      })
    ))

  it.effect("that the script stops waiting for is closed by the agent", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.respond((turn) =>
          Effect.andThen(
            Effect.timeoutOption(turn.ask({ kind: "tool", subject: "May I?" }), "30 seconds"),
            TestProvider.hold("then not")(turn)
          )
        )
        yield* session.prompt("go")
        yield* first(session, "RequestOpened")
        yield* TestClock.adjust("30 seconds")
        yield* until(session, said("then not"))
        assert.strictEqual((yield* first(session, "RequestSettled"))?.by, "provider")
        assert.strictEqual((yield* session.view).turn?.state._tag, "running")
      })
    ))
})

describe("a prompt during a turn", () => {
  it.effect("joins it when the script takes it", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.say("working")
            const more = yield* turn.steered
            yield* turn.say(more.text)
          })
        )
        const turn = yield* session.prompt("go")
        yield* until(session, said("working"))
        const steer = yield* session.prompt("left", { delivery: "steer" })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual(yield* steer.receipt, yield* turn.receipt)
        assert.deepStrictEqual(yield* steer.outcome, completed)
        assert.deepStrictEqual(texts([...yield* until(session, settled)]), ["working", "left"])
      })
    ))

  it.effect("that the script does not take gets a turn of its own", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        yield* agent.once((turn) => Effect.andThen(turn.say("busy"), Deferred.await(gate)))
        const turn = yield* session.prompt("go")
        yield* until(session, said("busy"))
        const steer = yield* session.prompt("later", { delivery: "steer" })
        yield* agent.awaitPrompt(1)
        assert.deepStrictEqual((yield* agent.conversation)?.held.map(({ text }) => text), ["later"])
        yield* Deferred.succeed(gate, undefined)
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual(yield* steer.outcome, completed)
        assert.notDeepEqual(yield* steer.receipt, yield* turn.receipt)
      })
    ))

  it.effect("of somebody else is shown, and ours comes after it", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.foreignPrompt("from the terminal")
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["from the terminal"])
        assert.deepStrictEqual(yield* Effect.flatMap(session.prompt("mine"), (turn) => turn.outcome), completed)
        assert.deepStrictEqual((yield* agent.prompts).map(({ text }) => text), ["mine"])
      })
    ))
})
