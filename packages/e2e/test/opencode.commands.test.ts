/** Slash commands and skills of the real OpenCode: listed, run by its own route, and settled like any other prompt. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Catalogue from "@reins/core/Catalogue"
import * as Prompt from "@reins/core/Prompt"
import * as Providers from "@reins/core/Providers"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { scissors } from "./fixtures/scissors.ts"
import { prompt, text, tools } from "./fixtures/script.ts"

const write = Effect.fnUntraced(function*(path: string, content: string) {
  const { cwd } = yield* Host.Place
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(`${cwd}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true })
  yield* fs.writeFileString(`${cwd}/${path}`, content)
})

/** Commands and a skill of the project, written before the server reads it. */
const project = Effect.gen(function*() {
  const model = ScriptedModel
  yield* write(".opencode/command/greet.md", "---\ndescription: Greets somebody\n---\nSay hello to $ARGUMENTS")
  yield* write(
    ".opencode/command/gated.md",
    `---\ndescription: Waits\n---\n${model.prompt("wait", [{ do: "text", text: "at last", gate: "command" }])}`
  )
  yield* write(
    ".opencode/command/delegate.md",
    "---\ndescription: Hands it on\nagent: general\nsubtask: true\n---\nDo $ARGUMENTS"
  )
  yield* write(".opencode/command/listing.md", "---\ndescription: Lists\n---\nFiles: !`touch ran; echo done-by-shell`")
  yield* write(
    ".opencode/skill/polite/SKILL.md",
    "---\nname: polite\ndescription: Write politely\n---\nAlways say please."
  )
})

const states = (events: ReadonlyArray<SessionEvent | Lagged>, promptId: string) =>
  events.flatMap((event) => event._tag === "PromptChanged" && event.promptId === promptId ? [event.state._tag] : [])

const run = Effect.fnUntraced(function*(
  session: Effect.Success<ReturnType<typeof Host.open>>,
  input: Prompt.PromptInput | string
) {
  const turn = yield* session.prompt(input)
  const events = [...yield* Stream.runCollect(turn.events)]
  return { id: turn.id, events, outcome: yield* turn.outcome, receipt: yield* turn.receipt }
})

layer(Host.layer({ policy: ApprovalPolicy.fullAccess }), { excludeTestServices: true, timeout: "60 seconds" })(
  "commands of OpenCode",
  (it) => {
    it.effect("lists commands and skills, and says which of them run shell commands unasked", () =>
      Effect.gen(function*() {
        yield* project
        const { cwd } = yield* Host.Place
        const provider = yield* Effect.flatMap(Providers.Providers, (all) => all.get("opencode"))
        const commands = yield* Catalogue.commands(provider, { cwd })
        const named = (name: string) => commands.find((command) => command.name === name)
        assert.deepStrictEqual(named("greet"), { name: "greet", description: "Greets somebody", source: "command" })
        assert.deepStrictEqual(named("polite"), { name: "polite", description: "Write politely", source: "skill" })
        assert.strictEqual(named("delegate")?.mode, "general")
        assert.deepStrictEqual(named("listing")?.runs, ["touch ran; echo done-by-shell"])
      }))

    it.effect("tells a session what there is", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const told = yield* Host.awaitEvent(session, Host.isTag("CommandsUpdated"))
        assert.includeDeepMembers([...told.commands], [{ name: "greet", description: "Greets somebody" }])
      }))

    it.effect("runs a command as a prompt of its own key, with true receipts", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const { events, id, outcome, receipt } = yield* run(session, Prompt.make(Prompt.command("greet", "Bob")))
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.strictEqual(receipt._tag, "consumed")
        if (receipt._tag === "consumed") assert.strictEqual(receipt.turnId, `trn_${id.slice(4)}`)
        assert.deepStrictEqual(states(events, id).filter((state) => state !== "acknowledged"), [
          "queued",
          "submitted",
          "consumed"
        ])
        assert.strictEqual(events.filter((event) => event._tag === "TurnStarted").length, 1)
        assert.deepStrictEqual((yield* Model.lastPrompt).map((part) => part.text), ["Say hello to Bob"])
        const next = yield* run(session, prompt("after it", text("fine")))
        assert.strictEqual(next.outcome._tag, "completed")
      }))

    it.effect("runs a skill as a command", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const { outcome } = yield* run(session, Prompt.make(Prompt.command("polite", "now")))
        assert.strictEqual(outcome._tag, "completed")
        assert.include((yield* Model.lastPrompt)[0]?.text, "Always say please.")
      }))

    it.effect("a command that is a subtask is one turn, with its subagent", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const { events, outcome, receipt } = yield* run(session, Prompt.make(Prompt.command("delegate", "it")))
        assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.strictEqual(receipt._tag, "consumed")
        assert.strictEqual(events.filter((event) => event._tag === "TurnStarted").length, 1)
        assert.strictEqual(events.filter((event) => event._tag === "SubagentSettled").length, 1)
      }))

    it.effect("a command takes files, and no text beside its arguments", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const file = Prompt.file({ data: Buffer.from("the file"), name: "a.txt" })
        const { outcome } = yield* run(session, Prompt.make(Prompt.command("greet", "Ann"), file))
        assert.strictEqual(outcome._tag, "completed")
        const words = (yield* Model.lastPrompt).map((part) => part.text ?? "").join("\n")
        assert.include(words, "Say hello to Ann")
        assert.include(words, "the file")
        const error = yield* Effect.flip(session.prompt(Prompt.make(Prompt.command("greet"), "and more")))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
      }))

    it.effect("a command that does not exist is refused, and the refusal names those that do", () =>
      Effect.gen(function*() {
        yield* project
        const session = yield* Host.open()
        const before = (yield* Model.bodies).length
        const error = yield* Effect.flip(session.prompt(Prompt.make(Prompt.command("nope"))))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
        assert.include(error.message, "\"nope\"")
        assert.include(error.message, "greet")
        yield* session.quiescent
        assert.strictEqual((yield* Model.bodies).length, before)
      }))

    it.effect("a command that runs shell commands is refused where OpenCode would run them in another directory", () =>
      Effect.gen(function*() {
        yield* project
        const fs = yield* FileSystem.FileSystem
        const session = yield* Host.open()
        const error = yield* Effect.flip(session.prompt(Prompt.make(Prompt.command("listing"))))
        assert.strictEqual(error.reason._tag, "Unsupported")
        assert.include(error.message, "directory of its server process")
        assert.isFalse(yield* fs.exists("ran"))
        // Where it is the session's own directory they run, and nobody is asked.
        assert.isTrue(session.capabilities.unasked.some((unasked) => unasked.includes("slash command")))
      }))

    it.effect("a command can be interrupted, and waits in the queue like any prompt", () =>
      Effect.gen(function*() {
        yield* project
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const turn = yield* session.prompt(Prompt.make(Prompt.command("gated")))
        yield* model.awaitGate("command")
        const queued = yield* session.prompt(Prompt.make(Prompt.command("greet", "Eve")))
        yield* session.interrupt
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        // The model finds the script of the first command in the conversation again.
        yield* model.open("command")
        assert.strictEqual((yield* queued.outcome)._tag, "completed")
        assert.deepStrictEqual((yield* Model.lastPrompt).map((part) => part.text), ["Say hello to Eve"])
      }))

    it.effect("a steered command joins the running turn, or gets one of its own", () =>
      Effect.gen(function*() {
        yield* project
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const first = yield* session.prompt(
          prompt("work", { ...tools(["glob", { pattern: "*.none" }]), gate: "steer-command" }, text("done working"))
        )
        yield* model.awaitGate("steer-command")
        const steered = yield* session.prompt(Prompt.make(Prompt.command("greet", "Tom")), { delivery: "steer" })
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "PromptChanged" && event.promptId === steered.id && event.state._tag !== "submitted"
        )
        yield* model.open("steer-command")
        assert.strictEqual((yield* first.outcome)._tag, "completed")
        assert.strictEqual((yield* steered.receipt)._tag, "consumed")
        assert.strictEqual((yield* steered.outcome)._tag, "completed")
        const asked = (yield* Model.bodies).filter((body) => JSON.stringify(body.messages).includes("hello to Tom"))
        assert.isAbove(asked.length, 0)
      }))
  }
)

