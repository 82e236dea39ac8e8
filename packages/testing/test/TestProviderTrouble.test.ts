import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import { PromptId, SessionId } from "@reins/core/Ids"
import * as Prompt from "@reins/core/Prompt"
import * as Providers from "@reins/core/Providers"
import * as Sessions from "@reins/core/Sessions"
import * as TestProvider from "@reins/testing/TestProvider"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { app, completed, first, open, said, settled, texts, until, withSession } from "./fixtures/testProvider.ts"

describe("an interrupt", () => {
  it.effect("stops the script", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const stopped = yield* Deferred.make<void>()
        yield* agent.once((turn) =>
          Effect.onInterrupt(TestProvider.hold("hm")(turn), () => Deferred.succeed(stopped, undefined))
        )
        const turn = yield* session.prompt("go")
        yield* until(session, said("hm"))
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* Deferred.await(stopped)
        yield* agent.awaitIdle
      })
    ))

  it.effect("that is never answered settles after five seconds", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once(TestProvider.hold("hm"))
        yield* agent.hang("interrupt")
        const turn = yield* session.prompt("go")
        yield* until(session, said("hm"))
        const outcome = yield* Effect.forkChild(turn.outcome)
        yield* session.interrupt
        yield* Effect.yieldNow
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(outcome.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* Fiber.join(outcome), { _tag: "interrupted", by: "user" })
        assert.strictEqual((yield* agent.conversation)?.turns[0]?.verdict._tag, "running")
      })
    ))
})

