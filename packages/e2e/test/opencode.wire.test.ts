/** The event stream of the real OpenCode is broken on the wire, with three sessions on it. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Fiber, FileSystem, Schedule, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import * as LateListener from "./fixtures/lateListener.ts"
import * as Scissors from "./fixtures/scissors.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"
import { conversation, pending, serverOf } from "./fixtures/server.ts"
import { answers, assertUsable, assertWhole, type Events } from "./fixtures/turns.ts"
import * as Wire from "./fixtures/wire.ts"

type Proxy = Effect.Success<typeof Wire.make>["proxy"]

const isConnection = (tag: string) => (event: Events[number]) =>
  event._tag === "ConnectionChanged" && event.status._tag === tag

/** Each way to break the stream, for good until it is mended. */
const faults: Readonly<Record<string, (proxy: Proxy) => Effect.Effect<void>>> = {
  cut: (proxy) => Effect.andThen(proxy.refuse(true), proxy.cut()),
  "half-closed": (proxy) => Effect.andThen(proxy.refuse(true), proxy.halfClose()),
  stalled: (proxy) => proxy.stall()
}

const working = (session: Session) =>
  Effect.map(
    Effect.flatMap(serverOf(session), ({ call }) =>
      call("GET", `/session/status?directory=${encodeURIComponent(session.cwd)}`)),
    (status) =>
      Object.keys(status as object).length
  )

/** Asks the server until it says that only so many of its sessions work: the stream, which would say so, is broken. */
const awaitWorking = (session: Session, count: number) =>
  working(session).pipe(
    Effect.filterOrFail((now) => now === count, (now) => `${now} sessions work`),
    Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 500 }),
    Effect.orDie
  )

/** Waits until the session has read the agent again, so many times since it was opened. */
const resynced = (session: Session, count: number) =>
  session.events().pipe(
    Stream.filter(isConnection("resynced")),
    Stream.take(count),
    Stream.runDrain,
    Effect.timeout("20 seconds"),
    Effect.orDie
  )

