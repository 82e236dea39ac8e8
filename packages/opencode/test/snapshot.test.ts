import { assert, describe, it } from "@effect/vitest"
import type { Signal } from "@reins/core/Signal"
import * as normalise from "../src/internal/normalise.ts"
import * as snapshot from "../src/internal/snapshot.ts"
import type * as Wire from "../src/OpenCodeSchema.ts"
import { calls, frames, Server, sessionOf } from "./fixtures/replay.ts"

type Stored = ReadonlyArray<Wire.MessageWithParts>

const stored = (name: string): ReadonlyArray<Stored> => calls(name, /\/message$/).map((call) => call.response as Stored)

/** What a fresh connection reads of a recording's stored messages. */
const read = (
  messages: Stored,
  request: Partial<snapshot.Read["request"]>,
  more: Partial<Omit<snapshot.Read, "request">> = {}
) => {
  const sessionId = messages[0]?.info.sessionID ?? "ses_root"
  const state = normalise.make({ sessionId })
  const result = snapshot.build(state, {
    status: {},
    messages,
    permissions: [],
    questions: [],
    ...more,
    request: { prompts: [], turns: [], ...request }
  })
  return { result, state, sessionId }
}

const promptsOf = (messages: Stored): ReadonlyArray<string> =>
  messages.flatMap(({ info }) => info.role === "user" ? [info.id] : [])

const items = (signals: ReadonlyArray<Signal>) => signals.flatMap((signal) => signal._tag === "item" ? [signal] : [])

const busy = (sessionId: string) => ({ [sessionId]: { type: "busy" } })

const message = (
  id: string,
  role: "user" | "assistant",
  more: { readonly [key: string]: unknown } = {},
  parts: ReadonlyArray<unknown> = []
): Wire.MessageWithParts => ({ info: { id, sessionID: "ses_root", role, ...more }, parts })

const text = (id: string, messageID: string, more: { readonly [key: string]: unknown }) => ({
  id,
  messageID,
  sessionID: "ses_root",
  type: "text",
  ...more
})

const user = (id: string) => message(id, "user", {}, [text(`prt_${id}`, id, { text: id })])
const done = { finish: "stop", time: { created: 1, completed: 2 } }

