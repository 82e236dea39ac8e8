import { assert, describe, it } from "@effect/vitest"
import { textOf } from "@reins/core/Item"
import * as normalise from "../src/internal/normalise.ts"
import { only, tags } from "./fixtures/signals.ts"

const make = () => normalise.make({ sessionId: "ses_root" })

const event = (type: string, properties: { readonly [key: string]: unknown }): normalise.OpenCodeEvent => ({
  type,
  properties: { sessionID: "ses_root", ...properties }
})

const user = (id: string) =>
  event("message.updated", { info: { id, sessionID: "ses_root", role: "user", time: { created: 1 } } })

const assistant = (id: string, parentID: string, more: { readonly [key: string]: unknown } = {}) =>
  event("message.updated", {
    info: { id, sessionID: "ses_root", role: "assistant", parentID, time: { created: 1 }, ...more }
  })

const part = (id: string, messageID: string, more: { readonly [key: string]: unknown }) =>
  event("message.part.updated", { part: { id, messageID, sessionID: "ses_root", ...more } })

const delta = (partID: string, text: string, field = "text") =>
  event("message.part.delta", { messageID: "msg_a", partID, field, delta: text })

const tool = (id: string, name: string, state: { readonly [key: string]: unknown }) =>
  part(id, "msg_a", { type: "tool", tool: name, callID: `call_${id}`, state })

/** A turn that works. */
const running = (): normalise.NormaliserState => {
  const state = make()
  normalise.applyAll(state, [
    user("msg_u"),
    part("prt_u", "msg_u", { type: "text", text: "go" }),
    event("session.status", { status: { type: "busy" } }),
    assistant("msg_a", "msg_u")
  ])
  return state
}

