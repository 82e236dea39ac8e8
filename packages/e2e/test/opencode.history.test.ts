/** Forks, reverts and compactions of the real OpenCode: what the model sees afterwards, and what the files hold. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import type { TurnId } from "@reins/core/Ids"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Option, Stream } from "effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { gatedText, prompt, text, tools } from "./fixtures/script.ts"

const say = Effect.fnUntraced(function*(session: Session, words: string, answer: string) {
  const turn = yield* session.prompt(prompt(words, text(answer)))
  const receipt = yield* turn.receipt
  assert.strictEqual((yield* turn.outcome)._tag, "completed")
  if (receipt._tag !== "consumed") return yield* Effect.die("the prompt was not taken")
  return receipt.turnId
})

/** The conversation that the model was sent last, without the system's words. */
const seen = Effect.map(
  Model.lastBody,
  ({ messages }) => JSON.stringify(messages.filter(({ role }) => role !== "system"))
)

/** All events of the session up to the settlement of its turn number `count`. */
const untilSettled = (session: Session, count: number) => {
  let settled = 0
  return session.events().pipe(
    Stream.takeUntil((event) => event._tag === "TurnSettled" && ++settled === count),
    Stream.runCollect,
    Effect.timeout("20 seconds")
  )
}

const seqs = (events: ReadonlyArray<SessionEvent | Lagged>) =>
  events.flatMap((event) => event._tag === "Lagged" || event._tag === "ItemDelta" ? [] : [event.seq])

