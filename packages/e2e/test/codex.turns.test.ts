/** What a turn of the real Codex looks like to a host. */
import { assert, layer } from "@effect/vitest"
import type { Item } from "@reins/core/Item"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Fiber, FileSystem, Stream } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { gatedText, prompt, text, tools } from "./fixtures/script.ts"
import type { Events } from "./fixtures/turns.ts"
import { answers, assertUsable, assertWhole, discarded, states, turnOf } from "./fixtures/turns.ts"

const only = <T extends Item["_tag"]>(events: Events, tag: T) =>
  events.flatMap((event) =>
    event._tag === "ItemCompleted" && event.item._tag === tag
      ? [{ item: event.item as Extract<Item, { readonly _tag: T }>, status: event.status }]
      : []
  )

const completed = { _tag: "completed", stopReason: "endTurn" } as const

layer(Codex.layer(), { excludeTestServices: true, timeout: "60 seconds" })("a turn of Codex", (it) => {
  it.effect("streams a chain of thought and a text, and its deltas are the final text", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt("say it", { do: "text", text: "Hello, wörld! 👋 — done.", chunkSize: 3, reasoning: "Let me think." })
      )
      assert.deepStrictEqual(outcome, completed)
      assert.deepStrictEqual(answers(events), ["Hello, wörld! 👋 — done."])
      assert.deepStrictEqual(only(events, "reasoning").map(({ item }) => item.text), ["Let me think."])
      assertWhole(events)
      assert.isTrue(events.some((event) => event._tag === "UsageUpdated" && (event.usage.input ?? 0) > 0))
    }))

  it.effect("runs commands, also side by side, and tells their output, exit code and failure", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt("run", Codex.exec("echo one", "echo two; exit 3"), text("ran"))
      )
      assert.deepStrictEqual(outcome, completed)
      const commands = only(events, "command").map((
        { item, status }
      ) => [item.command, item.output, item.exitCode, status])
      assert.sameDeepMembers(commands, [
        ["echo one", "one\n", 0, "completed"],
        ["echo two; exit 3", "two\n", 3, "failed"]
      ])
      assertWhole(events)
    }))

  it.effect("writes, changes, moves and deletes files, and shows what changed", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Codex.Place
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt(
          "patch",
          Codex.patch("*** Add File: a.txt", "+one", "+two"),
          Codex.patch("*** Update File: a.txt", "*** Move to: b.txt", "@@", " one", "-two", "+three"),
          Codex.patch("*** Delete File: b.txt"),
          text("patched")
        )
      )
      assert.deepStrictEqual(outcome, completed)
      assert.deepStrictEqual(
        only(events, "fileChange").flatMap(({ item }) =>
          item.changes.map(({ additions, change, deletions, movedTo, path }) => [
            path.replace(`${cwd}/`, ""),
            change,
            additions,
            deletions,
            movedTo?.replace(`${cwd}/`, "")
          ])
        ),
        [
          ["a.txt", "added", 2, 0, undefined],
          ["a.txt", "moved", 1, 1, "b.txt"],
          ["b.txt", "deleted", 0, 2, undefined]
        ]
      )
      assert.isFalse(yield* fs.exists(`${cwd}/b.txt`))
    }))

  it.effect("takes back what an attempt said that is tried again", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt("cut", { do: "cut", after: 3, times: 1 }, text("whole at last"))
      )
      assert.deepStrictEqual(outcome, completed)
      assert.deepStrictEqual(answers(events), ["whole at last"])
      assert.isAbove(discarded(events), 0)
      assert.include(states(events), "retryingUpstream")
      assertWhole(events)
    }))

  it.effect("codex trap 8: prompts that wait get turns of their own; one that is steered joins the turn that runs", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Codex.open()
      const first = yield* session.prompt(prompt("first", gatedText("the first answer", "g1")))
      yield* model.awaitGate("g1")
      const waiting = yield* session.prompt(prompt("waits", text("the second answer")))
      const steered = yield* session.prompt("and be brief", { delivery: "steer" })
      assert.strictEqual((yield* steered.receipt)._tag, "consumed")
      yield* model.open("g1")
      assert.deepStrictEqual(yield* first.outcome, completed)
      assert.deepStrictEqual(yield* waiting.outcome, completed)
      const [a, b, c] = yield* Effect.all([first.receipt, steered.receipt, waiting.receipt])
      const turns = [a, b, c].map((receipt) => receipt._tag === "consumed" ? receipt.turnId : receipt._tag)
      assert.strictEqual(turns[0], turns[1])
      assert.notStrictEqual(turns[0], turns[2])
    }))

  it.effect("codex trap 6: an interrupt that comes before the agent has told of the turn ends it all the same", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      for (const wait of [0, 1, 5, 20]) {
        const early = yield* session.prompt(
          prompt("early", { do: "text", text: "x ".repeat(2_000), chunkSize: 2, delayMs: 20 })
        )
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "PromptChanged" && event.promptId === early.id && event.state._tag === "submitted"
        )
        if (wait > 0) yield* Effect.sleep(wait)
        yield* session.interrupt
        assert.include(["interrupted", "notRun"], (yield* early.outcome)._tag, `after ${wait} ms`)
        // The agent's own word ends it, not our patience.
        const settled = [...yield* Stream.runCollect(early.events)].findLast(Host.isTag("TurnSettled"))
        assert.notInclude(JSON.stringify(settled?.evidence ?? []), "did not confirm", `after ${wait} ms`)
      }
      yield* assertUsable(session)
    }))

  it.effect("codex trap 10: a patch that does not apply makes no item, and only the model hears of it", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Codex.open()
      const { events, outcome } = yield* turnOf(
        session,
        prompt("patch", Codex.patch("*** Update File: missing.txt", "@@", "-one", "+two"), text("I could not"))
      )
      assert.deepStrictEqual(outcome, completed)
      assert.deepStrictEqual(only(events, "fileChange"), [])
      assert.deepStrictEqual(answers(events), ["I could not"])
      assert.match(JSON.stringify((yield* model.requests).at(-1)?.request.toolResultsAfterLastUser), /missing\.txt/)
      assertWhole(events)
    }))

  it.effect(
    "codex trap 7: an interrupt ends the turn, and ends its command",
    () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const turn = yield* session.prompt(prompt("run", Codex.exec("sleep 277"), text("never")))
        yield* Processes.until(() => Processes.withText("sleep 277").length > 0, "the command", Processes.starts)
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        yield* Processes.until(() => Processes.withText("sleep 277").length === 0, "the end of the command")
        yield* assertUsable(session)
      }),
    60_000
  )

  it.effect("an interrupt leaves alone what an earlier turn left running on purpose", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const left = ["exec_command", { cmd: "sleep 2346", yield_time_ms: 250 }] as const
      const first = yield* session.prompt(prompt("serve", tools(left), text("it runs on")))
      assert.deepStrictEqual(yield* first.outcome, completed)
      const second = yield* session.prompt(prompt("run", Codex.exec("sleep 278"), text("never")))
      yield* Processes.until(() => Processes.withText("sleep 278").length > 0, "the command", Processes.starts)
      yield* session.interrupt
      assert.deepStrictEqual(yield* second.outcome, { _tag: "interrupted", by: "user" })
      yield* Processes.until(() => Processes.withText("sleep 278").length === 0, "the end of the command")
      assert.isAbove(Processes.withText("sleep 2346").length, 0)
    }), 60_000)

  it.effect(
    "a command that goes on in the background outlives its turn, and its end is told",
    () =>
      Effect.gen(function*() {
        const session = yield* Codex.open()
        const ended = yield* session.events().pipe(
          Stream.filter((event) => event._tag === "ItemCompleted" && event.item._tag === "command"),
          Stream.runHead,
          Effect.forkChild
        )
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "run",
            tools(["exec_command", { cmd: "sleep 3; echo late", yield_time_ms: 250 }]),
            text("it runs on")
          )
        )
        assert.deepStrictEqual(outcome, completed)
        assert.isTrue(events.some((event) => event._tag === "ItemUpdated" && event.background === true))
        const end = yield* Fiber.join(ended)
        const item = end._tag === "Some" && end.value._tag === "ItemCompleted" ? end.value.item : undefined
        assert.deepInclude(item ?? {}, { _tag: "command", exitCode: 0, output: "late\n" })
      }),
    60_000
  )

  it.effect("keeps two sessions on one server apart", () =>
    Effect.gen(function*() {
      const sessions = yield* Effect.all([Codex.open(), Codex.open()])
      const results = yield* Effect.forEach(
        sessions,
        (session, index) =>
          turnOf(session, prompt(`n${index}`, Codex.exec(`echo from ${index}`), text(`answer ${index}`))),
        { concurrency: 2 }
      )
      for (const [index, { events }] of results.entries()) {
        assert.deepStrictEqual(answers(events), [`answer ${index}`])
        assert.deepStrictEqual(only(events, "command").map(({ item }) => item.output), [`from ${index}\n`])
      }
      assert.lengthOf(yield* Codex.servers, 1)
    }))
})
