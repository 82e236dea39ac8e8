/** Models, variants, modes, titles and the plan of the real OpenCode. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Catalogue from "@reins/core/Catalogue"
import * as Prompt from "@reins/core/Prompt"
import * as Providers from "@reins/core/Providers"
import type { SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import { Effect, Option, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { prompt, text, tools } from "./fixtures/script.ts"
import { scissors } from "./fixtures/scissors.ts"

const overrides = {
  provider: {
    scripted: {
      models: {
        "scripted-1": { cost: { input: 2, output: 8 } },
        other: {
          name: "Other",
          tool_call: true,
          reasoning: true,
          attachment: true,
          modalities: { input: ["text", "image", "pdf"], output: ["text"] },
          limit: { context: 50_000, output: 4_000 },
          variants: { thorough: { reasoningEffort: "high" } }
        }
      }
    }
  },
  agent: {
    brief: { mode: "primary", description: "Answers briefly", prompt: "Answer in one word." },
    helper: { mode: "subagent", description: "Helps" }
  }
}

layer(Host.layer({ policy: ApprovalPolicy.fullAccess, overrides }), {
  excludeTestServices: true,
  timeout: "60 seconds"
})("settings of an OpenCode session", (it) => {
  const provider = Effect.flatMap(Providers.Providers, (all) => all.get("opencode"))

  it.effect("lists models with window, variants, images, documents, price and default", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      const models = yield* Catalogue.models(yield* provider, { cwd })
      const [first, second] = ["scripted/scripted-1", "scripted/other"].map((id) => models.find((one) => one.id === id))
      assert.strictEqual(first?.name, "Scripted 1")
      assert.strictEqual(first?.contextWindow, 100_000)
      assert.isFalse(first?.images)
      assert.isTrue(first?.isDefault)
      assert.isTrue(first?.usable)
      assert.deepStrictEqual(first?.price, { input: 2, output: 8, currency: "USD" })
      assert.isUndefined(second?.price)
      assert.isUndefined(second?.isDefault)
      assert.isTrue(second?.images)
      assert.isTrue(second?.documents)
      assert.include(second?.variants ?? [], "thorough")
    }))

  it.effect("lists modes, and says which can be worked in and which can be called", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      const modes = yield* Catalogue.modes(yield* provider, { cwd })
      const of = (id: string) => {
        const mode = modes.find((mode) => mode.id === id)
        return [mode?.selectable, mode?.mentionable, mode?.isDefault]
      }
      assert.deepStrictEqual(of("build"), [true, false, true])
      assert.deepStrictEqual(of("plan"), [true, false, undefined])
      assert.deepStrictEqual(of("helper"), [false, true, undefined])
      assert.deepStrictEqual(modes.find(({ id }) => id === "brief")?.description, "Answers briefly")
      // Modes for the agent's own use are not for anybody else.
      assert.deepStrictEqual(of("title"), [undefined, undefined, undefined])
    }))

  it.effect("model, variant and mode are switched for the prompts that follow", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const ask = Effect.fnUntraced(function*() {
        const turn = yield* session.prompt(prompt("hello", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const body = yield* Model.lastBody
        return [body["model"], body["reasoning_effort"], JSON.stringify(body.messages).includes("in one word")]
      })
      assert.deepStrictEqual(yield* ask(), ["scripted-1", undefined, false])
      yield* session.configure({ model: "scripted/other", variant: "thorough", mode: "brief" })
      assert.deepStrictEqual(yield* ask(), ["other", "high", true])
      const told = yield* Host.awaitEvent(session, Host.isTag("SessionConfigured"))
      assert.deepStrictEqual([told.model, told.mode, told.options], [
        "scripted/other",
        "brief",
        { variant: "thorough" }
      ])
      yield* session.configure({ model: "scripted/scripted-1" })
      assert.deepStrictEqual(yield* ask(), ["scripted-1", undefined, true])
    }))

  it.effect("a variant or a mode that does not exist is refused, and nothing changes", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const variant = yield* Effect.flip(session.configure({ model: "scripted/other", variant: "nope" }))
      assert.strictEqual(variant.reason._tag, "InvalidRequest")
      assert.include(variant.message, "thorough")
      const mode = yield* Effect.flip(session.configure({ mode: "nope" }))
      assert.strictEqual(mode.reason._tag, "InvalidRequest")
      assert.include(mode.message, "brief")
      const turn = yield* session.prompt(prompt("hello", text("hi")))
      yield* turn.outcome
      assert.strictEqual((yield* Model.lastBody)["model"], "scripted-1")
      const opened = yield* Effect.flip(Host.open({ model: "scripted/other", variant: "nope" }))
      assert.strictEqual(opened.reason._tag, "InvalidRequest")
    }))

  it.effect("a variant is kept with the session", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const session = yield* Host.open({ model: "scripted/other", variant: "thorough" })
      yield* Effect.flatMap(session.prompt(prompt("hello", text("hi"))), (turn) => turn.outcome)
      yield* session.close
      const again = yield* sessions.openScoped({ id: session.id })
      yield* Effect.flatMap(again.prompt(prompt("hello again", text("hi"))), (turn) => turn.outcome)
      assert.strictEqual((yield* Model.lastBody)["reasoning_effort"], "high")
    }))

  it.effect("a subagent is called by its name", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(Prompt.make("look into it", Prompt.mention("helper")))
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      assert.include(JSON.stringify(yield* Model.lastPrompt), "call the task tool with subagent: helper")
    }))

  it.effect("a title is set at the opening, changed later, and stored", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const store = yield* BindingStore.BindingStore
      const session = yield* Host.open({ title: "first title" })
      yield* session.configure({ title: "second title" })
      const info = yield* Host.awaitEvent(
        session,
        (event): event is Extract<SessionEvent, { readonly _tag: "SessionInfo" }> =>
          event._tag === "SessionInfo" && event.title === "second title"
      )
      assert.strictEqual(info.origin, "native")
      yield* session.close
      assert.strictEqual(Option.getOrThrow(yield* store.get(session.id)).title, "second title")
      const again = yield* sessions.openScoped({ id: session.id, title: "third title" })
      yield* Host.awaitEvent(again, (event) => event._tag === "SessionInfo" && event.title === "third title")
    }))

  it.effect("the todo list is told as a plan, also to who opens the session later", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const session = yield* Host.open()
      const todos = [
        { content: "look", status: "completed", priority: "high" },
        { content: "act", status: "in_progress", priority: "low" },
        { content: "rest", status: "pending", priority: "low" }
      ]
      const turn = yield* session.prompt(prompt("plan it", tools(["todowrite", { todos }]), text("planned")))
      const events = [...yield* Stream.runCollect(turn.events)]
      const entries = [
        { text: "look", status: "completed", priority: "high" },
        { text: "act", status: "running", priority: "low" },
        { text: "rest", status: "pending", priority: "low" }
      ] as const
      assert.deepStrictEqual(events.filter(Host.isTag("PlanUpdated")).map((event) => event.entries), [[...entries]])
      yield* session.close
      const again = yield* sessions.openScoped({ id: session.id })
      const told = yield* Host.awaitEvent(again, Host.isTag("PlanUpdated"))
      assert.deepStrictEqual(told.entries, [...entries])
      assert.strictEqual(told.origin, "resync")
    }))
})

describe("the plan", () => {
  it.live("is not told again after a cut that changed nothing of it", () => {
    const { cut, http } = scissors()
    return Effect.gen(function*() {
      const session = yield* Host.open()
      const todos = [{ content: "look", status: "pending", priority: "high" }]
      yield* Effect.flatMap(
        session.prompt(prompt("plan it", tools(["todowrite", { todos }]), text("planned"))),
        (turn) => turn.outcome
      )
      yield* cut
      yield* Host.awaitEvent(
        session,
        (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
      )
      const turn = yield* session.prompt(prompt("go on", text("fine")))
      yield* turn.outcome
      const { seq } = yield* session.view
      const events = yield* session.events({ deltas: false }).pipe(
        Stream.takeUntil((event) => event._tag !== "Lagged" && event.seq === seq),
        Stream.runCollect
      )
      assert.strictEqual([...events].filter(Host.isTag("PlanUpdated")).length, 1)
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http })))
  }, 60_000)
})