const assertGapFree = (events: ReadonlyArray<SessionEvent | Lagged>) => {
  const numbers = seqs(events)
  assert.deepStrictEqual(numbers, numbers.map((_, index) => index + 1))
}

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "the history of an OpenCode session",
  (it) => {
    it.effect("a fork goes on with the whole conversation, and the origin does not hear of it", () =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const store = yield* BindingStore.BindingStore
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        yield* say(session, "remember beta", "two")
        const before = (yield* session.view).seq
        const fork = yield* session.fork({ title: "a copy" })
        assert.notStrictEqual(fork.id, session.id)
        const opened = yield* Host.awaitEvent(fork, Host.isTag("SessionOpened"))
        assert.deepStrictEqual(opened.how, { _tag: "forked", from: session.id })
        yield* say(fork, "go on in the copy", "three")
        const copied = yield* seen
        assert.include(copied, "remember alpha")
        assert.include(copied, "remember beta")
        assert.strictEqual((yield* session.view).seq, before)
        yield* say(session, "go on in the origin", "four")
        assert.notInclude(yield* seen, "in the copy")
        const bindings = [
          Option.getOrThrow(yield* store.get(session.id)),
          Option.getOrThrow(yield* store.get(fork.id))
        ]
        assert.notDeepEqual(bindings[0]?.cursor, bindings[1]?.cursor)
        assert.strictEqual(bindings[1]?.title, "a copy")
        // The copy is a session like any other: it can be opened again by its id.
        yield* fork.close
        const again = yield* sessions.openScoped({ id: fork.id })
        yield* say(again, "and once more", "five")
        assert.include(yield* seen, "go on in the copy")
      }))

    it.effect("a fork at a turn holds that turn and none behind it", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const first = yield* say(session, "remember alpha", "one")
        yield* say(session, "remember beta", "two")
        const fork = yield* session.fork({ at: first })
        const opened = yield* Host.awaitEvent(fork, Host.isTag("SessionOpened"))
        assert.deepStrictEqual(opened.how, { _tag: "forked", from: session.id, at: first })
        yield* say(fork, "go on", "three")
        const copied = yield* seen
        assert.include(copied, "remember alpha")
        assert.notInclude(copied, "remember beta")
        yield* fork.close
        const error = yield* Effect.flip(session.fork({ at: "trn_nothing" as TurnId }))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
      }))

    it.effect("a fork during a turn holds what has settled, and the turn goes on", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const turn = yield* session.prompt(prompt("remember beta", gatedText("a long answer", "fork-gate")))
        yield* model.awaitGate("fork-gate")
        const fork = yield* session.fork()
        yield* say(fork, "go on", "three")
        const copied = yield* seen
        assert.include(copied, "remember alpha")
        assert.notInclude(copied, "remember beta")
        yield* fork.close
        yield* model.open("fork-gate")
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
      }))

    it.effect("a fork asks like its origin", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
        yield* say(session, "begin", "one")
        const fork = yield* session.fork()
        yield* fork.attach()
        const turn = yield* fork.prompt(
          prompt("run", tools(["bash", { command: "true", description: "d" }]), text("ran"))
        )
        const request = yield* Host.awaitEvent(fork, Host.isTag("RequestOpened"))
        yield* fork.answer(request.requestId, { _tag: "accept" })
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        yield* fork.close
      }))

    it.effect("a revert takes turns out of what the model sees; the numbers of events go on without a gap", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const second = yield* say(session, "remember beta", "two")
        yield* say(session, "remember gamma", "three")
        assert.deepStrictEqual(yield* session.revert({ beforeTurn: second }), { files: "kept" })
        const told = yield* Host.awaitEvent(session, Host.isTag("HistoryReverted"))
        assert.strictEqual(told.beforeTurn, second)
        yield* say(session, "what do you know", "only alpha")
        const known = yield* seen
        assert.include(known, "remember alpha")
        assert.notInclude(known, "remember beta")
        assert.notInclude(known, "remember gamma")
        const events = yield* untilSettled(session, 4)
        assertGapFree(events)
        assert.strictEqual(events.filter(Host.isTag("HistoryReverted")).length, 1)
        const error = yield* Effect.flip(session.revert({ beforeTurn: second }))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
      }))

    it.effect("a revert can be undone until the next prompt", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const second = yield* say(session, "remember beta", "two")
        yield* session.revert({ beforeTurn: second })
        yield* session.unrevert
        yield* say(session, "what do you know", "both")
        assert.include(yield* seen, "remember beta")
        const nothing = yield* Effect.flip(session.unrevert)
        assert.strictEqual(nothing.reason._tag, "InvalidRequest")
        yield* session.revert({ beforeTurn: second })
        yield* say(session, "what do you know now", "one")
        assert.notInclude(yield* seen, "remember beta")
        assert.strictEqual((yield* Effect.flip(session.unrevert)).reason._tag, "InvalidRequest")
      }))

    it.effect("a fork of a conversation with a revert is without what was taken back", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const second = yield* say(session, "remember beta", "two")
        yield* session.revert({ beforeTurn: second })
        const fork = yield* session.fork()
        yield* say(fork, "go on", "three")
        assert.include(yield* seen, "remember alpha")
        assert.notInclude(yield* seen, "remember beta")
        yield* fork.close
      }))

    it.effect("nothing is rewritten while a turn runs", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const first = yield* say(session, "remember alpha", "one")
        const turn = yield* session.prompt(prompt("wait", gatedText("a long answer", "busy-gate")))
        yield* model.awaitGate("busy-gate")
        const errors = [
          yield* Effect.flip(session.revert({ beforeTurn: first })),
          yield* Effect.flip(session.unrevert),
          yield* Effect.flip(session.compact)
        ]
        assert.deepStrictEqual(errors.map((error) => error.reason._tag), ["SessionBusy", "SessionBusy", "SessionBusy"])
        yield* model.open("busy-gate")
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        yield* session.revert({ beforeTurn: first })
      }))

    it.effect("a prompt that is steered into a turn is reverted with it", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const turn = yield* session.prompt(
          prompt("remember beta", { ...tools(["glob", { pattern: "*.none" }]), gate: "revert-steer" }, text("two"))
        )
        yield* model.awaitGate("revert-steer")
        const steered = yield* session.prompt("remember gamma", { delivery: "steer" })
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "PromptChanged" && event.promptId === steered.id && event.state._tag === "steered"
        )
        yield* model.open("revert-steer")
        const receipt = yield* turn.receipt
        assert.strictEqual((yield* steered.outcome)._tag, "completed")
        if (receipt._tag !== "consumed") return assert.fail("the prompt was not taken")
        const copy = yield* session.fork({ at: receipt.turnId })
        yield* say(copy, "what do you know", "all")
        assert.include(yield* seen, "remember gamma")
        yield* copy.close
        yield* session.revert({ beforeTurn: receipt.turnId })
        yield* say(session, "what do you know", "alpha")
        const known = yield* seen
        assert.include(known, "remember alpha")
        assert.notInclude(known, "remember beta")
        assert.notInclude(known, "remember gamma")
      }))

    it.effect("a compaction is a turn of its own, and the next prompt goes on behind the summary", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* say(session, "remember alpha", "one")
        const outcome = yield* session.compact
        assert.strictEqual(outcome._tag, "completed")
        const events = yield* untilSettled(session, 2)
        const started = events.filter(Host.isTag("TurnStarted"))
        assert.strictEqual(started.length, 2)
        const turnId = started[1]?.turnId
        assert.deepStrictEqual(
          events.flatMap((event) => event._tag === "TurnChanged" && event.turnId === turnId ? [event.state._tag] : [])
            .slice(0, 1),
          ["compacting"]
        )
        const items = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.turnId === turnId ? [event.item] : []
        )
        assert.deepStrictEqual(items.map((item) => item._tag).slice(0, 1), ["compaction"])
        assert.isTrue(items.some((item) => item._tag === "assistantMessage" && item.text === "Scripted title"))
        assert.deepStrictEqual(
          events.flatMap((event) => event._tag === "TurnSettled" && event.turnId === turnId ? [event.outcome] : []),
          [outcome]
        )
        yield* say(session, "go on", "two")
        const known = yield* seen
        assert.include(known, "Scripted title")
        assert.notInclude(known, "\"one\"")
        assertGapFree(yield* untilSettled(session, 3))
      }))
  }
)

