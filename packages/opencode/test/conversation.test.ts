/** Where turns begin and end in a stored conversation. */
import { assert, describe, it } from "@effect/vitest"
import type { TurnId } from "@reins/core/Ids"
import * as conversation from "../src/internal/conversation.ts"
import * as OpenCode from "../src/OpenCode.ts"
import type * as Wire from "../src/OpenCodeSchema.ts"
import { Effect, Layer } from "effect"
import * as FileSystem from "effect/FileSystem"
import * as HttpClient from "effect/http/HttpClient"
import * as Path from "effect/Path"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"

const ours = (time: string, end: string) => `msg_${time}${end.padStart(14, "0")}`
const turn = (id: string, ...keys: ReadonlyArray<string>) => ({ id: id as TurnId, keys })

const user = (id: string, created: number, parts: ReadonlyArray<unknown> = [{ type: "text" }]) =>
  ({ info: { id, sessionID: "s", role: "user", time: { created } }, parts }) satisfies Wire.MessageWithParts

const assistant = (id: string, parentID: string, created: number, completed?: number) =>
  ({
    info: {
      id,
      sessionID: "s",
      role: "assistant",
      parentID,
      time: { created, ...(completed === undefined ? undefined : { completed }) }
    },
    parts: []
  }) satisfies Wire.MessageWithParts

const a = ours("019abc000001", "Alpha")
const b = ours("019abc000002", "Beta")
const c = ours("019abc000003", "Gamma")

/** A turn with two steps and a compaction of the server's own, one that a prompt joined, and one of somebody else. */
const messages: ReadonlyArray<Wire.MessageWithParts> = [
  user(a, 10),
  assistant("msg_1", a, 11, 20),
  user("msg_compact", 21, [{ type: "compaction", auto: true }]),
  assistant("msg_2", "msg_compact", 22, 30),
  user("msg_goes_on", 31, [{ type: "text", synthetic: true }]),
  assistant("msg_3", "msg_goes_on", 32, 40),
  user(b, 50),
  assistant("msg_4", b, 51, 70),
  user(c, 60),
  assistant("msg_5", c, 71, 80),
  user("msg_foreign", 90),
  assistant("msg_6", "msg_foreign", 91, 99)
]

describe("turns of a conversation", () => {
  it("are found by the key that is remembered, and by the id alone", () => {
    assert.strictEqual(conversation.firstOf(messages, turn("trn_anything", b)), 6)
    assert.strictEqual(conversation.firstOf(messages, turn(`trn_019abc0000ff${b.slice(-14)}`)), 6)
    assert.strictEqual(conversation.firstOf(messages, turn("trn_msg_foreign")), 10)
    assert.strictEqual(conversation.firstOf(messages, turn(`trn_019abc0000ff${"Delta".padStart(14, "0")}`)), -1)
    assert.strictEqual(conversation.firstOf(messages, turn("trn_msg_1")), -1)
  })

  it("hold what the server wrote to go on, and prompts that joined them", () => {
    assert.strictEqual(conversation.endOf(messages, turn("trn_x", a)), 6)
    // Without its keys: it came before the answer before it was complete.
    assert.strictEqual(conversation.endOf(messages, turn("trn_x", b)), 10)
    assert.strictEqual(conversation.endOf(messages, turn("trn_x", b, c)), 10)
    assert.strictEqual(conversation.endOf(messages, turn("trn_msg_foreign")), 12)
    assert.strictEqual(conversation.endOf(messages, turn("trn_none")), -1)
  })

  it("end where a revert begins", () => {
    assert.strictEqual(conversation.counted(messages, { messageID: b }).length, 6)
    assert.strictEqual(conversation.counted(messages, { messageID: "msg_gone" }).length, messages.length)
    assert.strictEqual(conversation.counted(messages, undefined), messages)
  })

  it.effect("derive their ids from prompts as the adapter derives its keys", () =>
    Effect.gen(function*() {
      const provider = yield* OpenCode.make().make("opencode")
      const promptId = "prm_0123456789abAbCdEfGhIjKlMn" as Parameters<NonNullable<typeof provider.promptKey>>[0]
      const key = provider.promptKey?.(promptId, 1_700_000_000_000) ?? ""
      assert.strictEqual(conversation.firstOf([user(key, 1)], turn(`trn_${promptId.slice(4)}`)), 0)
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(
        Path.layer,
        FileSystem.layerNoop({}),
        Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.die("no request is made"))),
        Layer.succeed(
          ChildProcessSpawner.ChildProcessSpawner,
          ChildProcessSpawner.make(() => Effect.die("no process is started"))
        )
      ))
    ))
})