describe("snapshot, on stored messages", () => {
  it("finds a finished turn completed and its prompt taken", () => {
    const [messages = []] = stored("02b-text-warm")
    const [key = ""] = promptsOf(messages)
    const { result } = read(messages, { prompts: [key], turns: [key] })
    assert.strictEqual(result.activity, "idle")
    assert.deepStrictEqual(result.prompts, { [key]: "taken" })
    assert.deepStrictEqual(result.turns, { [key]: { _tag: "completed", stopReason: "endTurn" } })
    assert.deepStrictEqual(items(result.signals).map(({ hasText, item, status }) => [item._tag, hasText, status]), [
      ["userMessage", true, "completed"],
      ["assistantMessage", true, "completed"]
    ])
    assert.isTrue(result.complete)
  })

  it("does not take the text of an answer that still streams for its text", () => {
    const [messages = []] = stored("26-slow")
    const [key = ""] = promptsOf(messages)
    const { result } = read(messages, { turns: [key] }, { status: busy(messages[0]?.info.sessionID ?? "") })
    assert.strictEqual(result.activity, "busy")
    assert.deepStrictEqual(result.turns, { [key]: { _tag: "running" } })
    const answer = items(result.signals).at(-1)
    assert.strictEqual(answer?.item._tag, "assistantMessage")
    assert.isFalse(answer?.hasText)
    assert.isUndefined(answer?.status)
  })

  it("finds a turn unfinished that died with its server, and its text unknown", () => {
    const [messages = []] = stored("08b-kill9-mid-text")
    const keys = promptsOf(messages)
    const { result } = read(messages, { turns: keys })
    assert.deepStrictEqual(Object.values(result.turns).map(({ _tag }) => _tag), ["completed", "unfinished"])
    assert.strictEqual(items(result.signals).at(-1)?.hasText, false)
  })

  it("gives a prompt after a turn that died a turn of its own", () => {
    const messages = stored("08b-kill9-mid-text").at(-1) ?? []
    const keys = promptsOf(messages)
    const { result } = read(messages, { turns: keys })
    assert.deepStrictEqual(Object.values(result.turns).map(({ _tag }) => _tag), [
      "completed",
      "unfinished",
      "completed"
    ])
  })

  it("follows a turn through its compaction", () => {
    for (const name of ["06c-context-overflow-400", "06x-autocompact"]) {
      const messages = stored(name).at(-1) ?? []
      const keys = promptsOf(messages)
      assert.strictEqual(keys.length, 3, name)
      const [key = "", compaction = "", goOn = ""] = keys
      const { result, state } = read(messages, { turns: keys })
      assert.deepStrictEqual(result.turns, { [key]: { _tag: "completed", stopReason: "endTurn" } }, name)
      assert.strictEqual(state.aliases.get(compaction), key)
      assert.strictEqual(state.aliases.get(goOn), key)
      assert.deepStrictEqual([...new Set(items(result.signals).map((signal) => signal.turn))], [key], name)
    }
  })

  it("finds a compaction that was asked for by hand completed", () => {
    const messages = stored("28-summarize").at(-1) ?? []
    const keys = promptsOf(messages)
    const { result } = read(messages, { turns: keys })
    assert.deepStrictEqual(Object.values(result.turns).map(({ _tag }) => _tag), ["completed", "completed"])
  })

  it("voids what a retried step left behind", () => {
    const messages = stored("06f-cut-midstream-once").at(-1) ?? []
    const [key = ""] = promptsOf(messages)
    const { result } = read(messages, { turns: [key] })
    assert.strictEqual(result.signals.filter((signal) => signal._tag === "itemVoided").length, 1)
    const texts = items(result.signals).flatMap(({ item }) => item._tag === "assistantMessage" ? [item.text] : [])
    assert.deepStrictEqual(texts, ["recovered recovered "])
  })

  it("tells an abort as an interrupt, and an error as a failure", () => {
    const verdict = (name: string) => {
      const messages = stored(name).at(-1) ?? []
      const [key = ""] = promptsOf(messages)
      return read(messages, { turns: [key] }).result.turns[key]
    }
    assert.deepStrictEqual(verdict("05a-abort-text"), { _tag: "interrupted", by: "provider" })
    const failed = verdict("06a-401")
    assert.strictEqual(failed?._tag === "failed" ? failed.error._tag : undefined, "AuthRequired")
    assert.deepStrictEqual(verdict("06m-finish-content_filter"), { _tag: "completed", stopReason: "refusal" })
    assert.deepStrictEqual(verdict("06u-bad-model"), { _tag: "unfinished" })
    // An abort while it waited for the next try leaves neither error nor finish.
    assert.deepStrictEqual(verdict("06f2-cut-midstream-forever"), { _tag: "unfinished" })
    assert.deepStrictEqual(verdict("03d-perm-reject"), { _tag: "unfinished" })
  })

  it("tells the endless loop as what went wrong, once the stream saw it", () => {
    const messages = stored("25-loop").at(-1) ?? []
    const [key = ""] = promptsOf(messages)
    const request = { prompts: [], turns: [key] }
    const input = { status: {}, messages, permissions: [], questions: [], request }
    const recorded = frames("25-loop")
    const state = normalise.make({ sessionId: sessionOf(recorded) })
    assert.strictEqual(snapshot.build(state, input).turns[key]?._tag, "interrupted")
    normalise.applyAll(state, recorded)
    assert.strictEqual(snapshot.build(state, input).turns[key]?._tag, "failed")
  })

  it("lists the asks of a subagent that a fresh connection has not heard of", () => {
    const [messages = []] = stored("20-subagent")
    const [ask] = calls("20-subagent", /^\/permission$/).flatMap((call) =>
      call.response as ReadonlyArray<Wire.Permission>
    )
    const [key = ""] = promptsOf(messages)
    const permissions = ask === undefined ? [] : [ask]
    const status = busy(messages[0]?.info.sessionID ?? "")
    const { result } = read(messages, { turns: [key] }, { permissions, status })
    const [request] = result.requests
    assert.strictEqual(request?.kind, "command")
    assert.deepStrictEqual(request?.agentPath, [ask?.sessionID ?? ""])
    assert.strictEqual(request?.turn, key)
    assert.deepStrictEqual(result.turns, { [key]: { _tag: "running" } })
    // Its items were not read, so something may be missing.
    assert.isFalse(result.complete)
  })

  it("keeps the asks that the stream told while the server cannot list them", () => {
    const recorded = frames("23-webfetch")
    const sessionId = sessionOf(recorded)
    const asked = recorded.findIndex((frame) => frame.type === "permission.asked")
    const replied = recorded.findIndex((frame) => frame.type === "permission.replied")
    const [refused] = calls("23-webfetch", /^\/permission$/)
    assert.strictEqual(refused?.status, 400)
    const listed = (state: normalise.NormaliserState) =>
      snapshot.build(state, {
        status: busy(sessionId),
        messages: stored("23-webfetch")[0] ?? [],
        permissions: "unreadable",
        questions: [],
        request: { prompts: [], turns: [] }
      })
    const kinds = (state: normalise.NormaliserState) => listed(state).requests.map(({ kind }) => kind)
    const state = normalise.make({ sessionId })
    normalise.applyAll(state, recorded.slice(0, asked + 1))
    assert.deepStrictEqual(kinds(state), ["network"])
    // What may have been asked meanwhile is not known.
    assert.isFalse(listed(state).complete)
    assert.deepStrictEqual(kinds(normalise.make({ sessionId })), [])
    assert.deepStrictEqual(kinds(normalise.make({ sessionId, after: state })), ["network"])
    normalise.applyAll(state, recorded.slice(asked + 1, replied + 1))
    assert.deepStrictEqual(kinds(state), [])
  })

  it("does not list asks of other sessions", () => {
    const [messages = []] = stored("02b-text-warm")
    const ask = { id: "per_1", sessionID: "ses_other", permission: "bash", patterns: ["ls"] }
    const question = { id: "que_1", sessionID: "ses_other", questions: [] }
    const { result } = read(messages, {}, { permissions: [ask], questions: [question] })
    assert.deepStrictEqual(result.requests, [])
  })

  it("tells the work of a finished subagent from its own messages", () => {
    const recorded = frames("20-subagent")
    const server = new Server()
    for (const frame of recorded) server.see(frame)
    const [root = "", child = ""] = [...server.messages.keys()]
    const messages = server.list(root)
    const [key = ""] = promptsOf(messages)
    const { result } = read(messages, { turns: [key] }, { childMessages: { [child]: server.list(child) } })
    assert.isTrue(result.complete)
    const inside = items(result.signals).filter((signal) => signal.agentPath !== undefined)
    assert.deepStrictEqual(inside.map(({ agentPath, item, turn }) => [item._tag, agentPath?.[0], turn]), [
      ["command", child, key],
      ["assistantMessage", child, key]
    ])
    const ended = result.signals.find((signal) => signal._tag === "subagentEnded")
    assert.deepStrictEqual(ended?._tag === "subagentEnded" ? ended.verdict : undefined, {
      _tag: "completed",
      stopReason: "endTurn"
    })
  })
})

