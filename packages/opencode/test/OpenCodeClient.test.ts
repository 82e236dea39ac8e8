import { assert, describe, it } from "@effect/vitest"
import type { AgentError } from "@reins/core/AgentError"
import { Cause, Duration, Effect, Fiber, Option, Redacted } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { TestClock } from "effect/testing"
import * as OpenCodeClient from "../src/OpenCodeClient.ts"

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: unknown
}

type Reply =
  | {
    readonly status?: number
    readonly type?: string
    readonly body?: unknown
    readonly headers?: Readonly<Record<string, string>>
  }
  | "hang"
  | "refuse"

const secret = "s3cret-pa55word"

/** A client against a server that answers every call the same. */
const against = Effect.fnUntraced(function*(reply: Reply, options: Partial<OpenCodeClient.Options> = {}) {
  const seen: Array<Seen> = []
  const http = HttpClient.make((request, url) => {
    seen.push({
      method: request.method,
      url: url.href,
      headers: request.headers,
      body: request.body._tag === "Uint8Array"
        ? JSON.parse(new TextDecoder().decode(request.body.body))
        : undefined
    })
    if (reply === "hang") return Effect.never
    if (reply === "refuse") {
      return Effect.fail(
        new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: new Error("ECONNREFUSED") })
        })
      )
    }
    const status = reply.status ?? 200
    const body = reply.body === undefined
      ? null
      : typeof reply.body === "string" && reply.type !== undefined
      ? reply.body
      : JSON.stringify(reply.body)
    const headers = { "content-type": reply.type ?? "application/json", ...reply.headers }
    return Effect.succeed(
      HttpClientResponse.fromWeb(request, new Response(body, body === null ? { status } : { status, headers }))
    )
  })
  const client = yield* OpenCodeClient.make({
    url: "http://127.0.0.1:4096/",
    password: Redacted.make(secret),
    ...options
  }).pipe(Effect.provideService(HttpClient.HttpClient, http))
  return { client, seen }
})

const failure = <A>(effect: Effect.Effect<A, AgentError>) =>
  Effect.map(Effect.flip(effect), (error) => {
    const whole = JSON.stringify(error) + error.message + String(error.stack) + Cause.pretty(Cause.fail(error))
    assert.notInclude(whole, secret)
    assert.notInclude(whole, btoa(`opencode:${secret}`))
    return error.reason
  })

const notFound = { status: 404, body: { name: "NotFoundError", data: { message: "Session not found: ses_1" } } }
const gone = { status: 404, body: { _tag: "PermissionNotFoundError", requestID: "per_1", message: "not found" } }

