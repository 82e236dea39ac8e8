/** The client of the real server: each of the shapes in which it says no. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as OpenCodeClient from "@reins/opencode/OpenCodeClient"
import { Effect, Option, Redacted } from "effect"
import * as Host from "./fixtures/host.ts"
import { serverOf } from "./fixtures/server.ts"

describe("the client", () => {
  it.live(
    "trap 16: tells a web page, a malformed id, an empty 401 and three shapes of errors apart",
    () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const server = yield* serverOf(session)
        const make = (url: string, password = server.password) =>
          OpenCodeClient.make({ url, password: Redacted.make(password) })
        const client = yield* make(server.url)

        // An unknown path of a GET answers 200 with a web page.
        const elsewhere = yield* make(`${server.url}/nowhere`)
        const page = yield* Effect.flip(elsewhere.config(session.cwd))
        assert.strictEqual(page.reason._tag, "ProtocolError")
        assert.include(page.message, "web page")
        // A wrong password answers 401 without a body.
        const stranger = yield* make(server.url, "wrong")
        assert.strictEqual((yield* Effect.flip(stranger.health)).reason._tag, "AuthRequired")
        // `{ name, data }`: a conversation that is not there is none; a malformed id is an error of the server's (500).
        assert.isTrue(Option.isNone(yield* client.getSession("ses_000000000000000000000000")))
        const malformed = yield* Effect.flip(client.messages("nope"))
        assert.isTrue(malformed.reason._tag === "ProtocolError" && malformed.reason.statusCode === 500)
        // `{ _tag, message }`: a request that nobody waits for any more.
        assert.strictEqual(yield* client.replyPermission("per_000", { reply: "once" }, session.cwd), "gone")
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))),
    60_000
  )
})
