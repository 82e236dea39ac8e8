/** A server that somebody else runs is used, and left alone. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import type * as OpenCode from "@reins/opencode/OpenCode"
import * as WireTape from "@reins/transport/WireTape"
import * as Redaction from "@reins/core/Redaction"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import type { Scope } from "effect"
import { Effect, Fiber, Layer, Logger, Redacted, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Foreign from "./fixtures/foreignServer.ts"
import * as Host from "./fixtures/host.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"

const secret = "correct horse \"battery\" staple"

type Needs = Layer.Success<ReturnType<typeof Host.layer>> | Scope.Scope

interface Setup {
  readonly port: number
  /** Starts the server of others, with an environment of its own where that is said. */
  readonly start: (env?: Readonly<Record<string, string>>) => Effect.Effect<Foreign.ForeignServer, never, Needs>
}

/** A host that is attached to a server which the test starts. */
const attached = <A, E>(
  name: string,
  body: (setup: Setup) => Effect.Effect<A, E, Needs>,
  options: Host.HostOptions & { readonly password?: string; readonly given?: OpenCode.Options } = {}
) =>
  it.live(name, () =>
    Effect.gen(function*() {
      const port = yield* Foreign.freePort
      const { given, password, ...host } = options
      return yield* body({
        port,
        start: (env = {}) =>
          Effect.flatMap(Host.Place, (place) =>
            Foreign.start({
              env: { ...place.env, ...env },
              port,
              ...(password === undefined ? undefined : { password })
            }))
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          ...host,
          openCode: {
            url: `http://127.0.0.1:${port}`,
            ...(password === undefined ? undefined : { password: Redacted.make(password) }),
            ...given
          }
        }))
      )
    }), 120_000)

/** The agent's own id of the conversation of a session. */
const conversationOf = Effect.fnUntraced(function*(server: Foreign.ForeignServer) {
  const all = yield* server.call<ReadonlyArray<{ readonly id: string }>>("GET", "/experimental/session?roots=true")
  return all[0]?.id ?? assert.fail("there is no conversation")
})

const untilLive = (session: Session, times: number) => {
  let seen = 0
  return Host.awaitEvent(
    session,
    (event) => event._tag === "ConnectionChanged" && event.status._tag === "live" && ++seen === times
  )
}

const tagsOf = (events: ReadonlyArray<SessionEvent | Lagged>) => events.map((event) => event._tag)

/** Answers everything as it is told to, on a port of its own, for as long as the scope lives. */
const web = (answer: (path: string) => { readonly type: string; readonly body: string; readonly status?: number }) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((request, response) => {
        const { body, status = 200, type } = answer(request.url ?? "/")
        response.writeHead(status, { "content-type": type }).end(body)
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, close: () => server.close() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ url }) => url))

/** What a host is told that attaches to this address. */
const refused = (openCode: OpenCode.Options) =>
  Effect.flip(Host.open()).pipe(Effect.scoped, Effect.provide(Host.layer({ openCode })))