describe("a command of OpenCode", () => {
  it.live("over a cut of the event stream runs once, and its turn is told to its end", () => {
    const { cut, http } = scissors()
    let calls = 0
    const counted = Host.watching((request) => {
      if (request.url.endsWith("/command") && request.method === "POST") calls++
    })
    return Effect.gen(function*() {
      yield* project
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const turn = yield* session.prompt(Prompt.make(Prompt.command("gated")))
      yield* model.awaitGate("command")
      yield* cut
      yield* Host.awaitEvent(
        session,
        (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
      )
      yield* model.open("command")
      const events = [...yield* Stream.runCollect(turn.events)]
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.strictEqual((yield* turn.receipt)._tag, "consumed")
      assert.include(
        events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" ? [event.item.text] : []
        ),
        "at last"
      )
      yield* session.quiescent
      assert.strictEqual(calls, 1)
      assert.strictEqual((yield* Model.bodies).length, 1)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Host.layer({ policy: ApprovalPolicy.fullAccess, http: (client) => counted(http(client)) })
      )
    )
  }, 60_000)

  for (const where of ["before", "after"] as const) {
    it.live(
      `whose call is broken ${where === "before" ? "before it arrives" : "after it arrived"} runs once`,
      () => {
        let broken = false
        const http = (client: HttpClient.HttpClient) =>
          HttpClient.transform(client, (effect, request) => {
            if (broken || request.method !== "POST" || !request.url.endsWith("/command")) return effect
            broken = true
            const error = new HttpClientError.HttpClientError({
              reason: new HttpClientError.TransportError({ request, description: "the connection was reset" })
            })
            return where === "before" ? Effect.fail(error) : Effect.andThen(effect, Effect.fail(error))
          })
        return Effect.gen(function*() {
          yield* project
          const session = yield* Host.open()
          const { outcome, receipt } = yield* run(session, Prompt.make(Prompt.command("greet", "Zoe")))
          assert.deepStrictEqual(outcome, { _tag: "completed", stopReason: "endTurn" })
          assert.strictEqual(receipt._tag, "consumed")
          yield* session.quiescent
          const asked = (yield* Model.bodies).filter((body) => JSON.stringify(body.messages).includes("hello to Zoe"))
          assert.strictEqual(asked.length, 1)
          // The text of the command stands in the conversation once.
          assert.strictEqual(JSON.stringify(asked[0]?.messages).split("hello to Zoe").length, 2)
        }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http })))
      },
      60_000
    )
  }
})
