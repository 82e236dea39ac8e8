import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { AgentError } from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import { Effect, Exit, Fiber, FileSystem, Layer, Queue, Scope, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import { fileURLToPath } from "node:url"
import * as askRules from "../src/internal/askRules.ts"
import * as OpenCodeServer from "../src/OpenCodeServer.ts"

const fake = fileURLToPath(new URL("./fixtures/fakeServer.mjs", import.meta.url))
const platform = Layer.merge(NodeServices.layer, NodeHttpClient.layerUndici)

/** An executable that runs the fake with this node, whatever node the path finds, and the log of what it did. */
const place = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const root = yield* fs.makeTempDirectoryScoped({ prefix: "reins-server-" })
  const binary = `${root}/opencode`
  yield* fs.writeFileString(binary, `#!/bin/sh\nexec '${process.execPath}' '${fake}' "$@"\n`, { mode: 0o755 })
  const lines = Effect.map(
    Effect.orElseSucceed(fs.readFileString(`${root}/log`), () => ""),
    (text) => text.split("\n").filter((line) => line !== "").map((line) => line.slice(line.indexOf(" ") + 1))
  )
  const start = (
    env: Readonly<Record<string, string>> = {},
    ask: OpenCodeServer.Options["ask"] = askRules.noExtra
  ) =>
    OpenCodeServer.make({
      binary,
      env: { FAKE_LOG: `${root}/log`, XDG_DATA_HOME: root, ...env },
      startTimeout: "20 seconds",
      ask
    })
  return { root, lines, start }
})

const live = <A, E>(name: string, body: Effect.Effect<A, E, Layer.Success<typeof platform> | Scope.Scope>) =>
  it.live(name, () => body.pipe(Effect.scoped, Effect.provide(platform)), 40_000)

/** Lets the fake server act. */
const order = Effect.fnUntraced(function*(server: OpenCodeServer.OpenCodeServer, path: string, body: unknown = {}) {
  const { client } = yield* server.live
  const { headers } = client.eventRequest
  const http = yield* HttpClient.HttpClient
  yield* http.execute(
    HttpClientRequest.post(`${client.url}${path}`).pipe(
      HttpClientRequest.setHeader("authorization", headers["authorization"] ?? ""),
      HttpClientRequest.bodyText(JSON.stringify(body))
    )
  )
})

const status = (type: string) => ({
  payload: { type: "session.status", properties: { sessionID: "ses_a", status: { type } } }
})

const attach = (server: OpenCodeServer.OpenCodeServer) =>
  server.attach({ root: "ses_a", children: [], onLoop: () => Effect.void })

const taken = Effect.fnUntraced(function*(signals: Stream.Stream<Signal, AgentError>) {
  const queue = yield* Queue.unbounded<Signal>()
  yield* Stream.runForEach(signals, (signal) => Queue.offer(queue, signal)).pipe(Effect.ignore, Effect.forkScoped)
  return queue
})