describe("trouble", () => {
  it.effect("a cut in the middle of a text: the text is whole, nothing twice", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const alone = yield* Deferred.make<void>()
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.say("one ")
            yield* Deferred.await(gate)
            yield* turn.say("two ")
            yield* Deferred.succeed(alone, undefined)
            yield* agent.awaitConnections(1)
            yield* turn.say("three")
          })
        )
        const turn = yield* session.prompt("go")
        yield* until(session, said("one"))
        yield* agent.cut
        assert.strictEqual(yield* agent.connections, 0)
        yield* Deferred.succeed(gate, undefined)
        yield* Deferred.await(alone)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const gaps: Array<string> = []
        let isSettled = false
        const events = yield* until(session, (event) => {
          if (event._tag === "ConnectionChanged" && event.status._tag === "resynced") gaps.push(event.status.gap)
          isSettled = isSettled || settled(event)
          return isSettled && gaps.length > 0
        })
        assert.deepStrictEqual(texts([...events]), ["one two three"])
        assert.deepStrictEqual(gaps, ["closed"])
      })
    ))

  it.effect("a cut while the turn ends: its outcome, plan and usage come with the snapshot", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.say("one ")
            yield* agent.cut
            yield* turn.say("two")
            yield* turn.plan([{ text: "step", status: "completed" }])
            yield* turn.usage({ output: 7 })
          })
        )
        const turn = yield* session.prompt("go")
        yield* agent.awaitConnections(0)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["one two"])
        assert.strictEqual(events.filter((event) => event._tag === "PlanUpdated").length, 1)
        const last = events.at(-1)
        assert.deepStrictEqual(last?._tag === "TurnSettled" ? last.usage : undefined, { output: 7 })
      })
    ))

  it.effect("a crash loses the turn and its request, and the next prompt works", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) => Effect.asVoid(turn.command({ command: "rm x", ask: true })))
        const turn = yield* session.prompt("go")
        yield* first(session, "RequestOpened")
        const steer = yield* session.prompt("and", { delivery: "steer" })
        yield* agent.awaitPrompt(1)
        yield* agent.crash
        assert.deepStrictEqual((yield* agent.conversation)?.held, [])
        yield* TestClock.adjust("1 second")
        yield* steer.outcome
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        assert.deepStrictEqual(yield* session.requests, [])
        assert.strictEqual((yield* agent.conversation)?.turns[0]?.verdict._tag, "unfinished")
        assert.deepStrictEqual(yield* Effect.flatMap(session.prompt("again"), (turn) => turn.outcome), completed)
      })
    ))

  it.effect("a cut while a request is open: the answer given meanwhile reaches the agent", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) => Effect.asVoid(turn.tool({ tool: "fetch", ask: true, output: "page" })))
        const turn = yield* session.prompt("go")
        const request = yield* first(session, "RequestOpened")
        assert.isDefined(request)
        yield* agent.cut
        yield* agent.awaitConnections(0)
        yield* session.answer(request.requestId, { _tag: "accept" })
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual((yield* agent.answers).map(({ answer }) => answer._tag), ["accept"])
      })
    ))

  it.effect("a turn that somebody else had while the connection was cut is shown afterwards", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.cut
        yield* agent.foreignPrompt("meanwhile")
        yield* agent.awaitIdle
        yield* TestClock.adjust("1 second")
        const events = [...yield* until(session, settled)]
        assert.deepStrictEqual(texts(events), ["meanwhile"])
        const last = events.at(-1)
        assert.deepStrictEqual(last?._tag === "TurnSettled" ? last.outcome : undefined, completed)
        assert.deepStrictEqual(yield* Effect.flatMap(session.prompt("mine"), (turn) => turn.outcome), completed)
      })
    ))

  it.effect("a reader that falls too far behind loses its connection and no text", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const chunks = 20_000
        yield* agent.once((turn) =>
          Effect.sync(() => {
            for (let i = 0; i < chunks; i++) Effect.runSync(turn.say("x"))
          })
        )
        const turn = yield* session.prompt("go")
        yield* agent.awaitConnections(0)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const text = (yield* agent.conversation)?.turns[0]?.items.at(-1)?.item
        assert.strictEqual(text?._tag === "assistantMessage" ? text.text.length : 0, chunks)
        assert.deepStrictEqual(texts([...yield* until(session, settled)]).map((text) => text.length), [chunks])
      })
    ))

  it.effect("a submission whose answer is lost runs once", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.hang("submit", { heard: true })
        const turn = yield* session.prompt("go")
        yield* agent.awaitPrompt(0)
        yield* agent.unhang("submit")
        yield* TestClock.adjust("2 minutes")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.strictEqual((yield* agent.conversation)?.turns.length, 1)
      })
    ))

  it.effect("a submission that never arrives is sent again under the same key", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.hang("submit")
        const turn = yield* session.prompt("go")
        yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* agent.prompts, [])
        yield* agent.unhang()
        yield* TestClock.adjust("2 minutes")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.strictEqual((yield* agent.prompts).length, 1)
      })
    ))

  it.effect("silence is told after sixty seconds", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once(TestProvider.hold("hm"))
        yield* session.prompt("go")
        yield* until(session, said("hm"))
        yield* Effect.yieldNow
        yield* TestClock.adjust("59 seconds")
        assert.strictEqual((yield* session.view).turn?.state._tag, "running")
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* session.view).turn?.state._tag, "silent")
      })
    ))

  it.effect("an agent that becomes unavailable gives every prompt an outcome", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once(TestProvider.hold("hm"))
        const running = yield* session.prompt("go")
        const waiting = yield* session.prompt("next")
        yield* until(session, said("hm"))
        yield* agent.unavailable(new AgentError.Unavailable({ target: "test" }))
        yield* agent.crash
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* running.outcome)._tag, "lost")
        const outcome = yield* waiting.outcome
        assert.strictEqual(outcome._tag === "notRun" ? outcome.receipt._tag : "", "returned")
        yield* agent.unavailable(undefined)
        const again = yield* session.prompt("again")
        assert.deepStrictEqual(yield* again.outcome, completed)
      })
    ))

  it.effect("an agent that is unavailable from the start refuses the session with its reason", () =>
    Effect.gen(function*() {
      const agent = yield* TestProvider.TestProvider
      yield* agent.unavailable(new AgentError.NotInstalled({ binary: "test", tried: [] }))
      assert.strictEqual((yield* Effect.flip(open())).reason._tag, "NotInstalled")
      yield* agent.unavailable(undefined)
      yield* open()
    }).pipe(Effect.provide(app())))

  it.effect("late and raw frames change nothing that was settled", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        yield* agent.once((turn) =>
          Effect.gen(function*() {
            yield* turn.say("done")
            yield* turn.finish()
            yield* turn.say("too late")
          })
        )
        const turn = yield* session.prompt("go")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        yield* agent.emit({ _tag: "notice", level: "info", code: "mark", text: "after" })
        const events = [...yield* until(session, (event) => event._tag === "Notice" && event.code === "mark")]
        assert.deepStrictEqual(texts(events), ["done"])
        assert.strictEqual(events.filter(settled).length, 1)
      })
    ))
})

