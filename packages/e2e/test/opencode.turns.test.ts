/** What a turn of the real OpenCode server looks like to a host. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Item } from "@reins/core/Item"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import { Effect, FileSystem, Schema, Stream } from "effect"
import { SessionEvent as SessionEventSchema } from "@reins/core/SessionEvent"
import * as Host from "./fixtures/host.ts"
import { bash, prompt, text, tools } from "./fixtures/script.ts"

type Events = ReadonlyArray<SessionEvent | Lagged>

const turnOf = Effect.fnUntraced(function*(session: Session, words: string) {
  const turn = yield* session.prompt(words)
  const events = yield* Stream.runCollect(turn.events)
  return { events: [...events] as Events, outcome: yield* turn.outcome }
})

const completed = (events: Events): ReadonlyArray<{ readonly item: Item; readonly status: string }> =>
  events.flatMap((event) => event._tag === "ItemCompleted" ? [{ item: event.item, status: event.status }] : [])

const only = <T extends Item["_tag"]>(events: Events, tag: T) =>
  completed(events).flatMap(({ item, status }) =>
    item._tag === tag ? [{ item: item as Extract<Item, { readonly _tag: T }>, status }] : []
  )

/** Deltas laid by offset equal the final text of every item that was not discarded. */
const assertTexts = (events: Events) => {
  const laid = Host.lay(events)
  let compared = 0
  for (const { item, status } of completed(events)) {
    if (status === "discarded") continue
    const final = "text" in item ? item.text : "output" in item ? item.output : ""
    assert.strictEqual(laid.get(item.id) ?? "", final, `${item._tag} ${item.id}`)
    compared++
  }
  assert.isAbove(compared, 0)
}

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "a turn of OpenCode",
  (it) => {
    it.effect("streams text and reasoning, and its deltas are the final text", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("say it", { do: "text", text: "Hello, wörld! 👋 — done.", chunkSize: 3, reasoning: "Let me think." })
        )
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(only(events, "assistantMessage").map(({ item }) => item.text), [
          "Hello, wörld! 👋 — done."
        ])
        assert.deepStrictEqual(only(events, "reasoning").map(({ item }) => item.text), ["Let me think."])
        assert.isAbove(events.filter((event) => event._tag === "ItemDelta").length, 2)
        assertTexts(events)
      }))

    it.effect("runs a command and tells its output and exit code", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt("run", bash("echo out; echo err >&2; exit 3"), text("ran"))
        )
        assert.strictEqual(outcome._tag, "completed")
        const [command] = only(events, "command")
        assert.strictEqual(command?.status, "completed")
        assert.strictEqual(command?.item.exitCode, 3)
        assert.include(command?.item.output, "out")
        assert.strictEqual(command?.item.command, "echo out; echo err >&2; exit 3")
        assertTexts(events)
      }))

    it.effect("writes, edits and reads files, and shows what changed", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const fs = yield* FileSystem.FileSystem
        const session = yield* Host.open()
        const path = `${cwd}/poem.txt`
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "edit",
            tools(["write", { filePath: path, content: "roses are red\n" }]),
            tools(["read", { filePath: path }]),
            tools(["edit", { filePath: path, oldString: "red", newString: "blue" }]),
            text("edited")
          )
        )
        assert.strictEqual(outcome._tag, "completed")
        assert.strictEqual(yield* fs.readFileString(path), "roses are blue\n")
        const changes = only(events, "fileChange")
        assert.strictEqual(changes.length, 2)
        assert.isTrue(changes.every(({ item }) => item.changes.some((change) => change.path.endsWith("poem.txt"))))
        assert.include(changes[1]?.item.changes[0]?.diff, "+roses are blue")
        assert.include(only(events, "toolCall").map(({ item }) => item.tool), "read")
        assertTexts(events)
      }))

    it.effect("goes on after a failing tool, an unknown tool and broken arguments", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "fail",
            tools(["read", { filePath: `${cwd}/nothing-here.txt` }]),
            tools(["frobnicate", { a: 1 }]),
            { do: "tools", tools: [{ name: "bash", rawArgs: "{\"command\": " }] },
            text("survived")
          )
        )
        assert.strictEqual(outcome._tag, "completed")
        const failed = completed(events).filter(({ status }) => status === "failed")
        assert.isAbove(failed.length, 0)
        assert.isString(failed[0]?.item.error)
        assert.deepStrictEqual(only(events, "assistantMessage").map(({ item }) => item.text), ["survived"])
        assertTexts(events)
      }))

    it.effect("runs tools in parallel, each with its own output", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events } = yield* turnOf(
          session,
          prompt(
            "both",
            tools(["bash", { command: "echo first", description: "1" }], ["bash", {
              command: "echo second",
              description: "2"
            }]),
            text("both ran")
          )
        )
        assert.deepStrictEqual(
          only(events, "command").map(({ item }) => item.output.trim()).toSorted(),
          ["first", "second"]
        )
        assertTexts(events)
      }))

    it.effect("tells plan, usage, cost and title", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events } = yield* turnOf(
          session,
          prompt(
            "plan",
            tools(["todowrite", {
              todos: [{ id: "1", content: "look", status: "completed", priority: "high" }, {
                id: "2",
                content: "leap",
                status: "in_progress",
                priority: "low"
              }]
            }]),
            { do: "text", text: "planned", usage: { prompt: 120, completion: 7 } }
          )
        )
        const plans = events.flatMap((event) => event._tag === "PlanUpdated" ? [event.entries] : [])
        assert.deepStrictEqual(plans.at(-1)?.map((entry) => [entry.text, entry.status]), [["look", "completed"], [
          "leap",
          "running"
        ]])
        const settled = events.find(Host.isTag("TurnSettled"))
        assert.isAbove(settled?.usage?.input ?? 0, 0)
        assert.strictEqual(settled?.usage?.cost?.currency, "USD")
        const titles = yield* session.events().pipe(Stream.filter(Host.isTag("SessionInfo")), Stream.runHead)
        assert.strictEqual(titles._tag === "Some" ? titles.value.title : "", "test")
      }))

    it.effect("gives events that are their own JSON", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events } = yield* turnOf(session, prompt("json", bash("echo 1"), text("x")))
        for (const event of events) {
          if (event._tag === "Lagged") continue
          const json = JSON.parse(JSON.stringify(event)) as unknown
          assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(SessionEventSchema)(json), event)
          assert.deepStrictEqual(yield* Schema.encodeEffect(SessionEventSchema)(event), json)
        }
      }))

    it.effect("a subagent's items carry its path, and its end does not end the turn", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const { events, outcome } = yield* turnOf(
          session,
          prompt(
            "delegate",
            tools(["task", {
              description: "d",
              subagent_type: "general",
              prompt: prompt("child", bash("echo from-child"), text("child done"))
            }]),
            text("parent done")
          )
        )
        assert.strictEqual(outcome._tag, "completed")
        const child = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.agentPath !== undefined ? [event.item] : []
        )
        assert.isTrue(child.some((item) => item._tag === "command" && item.output.includes("from-child")))
        assert.isTrue(events.some(Host.isTag("SubagentStarted")))
        assert.isTrue(events.some(Host.isTag("SubagentSettled")))
        assert.include(only(events, "assistantMessage").map(({ item }) => item.text), "parent done")
        assertTexts(events)
      }))
  }
)
