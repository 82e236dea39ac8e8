/** A session outlives its host: by id, from a store of files, with what happened meanwhile. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import type { SessionId } from "@reins/core/Ids"
import type { Session } from "@reins/core/Session"
import type { DurableEvent, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import type { PlatformError } from "effect"
import { Effect, FileSystem, Layer, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Foreign from "./fixtures/foreignServer.ts"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"

interface Setup {
  readonly server: Foreign.ForeignServer
  readonly directory: string
  /** Runs on a host of its own, as after a restart of the process. */
  readonly onHost: <A, E>(
    body: Effect.Effect<A, E, Layer.Success<ReturnType<typeof Host.layer>> | ScopeOf>,
    options?: Host.HostOptions
  ) => Effect.Effect<A, E | AgentError.AgentError | PlatformError.PlatformError>
}

type ScopeOf = Effect.Services<ReturnType<typeof Host.open>>

/** A server of others and a directory of bindings, over which hosts come and go. */
const overServer = <A, E>(
  name: string,
  body: (setup: Setup) => Effect.Effect<A, E, Layer.Success<ReturnType<typeof Host.layer>> | ScopeOf>
) =>
  it.live(name, () =>
    Effect.gen(function*() {
      const place = yield* Host.Place
      const directory = `${place.root}/bindings`
      const server = yield* Foreign.start({ env: place.env, port: yield* Foreign.freePort })
      const store = Layer.orDie(Layer.provide(BindingStore.layerFileSystem(directory), NodeServices.layer))
      return yield* body({
        server,
        directory,
        onHost: (body, options) =>
          body.pipe(
            Effect.provideService(Host.Place, place),
            Effect.scoped,
            Effect.provide(Host.layer({ openCode: { url: server.url }, store, ...options }))
          )
      })
    }).pipe(Effect.scoped, Effect.provide(Host.layer())), 120_000)

/** The durable events of this opening, until all that was missed has been told. */
const told = (session: Session) =>
  session.events({ deltas: false }).pipe(
    Stream.takeUntil((event) => event._tag === "ConnectionChanged" && event.status._tag === "live"),
    Stream.runCollect,
    Effect.map((events) => [...events] as ReadonlyArray<DurableEvent>)
  )

const resynced = (events: ReadonlyArray<SessionEvent>) => events.filter((event) => event.origin === "resync")

/** Turns and messages in a few words. */
const brief = (events: ReadonlyArray<SessionEvent>) =>
  events.flatMap((event) => {
    switch (event._tag) {
      case "TurnStarted":
        return ["start"]
      case "TurnSettled":
        return [event.outcome._tag]
      case "ItemCompleted":
        return "text" in event.item ? [event.item.text.split(" <<<")[0] ?? ""] : [event.item._tag]
      default:
        return []
    }
  })

const how = (events: ReadonlyArray<SessionEvent>) => events.find(Host.isTag("SessionOpened"))?.how

const conversation = (id: SessionId) =>
  Effect.gen(function*() {
    const store = yield* BindingStore.BindingStore
    const { cursor } = yield* Effect.flatMap(store.get(id), Effect.fromOption)
    return (cursor as { readonly sessionID: string }).sessionID
  }).pipe(Effect.orDie)

const answered = (session: Session, words: string) =>
  Effect.gen(function*() {
    const turn = yield* session.prompt(prompt(words, text(`answer to ${words}`)))
    assert.strictEqual((yield* turn.outcome)._tag, "completed")
  })

