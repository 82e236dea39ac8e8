/** The real server is killed while it works. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Deferred, Effect, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, gatedText, prompt, text } from "./fixtures/script.ts"

/** The process id of the server that runs now. */
const serverPid = (session: Session) =>
  session.events().pipe(
    Stream.takeUntil((event) => event._tag === "ConnectionChanged" && event.status._tag === "live"),
    Stream.runCollect,
    Effect.map((events) =>
      [...events].reduce(
        (pid, event) =>
          event._tag === "ProcessChanged" && event.status._tag === "ready" ? event.status.pid ?? pid : pid,
        0
      )
    )
  )

const assertUsable = Effect.fnUntraced(function*(session: Session, cwd: string) {
  const model = yield* ScriptedModel.ScriptedModel
  const next = yield* session.prompt(prompt("go on", text("went on")))
  assert.deepStrictEqual(yield* next.outcome, { _tag: "completed", stopReason: "endTurn" })
  // The same conversation: the model is told what was said before the crash.
  assert.include((yield* model.requests).at(-1)?.text, "before the crash")
  assert.strictEqual(session.cwd, cwd)
})

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "kill -9 of the server",
  (it) => {
    it.effect("mid-text, where the host wants it to go on: the agent is asked once, in the same conversation", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open({ onLost: "continue" })
        const turn = yield* session.prompt(prompt("before the crash", gatedText("half of an answer", "crash-2")))
        yield* model.awaitGate("crash-2")
        yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("half"))
        yield* Processes.kill(yield* serverPid(session), "SIGKILL")
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        const events = yield* session.events().pipe(
          Stream.takeUntil((event) => event._tag === "TurnSettled" && event.outcome._tag !== "lost"),
          Stream.runCollect
        )
        const settled = [...events].filter(Host.isTag("TurnSettled"))
        assert.deepStrictEqual(settled.map((event) => event.outcome._tag), ["lost", "completed"])
        const followed = [...events].filter(Host.isTag("PromptChanged")).filter((event) =>
          event.continues !== undefined
        )
        assert.isTrue(followed.every((event) => event.continues === settled[0]?.turnId))
        const last = followed.at(-1)?.state
        assert.isTrue(last?._tag === "consumed" && last.turnId === settled[1]?.turnId)
        const asked = (yield* model.requests).at(-1)
        assert.include(asked?.text, "go on from there")
        assert.include(asked?.text, "before the crash")
      }))

    it.effect("mid-text: the turn is lost and said so, its items end, the session goes on in the same conversation", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("before the crash", gatedText("half of an answer", "crash-1")))
        yield* model.awaitGate("crash-1")
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ItemDelta" && event.text.startsWith("half")
        )
        yield* Processes.kill(yield* serverPid(session), "SIGKILL")
        const outcome = yield* turn.outcome
        assert.isTrue(outcome._tag === "lost" && outcome.error._tag === "TurnLost")
        const events = yield* session.events().pipe(
          Stream.takeUntil((event) => event._tag === "TurnSettled"),
          Stream.runCollect
        )
        const all = [...events]
        const started = all.filter(Host.isTag("ItemStarted")).map((event) => event.itemId)
        const ended = all.filter(Host.isTag("ItemCompleted")).map((event) => event.itemId)
        assert.deepStrictEqual(ended.toSorted(), started.toSorted())
        assert.isTrue(
          all.some((event) =>
            event._tag === "ProcessChanged" && event.status._tag === "exited" && event.status.signal === "SIGKILL"
          )
        )
        const half = all.find((event) => event._tag === "ItemCompleted" && event.item._tag === "assistantMessage")
        assert.isTrue(half?._tag === "ItemCompleted" && half.status === "interrupted")
        const connection = all.flatMap((event) => event._tag === "ConnectionChanged" ? [event.status._tag] : [])
        assert.isTrue(connection.includes("lost") && connection.includes("resyncing"))
        yield* model.openAll
        yield* assertUsable(session, cwd)
      }))

    it.effect("trap 13: mid-tool: the command's item ends, the session is usable", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("before the crash", bash("echo begun; sleep 31"), text("never")))
        yield* Host.awaitEvent(session, (event) =>
          event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun"))
        const tools = Processes.withText("sleep 31")
        yield* Processes.kill(yield* serverPid(session), "SIGKILL")
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        const view = yield* session.view
        assert.isTrue(view.items.every((item) =>
          !item.open
        ))
        yield* assertUsable(session, cwd)
        assert.isAbove(tools.length, 0)
        // In a session of its own it outlived the killed server, and was ended before the next one was started.
        assert.deepStrictEqual(tools.filter(Processes.isAlive), [])
      }))

    it.effect("with an approval open: the request is settled, not left behind", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("before the crash", bash("echo asked"), text("never")))
        yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* Processes.kill(yield* serverPid(session), "SIGKILL")
        assert.strictEqual((yield* turn.outcome)._tag, "lost")
        assert.deepStrictEqual(yield* session.requests, [])
        yield* assertUsable(session, cwd)
      }))

    it.effect("when idle: nothing is lost, the next prompt works, and neighbours hear it too", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const neighbour = yield* Host.open()
        const turn = yield* session.prompt(prompt("before the crash", text("finished")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        yield* Processes.kill(yield* serverPid(session), "SIGKILL")
        for (const one of [session, neighbour]) {
          yield* Host.awaitEvent(
            one,
            (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
          )
          const next = yield* one.prompt(prompt("after", text("works")))
          assert.strictEqual((yield* next.outcome)._tag, "completed")
        }
      }))
  }
)

/** Withholds the event stream's first connection from the frame on that tells the end of an answer. */
const withholding = () => {
  const finished = Deferred.makeUnsafe<void>()
  let first = true
  const http = (client: HttpClient.HttpClient): HttpClient.HttpClient =>
    HttpClient.transform(client, (effect, request) => {
      if (!first || !request.url.endsWith("/global/event")) return effect
      first = false
      return Effect.map(effect, (response) => {
        let withheld = false
        const decoder = new TextDecoder()
        const stream = Stream.filter(response.stream, (chunk) => {
          if (!withheld && decoder.decode(chunk, { stream: true }).includes("\"finish\":\"stop\"")) {
            withheld = true
            Deferred.doneUnsafe(finished, Effect.void)
          }
          return !withheld
        })
        return new Proxy(response, {
          get: (target, key) => key === "stream" ? stream : Reflect.get(target, key, target) as unknown
        })
      })
    })
  return { http, finished: Deferred.await(finished) }
}

describe("kill -9 of the server when the answer was finished and nobody has heard of it", () => {
  it.live("the turn is completed, by what the server had stored", () => {
    const { finished, http } = withholding()
    return Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(prompt("go", text("whole before the crash")))
      yield* finished
      yield* Processes.kill(yield* serverPid(session), "SIGKILL")
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      const items = yield* session.events().pipe(
        Stream.takeUntil((event) => event._tag === "TurnSettled"),
        Stream.filter(Host.isTag("ItemCompleted")),
        Stream.runCollect
      )
      assert.isTrue(
        [...items].some(({ item, status }) =>
          item._tag === "assistantMessage" && item.text === "whole before the crash" && status === "completed"
        )
      )
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ http, policy: ApprovalPolicy.fullAccess })))
  }, 60_000)
})
