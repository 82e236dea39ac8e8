/** A session with the real OpenCode is recorded, and plays again without it. */
import { assert, describe, it } from "@effect/vitest"
import { NodeServices } from "@effect/platform-node"
import type { AgentRequest, Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Prompt from "@reins/core/Prompt"
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
import type { Scope } from "effect"
import { Effect, Layer, Stream } from "effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as Host from "./fixtures/host.ts"
import { scissors } from "./fixtures/scissors.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"

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
  const say = Effect.fnUntraced(function*(input: string | Prompt.PromptInput) {
    const turn = yield* session.prompt(input)
    outcomes.push((yield* turn.outcome)._tag)
  })
  yield* say(prompt("think", { do: "reasoning", text: "let me see", answer: "it is so" }))
  yield* say(prompt("work", bash("echo one"), bash("echo refused"), text("done")))
  yield* say(prompt(
    "both",
    tools(["bash", { command: "echo a", description: "a" }], [
      "bash",
      { command: "echo b", description: "b" }
    ]),
    text("both done")
  ))
  yield* say(prompt("ask", question, text("red it is")))
  yield* say(delegating)
  yield* say(prompt("fail", { do: "status", code: 401, message: "no key" }))
  const turn = yield* session.prompt(prompt("long", gatedText("a long answer that never ends", "never")))
  yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a lo"))
  yield* session.interrupt
  outcomes.push((yield* turn.outcome)._tag)
  yield* say(prompt("last", text("the end")))
  yield* say(Prompt.make(Prompt.command("init", "briefly")))
  yield* session.quiescent
  yield* session.close
  yield* session.closed
  return { events, outcomes }
})

/** A host that says other words, gives another answer, and goes on when the tape does not. */
const straying = Effect.fnUntraced(function*(session: Session) {
  const events = yield* Host.record(session)
  yield* session.attach()
  const turn = yield* session.prompt("other words")
  const asked = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
  yield* session.answer(asked.requestId, { _tag: "decline" })
  const first = yield* turn.outcome
  const more = yield* session.prompt("one more")
  const second = yield* more.outcome
  return { first, second, codes: events.filter(Host.isTag("Notice")).map((event) => event.code) }
})

/**
 * The durable events as they are compared: ids in the order in which they appear; without `seq`, times, the agent's key
 * for a prompt, and what is told beside the conversation: the states of the server process and the commands on offer.
 */
