/** Commands and files that are sent again. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import type { PromptId } from "@reins/core/Ids"
import * as Prompt from "@reins/core/Prompt"
import type { Signal } from "@reins/core/Signal"
import { Deferred, Effect, Fiber, Option, Stream } from "effect"
import * as submitting from "../src/internal/submitting.ts"
import type { OpenCodeClient } from "../src/OpenCodeClient.ts"

const key = "msg_019abc000001aaaaaaaaaaaaaa"
const choice = { model: undefined, mode: undefined, variant: undefined }
const submission = (input: Prompt.PromptInput, attempt: number) => ({
  promptId: "prm_1" as PromptId,
  key,
  input,
  attempt
})
const greet = Prompt.make(Prompt.command("greet", "Bob"))

/** A server of which the test says whether it has the message, and when a command has run. */
const server = (options: { readonly stored: boolean; readonly run: Effect.Effect<void, AgentError.AgentError> }) => {
  const sent: Array<string> = []
  const client: Partial<OpenCodeClient> = {
    message: () =>
      Effect.succeed(
        options.stored ? Option.some({ info: { id: key, sessionID: "s", role: "user" }, parts: [] }) : Option.none()
      ),
    runCommand: (_id, body) =>
      Effect.andThen(Effect.sync(() => sent.push(`command ${body.command} ${body.arguments}`)), options.run),
    promptAsync: (_id, body) =>
      Effect.sync(() => {
        sent.push(body.parts.map((part) => part.type === "file" ? part.mime : part.type).join(" "))
      })
  }
  // What is submitted calls no other route.
  return { client: client as OpenCodeClient, sent }
}

describe("submitting", () => {
  it.effect("a command that the conversation has is not sent again", () =>
    Effect.gen(function*() {
      const { client, sent } = server({ stored: true, run: Effect.void })
      const submitter = submitting.make(client, "s", yield* Effect.scope)
      yield* submitter.submit(submission(greet, 2), choice)
      assert.deepStrictEqual(sent, [])
      yield* submitter.submit(submission(greet, 1), choice)
      assert.deepStrictEqual(sent, ["command greet Bob"])
    }).pipe(Effect.scoped))

  it.effect("a command whose call still runs is waited for, not sent again", () =>
    Effect.gen(function*() {
      const done = yield* Deferred.make<void>()
      const { client, sent } = server({ stored: false, run: Deferred.await(done) })
      const submitter = submitting.make(client, "s", yield* Effect.scope)
      const first = yield* Effect.forkChild(submitter.submit(submission(greet, 1), choice), { startImmediately: true })
      yield* Fiber.interrupt(first)
      const second = yield* Effect.forkChild(submitter.submit(submission(greet, 2), choice), { startImmediately: true })
      assert.deepStrictEqual(sent, ["command greet Bob"])
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(second)
      assert.deepStrictEqual(sent, ["command greet Bob"])
    }).pipe(Effect.scoped))

  it.effect("a command has arrived when the stream tells its message, long before its turn is over", () =>
    Effect.gen(function*() {
      const { client } = server({ stored: false, run: Effect.never })
      const submitter = submitting.make(client, "s", yield* Effect.scope)
      const submit = yield* Effect.forkChild(submitter.submit(submission(greet, 1), choice), { startImmediately: true })
      yield* submitter.watch(Stream.succeed<Signal>({ _tag: "prompt", key: "msg_other" })).pipe(Stream.runDrain)
      yield* Effect.yieldNow
      assert.isUndefined(submit.pollUnsafe())
      yield* submitter.watch(Stream.succeed<Signal>({ _tag: "prompt", key })).pipe(Stream.runDrain)
      yield* Fiber.join(submit)
    }).pipe(Effect.scoped))

  it.effect("a command that is refused fails with the reason", () =>
    Effect.gen(function*() {
      const refused = AgentError.make(new AgentError.InvalidRequest({ description: "no" }))
      const { client } = server({ stored: false, run: Effect.fail(refused) })
      const submitter = submitting.make(client, "s", yield* Effect.scope)
      assert.strictEqual(yield* Effect.flip(submitter.submit(submission(greet, 1), choice)), refused)
    }).pipe(Effect.scoped))

  it.effect("files of text are left out of a message that the conversation has: the server wrote them out", () =>
    Effect.gen(function*() {
      const input = Prompt.make(
        "see",
        Prompt.file({ data: "aGk=", mediaType: "text/plain", name: "a.txt" }),
        Prompt.image({ mediaType: "image/png", data: "AAAA" })
      )
      for (
        const [stored, attempt, expected] of [
          [false, 2, "text text/plain image/png"],
          [true, 1, "text text/plain image/png"],
          [true, 2, "text image/png"]
        ] as const
      ) {
        const { client, sent } = server({ stored, run: Effect.void })
        const submitter = submitting.make(client, "s", yield* Effect.scope)
        yield* submitter.submit(submission(input, attempt), choice)
        assert.deepStrictEqual(sent, [expected])
      }
    }).pipe(Effect.scoped))
})
