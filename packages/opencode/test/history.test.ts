/** Pages of a stored conversation, against a server that pages as the real one does. */
import { assert, describe, it } from "@effect/vitest"
import type { HistorySource } from "@reins/core/History"
import { Effect } from "effect"
import * as fc from "fast-check"
import * as history from "../src/internal/history.ts"
import type * as OpenCodeClient from "../src/OpenCodeClient.ts"
import type * as Wire from "../src/OpenCodeSchema.ts"

const sessionID = "ses_root"
let clock = 0

const part = (id: string, messageID: string, text: string) => ({
  id,
  messageID,
  sessionID,
  type: "text",
  text,
  time: { start: 1, end: 2 }
})

const message = (
  id: string,
  role: "user" | "assistant",
  text: string,
  more: { readonly [name: string]: unknown } = {}
): Wire.MessageWithParts => ({
  info: { id, sessionID, role, time: { created: ++clock, ...(role === "user" ? {} : { completed: clock }) }, ...more },
  parts: [part(`prt_${id}`, id, text)]
})

/** A turn with so many answers of the model. */
const turn = (name: string, steps: number, more: { readonly [name: string]: unknown } = { finish: "stop" }) => [
  message(`msg_${name}`, "user", name),
  ...Array.from({ length: steps }, (_, index) =>
    message(`msg_${name}_${index}`, "assistant", `${name} ${index}`, {
      parentID: `msg_${name}`,
      ...(index === steps - 1 ? more : { finish: "tool-calls" })
    }))
]

interface Server {
  messages: ReadonlyArray<Wire.MessageWithParts>
  calls: number
  busy: boolean
}

/** Newest first in pages; the cursor is opaque to its reader. */
const clientOf = (server: Server) =>
  ({
    sessionStatus: () => Effect.sync(() => server.busy ? { [sessionID]: { type: "busy" } } : {}),
    messagePage: (_id: string, { before, limit }: { readonly before?: string; readonly limit: number }) =>
      Effect.sync((): OpenCodeClient.MessagePage => {
        server.calls++
        const end = before === undefined
          ? server.messages.length
          : server.messages.findIndex(({ info }) => `c-${info.id}` === before)
        const start = Math.max(0, end - limit)
        const messages = server.messages.slice(start, end)
        return { messages, ...(start === 0 ? {} : { next: `c-${messages[0]?.info.id}` }) }
      })
  }) as unknown as OpenCodeClient.OpenCodeClient

const page = (server: Server, limit: number, before?: string) =>
  history.read(clientOf(server), { id: sessionID, directory: "/repo" }, {
    limit,
    ...(before === undefined ? {} : { before })
  })

const all = Effect.fnUntraced(function*(server: Server, limit: number) {
  const pages: Array<HistorySource> = []
  let before: string | undefined
  do {
    const next: HistorySource = yield* page(server, limit, before)
    pages.unshift(next)
    before = next.before
  } while (before !== undefined && pages.length < 500)
  return pages
})

const serverOf = (...turns: ReadonlyArray<ReadonlyArray<Wire.MessageWithParts>>): Server => ({
  messages: turns.flat(),
  calls: 0,
  busy: false
})

const texts = (source: HistorySource) =>
  source.turns.map((turn) => turn.items.flatMap(({ item }) => "text" in item ? [item.text] : []))

describe("history", () => {
  it.effect("of an empty conversation is empty, and of a short one whole", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* page(serverOf(), 20), { turns: [] })
      const source = yield* page(serverOf(turn("a", 1), turn("b", 2)), 20)
      assert.deepStrictEqual(texts(source), [["a", "a 0"], ["b", "b 0", "b 1"]])
      assert.deepStrictEqual(source.turns.map(({ key, verdict }) => [key, verdict._tag]), [
        ["msg_a", "completed"],
        ["msg_b", "completed"]
      ])
      assert.isUndefined(source.before)
    }))

  it.effect("in pages of any size is the whole, in order, each turn once, whatever comes meanwhile", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }),
          fc.integer({ min: 1, max: 12 }),
          async (steps, limit) => {
            const turns = steps.map((count, index) => turn(`t${index}`, count))
            const server = serverOf(...turns)
            const pages: Array<HistorySource> = []
            let before: string | undefined
            do {
              const next: HistorySource = await Effect.runPromise(page(server, limit, before))
              pages.unshift(next)
              before = next.before
              // Newer ones move all pages of the server, and none of ours.
              if (before !== undefined) server.messages = [...server.messages, ...turn(`new${pages.length}`, 7)]
            } while (before !== undefined)
            const read = pages.flatMap((source) => source.turns)
            assert.deepStrictEqual(
              read.map((one) => one.items.map(({ key }) => key)),
              turns.map((one) => one.map(({ info }) => `prt_${info.id}`))
            )
            assert.isTrue(read.every((one) => one.verdict._tag === "completed" && one.partial === undefined))
            assert.isTrue(pages.every((source) => source.turns.length <= limit))
          }
        ),
        { numRuns: 60 }
      )
    ))

  it.effect("gives a turn that is too long for a page in parts, with its end in the newest", () =>
    Effect.gen(function*() {
      const server = serverOf(turn("before", 1), turn("giant", 2_400), turn("after", 1))
      const pages = yield* all(server, 5)
      const shown = pages.map((source) => source.turns.map((one) => [one.key, one.partial ?? false, one.verdict._tag]))
      assert.deepStrictEqual(shown.at(-1), [["msg_after", false, "completed"]])
      const parts = shown.slice(0, -1).flat().filter(([key]) => key === "msg_giant")
      assert.isAbove(parts.length, 1)
      assert.deepStrictEqual(parts.at(-1), ["msg_giant", true, "completed"])
      assert.isTrue(parts.slice(0, -1).every(([, partial, verdict]) => partial === true && verdict === "running"))
      assert.deepStrictEqual(shown[0]?.[0], ["msg_before", false, "completed"])
      const items = pages.flatMap((source) => source.turns).filter((one) => one.key === "msg_giant")
        .flatMap((one) => one.items)
      assert.strictEqual(items.length, 2_401)
      // What is read for one page is bounded.
      server.calls = 0
      yield* page(server, 200)
      assert.isAtMost(server.calls, 11)
    }))

  it.effect("tells how each turn ended, and which one runs", () =>
    Effect.gen(function*() {
      const server = serverOf(
        turn("failed", 1, { error: { name: "APIError", data: { message: "no", isRetryable: false } } }),
        turn("stopped", 1, { error: { name: "MessageAbortedError", data: { message: "aborted" } } }),
        // The server died under it.
        turn("dead", 1, {}),
        // Merged into the turn of the next one, which answers both.
        [message("msg_merged", "user", "merged")],
        turn("last", 1, {})
      )
      server.busy = true
      const source = yield* page(server, 20)
      assert.deepStrictEqual(source.turns.map(({ key, verdict }) => [key, verdict._tag]), [
        ["msg_failed", "failed"],
        ["msg_stopped", "interrupted"],
        ["msg_dead", "unfinished"],
        ["msg_last", "running"]
      ])
      assert.deepStrictEqual(texts(source).at(-1), ["merged", "last", "last 0"])
    }))

  it.effect("refuses a place that is none", () =>
    Effect.gen(function*() {
      for (const before of ["", "nonsense", "{}", "[1]"]) {
        const error = yield* Effect.flip(page(serverOf(turn("a", 1)), 5, before))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "before")
      }
    }))
})
