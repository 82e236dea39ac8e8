/** The real server when it will not start again, stops without dying, is not needed for a while, or is wanted by many. */
import { assert, describe, it } from "@effect/vitest"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Clock, Effect, FileSystem, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { setTimeout } from "node:timers/promises"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"
import { conversation, serverOf } from "./fixtures/server.ts"
import * as Time from "./fixtures/time.ts"
import { assertUsable, states, turnOf } from "./fixtures/turns.ts"

const realBinary = new URL("../../../node_modules/opencode-linux-x64/bin/opencode", import.meta.url).pathname

/** The first event after those that were seen. */
const next = (session: Session, after: number, found: (event: SessionEvent | Lagged) => boolean) =>
  session.events({ after }).pipe(
    Stream.filter(found),
    Stream.runHead,
    Effect.flatMap((head) => head._tag === "Some" ? Effect.succeed(head.value) : Effect.die("the session ended")),
    Effect.timeout("45 seconds"),
    Effect.orDie
  )

const seqOf = (session: Session) => Effect.map(session.view, ({ seq }) => seq)

const isLive = (event: SessionEvent | Lagged) => event._tag === "ConnectionChanged" && event.status._tag === "live"

describe("a server that crashes again and again", () => {
  it.live(
    "is Unavailable with cause, output and retry time, and by itself there again when the agent is",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped({ prefix: "reins-loop-" })
        const broken = `${directory}/broken`
        const binary = `${directory}/opencode`
        yield* fs.writeFileString(
          binary,
          `#!/bin/sh\nif [ -e '${broken}' ]; then echo 'the disk is full, sorry' >&2; exit 7; fi\nexec '${realBinary}' "$@"\n`,
          { mode: 0o755 }
        )
        const time = yield* Time.make
        yield* Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const session = yield* Host.open()
          yield* turnOf(session, prompt("before the crash", text("heard")))
          yield* fs.writeFileString(broken, "")
          const seen = yield* seqOf(session)
          yield* Processes.kill((yield* serverOf(session)).pid, "SIGKILL")
          const gone = yield* next(session, seen, (event) =>
            event._tag === "ConnectionChanged" && event.status._tag === "lost" &&
            event.status.error._tag === "Unavailable")
          assert.isTrue(gone._tag === "ConnectionChanged" && gone.status._tag === "lost")
          if (gone._tag !== "ConnectionChanged" || gone.status._tag !== "lost")
            return
          const { error } = gone.status
          assert.include(error.message, "ended with code 7")
          assert.include(error.stderrTail ?? "", "the disk is full")
          assert.isAbove(error.retryAfter ?? 0, 30_000)
          assert.isAtMost(error.retryAfter ?? 0, 60_000)
          const restarts = yield* session.events({ after: seen }).pipe(
            Stream.takeUntil((event) =>
              "seq" in event && event.seq === gone.seq
            ),
            Stream.filter((event) =>
              event._tag === "ProcessChanged" && event.status._tag === "restarting"
            ),
            Stream.runCollect
          )
          assert.strictEqual([...restarts].length, 5)
          // A prompt is not kept waiting for what cannot be had: it says why.
          const refused = yield* session.prompt(prompt("go", text("never")))
          const outcome = yield* refused.outcome
          assert.isTrue(outcome._tag === "notRun" && outcome.receipt._tag === "returned", JSON.stringify(outcome))
          assert.include(JSON.stringify(outcome), "ended with code 7")
          // Nobody asks: time alone brings it back.
          yield* fs.remove(broken)
          const last = yield* seqOf(session)
          const back = yield* session.events({ after: last }).pipe(
            Stream.filter(isLive),
            Stream.runHead,
            Effect.forkChild
          )
          const starting = yield* session.events({ after: last }).pipe(
            Stream.filter((event) => event._tag === "ProcessChanged" && event.status._tag === "starting"),
            Stream.runHead,
            Effect.forkChild
          )
          for (let i = 0; i < 600 && back.pollUnsafe() === undefined; i++) {
            // The start takes real time: the clock must not run away from it, or it is given up.
            yield* time.pass(starting.pollUnsafe() === undefined ? "30 seconds" : "200 millis")
            yield* Effect.promise(() => setTimeout(50))
          }
          assert.isDefined(back.pollUnsafe())
          // The same conversation: the model is told what was said before.
          yield* assertUsable(session)
          assert.include((yield* model.requests).at(-1)?.text, "before the crash")
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({ openCode: { binary } })),
          Effect.provideService(Clock.Clock, time.clock)
        )
      }).pipe(Effect.scoped, Effect.provide(Host.platform)),
    120_000
  )
})