describe("snapshot", () => {
  it("tells the fate of prompts", () => {
    const messages = [
      user("msg_1"),
      message("msg_2", "assistant", { parentID: "msg_1", ...done }),
      user("msg_3"),
      user("msg_4")
    ]
    const prompts = ["msg_1", "msg_3", "msg_4", "msg_9"]
    assert.deepStrictEqual(read(messages, { prompts }).result.prompts, {
      msg_1: "taken",
      msg_3: "held",
      msg_4: "held",
      msg_9: "absent"
    })
    const { result } = read(messages, { prompts }, { status: busy("ses_root") })
    assert.deepStrictEqual([result.prompts["msg_3"], result.prompts["msg_4"]], ["held", "taken"])
  })

  it("does not know a turn that is not in the conversation", () => {
    assert.deepStrictEqual(read([user("msg_1")], { turns: ["msg_9"] }).result.turns, {})
  })

  it("finds the newest work of a busy session running, whatever it says of itself", () => {
    const messages = [user("msg_1"), message("msg_2", "assistant", { parentID: "msg_1", ...done })]
    const { result } = read(messages, { turns: ["msg_1"] }, { status: busy("ses_root") })
    assert.deepStrictEqual(result.turns, { msg_1: { _tag: "running" } })
    const later = [...messages, user("msg_3"), message("msg_4", "assistant", { parentID: "msg_3" })]
    assert.deepStrictEqual(read(later, { turns: ["msg_1", "msg_3"] }, { status: busy("ses_root") }).result.turns, {
      msg_1: { _tag: "completed", stopReason: "endTurn" },
      msg_3: { _tag: "running" }
    })
  })

  it("finds a turn unfinished that stopped after its tools", () => {
    const messages = [
      user("msg_1"),
      message("msg_2", "assistant", { parentID: "msg_1", finish: "tool-calls", time: { completed: 2 } })
    ]
    assert.deepStrictEqual(read(messages, { turns: ["msg_1"] }).result.turns, { msg_1: { _tag: "unfinished" } })
  })

  it("tells only what was asked for and what came later", () => {
    const turn = (n: number) => [
      user(`msg_${n}`),
      message(`msg_${n}a`, "assistant", { parentID: `msg_${n}`, ...done }, [
        text(`prt_${n}a`, `msg_${n}a`, { text: "x", time: { start: 1, end: 2 } })
      ])
    ]
    const messages = [...turn(1), ...turn(2), ...turn(3)]
    const told = (more: Parameters<typeof read>[1]) => [
      ...new Set(items(read(messages, more).result.signals).map((signal) => signal.turn))
    ]
    assert.deepStrictEqual(told({}), [])
    assert.deepStrictEqual(told({ turns: ["msg_2"] }), ["msg_2", "msg_3"])
    assert.deepStrictEqual(told({ after: ["msg_2"] }), ["msg_3"])
    assert.deepStrictEqual(told({ after: ["msg_gone", "msg_1"] }), ["msg_2", "msg_3"])
    assert.deepStrictEqual(told({ after: [] }), ["msg_1", "msg_2", "msg_3"])
    // Where none of them is left, the place cannot be told, and that is said.
    assert.deepStrictEqual(told({ after: ["msg_gone"] }), [])
    assert.isFalse(read(messages, { after: ["msg_gone"] }).result.complete)
    // What was begun elsewhere is history, but for the turn that runs.
    assert.deepStrictEqual(told({ after: null }), [])
    const running = read([...turn(1), user("msg_2")], { after: null }, { status: busy("ses_root") }).result
    assert.deepStrictEqual(items(running.signals).map((signal) => signal.turn), ["msg_2"])
    assert.strictEqual(running.newest, "msg_1")
    assert.strictEqual(read(messages, {}).result.newest, "msg_3")
    assert.isNull(read([], {}).result.newest)
  })

  it("judges what it tells although nobody asked for it", () => {
    const failed = { error: { name: "APIError", data: { message: "no", isRetryable: false } }, time: { created: 1 } }
    const messages = [
      user("msg_1"),
      message("msg_1a", "assistant", { parentID: "msg_1", ...done }),
      user("msg_2"),
      message("msg_2a", "assistant", { parentID: "msg_2", ...failed }),
      user("msg_3")
    ]
    const { turns } = read(messages, { after: [] }).result
    assert.deepStrictEqual(Object.entries(turns).map(([key, verdict]) => [key, verdict._tag]), [
      ["msg_1", "completed"],
      ["msg_2", "failed"],
      ["msg_3", "unfinished"]
    ])
  })

  it("tells nothing that is older than what the stream told", () => {
    const running = (output: string) => ({
      id: "prt_1",
      messageID: "msg_2",
      sessionID: "ses_root",
      type: "tool",
      tool: "bash",
      callID: "call_1",
      state: { status: "running", input: { command: "x" }, metadata: { output } }
    })
    const state = normalise.make({ sessionId: "ses_root" })
    normalise.applyAll(state, [
      { type: "message.updated", properties: { sessionID: "ses_root", info: user("msg_1").info } },
      {
        type: "message.updated",
        properties: { sessionID: "ses_root", info: message("msg_2", "assistant", { parentID: "msg_1" }).info }
      },
      { type: "message.part.updated", properties: { sessionID: "ses_root", part: running("one\ntwo\n") } }
    ])
    const result = snapshot.build(state, {
      status: busy("ses_root"),
      messages: [user("msg_1"), message("msg_2", "assistant", { parentID: "msg_1" }, [running("one\n")])],
      permissions: [],
      questions: [],
      request: { prompts: [], turns: ["msg_1"] }
    })
    assert.isFalse(items(result.signals).at(-1)?.hasText)
  })

  it("teaches the state whose the parts are, so that the stream can go on", () => {
    const messages = [user("msg_1"), message("msg_2", "assistant", { parentID: "msg_1" })]
    const { state } = read(messages, { turns: ["msg_1"] }, { status: busy("ses_root") })
    const [signal] = normalise.applyAll(state, [{
      type: "message.part.updated",
      properties: { sessionID: "ses_root", part: text("prt_1", "msg_2", { text: "", time: { start: 1 } }) }
    }])
    assert.strictEqual(signal?.turn, "msg_1")
  })

  it("is not spoiled by a part of an unknown kind", () => {
    const messages = [
      user("msg_1"),
      message("msg_2", "assistant", { parentID: "msg_1", ...done }, [null, 7, { type: "hologram" }, {
        ...text("prt_1", "msg_2", { text: "x", time: { end: 1 } })
      }])
    ]
    const { result } = read(messages, { turns: ["msg_1"] })
    assert.strictEqual(items(result.signals).length, 2)
  })
})
