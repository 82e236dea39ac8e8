import { assert, describe, it } from "@effect/vitest"
import type { SnapshotRequest } from "@reins/core/Signal"
import { Effect, Option } from "effect"
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
})