describe("attaching to a server that runs already", () => {
  const requests: Array<string> = []
  attached("uses it, and never disposes or ends it", ({ start }) =>
    Effect.gen(function*() {
      const server = yield* start()
      yield* Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("hi", text("hello")))
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        const events = yield* Host.record(session)
        yield* session.close
        const status = events.find((event) => event._tag === "ProcessChanged")
        assert.deepStrictEqual(status?._tag === "ProcessChanged" ? status.status : undefined, {
          _tag: "ready",
          version: "1.18.33",
          protocol: "http"
        })
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          openCode: { url: server.url, idleTimeToLive: 0 },
          http: Host.watching((request) => requests.push(`${request.method} ${new URL(request.url).pathname}`))
        }))
      )
      assert.isTrue(server.isAlive())
      assert.strictEqual((yield* server.call<{ readonly healthy: boolean }>("GET", "/global/health")).healthy, true)
      assert.isString(yield* conversationOf(server))
      assert.isAbove(requests.length, 5)
      assert.deepStrictEqual(requests.filter((request) => /dispose|DELETE/.test(request)), [])
    }))

  attached(
    "notices its restart, mid-turn and idle, and goes on in the same conversation",
    ({ start }) =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const first = yield* start()
        const session = yield* Host.open()
        yield* (yield* session.prompt(prompt("before the restart", text("one")))).outcome
        const cut = yield* session.prompt(prompt("cut", gatedText("half of it is said", "cut")))
        yield* model.awaitGate("cut")
        yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("half"))
        yield* first.kill
        const second = yield* start()
        assert.strictEqual((yield* cut.outcome)._tag, "lost")
        yield* model.openAll
        yield* untilLive(session, 2)
        yield* second.kill
        yield* Host.awaitEvent(session, (event) => event._tag === "ConnectionChanged" && event.status._tag === "lost")
        const third = yield* start()
        yield* untilLive(session, 3)
        const next = yield* session.prompt(prompt("after", text("two")))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
        assert.include((yield* model.requests).at(-1)?.text, "before the restart")
        assert.isTrue(third.isAlive())
      })
  )

  attached(
    "says that the conversation had to be begun anew when another server took its place",
    ({ start }) =>
      Effect.gen(function*() {
        const { root } = yield* Host.Place
        const first = yield* start()
        const session = yield* Host.open()
        yield* (yield* session.prompt(prompt("hi", text("one")))).outcome
        const before = yield* conversationOf(first)
        yield* first.kill
        const second = yield* start({ XDG_DATA_HOME: `${root}/state` })
        yield* untilLive(session, 2)
        const opened = yield* session.events().pipe(
          Stream.filter(Host.isTag("SessionOpened")),
          Stream.take(2),
          Stream.runCollect
        )
        assert.deepStrictEqual([...opened].map((event) => event.how._tag), ["new", "recreated"])
        const how = [...opened][1]?.how
        assert.isTrue(how?._tag === "recreated" && how.reason.includes(before))
        const next = yield* session.prompt(prompt("again", text("two")))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
        assert.notStrictEqual(yield* conversationOf(second), before)
      })
  )

  attached(
    "shows what others send there as items, in a turn without prompts of ours",
    ({ start }) =>
      Effect.gen(function*() {
        const server = yield* start()
        const session = yield* Host.open()
        const ours = yield* session.prompt(prompt("ours", text("to us")))
        yield* ours.outcome
        const { seq } = yield* session.view
        const reading = yield* session.events({ after: seq }).pipe(
          Stream.takeUntil((event) => event._tag === "TurnSettled"),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* server.prompt(yield* conversationOf(server), prompt("theirs", text("to them")))
        const events = [...yield* Fiber.join(reading)]
        assert.notInclude(tagsOf(events), "PromptChanged")
        const done = events.filter(Host.isTag("ItemCompleted")).map(({ item }) =>
          "text" in item ? `${item._tag} ${item.text.split(" ").slice(0, 2).join(" ")}` : item._tag
        )
        assert.strictEqual(done.length, 2)
        assert.match(done[0] ?? "", /^userMessage theirs/)
        assert.strictEqual(done[1], "assistantMessage to them")
        const settled = events.at(-1)
        assert.isTrue(settled?._tag === "TurnSettled" && settled.outcome._tag === "completed")
        // Ours have their turns as before.
        const next = yield* session.prompt(prompt("ours again", text("to us")))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
      })
  )

  attached(
    "asks by rules of the conversation; what subagents do is not asked about, and that is said",
    ({ start }) =>
      Effect.gen(function*() {
        yield* start()
        const session = yield* Host.open({ policy: ApprovalPolicy.askAlways })
        assert.include(session.capabilities.unasked.join(), "subagents")
        yield* session.attach()
        const asked: Array<string> = []
        yield* session.events().pipe(
          Stream.runForEach((event) => {
            if (event._tag !== "RequestOpened") return Effect.void
            asked.push(event.kind)
            return Effect.ignore(session.answer(event.requestId, { _tag: "accept" }))
          }),
          Effect.forkScoped
        )
        const turn = yield* session.prompt(prompt(
          "go",
          bash("echo asked"),
          tools(["task", {
            subagent_type: "general",
            description: "d",
            prompt: prompt("sub", bash("echo unasked > unasked.txt"), text("sub done"))
          }]),
          text("done")
        ))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.deepStrictEqual(asked, ["command", "subagent"])
      })
  )

  attached(
    "keeps the password out of events, logs and tapes, also when a tool prints it",
    ({ start }) =>
      Effect.gen(function*() {
        const logs: Array<unknown> = []
        const server = yield* start()
        // One knows no secret, and is there for the header; the other one is what a host is told to use.
        const bare = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [] }) })
        const careful = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [secret] }) })
        const run = (recorder: WireTape.Recorder, ...steps: ReadonlyArray<ScriptedModel.Step>) =>
          Effect.gen(function*() {
            const session = yield* Host.open()
            const events = yield* Host.record(session)
            const turn = yield* session.prompt(prompt("go", ...steps))
            assert.strictEqual((yield* turn.outcome)._tag, "completed")
            yield* session.close
            return JSON.stringify(events)
          }).pipe(
            Effect.scoped,
            Effect.provide(
              Layer.provideMerge(
                Host.layer({
                  openCode: { url: server.url, password: Redacted.make(secret) },
                  http: (client) => WireTape.httpClient(client, recorder)
                }),
                Logger.layer([Logger.make(({ message }) => void logs.push(message))])
              )
            )
          )
        yield* run(bare, text("hello"))
        const events = yield* run(careful, bash("echo \"<$OPENCODE_SERVER_PASSWORD>\""), text("printed"))
        assert.include(events, `<${Redaction.replacement}>`)
        const tapes = [...yield* bare.lines, ...yield* careful.lines].join("\n")
        assert.include(tapes, "/global/event")
        const basic = btoa(`opencode:${secret}`)
        for (const said of [events, tapes, JSON.stringify(logs)]) {
          for (const word of [secret, JSON.stringify(secret).slice(1, -1), basic]) assert.notInclude(said, word)
        }
      }),
    { password: secret }
  )
})