describe("a server that stands still without dying", () => {
  it.live(
    "mid-text: told, asked, interrupted, settled, replaced, and the session goes on",
    () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("go", gatedText("half of an answer", "frozen")))
        yield* model.awaitGate("frozen")
        yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("half"))
        const { pid } = yield* serverOf(session)
        yield* Processes.kill(pid, "SIGSTOP")
        const outcome = yield* turn.outcome.pipe(Effect.timeout("60 seconds"))
        assert.isTrue(
          (outcome._tag === "failed" || outcome._tag === "lost" || outcome._tag === "interrupted") &&
            JSON.stringify(outcome).includes("UpstreamSilent"),
          JSON.stringify(outcome)
        )
        const told = [...yield* Stream.runCollect(turn.events)]
        assert.includeMembers([...states(told)], ["silent", "interrupting"])
        yield* Processes.kill(pid, "SIGCONT")
        yield* assertUsable(session)
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          limits: { silence: "1 second", silenceEnd: "4 seconds", call: "2 seconds", interrupt: "2 seconds" }
        }))
      ),
    120_000
  )
})

describe("a session that was closed while its server was released", () => {
  it.live(
    "is the same conversation when it is opened again: resumed, on a server of its own",
    () =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const { cwd } = yield* Host.Place
        const session = yield* sessions.open({ provider: "opencode", cwd, title: "t" })
        yield* assertUsable(session)
        const { pid } = yield* serverOf(session)
        const before = yield* conversation(session)
        yield* session.close
        yield* Processes.until(() => !Processes.isAlive(pid), "the idle server still runs")
        const again = yield* Host.open({ id: session.id })
        const opened = yield* Host.awaitEvent(again, Host.isTag("SessionOpened"))
        assert.deepStrictEqual(opened.how, { _tag: "resumed" })
        assert.strictEqual(yield* conversation(again), before)
        assert.notStrictEqual((yield* serverOf(again)).pid, pid)
        yield* assertUsable(again)
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ openCode: { idleTimeToLive: "100 millis" } }))),
    60_000
  )
})

describe("many sessions at once", () => {
  for (const count of [12, 50]) {
    it.live(`${count} become ready, eight at a time`, () => {
      let creating = 0
      let most = 0
      const counting = (client: HttpClient.HttpClient): HttpClient.HttpClient =>
        HttpClient.transform(
          client,
          (effect, request) =>
            request.method === "POST" && new URL(request.url).pathname === "/session"
              ? Effect.acquireUseRelease(
                Effect.sync(() => {
                  most = Math.max(most, ++creating)
                }),
                () => effect,
                () =>
                  Effect.sync(() => {
                    creating--
                  })
              )
              : effect
        )
      return Effect.gen(function*() {
        const all = yield* Effect.forEach(Array.from({ length: count }), () => Host.open(), {
          concurrency: "unbounded"
        })
        assert.strictEqual(new Set(all.map(({ id }) => id)).size, count)
        assert.isAtMost(most, 8)
        assert.isAbove(most, 1)
        const outcomes = yield* Effect.forEach(
          all,
          (session, index) =>
            Effect.flatMap(session.prompt(prompt("go", text(`answer ${index}`))), ({ outcome }) => outcome),
          { concurrency: 8 }
        )
        assert.deepStrictEqual(new Set(outcomes.map(({ _tag }) => _tag)), new Set(["completed"]))
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ http: counting })))
    }, 120_000)
  }
})
