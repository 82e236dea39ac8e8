import { assert, describe, it } from "@effect/vitest"
import type { SnapshotRequest } from "@reins/core/Signal"
import { Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import * as recent from "../src/internal/recent.ts"
import type * as OpenCodeClient from "../src/OpenCodeClient.ts"
import type * as Wire from "../src/OpenCodeSchema.ts"

/** A server with so many messages, and how many it gave. */
const serverOf = (count: number) => {
  const ids = Array.from({ length: count }, (_, index) => `msg_${index}`)
  const given = { messages: 0, looks: 0 }
  const messageOf = (id: string): Wire.MessageWithParts => ({
    info: { id, sessionID: "ses_a", role: "user" },
    parts: []
  })
  const client: Pick<OpenCodeClient.OpenCodeClient, "message" | "messagePage"> = {
    message: (_session, id) =>
      Effect.sync(() => {
        given.looks++
        return ids.includes(id) ? Option.some(messageOf(id)) : Option.none()
      }),
    messagePage: (_session, { before, limit }) =>
      Effect.sync(() => {
        const end = before === undefined ? count : Number(before)
        const start = Math.max(0, end - limit)
        given.messages += end - start
        return { messages: ids.slice(start, end).map(messageOf), ...(start === 0 ? {} : { next: String(start) }) }
      })
  }
  const read = (request: Partial<SnapshotRequest>) =>
    recent.read(client, "ses_a", { prompts: [], turns: [], ...request })
  return { given, read }
}

describe("the newest messages", () => {
  it.effect("of a short conversation are all of them", () =>
    Effect.gen(function*() {
      const { read } = serverOf(100)
      const { messages, whole } = yield* read({ turns: ["msg_gone"] })
      assert.deepStrictEqual([messages.length, whole], [100, true])
    }))

  it.effect("of a long one reach back to what is asked about, and no further", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [Partial<SnapshotRequest>, number]> = [
        [{}, 100],
        [{ turns: ["msg_950"] }, 100],
        [{ turns: ["msg_850"], prompts: ["msg_990"] }, 200],
        [{ prompts: ["msg_650"] }, 400],
        // One that the server does not have is not looked for in all of it.
        [{ prompts: ["msg_gone"] }, 100],
        [{ after: null }, 100],
        [{ after: ["msg_gone", "msg_750"] }, 300],
        [{ after: ["msg_750", "msg_960"] }, 100],
        [{ after: [] }, 1_000]
      ]
      for (const [request, count] of cases) {
        const { read } = serverOf(1_000)
        const { messages, whole } = yield* read(request)
        assert.strictEqual(messages.length, count, JSON.stringify(request))
        assert.strictEqual(whole, count === 1_000)
        // Newest, in order, without a gap.
        assert.deepStrictEqual(
          messages.map(({ info }) => info.id),
          Array.from({ length: count }, (_, index) => `msg_${1_000 - count + index}`)
        )
      }
    }))

  it.effect("are bounded where the place is not found", () =>
    Effect.gen(function*() {
      const { given, read } = serverOf(9_000)
      const { messages, whole } = yield* read({ after: ["msg_gone"] })
      assert.deepStrictEqual([messages.length, whole, given.looks], [2_000, false, 0])
    }))

  it.effect("are read again when the last one says that it is over and has no word yet, and not for ever", () =>
    Effect.gen(function*() {
      const page = (text: string): OpenCodeClient.MessagePage => ({
        messages: [{
          info: {
            id: "msg_1",
            sessionID: "ses_a",
            role: "assistant",
            finish: "stop",
            time: { created: 1, completed: 2 }
          },
          parts: [{ id: "prt_1", sessionID: "ses_a", messageID: "msg_1", type: "text", text }]
        }]
      })
      const reading = (texts: ReadonlyArray<string>) => {
        let reads = 0
        const client = {
          message: () => Effect.succeedNone,
          messagePage: () => Effect.sync(() => page(texts[Math.min(reads++, texts.length - 1)] ?? ""))
        }
        return Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(recent.read(client, "ses_a", { prompts: [], turns: [] }))
          yield* TestClock.adjust("1 second")
          return { ...(yield* Fiber.join(fiber)), reads }
        })
      }
      const late = yield* reading(["", "the answer"])
      assert.deepStrictEqual([late.reads, late.messages], [2, page("the answer").messages])
      assert.strictEqual((yield* reading([""])).reads, 3)
      assert.strictEqual((yield* reading(["at once"])).reads, 1)
    }))
})