const comparable = (events: ReadonlyArray<SessionEvent | Lagged>, without: ReadonlyArray<string> = []) => {
  const ids = new Map<string, string>()
  const left = ["at", "seq", "sessionId", "prompt", ...without]
  return events.flatMap((event) => {
    if (event._tag === "ItemDelta" || event._tag === "Lagged") return []
    if (event._tag === "ProcessChanged" || event._tag === "CommandsUpdated") return []
    const json = JSON.stringify(event, (name, value: unknown) => left.includes(name) ? undefined : value)
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
  host: (session: Session, model: ScriptedModel.ScriptedModel["Service"]) => Effect.Effect<A, E, Scope.Scope>,
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
        "completed",
        "completed"
      ])
      const again = yield* play(live.lines, live.cwd, everything)
      assert.deepStrictEqual(again.outcomes, live.result.outcomes)
      assert.deepStrictEqual(comparable(again.events), comparable(live.result.events))
      assert.isAbove(comparable(live.result.events).length, 80)
      const offered = (events: typeof again.events) =>
        events.filter(Host.isTag("CommandsUpdated")).map((event) => event.commands)
      assert.deepStrictEqual(offered(again.events), offered(live.result.events))
      assert.strictEqual(offered(again.events).length, 1)
      assert.deepStrictEqual([...Host.lay(again.events).values()], [...Host.lay(live.result.events).values()])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 90_000)

  it.live("with the event stream cut mid-text plays the cut, and what the host read after it", () => {
    const { cut, http } = scissors()
    const host = (live?: { readonly cut: Effect.Effect<void>; readonly open: Effect.Effect<void> }) =>
      Effect.fnUntraced(function*(session: Session) {
        const events = yield* Host.record(session)
        yield* answering(session)
        const turn = yield* session.prompt(prompt("cut", bash("echo before"), gatedText("a text with an end", "cut")))
        if (live !== undefined) {
          yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a te"))
          yield* live.cut
          yield* Host.awaitEvent(
            session,
            (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
          )
          yield* live.open
        }
        const outcome = yield* turn.outcome
        yield* session.quiescent
        yield* session.close
        yield* session.closed
        return { events, outcome }
      })
    return Effect.gen(function*() {
      const live = yield* recorded((session, model) => host({ cut, open: model.open("cut") })(session), http)
      const again = yield* play(live.lines, live.cwd, host())
      assert.deepStrictEqual(live.result.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.deepStrictEqual(again.outcome, live.result.outcome)
      const states = (events: ReadonlyArray<SessionEvent | Lagged>) =>
        events.flatMap((event) => event._tag === "ConnectionChanged" ? [event.status._tag] : []).map(
          // A connection that did not live long is waited with, and a tape is played as fast as can be.
          (status) => status === "retrying" ? "connecting" : status
        )
      assert.deepStrictEqual(states(again.events), states(live.result.events))
      assert.include(states(again.events), "lost")
      // Which of two sources tells a thing first is a race, and so is in which state the engine waits meanwhile.
      const kept = new Set([
        "ItemStarted",
        "ItemCompleted",
        "TurnStarted",
        "PromptChanged",
        "RequestOpened",
        "RequestSettled"
      ])
      const turns = (events: ReadonlyArray<SessionEvent | Lagged>) =>
        comparable(events, ["native", "origin"]).filter((event) => kept.has(event._tag))
      assert.deepStrictEqual(turns(again.events), turns(live.result.events))
      assert.deepStrictEqual([...Host.lay(again.events).values()], [...Host.lay(live.result.events).values()])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  }, 60_000)

  it.live(
    "with the server killed mid-text plays the loss, and the turn on the new server",
    () =>
      Effect.gen(function*() {
        const host = (live: boolean) =>
          Effect.fnUntraced(function*(session: Session) {
            const events = yield* Host.record(session)
            const turn = yield* session.prompt(prompt("lost", gatedText("a text that is never whole", "dead")))
            if (live) {
              yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("a te"))
              const ready = events.flatMap((event) =>
                event._tag === "ProcessChanged" && event.status._tag === "ready" ? [event.status.pid ?? 0] : []
              )
              assert.isAbove(ready[0] ?? 0, 1)
              process.kill(ready[0] ?? 0, "SIGKILL")
            }
            const lost = yield* turn.outcome
            const next = yield* (yield* session.prompt(prompt("next", text("here again")))).outcome
            yield* session.close
            yield* session.closed
            return { events, outcomes: [lost._tag, next._tag] }
          })
        const live = yield* recorded(host(true))
        const again = yield* play(live.lines, live.cwd, host(false))
        assert.deepStrictEqual(live.result.outcomes, ["lost", "completed"])
        assert.deepStrictEqual(again.outcomes, live.result.outcomes)
        const items = (events: ReadonlyArray<SessionEvent | Lagged>) =>
          comparable(events, ["native", "origin"]).filter((event) => event._tag === "ItemCompleted")
        assert.deepStrictEqual(items(again.events), items(live.result.events))
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    90_000
  )

  it.live(
    "tells a host that goes another way, and refuses a prompt that it does not have",
    () =>
      Effect.gen(function*() {
        const once = Effect.fnUntraced(function*(session: Session) {
          yield* answering(session)
          const turn = yield* session.prompt(prompt("one", bash("echo one"), text("done")))
          return (yield* turn.outcome)._tag
        })
        const live = yield* recorded(once)
        const { codes, first, second } = yield* play(live.lines, live.cwd, straying)
        assert.deepStrictEqual(codes, ["tapeDiverged", "tapeDiverged"])
        assert.strictEqual(first._tag, "completed")
        assert.include(JSON.stringify(second), "the tape holds 1 prompts")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    60_000
  )

  it.live("with a hole, or none of a session, is not played", () =>
    Effect.gen(function*() {
      const tape = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [] }), maxFrameChars: 20 })
      tape.record("out", "http", { id: 1, method: "POST", url: "http://127.0.0.1:1/session", body: {} })
      tape.record("in", "http", { id: 1, status: 200 })
      tape.record("in", "http", { id: 1, body: { id: "ses_1", title: "longer than that" } })
      const error = yield* Effect.flip(play(yield* tape.lines, "/", () => Effect.void))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.include(error.message, "maxFrameChars")
      const empty = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [] }) })
      const nothing = yield* Effect.flip(play(yield* empty.lines, "/", () => Effect.void))
      assert.include(nothing.message, "0 conversations")
    }).pipe(Effect.scoped))
})