describe("an address that is not to be used", () => {
  attached("with another password is AuthRequired, and the password is nowhere", ({ start }) =>
    Effect.gen(function*() {
      const logs: Array<unknown> = []
      const server = yield* start()
      for (const password of [Redacted.make("wrong-password-1"), undefined]) {
        const error = yield* refused({ url: server.url, ...(password === undefined ? undefined : { password }) }).pipe(
          Effect.provide(Logger.layer([Logger.make(({ message }) => void logs.push(message))]))
        )
        assert.strictEqual(error.reason._tag, "AuthRequired")
        assert.include(AgentError.render(error), "OPENCODE_SERVER_PASSWORD")
        const said = JSON.stringify([AgentError.toInfo(error), AgentError.render(error), logs])
        for (const word of [secret, "wrong-password-1", btoa("opencode:wrong-password-1")])
          assert.notInclude(said, word)
      }
      const named = yield* refused({ url: server.url, password: Redacted.make(secret), username: "somebody" })
      assert.strictEqual(named.reason._tag, "AuthRequired")
    }), { password: secret })

  it.live("where a web page answers is UnsupportedVersion, and says what was found", () =>
    Effect.gen(function*() {
      const url = yield* web(() => ({ type: "text/html", body: "<!doctype html><title>a page</title>" }))
      const error = yield* refused({ url })
      assert.isTrue(error.reason._tag === "UnsupportedVersion" && error.reason.supported === "1.x")
      assert.include(error.message, "web page")
      assert.include(error.message, url)
      assert.include(AgentError.toInfo(error).advice, "check")
    }).pipe(Effect.scoped))

  it.live("of OpenCode 2.x is UnsupportedVersion, by its protocol or by its own word", () =>
    Effect.gen(function*() {
      // 2.x serves its web page where 1.x has its health, and its health at /api/health.
      const second = yield* web((path) =>
        path === "/api/health"
          ? { type: "application/json", body: "{\"healthy\":true}" }
          : { type: "text/html", body: "<!doctype html>" }
      )
      const protocol = yield* refused({ url: second })
      assert.isTrue(protocol.reason._tag === "UnsupportedVersion" && protocol.reason.found === "2.x")
      const later = yield* web(() => ({ type: "application/json", body: "{\"healthy\":true,\"version\":\"2.3.4\"}" }))
      const version = yield* refused({ url: later })
      assert.isTrue(version.reason._tag === "UnsupportedVersion" && version.reason.found === "2.3.4")
    }).pipe(Effect.scoped))

  it.live("where nothing listens is Unavailable, with advice", () =>
    Effect.gen(function*() {
      const port = yield* Foreign.freePort
      const error = yield* refused({ url: `http://127.0.0.1:${port}` })
      assert.isTrue(error.reason._tag === "Unavailable" && error.reason.target.includes(String(port)))
      assert.include(AgentError.toInfo(error).advice, "Check that the agent runs and that its address is right")
    }))

  it.live("behind a gateway whose server is down is Unavailable, and not another version", () =>
    Effect.gen(function*() {
      const url = yield* web(() => ({ status: 502, type: "text/html", body: "<h1>Bad Gateway</h1>" }))
      const error = yield* refused({ url })
      assert.strictEqual(error.reason._tag, "Unavailable")
      assert.include(error.message, "502")
    }).pipe(Effect.scoped))

  it.live("that cannot be one is InvalidConfig, and is not repeated", () =>
    Effect.gen(function*() {
      for (
        const url of [
          "http://opencode:hunter22@127.0.0.1:1",
          "ftp://127.0.0.1/hunter22",
          "hunter22",
          "http://h/?a=hunter22"
        ]
      ) {
        const error = yield* refused({ url })
        assert.strictEqual(error.reason._tag, "InvalidConfig", url)
        assert.notInclude(AgentError.render(error), "hunter22")
      }
    }))

  attached("takes no environment for a session: the server has its own", ({ start }) =>
    Effect.gen(function*() {
      yield* start()
      const error = yield* Effect.flip(Host.open({ env: { A: "b" } }))
      assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "env")
    }))
})
