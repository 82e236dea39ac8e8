/** Hours that pass with the real OpenCode: the machine sleeps, a session is idle, a server is kept. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Clock, Effect, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, gatedText, prompt, text } from "./fixtures/script.ts"
import { serverOf } from "./fixtures/server.ts"
import * as Time from "./fixtures/time.ts"
import { answers, assertUsable, assertWhole, states } from "./fixtures/turns.ts"

const resynced = (session: Session) =>
  Host.awaitEvent(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced")

describe("after hours", () => {
  it.live(
    "in which the machine slept, mid-text and with an approval open: read again, never interrupted",
    () =>
      Effect.gen(function*() {
        const time = yield* Time.make
        yield* Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const writer = yield* Host.open()
          const asker = yield* Host.open({ policy: ApprovalPolicy.askAlways, approvalExpiresAfter: "1 hour" })
          yield* asker.attach()
          const story = yield* writer.prompt(prompt("go", gatedText("a long answer with an end", "slept")))
          yield* Host.awaitEvent(writer, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
          const ask = yield* asker.prompt(prompt("go", bash("echo asked"), text("thanks")))
          const asked = yield* Host.awaitEvent(asker, Host.isTag("RequestOpened"))

          yield* time.suspend("3 hours")
          for (const session of [writer, asker]) {
            yield* resynced(session)
            assert.notStrictEqual((yield* session.view).turn?.state._tag, "interrupting")
          }
          yield* model.open("slept")
          const told = [...yield* Stream.runCollect(story.events)]
          assert.deepStrictEqual(yield* story.outcome, { _tag: "completed", stopReason: "endTurn" })
          assert.deepStrictEqual(answers(told), ["a long answer with an end"])
          assertWhole(told)
          assert.notInclude(states(told), "interrupting")
          yield* asker.answer(asked.requestId, { _tag: "accept" })
          assert.deepStrictEqual(yield* ask.outcome, { _tag: "completed", stopReason: "endTurn" })
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, limits: { silence: "1 second" } })),
          Effect.provideService(Clock.Clock, time.clock)
        )
      }),
    60_000
  )

  it.live(
    "of idleness a session is there, and 31 s after its close its server still is, for the next one",
    () =>
      Effect.gen(function*() {
        const time = yield* Time.make
        yield* Effect.gen(function*() {
          const sessions = yield* Sessions.Sessions
          const { cwd } = yield* Host.Place
          const session = yield* sessions.open({ provider: "opencode", cwd, title: "t" })
          yield* assertUsable(session)
          const { pid } = yield* serverOf(session)
          // Three times the time that a server without a session is kept.
          yield* time.pass("15 minutes")
          assert.isTrue(Processes.isAlive(pid))
          yield* assertUsable(session)
          yield* session.close
          yield* time.pass("31 seconds")
          const next = yield* Host.open()
          yield* assertUsable(next)
          assert.strictEqual((yield* serverOf(next)).pid, pid)
          yield* next.close
          // And what nobody needs is ended at last.
          yield* time.pass("6 minutes")
          yield* Processes.until(() => !Processes.isAlive(pid), "the idle server still runs")
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess })),
          Effect.provideService(Clock.Clock, time.clock)
        )
      }),
    60_000
  )
})
