/** Ending sessions and servers: bounded, complete, and without harm to neighbours. */
import { assert, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Duration, Effect, Exit, Layer, Scope, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, gatedText, prompt, text } from "./fixtures/script.ts"

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "closing a session",
  (it) => {
    it.effect("ends its turn and its tools, and leaves its neighbour's alone", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const neighbour = yield* Host.open()
        const session = yield* Host.open()
        const undisturbed = yield* neighbour.prompt(prompt("go", gatedText("a neighbour's answer", "close-1")))
        yield* model.awaitGate("close-1")
        const turn = yield* session.prompt(prompt("go", bash("echo begun; sleep 32"), text("never")))
        yield* Host.awaitEvent(session, (event) =>
          event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun"))
        assert.isAbove(Processes.withText("sleep 32").length, 0)
        const [took] = yield* Effect.timed(session.close)
        assert.isBelow(Duration.toMillis(took), 5_000)
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "host" })
        yield* Processes.until(() =>
          Processes.withText("sleep 32").length === 0, "the tool of a closed session still runs")
        yield* model.open("close-1")
        assert.strictEqual((yield* undisturbed.outcome)._tag, "completed")
        const next = yield* neighbour.prompt(prompt("again", text("fine")))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
      }))

    it.effect("from inside an event handler, mid-text, ends every stream normally", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        yield* session.prompt(prompt("go", gatedText("some long answer", "close-2")))
        const seen = yield* session.events().pipe(
          Stream.tap((event) =>
            event._tag === "ItemDelta" && event.text.startsWith("some") ? session.close : Effect.void
          ),
          Stream.runCollect
        )
        yield* model.openAll
        assert.strictEqual([...seen].at(-1)?._tag, "SessionClosed")
        assert.isTrue([...seen].some((event) => event._tag === "TurnSettled" && event.outcome._tag === "interrupted"))
      }))

    it.effect("and opening it again by its id goes on in the same conversation", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const sessions = yield* Sessions.Sessions
        const session = yield* Host.open()
        yield* Effect.flatMap(session.prompt(prompt("remember the word plum", text("I will"))), (turn) => turn.outcome)
        const { seq } = yield* session.view
        yield* session.close
        const again = yield* sessions.openScoped({ id: session.id })
        const events = yield* again.events().pipe(
          Stream.takeUntil((event) => event._tag === "ConnectionChanged" && event.status._tag === "live"),
          Stream.runCollect
        )
        const opened = [...events].find(Host.isTag("SessionOpened"))
        assert.strictEqual(opened?.how._tag, "resumed")
        assert.isAbove(
          [...events].flatMap((event) => event._tag === "ConnectionChanged" ? [event.seq ?? 0] : [])[0] ?? 0,
          seq
        )
        const turn = yield* again.prompt(prompt("what was it", text("plum")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.include((yield* model.requests).at(-1)?.text, "remember the word plum")
      }))
  }
)

it.live("releasing the layer leaves no process, a running command included, within 5 s", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(Host.layer({ policy: ApprovalPolicy.fullAccess }), scope)
    const root = yield* Effect.gen(function*() {
      const { root } = yield* Host.Place
      const sessions = yield* Sessions.Sessions
      const { cwd } = yield* Host.Place
      const session = yield* sessions.open({ provider: "opencode", cwd, title: "t" })
      yield* session.prompt(prompt("go", bash(`echo begun; sleep 33 && echo ${root}`), text("never")))
      yield* Host.awaitEvent(session, (event) =>
        event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun"))
      return root
    }).pipe(Effect.provideContext(context))
    assert.isAbove(Processes.withText(root).length, 0)
    const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
    assert.isAtMost(Duration.toMillis(took), 5_000)
    yield* Processes.until(() =>
      Processes.withText(root).length === 0, "a process of the released layer still runs")
    assert.deepStrictEqual(Processes.withText("sleep 33"), [])
  }), 60_000)