describe("the event stream", () => {
  for (const [name, fault] of Object.entries(faults)) {
    it.live(
      `${name} mid-text, mid-tool and with an approval open: texts are whole, nothing is doubled, the approval is answerable`,
      () =>
        Effect.gen(function*() {
          const { http, proxy } = yield* Wire.make
          yield* Effect.gen(function*() {
            const fs = yield* FileSystem.FileSystem
            const model = yield* ScriptedModel.ScriptedModel
            const { root } = yield* Host.Place
            const [writer, runner, asker] = yield* Effect.all([
              Host.open(),
              Host.open(),
              Host.open({
                policy: ApprovalPolicy.askAlways
              })
            ])
            yield* asker.attach()
            const story = yield* writer.prompt(prompt("go", gatedText("a long answer with an end", `wire-${name}`)))
            const go = `${root}/go-${name}`
            const command = `echo begun; while [ ! -e ${go} ]; do sleep 0.05; done; echo ended`
            const run = yield* runner.prompt(prompt("go", bash(command), text("it ran")))
            const ask = yield* asker.prompt(prompt("go", bash("echo asked"), text("thanks")))
            yield* Host.awaitEvent(writer, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
            yield* Host.awaitEvent(runner, (event) =>
              event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun"))
            const asked = yield* Host.awaitEvent(asker, Host.isTag("RequestOpened"))

            yield* fault(proxy)
            // All that ends, ends unheard.
            yield* model.open(`wire-${name}`)
            yield* fs.writeFileString(go, "")
            yield* awaitWorking(writer, 1)
            for (const session of [writer, runner, asker])
              yield* Host.awaitEvent(session, isConnection("lost"))
            yield* proxy.resume
            yield* proxy.refuse(false)

            const told = [...yield* Stream.runCollect(story.events)]
            assert.deepStrictEqual(yield* story.outcome, { _tag: "completed", stopReason: "endTurn" })
            assert.deepStrictEqual(answers(told), ["a long answer with an end"])
            assertWhole(told)
            const ran = [...yield* Stream.runCollect(run.events)]
            assert.deepStrictEqual(yield* run.outcome, { _tag: "completed", stopReason: "endTurn" })
            assert.deepStrictEqual(answers(ran), ["it ran"])
            assert.deepStrictEqual(
              ran.flatMap((event) =>
                event._tag === "ItemCompleted" && event.item._tag === "command" ? [event.item.output.trim()] : []
              ),
              ["begun\nended"]
            )
            assertWhole(ran)
            const resynced = yield* Host.awaitEvent(asker, isConnection("resynced"))
            assert.isTrue(
              resynced._tag === "ConnectionChanged" && resynced.status._tag === "resynced" &&
                resynced.status.gap === "closed"
            )
            assert.deepStrictEqual(
              (yield* asker.requests).map((request) =>
                request.id
              ),
              [asked.requestId]
            )
            yield* asker.answer(asked.requestId, { _tag: "accept" })
            const answered = [...yield* Stream.runCollect(ask.events)]
            assert.deepStrictEqual(yield* ask.outcome, { _tag: "completed", stopReason: "endTurn" })
            assert.strictEqual(answered.filter(Host.isTag("RequestOpened")).length, 1)
            assertWhole(answered)
            for (const session of [writer, runner]) yield* assertUsable(session)
          }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http })))
        }).pipe(Effect.scoped),
      90_000
    )
  }

  it.live(
    "trap 8: an end that was told before the turn began is not the end of the turn",
    () =>
      Effect.gen(function*() {
        const { http, proxy } = yield* Wire.make
        yield* Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const session = yield* Host.open()
          yield* assertUsable(session)
          const { call } = yield* serverOf(session)
          const id = yield* conversation(session)
          // An abort of an idle session says idle, twice, though nothing ended.
          yield* proxy.stall()
          yield* call("POST", `/session/${id}/abort`)
          const turn = yield* session.prompt(prompt("go", gatedText("a long answer with an end", "stale")))
          yield* model.awaitGate("stale")
          yield* proxy.resume
          yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
          assert.strictEqual((yield* session.view).turn?.state._tag, "running")
          yield* model.open("stale")
          const events = [...yield* Stream.runCollect(turn.events)]
          assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
          assert.deepStrictEqual(answers(events), ["a long answer with an end"])
          assertWhole(events)
        }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http })))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "that connects while a text ends, before the server listens to itself: the text is told",
    () =>
      Effect.gen(function*() {
        const { cut, http: cutting } = Scissors.scissors()
        const late = yield* LateListener.make
        yield* Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const session = yield* Host.open()
          const turn = yield* session.prompt(prompt("a text", gatedText("the whole of the answer", "late")))
          yield* model.awaitGate("late")
          yield* late.begin
          yield* cut
          yield* late.updated(1)
          yield* model.open("late")
          yield* awaitWorking(session, 0)
          yield* late.end
          assert.strictEqual((yield* turn.outcome)._tag, "completed")
          const events = yield* session.events().pipe(
            Stream.takeUntil((event) => event._tag === "TurnSettled"),
            Stream.runCollect
          )
          assert.deepStrictEqual(answers([...events]), ["the whole of the answer"])
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({
            policy: ApprovalPolicy.fullAccess,
            http: (client) => late.http(cutting(client))
          }))
        )
      }),
    60_000
  )

  it.live(
    "that connects while a session opens, before the server listens to itself: it opens as soon as the server does",
    () =>
      Effect.gen(function*() {
        const { cut, http: cutting } = Scissors.scissors()
        const late = yield* LateListener.make
        yield* Effect.gen(function*() {
          const neighbour = yield* Host.open()
          yield* late.begin
          yield* cut
          const opening = yield* Effect.forkScoped(Host.open())
          // Of the one that opens, and of the one that connects again.
          yield* late.updated(1)
          yield* late.updated(1)
          yield* late.end
          const session = yield* Fiber.join(opening).pipe(Effect.timeout("3 seconds"))
          yield* Effect.timeout(resynced(neighbour, 1), "3 seconds")
          for (const one of [session, neighbour]) yield* assertUsable(one)
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({
            policy: ApprovalPolicy.fullAccess,
            http: (client) => late.http(cutting(client))
          }))
        )
      }),
    60_000
  )

  it.live(
    "cut again and again while a session opens: it opens",
    () =>
      Effect.gen(function*() {
        const { http, proxy } = yield* Wire.make
        yield* Effect.gen(function*() {
          yield* Host.open()
          for (let round = 0; round < 4; round++) {
            // The greeting passes.
            yield* proxy.onFrame({ match: "/global/event", n: 1, do: "cut", times: 1 + round })
            yield* proxy.cut()
            yield* Effect.timeout(Host.open(), "5 seconds")
          }
        }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http })))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("trap 11: an ask that an abort left behind is refused, and never shown again", () =>
    Effect.gen(function*() {
      const { http, proxy } = yield* Wire.make
      yield* Effect.gen(function*() {
        const session = yield* Host.open()
        yield* session.attach()
        const events = yield* Host.record(session)
        const { call } = yield* serverOf(session)
        const question = tools(["question", {
          questions: [{ question: "Which?", header: "W", options: [{ label: "A", description: "a" }], multiple: false }]
        }])
        const aborts = [
          [bash("echo asked"), session.interrupt],
          [question, session.interrupt],
          [bash("echo asked"), Effect.flatMap(conversation(session), (id) => call("POST", `/session/${id}/abort`))]
        ] as const
        for (const [index, [step, abort]] of aborts.entries()) {
          const turn = yield* session.prompt(prompt("go", step, text("never")))
          const receipt = yield* turn.receipt
          yield* Host.awaitEvent(session, (event) =>
            event._tag === "RequestOpened" && receipt._tag === "consumed" && event.turnId === receipt.turnId)
          yield* abort
          assert.strictEqual((yield* turn.outcome)._tag, "interrupted")
          yield* proxy.cut()
          yield* resynced(session, index + 1)
          assert.deepStrictEqual(yield* session.requests, [])
          assert.deepStrictEqual(yield* pending(session), [[], []])
        }
        yield* assertUsable(session)
        const opened = events.filter(Host.isTag("RequestOpened")).map((event) =>
          event.requestId
        )
        assert.strictEqual(opened.length, aborts.length)
        const settled = events.filter(Host.isTag("RequestSettled"))
        assert.deepStrictEqual(settled.map((event) => event.requestId), opened)
        assert.isTrue(settled.every((event) => event.by === "teardown"))
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.askAlways, http })))
    }).pipe(Effect.scoped), 60_000)

  it.live(
    "trap 12: is the global one, and when a directory is disposed or the stream ends, sessions go on",
    () =>
      Effect.gen(function*() {
        const { http, proxy } = yield* Wire.make
        const streams = new Set<string>()
        const watched = (client: Parameters<typeof http>[0]) =>
          Host.watching((request) => {
            const { pathname } = new URL(request.url)
            if (pathname.endsWith("/event")) streams.add(pathname)
          })(http(client))
        yield* Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const model = yield* ScriptedModel.ScriptedModel
          const { root } = yield* Host.Place
          yield* fs.makeDirectory(`${root}/other`)
          const session = yield* Host.open()
          const neighbour = yield* Host.open({ cwd: `${root}/other` })
          const undisturbed = yield* neighbour.prompt(prompt("go", gatedText("a neighbour's answer", "disposed")))
          const turn = yield* session.prompt(prompt("go", gatedText("a long answer with an end", "never")))
          yield* model.awaitGate("disposed")
          yield* model.awaitGate("never")
          const { call } = yield* serverOf(session)
          yield* call("POST", `/instance/dispose?directory=${encodeURIComponent(session.cwd)}`)
          assert.strictEqual((yield* turn.outcome)._tag, "interrupted")
          yield* assertUsable(session)
          // A clean end of the stream is no end of the session.
          yield* proxy.halfClose()
          yield* Host.awaitEvent(neighbour, isConnection("resynced"))
          yield* model.open("disposed")
          assert.deepStrictEqual(yield* undisturbed.outcome, { _tag: "completed", stopReason: "endTurn" })
          for (const one of [session, neighbour]) yield* assertUsable(one)
          assert.deepStrictEqual([...streams], ["/global/event"])
        }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http: watched })))
      }).pipe(Effect.scoped),
    60_000
  )
})
