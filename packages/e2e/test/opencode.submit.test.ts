/** A submission whose answer is lost: the prompt runs once, whatever happened to it on the way. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as Host from "./fixtures/host.ts"
import { prompt, text } from "./fixtures/script.ts"

/** Breaks the first submission: before it reaches the server, or after, on the way back. */
const breaking = (where: "before" | "after") => {
  let broken = false
  return (client: HttpClient.HttpClient) =>
    HttpClient.transform(client, (effect, request) => {
      if (broken || !request.url.includes("/prompt_async")) return effect
      broken = true
      const error = new HttpClientError.HttpClientError({
        reason: new HttpClientError.TransportError({ request, description: "the connection was reset" })
      })
      return where === "before" ? Effect.fail(error) : Effect.andThen(effect, Effect.fail(error))
    })
}

describe("a submission", () => {
  for (const where of ["before", "after"] as const) {
    it.live(
      `that is broken ${where === "before" ? "before it arrives" : "after it arrived"} runs once`,
      () =>
        Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const session = yield* Host.open()
          const turn = yield* session.prompt(prompt("only-once", text("done")))
          assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
          assert.strictEqual((yield* turn.receipt)._tag, "consumed")
          yield* session.quiescent
          const calls = (yield* model.requests).filter(({ request }) =>
            !request.isTitle && request.lastUserText.includes("only-once")
          )
          assert.strictEqual(calls.length, 1)
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess, http: breaking(where) }))
        ),
      60_000
    )
  }
})