describe("OpenCodeClient", () => {
  it.effect("reads pages of messages and of conversations, and what asks for the next", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ body: [], headers: { "x-next-cursor": "opaque==" } })
      assert.deepStrictEqual(yield* client.messagePage("ses_1", { limit: 5 }), { messages: [], next: "opaque==" })
      yield* client.messagePage("ses_1", { limit: 5, before: "opaque==" })
      assert.deepStrictEqual(yield* client.sessions({ limit: 3, directory: "/a b", before: 17 }), {
        sessions: [],
        more: true
      })
      assert.deepStrictEqual(seen.map(({ url }) => url.slice("http://127.0.0.1:4096".length)), [
        "/session/ses_1/message?limit=5",
        "/session/ses_1/message?limit=5&before=opaque%3D%3D",
        "/experimental/session?roots=true&limit=3&cursor=17&directory=%2Fa+b"
      ])
      const none = yield* against(notFound)
      assert.strictEqual((yield* failure(none.client.messagePage("ses_1", { limit: 5 })))._tag, "SessionNotFound")
    }))

  it.effect("names the directory in the query of reads, and percent-encoded in a header of writes", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ body: {} })
      yield* client.config("/home/ü b")
      const url = new URL(seen[0]?.url ?? "")
      assert.strictEqual(url.pathname, "/config")
      assert.strictEqual(url.searchParams.get("directory"), "/home/ü b")
      const created = yield* against({ body: { id: "ses_1" } })
      yield* created.client.createSession({ title: "T" }, "/home/ü b")
      assert.strictEqual(created.seen[0]?.headers["x-opencode-directory"], "%2Fhome%2F%C3%BC%20b")
      assert.deepStrictEqual(created.seen[0]?.body, { title: "T" })
    }))

  it.effect("signs each call, and the request of the event stream", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ body: { healthy: true, version: "1.18.33" } })
      assert.deepStrictEqual(yield* client.health, { healthy: true, version: "1.18.33" })
      const expected = `Basic ${btoa(`opencode:${secret}`)}`
      assert.strictEqual(seen[0]?.headers["authorization"], expected)
      assert.strictEqual(seen[0]?.url, "http://127.0.0.1:4096/global/health")
      assert.strictEqual(client.eventRequest.headers["authorization"], expected)
      assert.strictEqual(client.eventRequest.url, "http://127.0.0.1:4096/global/event")
      assert.strictEqual(client.eventRequest.headers["accept"], "text/event-stream")
      assert.notInclude(JSON.stringify(client.eventRequest), secret)
    }))

  it.effect("sends a prompt with its ids and takes the empty answer", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ status: 204 })
      const body = { messageID: "msg_1", parts: [{ id: "prt_1", type: "text" as const, text: "go" }] }
      yield* client.promptAsync("ses_1", body)
      assert.strictEqual(seen[0]?.method, "POST")
      assert.strictEqual(seen[0]?.url, "http://127.0.0.1:4096/session/ses_1/prompt_async")
      assert.deepStrictEqual(seen[0]?.body, body)
    }))

  it.effect("escapes what stands in a path", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ body: true })
      yield* client.abort("../config?x=1")
      assert.strictEqual(new URL(seen[0]?.url ?? "").pathname, "/session/..%2Fconfig%3Fx%3D1/abort")
    }))

  it.effect("tells what the server says does not exist, each call in its way", () =>
    Effect.gen(function*() {
      const { client } = yield* against(notFound)
      assert.isTrue(Option.isNone(yield* client.getSession("ses_1")))
      assert.isTrue(Option.isNone(yield* client.message("ses_1", "msg_1")))
      assert.strictEqual(yield* client.deleteSession("ses_1"), "gone")
      const sessionless = [
        yield* failure(client.messages("ses_1")),
        yield* failure(client.children("ses_1")),
        yield* failure(client.promptAsync("ses_1", { parts: [] }))
      ]
      for (const reason of sessionless) {
        assert.strictEqual(reason._tag === "SessionNotFound" ? reason.sessionId : undefined, "ses_1")
      }
      const requests = yield* against(gone)
      assert.strictEqual(yield* requests.client.replyPermission("per_1", { reply: "once" }, "/repo"), "gone")
      assert.strictEqual(yield* requests.client.replyQuestion("que_1", { answers: [["Red"]] }, "/repo"), "gone")
      assert.strictEqual(yield* requests.client.rejectQuestion("que_1", "/repo"), "gone")
    }))

  it.effect("does not take a missing route for a missing session", () =>
    Effect.gen(function*() {
      for (const reply of [{ status: 404 }, { status: 404, body: { message: "no route" } }]) {
        const { client } = yield* against(reply)
        assert.strictEqual((yield* failure(client.getSession("ses_1")))._tag, "ProtocolError")
        assert.strictEqual(
          (yield* failure(client.replyPermission("per_1", { reply: "once" }, "/repo")))._tag,
          "ProtocolError"
        )
      }
    }))

  it.effect("tells that asks cannot be listed while the server cannot write one of them", () =>
    Effect.gen(function*() {
      const data = { message: "Expected JSON value, got undefined", kind: "Body" }
      const broken = yield* against({ status: 400, body: { name: "BadRequest", data } })
      assert.strictEqual(yield* broken.client.permissions("/p"), "unreadable")
      assert.strictEqual((yield* failure(broken.client.questions("/p")))._tag, "InvalidRequest")
      const refused = yield* against({ status: 400, body: { name: "BadRequest", data: { ...data, kind: "Params" } } })
      assert.strictEqual((yield* failure(refused.client.permissions("/p")))._tag, "InvalidRequest")
      const listed = yield* against({ body: [] })
      assert.deepStrictEqual(yield* listed.client.permissions("/p"), [])
    }))

  it.effect("delivers answers", () =>
    Effect.gen(function*() {
      const { client, seen } = yield* against({ body: true })
      assert.strictEqual(
        yield* client.replyPermission("per_1", { reply: "reject", message: "no" }, "/repo"),
        "delivered"
      )
      assert.deepStrictEqual(seen[0]?.body, { reply: "reject", message: "no" }, "/p")
      assert.strictEqual(yield* client.replyQuestion("que_1", { answers: [["Red"], []] }, "/repo"), "delivered")
      assert.deepStrictEqual(seen[1]?.body, { answers: [["Red"], []] }, "/p")
    }))

  it.effect("tells the errors of the server apart", () =>
    Effect.gen(function*() {
      const table: ReadonlyArray<readonly [reply: Reply, tag: string]> = [
        [{ status: 401 }, "AuthRequired"],
        [{ status: 401, body: { _tag: "UnauthorizedError", message: "Authentication required" } }, "AuthRequired"],
        [
          { status: 400, body: { name: "BadRequest", data: { message: "Missing key", kind: "Payload" } } },
          "InvalidRequest"
        ],
        [{ status: 400, body: { name: "ConfigJsonError", data: { path: "f", message: "m" } } }, "InvalidConfig"],
        [{ status: 409, body: { _tag: "SessionBusyError", sessionID: "s", message: "busy" } }, "SessionBusy"],
        [
          { status: 500, body: { name: "UnknownError", data: { message: "Unexpected server error." } } },
          "ProtocolError"
        ],
        [{ status: 500, body: { name: "UnknownError", data: { message: "Model not found: a/b." } } }, "ModelNotFound"],
        [{ status: 500, type: "text/plain", body: "oops" }, "ProtocolError"],
        [{ status: 200, type: "text/html", body: "<!doctype html>" }, "ProtocolError"],
        [{ status: 200, type: "application/json", body: "{" }, "ProtocolError"],
        [{ status: 200, type: "text/plain", body: "hello" }, "ProtocolError"],
        [{ status: 200, body: { id: 7 } }, "ProtocolError"],
        ["refuse", "ConnectionLost"]
      ]
      for (const [reply, tag] of table) {
        const { client } = yield* against(reply)
        const reason = yield* failure(client.createSession({}))
        assert.strictEqual(reason._tag, tag, JSON.stringify(reply))
      }
    }))

  it.effect("gives up a call that is not answered in time", () =>
    Effect.gen(function*() {
      const { client } = yield* against("hang")
      const fiber = yield* Effect.forkChild(failure(client.health))
      yield* Effect.yieldNow // the call is under way before time moves
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "ConnectionLost")

      const quick = yield* against("hang", { timeout: Duration.millis(250) })
      const other = yield* Effect.forkChild(failure(quick.client.sessionStatus()))
      yield* Effect.yieldNow
      yield* TestClock.adjust("250 millis")
      assert.strictEqual((yield* Fiber.join(other))._tag, "ConnectionLost")
    }))

  it.effect("reads what it needs and ignores the rest", () =>
    Effect.gen(function*() {
      const { client } = yield* against({
        body: { ses_1: { type: "retry", attempt: 2, message: "m", next: 9, action: {} }, ses_2: { type: "busy" } }
      })
      assert.deepStrictEqual(yield* client.sessionStatus("/p"), {
        ses_1: { type: "retry", attempt: 2, message: "m", next: 9 },
        ses_2: { type: "busy" }
      })
      const messages = yield* against({
        body: [{ info: { id: "msg_1", sessionID: "ses_1", role: "user", agent: "build" }, parts: [{ odd: true }] }]
      })
      const [message] = yield* messages.client.messages("ses_1", { limit: 5 })
      assert.strictEqual(message?.info.id, "msg_1")
      assert.deepStrictEqual(message?.parts, [{ odd: true }])
      assert.strictEqual(new URL(messages.seen[0]?.url ?? "").searchParams.get("limit"), "5")
    }))

  it.effect("names models with their provider, and leaves out what is not known", () =>
    Effect.gen(function*() {
      const { client } = yield* against({
        body: {
          model: "fake/one",
          default: { fake: "one" },
          providers: [{
            id: "fake",
            name: "Fake",
            key: "sk-hidden",
            models: {
              one: {
                id: "one",
                name: "One",
                limit: { context: 100_000, output: 1 },
                cost: { input: 0, output: 0 },
                capabilities: { input: { image: false } },
                variants: { high: {} }
              },
              two: { id: "two", cost: { input: 1, output: 2 }, limit: { context: 0 } }
            }
          }]
        }
      })
      assert.deepStrictEqual(yield* client.models("/p"), [
        {
          id: "fake/one",
          name: "One",
          contextWindow: 100_000,
          images: false,
          variants: ["high"],
          isDefault: true,
          usable: true
        },
        { id: "fake/two", name: "two", price: { input: 1, output: 2, currency: "USD" }, usable: true }
      ])
    }))
})
