/** Conversations of the real Codex over time: resumed, adopted, copied, taken back, deleted, killed. */
import { assert, layer } from "@effect/vitest"
import * as Providers from "@reins/core/Providers"
import * as Sessions from "@reins/core/Sessions"
import type { Session } from "@reins/core/Session"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"
import { assertUsable, turnOf } from "./fixtures/turns.ts"

/** What was said, oldest first: prompts by their first word, and answers. */
const said = (session: Session) =>
  Effect.map(
    session.history(),
    ({ turns }) =>
      turns.map((turn) =>
        turn.items.flatMap(({ item }) =>
          item._tag === "userMessage" || item._tag === "assistantMessage" ? [item.text.split(" ")[0] ?? ""] : []
        )
      )
  )

const say = (session: Session, words: string) => turnOf(session, prompt(words, text(`re:${words}`)))

layer(Codex.layer(), { excludeTestServices: true, timeout: "60 seconds" })("a conversation of Codex", (it) => {
  it.effect("is read in pages, resumed by its session, and goes on", () =>
    Effect.gen(function*() {
      const id = yield* Effect.scoped(Effect.gen(function*() {
        const session = yield* Codex.open()
        yield* say(session, "one")
        yield* say(session, "two")
        return session.id
      }))
      const session = yield* Codex.open({ id })
      assert.deepStrictEqual(yield* said(session), [["one", "re:one"], ["two", "re:two"]])
      const newest = yield* session.history({ limit: 1 })
      assert.lengthOf(newest.turns, 1)
      const older = yield* session.history({
        limit: 1,
        ...(newest.before === undefined ? {} : { before: newest.before })
      })
      assert.notStrictEqual(older.turns[0]?.id, newest.turns[0]?.id)
      yield* assertUsable(session)
    }))

  it.effect("codex trap 16: that never had a turn is begun anew, and nothing is lost", () =>
    Effect.gen(function*() {
      const id = yield* Effect.scoped(Effect.map(Codex.open(), (session) => session.id))
      for (const pid of yield* Codex.servers) yield* Processes.kill(pid, "SIGKILL")
      const session = yield* Codex.open({ id })
      yield* assertUsable(session)
    }))

  it.effect("lies in the home of its environment: two homes have two servers, and neither knows the other's", () =>
    Effect.gen(function*() {
      const { url } = yield* ScriptedModel.ScriptedModel
      const { cwd } = yield* Codex.Place
      const other = yield* CodexSandbox.make({ url })
      const here = yield* Codex.open()
      const there = yield* Codex.open({ env: other.env, title: "there" })
      yield* say(here, "here")
      yield* say(there, "there")
      assert.deepStrictEqual(yield* said(there), [["there", "re:there"]])
      const homeOf = (home: string) => Processes.withEnvironment(`CODEX_HOME=${home}`)
      assert.isAbove(homeOf(other.home).length, 0)
      const { conversations } = yield* Effect.flatMap(
        Sessions.Sessions,
        (sessions) => sessions.conversations({ provider: "codex", cwd })
      )
      assert.isFalse(conversations.some(({ title }) => title === "there"))
      yield* there.close
      const again = yield* Codex.open({ id: there.id, env: other.env })
      assert.deepStrictEqual(yield* said(again), [["there", "re:there"]])
    }))

  it.effect("is copied up to a turn, and taken back from one on", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const first = yield* session.prompt(prompt("one", text("re:one")))
      yield* first.outcome
      yield* say(session, "two")
      const receipt = yield* first.receipt
      const turnId = receipt._tag === "consumed" ? receipt.turnId : assert.fail(receipt._tag)
      const copy = yield* session.fork({ at: turnId })
      assert.deepStrictEqual(yield* said(copy), [["one", "re:one"]])
      yield* assertUsable(copy)
      yield* session.revert({ beforeTurn: turnId })
      assert.deepStrictEqual(yield* said(session), [])
      yield* assertUsable(session)
    }))

  it.effect("that was begun elsewhere is listed, adopted once, and deleted for good", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const { cwd } = yield* Codex.Place
      const own = yield* Codex.open({ title: "To adopt" })
      yield* say(own, "hello")
      yield* sessions.remove(own.id)
      const { conversations } = yield* sessions.conversations({ provider: "codex", cwd })
      const found = conversations.find(({ title }) => title === "To adopt")
      const session = yield* sessions.adopt({ provider: "codex", cursor: found?.cursor ?? null })
      assert.deepStrictEqual(yield* said(session), [["hello", "re:hello"]])
      yield* sessions.remove(session.id, { provider: true })
      const after = yield* sessions.conversations({ provider: "codex", cwd })
      assert.isFalse(after.conversations.some(({ title }) => title === "To adopt"))
      const error = yield* Effect.flip(sessions.adopt({ provider: "codex", cursor: { v: 1, threadId: "../x" } }))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
    }))

  it.effect("whose server is killed in the middle of a turn goes on: the turn is lost, and is not run again", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Codex.open()
      yield* say(session, "before")
      const turn = yield* session.prompt(prompt("half", gatedText("never to be heard", "kill")))
      yield* model.awaitGate("kill")
      const calls = (yield* model.requests).length
      for (const pid of yield* Codex.servers) yield* Processes.kill(pid, "SIGKILL")
      assert.strictEqual((yield* turn.outcome)._tag, "lost")
      yield* model.open("kill")
      yield* assertUsable(session)
      assert.strictEqual((yield* model.requests).length, calls + 1)
    }))

  it.effect("whose server stands still, though it runs, goes on with another one", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const turn = yield* session.prompt(prompt("go", gatedText("never said to its end", "never")))
      yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("neve"))
      const [pid = 0] = yield* Codex.servers
      yield* Processes.kill(pid, "SIGSTOP")
      yield* session.interrupt
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
      const next = yield* session.prompt(prompt("again", text("goes on")))
      assert.deepStrictEqual(yield* next.outcome, { _tag: "completed", stopReason: "endTurn" })
      yield* Processes.until(() => !Processes.isAlive(pid), "the end of the one that stands still")
    }), 60_000)

  it.effect("codex trap 22: a directory that is none is refused before anything begins", () =>
    Effect.gen(function*() {
      for (const cwd of ["/nowhere/at/all", "relative"]) {
        const error = yield* Effect.flip(Codex.open({ cwd }))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
      }
    }))

  it.effect("offers its models and its modes, and says what it is", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Codex.Place
      const codex = yield* Effect.flatMap(Providers.Providers, (providers) => providers.get("codex"))
      const models = yield* codex.models({ cwd })
      assert.isAbove(models.length, 0)
      assert.lengthOf(models.filter(({ isDefault }) => isDefault === true), 1)
      assert.deepInclude(yield* codex.probe, { installed: true, version: "0.169.0", support: "tested", auth: "ok" })
      const error = yield* Effect.flip(Codex.open({ mode: "haste" }))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
    }))
})