describe("OpenCodeServer", () => {
  live(
    "starts with a password, makes its agents ask, connects one event stream, and is disposed once",
    Effect.gen(function*() {
      const { lines, start } = yield* place
      const scope = yield* Scope.make()
      const server = yield* start({
        OPENCODE_CONFIG_CONTENT: "{ /* mine */ \"model\": \"a/b\" }",
        OPENCODE_PERMISSION: "{\"bash\":\"allow\"}",
        OPENCODE_SERVER_USERNAME: "somebody",
        OPENCODE_SERVER_PASSWORD: "guessable"
      }).pipe(Scope.provide(scope))
      const [one, two] = yield* Effect.all([server.live, server.live], { concurrency: "unbounded" })
      assert.deepStrictEqual([one.version, one.generation, one.pid === two.pid], ["1.18.33", 1, true])
      yield* Effect.all([Scope.close(scope, Exit.void), Scope.close(scope, Exit.void)], { concurrency: "unbounded" })
      const [first = "", ...rest] = yield* lines
      const environment = JSON.parse(first.slice("start ".length)) as Record<string, string>
      assert.deepStrictEqual(
        JSON.parse(environment["config"] ?? ""),
        JSON.parse(askRules.askConfig("{\"model\":\"a/b\"}") ?? "")
      )
      assert.strictEqual(environment["permission"], askRules.askPermission("{\"bash\":\"allow\"}"))
      assert.isUndefined(environment["username"])
      assert.deepStrictEqual(rest, ["ready", "GET /global/health", "GET /global/event", "POST /global/dispose"])
      const gone = yield* Effect.exit(server.live)
      assert.isTrue(Exit.isFailure(gone))
    })
  )

  live(
    "leaves the configuration alone where nothing is to be asked",
    Effect.gen(function*() {
      const { lines, start } = yield* place
      const content = "{ /* mine */ }"
      const server = yield* start({ OPENCODE_CONFIG_CONTENT: content, OPENCODE_PERMISSION: "{}" }, false)
      yield* server.live
      const [first = ""] = yield* lines
      assert.deepStrictEqual(JSON.parse(first.slice("start ".length)), { config: content, permission: "{}" })
    })
  )

  live(
    "starts one after another on one data directory",
    Effect.gen(function*() {
      const { lines, start } = yield* place
      yield* Effect.forEach(
        ["1", "2", "3"],
        (FAKE) => Effect.flatMap(start({ FAKE, FAKE_DELAY: "150" }), (server) => server.live),
        { concurrency: "unbounded", discard: true }
      )
      const order = (yield* lines).flatMap((line) =>
        line.startsWith("start") ? ["start"] : line === "ready" ? [line] : []
      )
      assert.deepStrictEqual(order, ["start", "ready", "start", "ready", "start", "ready"])
    })
  )

  live(
    "hands signals to a session for as long as it is attached, without the password",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      yield* server.live
      const scope = yield* Scope.make()
      const { signals } = yield* attach(server).pipe(Scope.provide(scope))
      const queue = yield* taken(signals)
      yield* order(server, "/say", status("busy"))
      assert.strictEqual((yield* Queue.take(queue))._tag, "turnBusy")
      yield* order(server, "/say", {
        payload: { type: "some.news", properties: { sessionID: "ses_a", text: "it is $PASSWORD, is it not" } }
      })
      const news = yield* Queue.take(queue)
      assert.deepStrictEqual(news._tag === "unrecognised" ? news.raw : undefined, {
        sessionID: "ses_a",
        text: `it is ${Redaction.replacement}, is it not`
      })
      yield* Scope.close(scope, Exit.void)
      const again = yield* Effect.flatMap(attach(server), ({ signals }) => taken(signals))
      yield* order(server, "/say", status("idle"))
      assert.strictEqual((yield* Queue.take(again))._tag, "turnEnded")
      assert.strictEqual(yield* Queue.size(queue), 0)
    })
  )

  live(
    "ends the signals of its sessions when the stream is cut, and is live again with the next connection",
    Effect.gen(function*() {
      const { lines, start } = yield* place
      const server = yield* start()
      yield* server.live
      const { signals } = yield* attach(server)
      yield* order(server, "/cut")
      const error = yield* Effect.flip(Stream.runDrain(signals))
      assert.strictEqual(error.reason._tag, "ConnectionLost")
      assert.strictEqual((yield* server.live).generation, 2)
      yield* attach(server)
      assert.strictEqual((yield* lines).filter((line) => line.startsWith("start")).length, 1)
    })
  )

  live(
    "proves that its stream tells what happens, once for each connection of the stream",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      yield* server.live
      const first = yield* attach(server)
      // The greeting alone is no proof: the server says it before it listens to itself.
      const proving = yield* Effect.forkChild(first.prove(Effect.void), { startImmediately: true })
      yield* order(server, "/say", { payload: { type: "server.connected", properties: {} } })
      assert.isUndefined(proving.pollUnsafe())
      yield* order(server, "/say", status("busy"))
      yield* Fiber.join(proving)
      const second = yield* attach(server)
      yield* second.prove(Effect.die("asked again"))
      yield* order(server, "/cut")
      yield* Effect.ignore(Stream.runDrain(second.signals))
      yield* server.live
      const again = yield* attach(server)
      let asked = 0
      const context = yield* Effect.context<HttpClient.HttpClient>()
      const say = (event: unknown) => Effect.orDie(Effect.provide(order(server, "/say", event), context))
      yield* again.prove(Effect.suspend(() => {
        asked++
        return say(status("idle"))
      }))
      assert.strictEqual(asked, 1)
    })
  )

  live(
    "lets a session attach that comes while the stream is made again",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      yield* server.live
      const { signals } = yield* attach(server)
      yield* order(server, "/cut")
      yield* Effect.flip(Stream.runDrain(signals))
      const again = yield* Effect.flatMap(attach(server), ({ signals }) => taken(signals))
      yield* order(server, "/say", status("busy"))
      assert.strictEqual((yield* Queue.take(again))._tag, "turnBusy")
    })
  )

  live(
    "makes the server tell something again, for as long as that reaches nobody",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      yield* server.live
      const { prove } = yield* attach(server)
      const context = yield* Effect.context<HttpClient.HttpClient>()
      let asked = 0
      yield* prove(
        Effect.suspend(() =>
          ++asked < 3 ? Effect.void : Effect.orDie(Effect.provide(order(server, "/say", status("busy")), context))
        )
      )
      assert.strictEqual(asked, 3)
    })
  )

  live(
    "proves the next stream to a session that lost one before it had told anything",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      yield* server.live
      const { prove, signals } = yield* attach(server)
      const context = yield* Effect.context<HttpClient.HttpClient>()
      const events = ["/cut", "/say"]
      yield* prove(
        Effect.suspend(() =>
          Effect.orDie(Effect.provide(order(server, events.shift() ?? assert.fail(), status("busy")), context))
        )
      )
      assert.strictEqual((yield* server.live).generation, 2)
      assert.strictEqual((yield* Queue.take(yield* taken(signals)))._tag, "turnBusy")
    })
  )

  live(
    "proves nothing of a server that was started again meanwhile",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      const { pid } = yield* server.live
      const { prove } = yield* attach(server)
      const error = yield* Effect.flip(prove(Effect.sync(() => process.kill(pid ?? assert.fail(), "SIGKILL"))))
      assert.strictEqual(error.reason._tag, "ConnectionLost")
      assert.notStrictEqual((yield* server.live).pid, pid)
    })
  )

  live(
    "tells the states of its process to those who listen, and to nobody who does not any more",
    Effect.gen(function*() {
      const { start } = yield* place
      const server = yield* start()
      const heard: Array<string> = []
      const scopes: Array<Scope.Closeable> = []
      const listen = Effect.gen(function*() {
        const scope = yield* Scope.make()
        scopes.push(scope)
        yield* server.listen((signal) => heard.push(signal._tag === "process" ? signal.status._tag : signal._tag)).pipe(
          Scope.provide(scope)
        )
      })
      yield* listen
      yield* server.live
      assert.deepStrictEqual([heard[0], heard.at(-1)], ["starting", "ready"])
      for (let index = 0; index < 200; index++) yield* listen
      assert.deepStrictEqual(heard.slice(-200), Array.from({ length: 200 }, () => "ready"))
      for (const scope of scopes) yield* Scope.close(scope, Exit.void)
      const before = heard.length
      const last: Array<string> = []
      const exited = yield* Queue.unbounded<string>()
      yield* server.listen((signal) => {
        if (signal._tag === "process" && signal.status._tag === "exited") Queue.offerUnsafe(exited, "exited")
        last.push(signal._tag)
      })
      process.kill((yield* server.live).pid ?? assert.fail(), "SIGKILL")
      yield* Queue.take(exited)
      assert.strictEqual(heard.length, before)
      assert.isAbove(last.length, 1)
    })
  )

  for (
    const [what, said, file, issue] of [
      [
        "has a wrong value",
        "Configuration is invalid at /h/opencode.json\n\u21b3 Expected string, got 5 model\n\u21b3 two\n",
        "/h/opencode.json",
        "Expected string, got 5 model; two"
      ],
      [
        "is no JSON",
        "Config file at /h/o.jsonc is not valid JSON(C): \n--- JSONC Input ---\n{ key: secret\n--- Errors ---\nInvalidSymbol at line 1, column 3\n   Line 1: { key: secret\n--- End ---\n",
        "/h/o.jsonc",
        "InvalidSymbol at line 1, column 3"
      ],
      [
        "names a file that is not there",
        "Configuration is invalid at /h/opencode.json: bad file reference: \"{file:/x}\" /x does not exist\n",
        "/h/opencode.json",
        "bad file reference: \"{file:/x}\" /x does not exist"
      ]
    ] as const
  ) {
    live(
      `says which file is wrong when the server ends because its configuration ${what}`,
      Effect.gen(function*() {
        const { lines, start } = yield* place
        const server = yield* start({ FAKE_EXIT_WITH: `\u001b[91mError: \u001b[0m${said}` })
        const error = yield* Effect.flip(server.live)
        assert.deepStrictEqual(
          error.reason._tag === "InvalidConfig" ? [error.reason.file, error.reason.issue] : error.reason._tag,
          [file, issue]
        )
        assert.notInclude(error.message, "secret")
        assert.strictEqual((yield* lines).length, 1)
      })
    )
  }
})
