/** A session with the real OpenCode is recorded, and plays again without it. */
import { assert, describe, it } from "@effect/vitest"
import { NodeServices } from "@effect/platform-node"
import type { Answer, AgentRequest } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import type { Provider } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import * as Redaction from "@reins/core/Redaction"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as OpenCodeTape from "@reins/opencode/OpenCodeTape"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as TapeProvider from "@reins/transport/TapeProvider"
import * as WireTape from "@reins/transport/WireTape"
import { Effect, Layer, Stream } from "effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Host from "./fixtures/host.ts"
import { scissors } from "./fixtures/scissors.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"

const none: Effect.Effect<void> = Effect.void

/** Answers all that the agent asks, the same way each time. */
const answering = Effect.fnUntraced(function*(session: Session) {
  yield* session.attach()
  const answerTo = (request: AgentRequest): Answer => {
    if (request.kind === "question") return { _tag: "answers", answers: [["Red"]] }
    if (request.facts.command?.includes("refused") === true) return { _tag: "decline", reason: "not that" }
    return { _tag: "accept" }
  }
  yield* session.events().pipe(
    Stream.filter(Host.isTag("RequestOpened")),
    Stream.runForEach((event) =>
      Effect.gen(function*() {
        const request = (yield* session.requests).find((open) => open.id === event.requestId)
        if (request !== undefined) yield* Effect.ignore(session.answer(request.id, answerTo(request)))
      })
    ),
    Effect.forkScoped
  )
})

const question = tools(["question", {
  questions: [{
    question: "Which colour?",
    header: "Colour",
    options: [{ label: "Red", description: "r" }, { label: "Blue", description: "b" }]
  }]
}])

const delegating = prompt(
  "delegate",
  tools(["task", {
    description: "d",
    subagent_type: "general",
    prompt: prompt("child", bash("echo from-child"), text("child done"))
  }]),
  text("parent done")
)

/** What a host does with a session, without anything of the agent behind it. */
const everything = Effect.fnUntraced(function*(session: Session) {
  const events = yield* Host.record(session)
  yield* answering(session)
  const outcomes: Array<string> = []
  const say = Effect.fnUntraced(function*(input: string) {
    const turn = yield* session.prompt(input)
    outcomes.push((yield* turn.outcome)._tag)
  })
  yield* say(prompt("think", { do: "reasoning", text: "let me see", answer: "it is so" }))
  yield* say(prompt("work", bash("echo one"), bash("echo refused"), text("done")))
  yield* say(prompt("both", tools(["bash", { command: "echo a", description: "a" }], [
    "bash",
    { command: "echo b", description: "b" }
  ]), text("both done")))
  yield* say(prompt("ask", question, text("red it is")))
  yield* say(delegating)
  yield* say(prompt("fail", { do: "status", code: 401, message: "no key" }))
  const turn = yield* session.prompt(prompt("long", gatedText("a long answer that never ends", "never")))
  yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
  yield* session.interrupt
  outcomes.push((yield* turn.outcome)._tag)
  yield* say(prompt("last", text("the end")))
  yield* session.quiescent
  yield* session.close
  yield* session.closed
  return { events, outcomes }
})

/**
 * The durable events as they are compared: ids in the order in which they appear; without `seq`, times, the agent's key
 * for a prompt, and the states of the server process, which is not on the wire.
 */
const comparable = (events: ReadonlyArray<SessionEvent | Lagged>, also: ReadonlyArray<string> = []) => {
  const ids = new Map<string, string>()
  return events.flatMap((event) => {
    if (event._tag === "ItemDelta" || event._tag === "Lagged" || event._tag === "ProcessChanged") return []
    if (also.includes(event._tag)) return []
    const json = JSON.stringify(event, (name, value: unknown) => ["at", "seq", "sessionId", "prompt"].includes(name) ? undefined : value)
      .replaceAll(/\b(?:prm|trn|itm|req)_\w{20,}\b/g, (id) => {
        const known = ids.get(id) ?? `${id.slice(0, 3)}-${ids.size}`
        ids.set(id, known)
        return known
      })
    return [JSON.parse(json) as { readonly _tag: string }]
  })
}

const replayed = (provider: Provider) =>
  Sessions.layer.pipe(
    Layer.provide(Providers.layer({ opencode: provider })),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways))
  )

/** Opens a session on a tape and hands it to a host. */
const play = Effect.fnUntraced(function*<A, E, R>(
  lines: ReadonlyArray<string>,
  cwd: string,
  host: (session: Session) => Effect.Effect<A, E, R>,
  speed = 0
) {
  const frames = yield* Stream.runCollect(WireTape.readLines(lines))
  const provider = yield* TapeProvider.make(OpenCodeTape.reader, frames, { speed })
  return yield* Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    return yield* host(yield* sessions.openScoped({ provider: "opencode", cwd, title: "test" }))
  }).pipe(Effect.scoped, Effect.provide(replayed(provider)))
})

/** A host on the real agent whose wire is recorded. */
const recorded = Effect.fnUntraced(function*<A, E>(
  host: (session: Session, model: ScriptedModel.ScriptedModel["Service"]) => Effect.Effect<A, E, import("effect").Scope.Scope>,
  under: (client: HttpClient.HttpClient) => HttpClient.HttpClient = (client) => client
) {
  const tape = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [] }), provider: "opencode" })
  const { cwd, result } = yield* Effect.gen(function*() {
    const { cwd } = yield* Host.Place
    return { cwd, result: yield* host(yield* Host.open(), yield* ScriptedModel.ScriptedModel) }
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Host.layer({ policy: ApprovalPolicy.askAlways, http: (client) => WireTape.httpClient(under(client), tape) })
    )
  )
  yield* tape.close
  assert.strictEqual(tape.dropped(), 0)
  return { cwd, result, lines: yield* tape.lines }
})

describe("a tape of a session with OpenCode", () => {
  it.live("plays the same durable events to the same host, and no agent runs", () =>
    Effect.gen(function*() {
      const live = yield* recorded(everything)
      assert.deepStrictEqual(live.result.outcomes, [
        "completed",
        "completed",
        "completed",
        "completed",
        "completed",
        "failed",
        "interrupted",
        "completed"
      ])
      const again = yield* play(live.lines, live.cwd, everything)
      assert.deepStrictEqual(again.outcomes, live.result.outcomes)
      assert.deepStrictEqual(comparable(again.events), comparable(live.result.events))
      assert.isAbove(comparable(live.result.events).length, 80)
      assert.deepStrictEqual([...Host.lay(again.events).values()], [...Host.lay(live.result.events).values()])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 90_000)
})
