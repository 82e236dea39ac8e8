/** What the real Codex asks, and what our answers do. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import type { AgentRequest, Answer } from "@reins/core/AgentRequest"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { prompt, text } from "./fixtures/script.ts"
import type { Events } from "./fixtures/turns.ts"
import { answers, assertUsable } from "./fixtures/turns.ts"

/** Answers what is asked in one turn, in order, and says what was asked. */
const asked = Effect.fnUntraced(function*(session: Session, words: string, given: ReadonlyArray<Answer>) {
  yield* session.attach()
  const turn = yield* session.prompt(words)
  const requests: Array<AgentRequest> = []
  const events: Array<Events[number]> = []
  yield* turn.events.pipe(Stream.runForEach((event) =>
    Effect.gen(function*() {
      events.push(event)
      if (event._tag !== "RequestOpened") return
      const request = (yield* session.requests).find(({ id }) => id === event.requestId)
      const answer = given[requests.length]
      if (request === undefined || answer === undefined) return
      requests.push(request)
      yield* Effect.orDie(session.answer(request.id, answer))
    })
  ))
  return { outcome: yield* turn.outcome, requests, events }
})

const completed = { _tag: "completed", stopReason: "endTurn" } as const
const accept: Answer = { _tag: "accept" }

layer(Codex.layer({ policy: ApprovalPolicy.askAlways }), { excludeTestServices: true, timeout: "60 seconds" })(
  "Codex asks",
  (it) => {
    it.effect("codex trap 11: before a command and before a patch, with what they would do; accepted they are done once", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { cwd, home } = yield* Codex.Place
        const session = yield* Codex.open()
        const { events, outcome, requests } = yield* asked(
          session,
          prompt(
            "do it",
            Codex.exec("echo once >> log.txt"),
            Codex.patch("*** Add File: new.txt", "+first", "+second"),
            text("done")
          ),
          [accept, accept]
        )
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(requests.map(({ kind }) => kind), ["command", "edit"])
        assert.strictEqual(requests[0]?.facts.command, "echo once >> log.txt")
        // What an acceptance may mean is said before it is given.
        assert.include(requests[0]?.facts.reason ?? "", "again outside of its sandbox")
        assert.deepStrictEqual(requests[1]?.facts.paths, [`${cwd}/new.txt`])
        assert.include(requests[1]?.facts.diff ?? "", "+first\n+second")
        assert.strictEqual(yield* fs.readFileString(`${cwd}/log.txt`), "once\n")
        assert.strictEqual(yield* fs.readFileString(`${cwd}/new.txt`), "first\nsecond\n")
        assert.deepStrictEqual(answers(events), ["done"])
        // No rule of its own was left behind.
        assert.isFalse(yield* fs.exists(`${home}/rules/default.rules`))
      }))

    it.effect("where a file would be moved to: out of the directory no policy for edits accepts it", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { cwd, root } = yield* Codex.Place
        yield* fs.writeFileString(`${cwd}/inside.txt`, "first\n")
        const session = yield* Codex.open({ policy: ApprovalPolicy.acceptEdits })
        const { outcome, requests } = yield* asked(
          session,
          prompt(
            "move it",
            Codex.patch("*** Update File: inside.txt", "*** Move to: ../escaped.txt", "@@", "-first", "+second"),
            text("done")
          ),
          [{ _tag: "decline" }]
        )
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(requests.map(({ kind }) => kind), ["edit"])
        assert.isTrue(requests[0]?.facts.paths?.some((path) => path.endsWith("escaped.txt")))
        assert.isFalse(yield* fs.exists(`${root}/escaped.txt`))
      }))

    it.effect("and a declined command is not run, is told as declined, and the turn goes on", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { cwd } = yield* Codex.Place
        const session = yield* Codex.open()
        const { events, outcome } = yield* asked(
          session,
          prompt("do it", Codex.exec("touch declined.txt"), text("then not")),
          [{ _tag: "decline" }]
        )
        assert.deepStrictEqual(outcome, completed)
        assert.isFalse(yield* fs.exists(`${cwd}/declined.txt`))
        const item = events.find((event) => event._tag === "ItemCompleted" && event.item._tag === "command")
        assert.strictEqual(item?._tag === "ItemCompleted" ? item.status : undefined, "declined")
      }))

    it.effect("and a cancelled one ends the turn", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const { outcome } = yield* asked(session, prompt("do it", Codex.exec("touch x"), text("never")), [{
          _tag: "cancel"
        }])
        assert.strictEqual(outcome._tag, "interrupted")
        yield* assertUsable(session)
      }))

    it.effect("codex trap 2: also when its process is another one, which numbers its requests from 0 again", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const first = yield* asked(session, prompt("run", Codex.exec("echo one"), text("ran")), [accept])
        assert.deepStrictEqual(first.outcome, completed)
        for (const pid of yield* Codex.servers) yield* Processes.kill(pid, "SIGKILL")
        yield* Host.awaitEvent(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        const second = yield* asked(session, prompt("run", Codex.exec("echo two"), text("ran")), [accept])
        assert.deepStrictEqual(second.outcome, completed)
        assert.deepStrictEqual(second.requests.map(({ facts }) => facts.command), ["echo two"])
        assert.notStrictEqual(second.requests[0]?.id, first.requests[0]?.id)
      }))

    it.effect("once for the session where it was accepted for that, and again for another command", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const { outcome, requests } = yield* asked(
          session,
          prompt("do it", Codex.exec("echo a"), Codex.exec("echo a"), Codex.exec("echo b"), text("done")),
          [{ _tag: "acceptForSession" }, accept, accept]
        )
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(requests.map(({ facts }) => facts.command), ["echo a", "echo b"])
      }))
  }
)