const git = Effect.gen(function*() {
  const { cwd, env } = yield* Host.Place
  const spawner = yield* ChildProcessSpawner
  for (
    const args of [["init", "-q"], [
      "-c",
      "user.email=a@example.invalid",
      "-c",
      "user.name=a",
      "commit",
      "-q",
      "--allow-empty",
      "-m",
      "begin"
    ]]
  ) {
    assert.strictEqual(yield* spawner.exitCode(ChildProcess.make("git", args, { cwd, env, extendEnv: true })), 0)
  }
})

describe("in a git repository", () => {
  it.live("a revert takes back what the turns wrote, and its undoing brings it back", () =>
    Effect.gen(function*() {
      yield* git
      const { cwd } = yield* Host.Place
      const fs = yield* FileSystem.FileSystem
      const session = yield* Host.open()
      const write = Effect.fnUntraced(function*(name: string) {
        const turn = yield* session.prompt(
          prompt(`write ${name}`, tools(["write", { filePath: `${cwd}/${name}`, content: name }]), text("written"))
        )
        const receipt = yield* turn.receipt
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        return receipt._tag === "consumed" ? receipt.turnId : assert.fail("the prompt was not taken")
      })
      yield* write("a.txt")
      const second = yield* write("b.txt")
      assert.deepStrictEqual(yield* session.revert({ beforeTurn: second }), { files: "restored" })
      assert.isTrue(yield* fs.exists(`${cwd}/a.txt`))
      assert.isFalse(yield* fs.exists(`${cwd}/b.txt`))
      yield* session.unrevert
      assert.strictEqual(yield* fs.readFileString(`${cwd}/b.txt`), "b.txt")
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))), 60_000)
})

describe("after a restart of the host", () => {
  it.live("turns are found by the ids that they had", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const session = yield* Host.open()
      yield* say(session, "remember alpha", "one")
      const second = yield* say(session, "remember beta", "two")
      yield* say(session, "remember gamma", "three")
      yield* session.close
      // Nothing of the engine is left: it is the conversation that knows its turns.
      const again = yield* sessions.openScoped({ id: session.id })
      const copy = yield* again.fork({ at: second })
      yield* say(copy, "what do you know", "two things")
      const copied = yield* seen
      assert.include(copied, "remember beta")
      assert.notInclude(copied, "remember gamma")
      yield* again.revert({ beforeTurn: second })
      const events = [...yield* Stream.runCollect((yield* again.prompt(prompt("what now", text("alpha")))).events)]
      assert.strictEqual(events.filter(Host.isTag("TurnSettled")).length, 1)
      const known = yield* seen
      assert.include(known, "remember alpha")
      assert.notInclude(known, "remember beta")
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))), 60_000)
})