describe("a conversation", () => {
  it.effect("outlives the layers: a session is resumed by its id", () =>
    Effect.gen(function*() {
      const agent = yield* TestProvider.make()
      const store = yield* Layer.build(BindingStore.layerMemory)
      const host = Sessions.layer.pipe(
        Layer.provide(Providers.layer({ test: agent.provider })),
        Layer.provide(Layer.succeedContext(store))
      )
      const id = yield* Effect.gen(function*() {
        const session = yield* open()
        yield* Effect.flatMap(session.prompt("one"), (turn) => turn.outcome)
        return session.id
      }).pipe(Effect.provide(host, { local: true }))
      assert.strictEqual(yield* agent.connections, 0)
      yield* Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* sessions.open({ id })
        assert.deepStrictEqual((yield* first(session, "SessionOpened"))?.how, { _tag: "resumed" })
        const turn = yield* session.prompt("two")
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual(texts([...yield* until(session, settled)]), ["two"])
      }).pipe(Effect.provide(host, { local: true }))
      const conversations = yield* agent.conversations
      assert.strictEqual(conversations.length, 1)
      assert.deepStrictEqual(
        conversations[0]?.turns.map((turn) => turn.prompts.map(({ text }) => text)),
        [["one"], ["two"]]
      )
    }).pipe(Effect.scoped))

  it.effect("goes on without its host: a host that resumes finds the running turn", () =>
    Effect.gen(function*() {
      const agent = yield* TestProvider.make({ respond: TestProvider.hold("hm") })
      const store = yield* Layer.build(BindingStore.layerMemory)
      const host = Sessions.layer.pipe(
        Layer.provide(Providers.layer({ test: agent.provider })),
        Layer.provide(Layer.succeedContext(store))
      )
      const { id } = yield* Effect.provide(open(), host, { local: true })
      yield* agent.foreignPrompt("from the terminal")
      yield* Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* sessions.open({ id })
        yield* until(session, said("hm"))
        assert.strictEqual((yield* session.view).turn?.state._tag, "running")
        yield* session.interrupt
        yield* agent.awaitIdle
        const events = [...yield* until(session, settled)]
        const last = events.at(-1)
        assert.strictEqual(last?._tag === "TurnSettled" ? last.outcome._tag : "", "interrupted")
      }).pipe(Effect.provide(host, { local: true }))
    }).pipe(Effect.scoped))

  it.effect("that the agent does not know is begun anew, with the reason", () =>
    Effect.gen(function*() {
      const store = yield* Layer.build(BindingStore.layerMemory)
      const host = (agent: TestProvider.TestProvider["Service"]) =>
        Sessions.layer.pipe(
          Layer.provide(Providers.layer({ test: agent.provider })),
          Layer.provide(Layer.succeedContext(store))
        )
      const { id } = yield* Effect.provide(open(), host(yield* TestProvider.make()), { local: true })
      yield* Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const session = yield* sessions.open({ id })
        assert.strictEqual((yield* first(session, "SessionOpened"))?.how._tag, "recreated")
      }).pipe(Effect.provide(host(yield* TestProvider.make()), { local: true }))
    }).pipe(Effect.scoped))

  it.effect("runs a key once, and tells a reader what it was not told", () =>
    Effect.gen(function*() {
      const agent = yield* TestProvider.make()
      const provider = yield* agent.provider.make("test")
      const connection = yield* provider.connect({
        sessionId: SessionId.make("ses_1"),
        cwd: "/repo",
        recreate: false,
        policy: ApprovalPolicy.askAlways,
        report: () => {}
      })
      const submit = (key: string) =>
        connection.submit({ promptId: PromptId.make(key), key, input: Prompt.text(key), attempt: 1 })
      yield* submit("one")
      yield* submit("one")
      yield* agent.awaitIdle
      yield* submit("one")
      assert.deepStrictEqual((yield* agent.prompts).map(({ id }) => id), ["one"])
      assert.deepStrictEqual((yield* connection.snapshot({ prompts: [], turns: [] })).signals, [])
      const asked = yield* connection.snapshot({ prompts: ["one", "two"], turns: ["one"] })
      assert.deepStrictEqual(asked.prompts, { one: "taken", two: "absent" })
      assert.deepStrictEqual(asked.turns["one"], completed)
      assert.deepStrictEqual(asked.activity, "idle")
      assert.isNotEmpty(asked.signals)
      yield* agent.once(TestProvider.hold("hm"))
      yield* submit("two")
      yield* submit("three")
      const busy = yield* connection.snapshot({ prompts: ["two", "three"], turns: [] })
      assert.deepStrictEqual(busy.prompts, { two: "taken", three: "held" })
      assert.strictEqual(busy.activity, "busy")
    }).pipe(Effect.scoped))

  it.effect("is one for each session", () =>
    withSession((agent, session) =>
      Effect.gen(function*() {
        const other = yield* open({ cwd: "/other" })
        const script: TestProvider.Script = (turn) => turn.say(turn.cwd)
        yield* agent.respond(script)
        yield* Effect.forEach(
          [session, other],
          (session) => Effect.flatMap(session.prompt("where"), (turn) => turn.outcome),
          { concurrency: 2 }
        )
        assert.deepStrictEqual(texts([...yield* until(session, settled)]), ["/repo"])
        assert.deepStrictEqual(texts([...yield* until(other, settled)]), ["/other"])
        assert.strictEqual(yield* agent.connections, 2)
      })
    ))
})