describe("a session that is opened again by its id", () => {
  overServer(
    "hears the turns that others made meanwhile: once, in order and settled",
    ({ onHost, server }) =>
      Effect.gen(function*() {
        const { id, native } = yield* onHost(Effect.gen(function*() {
          const session = yield* Host.open()
          yield* answered(session, "ours")
          return { id: session.id, native: yield* conversation(session.id) }
        }))
        yield* server.prompt(native, prompt("first of theirs", text("one")))
        yield* server.prompt(native, prompt("second of theirs", text("two")))
        const second = yield* onHost(Effect.gen(function*() {
          const events = yield* told(yield* Host.open({ id }))
          assert.deepStrictEqual(how(events), { _tag: "resumed" })
          assert.deepStrictEqual(
            events.flatMap((event) =>
              event._tag === "ConnectionChanged" && event.status._tag === "resynced" ? [event.status.gap] : []
            ),
            ["closed"]
          )
          return events
        }))
        const theirs = ["start", "first of theirs", "one", "completed", "start", "second of theirs", "two", "completed"]
        assert.deepStrictEqual(brief(second), theirs)
        assert.deepStrictEqual(brief(resynced(second)), theirs)
        // They are known now, and so is what was done by this host since.
        const third = yield* onHost(Effect.gen(function*() {
          const session = yield* Host.open({ id })
          const events = yield* told(session)
          yield* answered(session, "ours again")
          return events
        }))
        assert.deepStrictEqual(brief(third), [])
        assert.deepStrictEqual(brief(yield* onHost(Effect.flatMap(Host.open({ id }), told))), [])
      })
  )

  overServer(
    "hears how a turn of its own ends that ran on without its host",
    ({ directory, onHost, server }) =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const { cwd, env } = yield* Host.Place
        const words = prompt("left alone", gatedText("finished without its host", "alone"))
        const host = yield* Processes.program(
          new URL("./fixtures/openHost.ts", import.meta.url),
          [server.url, directory, cwd, words],
          env
        )
        const id = (yield* host.line) as SessionId
        yield* model.awaitGate("alone")
        yield* host.kill
        yield* onHost(Effect.gen(function*() {
          const session = yield* Host.open({ id })
          // It runs still: told as running, and settled when it ends.
          assert.deepStrictEqual(brief(yield* told(session)), ["start", "left alone"])
          assert.strictEqual((yield* session.view).turn?.state._tag, "running")
          yield* model.openAll
          const all = yield* session.events({ deltas: false }).pipe(
            Stream.takeUntil((event) => event._tag === "TurnSettled"),
            Stream.runCollect
          )
          assert.deepStrictEqual(brief([...all] as ReadonlyArray<SessionEvent>), [
            "start",
            "left alone",
            "finished without its host",
            "completed"
          ])
        }))
        assert.deepStrictEqual(brief(yield* onHost(Effect.flatMap(Host.open({ id }), told))), [])
      })
  )

  overServer("is begun anew only where the server confirms that its conversation is gone, and says so", (
    { onHost, server }
  ) =>
    Effect.gen(function*() {
      const { id, native } = yield* onHost(Effect.gen(function*() {
        const session = yield* Host.open()
        yield* answered(session, "ours")
        return { id: session.id, native: yield* conversation(session.id) }
      }))
      // Any other failure opens nothing, and leaves the binding as it is.
      const broken: ReadonlyArray<readonly [string, (request: string) => Response | undefined, string]> = [
        ["500", () =>
          new Response("{\"name\":\"UnknownError\",\"data\":{\"message\":\"x\"}}", json(500)), "ProtocolError"],
        ["a web page", () =>
          new Response("<!doctype html>", { headers: { "content-type": "text/html" } }), "ProtocolError"],
        ["a bare 404", () =>
          new Response("not found", { status: 404 }), "ProtocolError"],
        ["the network", () =>
          undefined, "ConnectionLost"]
      ]
      for (const [what, answer, tag] of broken) {
        const error = yield* Effect.flip(onHost(Host.open({ id }), { http: answering(`/session/${native}`, answer) }))
        assert.strictEqual((error as AgentError.AgentError).reason._tag, tag, what)
        assert.strictEqual(yield* onHost(conversation(id)), native)
      }
      yield* server.call("DELETE", `/session/${native}`)
      yield* onHost(Effect.gen(function*() {
        const session = yield* Host.open({ id })
        const events = yield* told(session)
        const opened = how(events)
        assert.isTrue(opened?._tag === "recreated" && opened.reason.includes(native))
        yield* answered(session, "anew")
        assert.notStrictEqual(yield* conversation(id), native)
      }))
      assert.deepStrictEqual(how(yield* onHost(Effect.flatMap(Host.open({ id }), told))), { _tag: "resumed" })
    }))
})

const json = (status: number) => ({ status, headers: { "content-type": "application/json" } })

/** Answers the calls of one path itself; without an answer the network fails. */
const answering =
  (path: string, answer: (request: string) => Response | undefined) => (client: HttpClient.HttpClient) =>
    HttpClient.transform(client, (effect, request) => {
      if (request.method !== "GET" || new URL(request.url).pathname !== path) return effect
      const response = answer(request.url)
      return response === undefined ? Effect.flatMap(effect, () => networkFailure(client)) : Effect.succeed(
        HttpClientResponse.fromWeb(request, response)
      )
    })

const networkFailure = (client: HttpClient.HttpClient) => client.get("http://127.0.0.1:1/")

describe("a session that another process holds", () => {
  it.live(
    "is SessionBusy, which names the process; when that one dies by SIGKILL the session goes on here",
    () =>
      Effect.gen(function*() {
        const place = yield* Host.Place
        const directory = `${place.root}/bindings`
        const server = yield* Foreign.start({ env: place.env, port: yield* Foreign.freePort })
        const other = yield* Processes.program(
          new URL("./fixtures/openHost.ts", import.meta.url),
          [server.url, directory, place.cwd],
          place.env
        )
        const id = (yield* other.line) as SessionId
        const store = Layer.orDie(Layer.provide(BindingStore.layerFileSystem(directory), NodeServices.layer))
        const here = <A, E>(body: Effect.Effect<A, E, Layer.Success<ReturnType<typeof Host.layer>> | ScopeOf>) =>
          body.pipe(Effect.scoped, Effect.provide(Host.layer({ openCode: { url: server.url }, store })))
        const busy = yield* Effect.flip(here(Host.open({ id })))
        assert.isTrue(busy.reason._tag === "SessionBusy" && busy.reason.pid === other.pid)
        const forgotten = yield* Effect.flip(here(Sessions.Sessions.use((sessions) => sessions.remove(id))))
        assert.strictEqual(forgotten.reason._tag, "SessionBusy")
        yield* other.kill
        yield* here(Effect.gen(function*() {
          const session = yield* Host.open({ id })
          assert.deepStrictEqual(how(yield* told(session)), { _tag: "resumed" })
          yield* answered(session, "taken over")
        }))
        yield* here(Sessions.Sessions.use((sessions) => sessions.remove(id)))
        const fs = yield* FileSystem.FileSystem
        assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
      }).pipe(Effect.scoped, Effect.provide(Host.layer())),
    120_000
  )
})