describe("normalise", () => {
  it("joins text of the same part that arrives together, and only that", () => {
    const state = running()
    const signals = normalise.applyAll(state, [
      part("prt_1", "msg_a", { type: "text", text: "", time: { start: 1 } }),
      delta("prt_1", "a"),
      delta("prt_1", "b"),
      part("prt_2", "msg_a", { type: "reasoning", text: "", time: { start: 1 } }),
      delta("prt_2", "c"),
      delta("prt_1", "d"),
      delta("prt_1", ""),
      delta("prt_1", "e")
    ])
    assert.deepStrictEqual(only(signals, "delta").map(({ key, text }) => [key, text]), [
      ["prt_1", "ab"],
      ["prt_2", "c"],
      ["prt_1", "de"]
    ])
  })

  it("does not take other fields of a part for its text", () => {
    assert.deepStrictEqual(normalise.applyAll(running(), [delta("prt_1", "x", "raw")]), [])
  })

  it("does not take a text that is stored without its end for the text", () => {
    const [signal] = normalise.applyAll(running(), [
      part("prt_1", "msg_a", { type: "text", text: "", time: { start: 1 } })
    ])
    assert.strictEqual(signal?._tag === "item" && signal.hasText, false)
  })

  it("tells no more of an output whose head was cut off, and its true text at the end", () => {
    const state = running()
    const signals = normalise.applyAll(state, [
      tool("prt_1", "bash", { status: "running", input: { command: "seq" }, metadata: { output: "1\n2\n" } }),
      tool("prt_1", "bash", { status: "running", input: { command: "seq" }, metadata: { output: "...\n\n2\n3\n" } }),
      tool("prt_1", "bash", { status: "running", input: { command: "seq" }, metadata: { output: "...\n\n3\n4\n" } }),
      tool("prt_1", "bash", {
        status: "completed",
        input: { command: "seq" },
        output: "...output truncated...\n\n4\n",
        metadata: { output: "...\n\n3\n4\n", exit: 0 }
      })
    ])
    assert.deepStrictEqual(
      only(signals, "item").map((signal) => signal.hasText ? textOf(signal.item) : undefined),
      ["1\n2\n", undefined, undefined, "...output truncated...\n\n4\n"]
    )
  })

  it("takes that output which goes on where the stream stopped", () => {
    const state = running()
    const signals = normalise.applyAll(state, [
      tool("prt_1", "bash", { status: "running", input: { command: "x" }, metadata: { output: "a\n" } }),
      tool("prt_1", "bash", {
        status: "completed",
        input: { command: "x" },
        output: "shortened",
        metadata: { output: "a\nb\n" }
      })
    ])
    const last = only(signals, "item").at(-1)
    assert.strictEqual(last === undefined ? undefined : textOf(last.item), "a\nb\n")
  })

  it("tells nothing when the server thins out old outputs", () => {
    const state = running()
    const done = { status: "completed", input: {}, output: "x", metadata: {} }
    assert.strictEqual(normalise.applyAll(state, [tool("prt_1", "read", done)]).length, 1)
    assert.deepStrictEqual(normalise.applyAll(state, [tool("prt_1", "read", { ...done, time: { compacted: 9 } })]), [])
    assert.deepStrictEqual(normalise.applyAll(state, [tool("prt_9", "read", { ...done, time: { compacted: 9 } })]), [])
  })

  it("tells all files of a patch as paths of its ask", () => {
    const state = running()
    const ask = event("permission.asked", {
      id: "per_1",
      permission: "edit",
      patterns: ["a.txt", "b.txt"],
      metadata: { filepath: "a.txt, b.txt", files: [{ filePath: "/p/a.txt", type: "move", movePath: "/q/c.txt" }] },
      always: ["*"]
    })
    const [signal] = only(normalise.applyAll(state, [ask]), "requestOpened")
    assert.deepStrictEqual(signal?.facts.paths, ["/p/a.txt", "/q/c.txt"])
  })

  it("keeps an unknown permission as its own kind, and can be answered", () => {
    const ask = event("permission.asked", { id: "per_1", permission: "teleport", patterns: ["moon"], always: [] })
    const [signal] = only(normalise.applyAll(running(), [ask]), "requestOpened")
    assert.strictEqual(signal?.kind, "teleport")
    assert.strictEqual(signal?.subject, "Use teleport: moon")
    assert.include(signal?.options ?? [], "decline")
  })

  it("shows an ask at once when the frame after it tells nothing of its call", () => {
    const state = running()
    normalise.applyAll(state, [tool("prt_1", "bash", { status: "pending", input: {} })])
    const ask = event("permission.asked", {
      id: "per_1",
      permission: "bash",
      patterns: ["ls"],
      metadata: { command: "ls" },
      always: ["ls *"],
      tool: { messageID: "msg_a", callID: "call_prt_1" }
    })
    assert.deepStrictEqual(normalise.applyAll(state, [ask]), [])
    const replied = event("permission.replied", { requestID: "per_1", reply: "reject" })
    assert.strictEqual(tags(normalise.applyAll(state, [replied])), "requestOpened requestClosed")
  })

  it("tells unknown events of the session with their payload, and what belongs to no session not at all", () => {
    const [signal] = normalise.applyAll(make(), [event("session.teleported", { to: "moon" })])
    assert.deepStrictEqual(signal, {
      _tag: "unrecognised",
      method: "session.teleported",
      reason: "unknown event",
      raw: { sessionID: "ses_root", to: "moon" }
    })
    const quiet = ["server.heartbeat", "plugin.added", "project.updated", "file.edited", "lsp.updated"]
    assert.deepStrictEqual(normalise.applyAll(make(), quiet.map((type) => ({ type, properties: {} }))), [])
  })

  it("tells a frame of another shape as unrecognised, with the reason", () => {
    const broken = event("session.status", { status: "busy" })
    const [signal] = only(normalise.applyAll(make(), [broken]), "unrecognised")
    assert.strictEqual(signal?.raw, broken.properties)
    assert.notStrictEqual(signal?.reason, "")
  })

  it("tells nothing of the frame itself unless asked to", () => {
    const title = event("session.updated", { info: { id: "ses_root", title: "T" } })
    const [plain] = normalise.applyAll(make(), [title])
    assert.deepStrictEqual(plain?.native, { method: "session.updated", ids: { session: "ses_root" } })
    const [raw] = normalise.applyAll(normalise.make({ sessionId: "ses_root", raw: true }), [title])
    assert.strictEqual(raw?.native?.raw, title.properties)
  })

  it("tells a title when it changes, and none of the server's placeholders", () => {
    const titled = (title: string) => event("session.updated", { info: { id: "ses_root", title } })
    const signals = normalise.applyAll(make(), [
      titled("New session - 2026-11-21T03:01:51.566Z"),
      titled("One"),
      titled("One"),
      titled("Two")
    ])
    assert.deepStrictEqual(only(signals, "info").map((signal) => signal.title), ["One", "Two"])
  })

  it("adopts a subagent that was there before it was told of it", () => {
    const state = running()
    const signals = normalise.applyAll(state, [
      event("permission.asked", { sessionID: "ses_child", id: "per_1", permission: "bash", patterns: ["ls"] })
    ])
    assert.deepStrictEqual(only(signals, "requestOpened")[0]?.agentPath, ["ses_child"])
    assert.strictEqual(only(signals, "requestOpened")[0]?.turn, "msg_u")
  })

  it("gives a subagent's subagent the whole path", () => {
    const state = running()
    normalise.applyAll(state, [
      event("session.created", { sessionID: "ses_c", info: { id: "ses_c", parentID: "ses_root" } }),
      event("session.created", { sessionID: "ses_d", info: { id: "ses_d", parentID: "ses_c" } })
    ])
    const [ask] = only(
      normalise.applyAll(state, [
        event("permission.asked", { sessionID: "ses_d", id: "per_1", permission: "bash", patterns: ["ls"] })
      ]),
      "requestOpened"
    )
    assert.deepStrictEqual(ask?.agentPath, ["ses_c", "ses_d"])
  })

  it("leaves the failure of a subagent to its parent", () => {
    const state = running()
    const signals = normalise.applyAll(state, [
      event("session.created", { sessionID: "ses_c", info: { id: "ses_c", parentID: "ses_root" } }),
      event("session.status", { sessionID: "ses_c", status: { type: "busy" } }),
      event("session.error", {
        sessionID: "ses_c",
        error: { name: "APIError", data: { message: "no", statusCode: 401 } }
      }),
      event("session.status", { sessionID: "ses_c", status: { type: "idle" } })
    ])
    assert.strictEqual(tags(signals), "subagentStarted subagentEnded")
    const verdict = only(signals, "subagentEnded")[0]?.verdict
    assert.strictEqual(verdict?._tag === "failed" ? verdict.error._tag : undefined, "AuthRequired")
  })

  it("tells the changed files of the turn, once per change, although the session's own list stays empty", () => {
    const state = running()
    const summary = (...files: ReadonlyArray<string>) =>
      event("message.updated", {
        info: {
          id: "msg_u",
          sessionID: "ses_root",
          role: "user",
          summary: { diffs: files.map((file) => ({ file, patch: "+x", additions: 1, deletions: 0, status: "added" })) }
        }
      })
    const empty = event("session.diff", { diff: [] })
    const told = normalise.applyAll(state, [
      empty,
      summary(),
      summary("a"),
      empty,
      summary("a"),
      summary("a", "b"),
      event("session.status", { status: { type: "idle" } }),
      empty,
      summary("b"),
      summary()
    ])
    assert.deepStrictEqual(
      only(told, "diff").map(({ files, turn }) => [turn, files.map((file) => file.path).join()]),
      [["msg_u", "a"], ["msg_u", "a,b"], [undefined, "b"], [undefined, ""]]
    )
  })

  it("reads the session, the parent and the payload of a frame", () => {
    const created = {
      type: "session.created",
      properties: { sessionID: "ses_c", info: { id: "ses_c", parentID: "ses_p" } }
    }
    assert.deepStrictEqual(normalise.fromEnvelope({ directory: "/p", payload: created }), created)
    assert.deepStrictEqual(normalise.fromEnvelope(created), created)
    assert.strictEqual(normalise.sessionOf(created), "ses_c")
    assert.deepStrictEqual(normalise.childOf(created), { child: "ses_c", parent: "ses_p" })
    assert.isUndefined(normalise.childOf({ type: "session.idle", properties: created.properties }))
    for (const odd of [null, 1, [], {}, { payload: 1 }, { payload: { type: 1 } }]) {
      assert.isUndefined(normalise.fromEnvelope(odd))
    }
  })

  it("keeps its memory bounded over a long session", () => {
    const state = running()
    for (let index = 0; index < 10_000; index++) {
      normalise.applyAll(state, [
        assistant(`msg_${index}`, "msg_u"),
        part(`prt_${index}`, `msg_${index}`, { type: "text", text: "x", time: { start: 1, end: 2 } })
      ])
    }
    assert.isAtMost(state.parts.size, 4096)
    assert.isAtMost(state.messages.size, 1024)
  })
})