layer(Codex.layer({ store: BindingStore.layerMemory }), { excludeTestServices: true, timeout: "60 seconds" })(
  "a policy that accepts everything",
  (it) => {
    it.effect(
      "codex trap 15: waits for nothing: in a new thread, in a resumed one, after a change of the model",
      () =>
        Effect.gen(function*() {
          const fs = yield* FileSystem.FileSystem
          const { cwd } = yield* Codex.Place
          const run = (session: Session, name: string, patches = true) =>
            Effect.gen(function*() {
              const turn = yield* session.prompt(
                prompt(
                  name,
                  Codex.exec(`touch ${name}.txt`),
                  ...(patches ? [Codex.patch(`*** Add File: ${name}.md`, "+x")] : []),
                  text("done")
                )
              )
              const events = yield* Stream.runCollect(turn.events)
              assert.deepStrictEqual(yield* turn.outcome, completed)
              assert.isFalse([...events].some((event) => event._tag === "RequestOpened"))
              assert.isTrue(yield* fs.exists(`${cwd}/${name}.txt`), name)
              assert.strictEqual(yield* fs.exists(`${cwd}/${name}.md`), patches, name)
            })
          const id = yield* Effect.scoped(Effect.gen(function*() {
            const session = yield* Codex.open({ policy: ApprovalPolicy.askAlways })
            yield* session.configure({ policy: ApprovalPolicy.fullAccess })
            yield* run(session, "first")
            return session.id
          }))
          const session = yield* Codex.open({ id, policy: ApprovalPolicy.fullAccess })
          yield* run(session, "resumed")
          yield* session.configure({ model: "gpt-5.2" })
          // A model that has no tool for patches.
          yield* run(session, "changed", false)
        }),
      60_000
    )

    it.effect("codex trap 12: and yet a question of the model is asked, and answered", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ mode: "plan" })
        const questions = [{
          id: "color",
          header: "Color",
          question: "Which color?",
          options: [{ label: "Blue", description: "the sky" }, { label: "Red", description: "a rose" }]
        }]
        const { events, outcome, requests } = yield* asked(
          session,
          prompt(
            "plan it",
            { do: "tools", tools: [{ name: "request_user_input", args: { questions } }] },
            text("blue it is")
          ),
          [{ _tag: "answers", answers: [["Blue"]] }]
        )
        assert.deepStrictEqual(outcome, completed)
        assert.deepStrictEqual(requests.map(({ kind }) => kind), ["question"])
        assert.strictEqual(requests[0]?.facts.questions?.[0]?.text, "Which color?")
        assert.deepStrictEqual(answers(events), ["blue it is"])
        assert.include(JSON.stringify((yield* (yield* ScriptedModel.ScriptedModel).requests).at(-1)?.request), "Blue")
      }))

    it.effect("and one that asks again is asked from the next turn on", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        yield* session.configure({ policy: ApprovalPolicy.askAlways })
        const { requests } = yield* asked(session, prompt("do it", Codex.exec("echo a"), text("done")), [accept])
        assert.deepStrictEqual(requests.map(({ kind }) => kind), ["command"])
      }))
  }
)
