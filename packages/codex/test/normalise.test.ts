/** What the recorded messages of Codex are read as. */
import { assert, describe, it } from "@effect/vitest"
import type { Message } from "@reins/transport/JsonRpcPeer"
import * as normalise from "../src/internal/normalise.ts"
import { messages, names, only, replay, threads } from "./fixtures/replay.ts"

const thread = "t1"
const turn = "u1"
const read = (...list: ReadonlyArray<Message>) => normalise.read(normalise.make(thread), list)
const note = (method: string, params: object): Message => ({
  method,
  params: { threadId: thread, turnId: turn, ...params }
})

describe("recorded messages", () => {
  it.each(names)("%s: text laid in order is the final text, turns end once, and nothing is unrecognised", (name) => {
    for (const id of threads(name)) {
      const { signals } = replay(name, id)
      assert.deepStrictEqual(only(signals, "unrecognised"), [])
      const texts = new Map<string, string>()
      for (const signal of signals) {
        if (signal._tag === "delta") texts.set(signal.key, (texts.get(signal.key) ?? "") + signal.text)
        if (signal._tag !== "item" || signal.status !== "completed" || !("text" in signal.item)) continue
        if (texts.has(signal.key)) assert.strictEqual(texts.get(signal.key), signal.item.text)
      }
      const ended = only(signals, "turnEnded").map((signal) => signal.turn)
      assert.strictEqual(new Set(ended).size, ended.length)
      const started = new Set(only(signals, "turnStarted").map((signal) => signal.turn))
      for (const key of ended) assert.isTrue(started.has(key ?? ""))
    }
  })

  it.each(names)("%s: says the same however it is cut into chunks", (name) => {
    const whole = replay(name).signals
    const state = normalise.make(threads(name)[0] ?? "")
    const single = messages(name).flatMap((message) => normalise.read(state, [message]))
    const text = (signals: typeof whole) => only(signals, "delta").map((signal) => signal.text).join("")
    assert.strictEqual(text(single), text(whole))
    const rest = (signals: typeof whole) => signals.filter((signal) => signal._tag !== "delta")
    assert.deepStrictEqual(rest(single), rest(whole))
  })

  it("tell a plain turn in the order of the wire", () => {
    const { signals } = replay("04-text")
    const tags = signals.map(({ _tag }) => _tag)
    assert.deepStrictEqual(tags.slice(0, 9), [
      "turnStarted",
      "prompt",
      "turnStarted",
      "item",
      "item",
      "delta",
      "item",
      "usage",
      "turnEnded"
    ])
    assert.deepStrictEqual(only(signals, "turnEnded")[0]?.verdict, { _tag: "completed", stopReason: "endTurn" })
    const [usage] = only(signals, "usage")
    assert.strictEqual(usage?.scope, "cumulative")
    assert.isAbove(usage?.usage.input ?? 0, 0)
  })

  it.each(["04-reason", "04-reason-summary"])("%s: tell a chain of thought by its summary", (name) => {
    const { signals } = replay(name)
    const items = only(signals, "item").filter(({ item }) => item._tag === "reasoning")
    assert.deepStrictEqual(items.at(-1)?.item, { _tag: "reasoning", text: "**Thinking** about it" })
  })

  it("tell commands without the shell around them, with their output and exit code", () => {
    const { signals } = replay("05-tools-parallel")
    const commands = only(signals, "item").flatMap(({ item, status }) =>
      item._tag === "command" && status !== undefined ? [item] : []
    )
    assert.isAbove(commands.length, 1)
    for (const command of commands) assert.notInclude(command.command, "-lc")
  })

  it("codex trap 3: every request is told, with what it would do, and closed when it is resolved", () => {
    const { signals } = replay("02-untrusted-accept")
    const [ask] = only(signals, "requestOpened")
    assert.strictEqual(ask?.key, "#0")
    assert.strictEqual(ask?.kind, "command")
    assert.strictEqual(ask?.facts.command, "touch a.txt && echo made")
    assert.deepStrictEqual(ask?.facts.always, ["touch a.txt"])
    assert.include(ask?.facts.reason ?? "", "outside of its sandbox")
    assert.deepStrictEqual(ask?.options, ["accept", "acceptForSession", "decline", "cancel"])
    assert.deepStrictEqual(only(signals, "requestClosed").map(({ key }) => key), ["#0"])
    const item = only(signals, "item").find(({ key }) => key === ask?.item)
    assert.strictEqual(item?.item._tag, "command")
  })

  it("a patch's request has the diff of its item", () => {
    const [ask] = only(replay("03-patch-untrusted-accept").signals, "requestOpened")
    assert.strictEqual(ask?.kind, "edit")
    assert.lengthOf(ask?.facts.paths ?? [], 1)
    assert.match(ask?.facts.diff ?? "", /^--- .*\n\+\+\+ .*\n@@ -0,0 \+1,\d+ @@\n\+/)
  })

  it("tell patches by the files that they change", () => {
    const patches = only(replay("03-patches").signals, "item").flatMap(({ item, status }) =>
      item._tag === "fileChange" && status === "completed" ? [item.changes] : []
    )
    assert.deepStrictEqual(
      patches.map((changes) => changes.map(({ change, movedTo, path }) => [change, path, movedTo])),
      [
        [["added", "/sandbox/project/a.txt", undefined]],
        [["moved", "/sandbox/project/a.txt", "/sandbox/project/b.txt"]],
        [["deleted", "/sandbox/project/b.txt", undefined]]
      ]
    )
  })

  it("tell a plan that is proposed apart from the answer around it", () => {
    const texts = only(replay("08-plan").signals, "item").flatMap(({ item, status }) =>
      status === "completed" && "text" in item && item._tag !== "userMessage" ? [item.text] : []
    )
    assert.deepStrictEqual(texts, ["- look\n- act\n", "I looked.\n"])
  })

  it.each(["06-C-resume-never", "13-compact"])("%s: tell a compaction once, within its turn", (name) => {
    const { signals } = replay(name)
    const of = signals.flatMap((signal) =>
      signal._tag === "item" && signal.item._tag === "compaction" ? [[signal.turn, signal.status]] : []
    )
    const compacting = only(signals, "turnCompacting").map(({ turn }) => turn)
    assert.lengthOf(compacting, 1)
    const [turn] = compacting
    assert.deepStrictEqual(of, [[turn, undefined], [turn, "completed"]])
    assert.isTrue(only(signals, "turnEnded").some((end) => end.turn === turn))
  })

  it("tell questions, permissions, tools of MCP servers and their elicitations as what they are", () => {
    const ask = (name: string) => only(replay(name).signals, "requestOpened")[0]
    assert.deepInclude(ask("08-rui-plan"), { kind: "question", options: ["answers", "decline", "cancel"] })
    assert.isAbove(ask("08-rui-plan")?.facts.questions?.length ?? 0, 0)
    assert.deepInclude(ask("08-perm-grant"), { kind: "permissions" })
    assert.deepInclude(ask("08-mcp-decline"), { kind: "tool", subject: "lab: danger" })
    assert.strictEqual(ask("08-mcp-decline")?.facts.tool, "lab.danger")
  })

  it("codex trap 9: a patch that is cancelled, a turn that is interrupted: items without an end are ended by their turn", () => {
    for (const name of ["03-patch-or-ro-cancel", "05-int-text", "05-int-approval"]) {
      const { signals } = replay(name)
      assert.deepStrictEqual(only(signals, "turnEnded")[0]?.verdict, { _tag: "interrupted", by: "provider" })
    }
  })

  it("a command that outlives its turn goes on in the background, and its end is told", () => {
    const { signals } = replay("05-bg-terminal")
    const end = signals.findIndex(({ _tag }) => _tag === "turnEnded")
    const items = signals.flatMap((signal, index) =>
      signal._tag === "item" && signal.item._tag === "command" ? [{ signal, index }] : []
    )
    const background = items.find(({ signal }) => signal.background === true)
    assert.isBelow(background?.index ?? Infinity, end)
    assert.notStrictEqual(background?.signal.item._tag === "command" ? background.signal.item.command : "", "")
    assert.isTrue(
      items.some(({ index, signal }) =>
        index > end && signal.status !== undefined && signal.key === background?.signal.key
      )
    )
  })

  it("codex trap 8: a prompt that came while a turn ran belongs to that turn", () => {
    const { signals } = replay("05-second-turn")
    const prompts = only(signals, "prompt")
    assert.strictEqual(prompts.length, 2)
    assert.strictEqual(prompts[0]?.turn, prompts[1]?.turn)
    assert.lengthOf(only(signals, "turnEnded"), 1)
  })

  it.each([
    ["04-cut-once", "completed"],
    ["04-noComplete-once", "completed"],
    ["04-cut-mid", "failed"],
    ["04-stall-mid", "failed"],
    ["04-failed-mid", "failed"]
  ])("codex trap 18: %s: what an attempt said that is tried again does not stand", (name, verdict) => {
    const { signals } = replay(name)
    const [end] = only(signals, "turnEnded")
    assert.strictEqual(end?.verdict?._tag, verdict)
    const voided = new Set(only(signals, "itemVoided").map(({ key }) => key))
    assert.isAbove(voided.size, 0)
    const retries = only(signals, "turnRetrying").length
    assert.isAbove(retries, 0)
    const standing = new Map<string, string>()
    for (const signal of signals) {
      if (signal._tag === "delta" && signal.turn === end?.turn) {
        standing.set(signal.key, (standing.get(signal.key) ?? "") + signal.text)
      }
      if (signal._tag === "itemVoided") standing.delete(signal.key)
    }
    if (verdict === "completed") assert.lengthOf([...standing.keys()], 1)
  })

  it.each([
    ["04-400", "InvalidRequest", undefined],
    ["04-400-context", "ContextOverflow", undefined],
    ["04-failed-context", "ContextOverflow", undefined],
    ["04-401", "AuthRequired", 401],
    ["04-403", "AuthRequired", 403],
    ["04-404", "UpstreamFailed", 404],
    ["04-404-model", "ModelNotFound", undefined],
    ["04-429-noRA-storm", "RateLimited", 429],
    ["04-429-insufficient-quota", "QuotaExceeded", undefined],
    ["04-429-usage-limit", "QuotaExceeded", undefined],
    ["04-failed-quota", "QuotaExceeded", undefined],
    ["04-failed-ratelimit", "RateLimited", undefined],
    ["04-500-storm", "UpstreamFailed", undefined],
    ["04-502-storm", "UpstreamFailed", 502],
    ["04-503-overloaded", "Overloaded", undefined],
    ["04-failed-overloaded", "Overloaded", undefined],
    ["04-failed-server", "UpstreamFailed", undefined],
    ["04-cut-mid", "UpstreamFailed", undefined],
    ["04-garbage", "UpstreamFailed", undefined],
    ["04-incomplete", "UpstreamFailed", undefined],
    ["04-incomplete-filter", "UpstreamFailed", undefined],
    ["04-hang-headers", "UpstreamFailed", undefined],
    ["04-stall-mid", "UpstreamFailed", undefined],
    ["09-noenvkey", "AuthRequired", undefined],
    ["09-refused-bounded", "UpstreamFailed", undefined]
  ])("codex trap 17: %s fails as %s, the status read first", (name, tag, status) => {
    const { signals } = replay(name)
    const verdict = only(signals, "turnEnded")[0]?.verdict
    const error = verdict?._tag === "failed" ? verdict.error : assert.fail(`it is ${verdict?._tag}`)
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(error.statusCode, status)
    assert.deepStrictEqual(only(signals, "turnError")[0]?.error, error)
  })
})

describe("messages", () => {
  it("codex trap 20: an unknown notification, item or word is told and breaks nothing", () => {
    const signals = read(
      note("thread/quantum/entangled", { spin: "up" }),
      note("turn/started", { turn: { id: turn, status: "inProgress", newField: 1 } }),
      note("item/started", { item: { type: "hologram", id: "i1", hue: 3 } }),
      note("item/completed", { item: { type: "commandExecution", id: "i2", command: "x", status: "levitating" } }),
      note("item/completed", { item: { type: "agentMessage", id: 5 } }),
      note("turn/completed", { turn: { id: turn, status: "evaporated" } })
    )
    assert.deepStrictEqual(only(signals, "unrecognised").map(({ method }) => method), [
      "thread/quantum/entangled",
      "item/completed"
    ])
    assert.deepStrictEqual(only(signals, "item").map(({ item, status }) => [item._tag, status]), [
      ["toolCall", undefined],
      ["command", "completed"]
    ])
    assert.deepStrictEqual(only(signals, "turnEnded")[0]?.verdict, { _tag: "unfinished" })
  })

  it("of other threads are nobody's here, and those of a subagent carry its path", () => {
    const other = { threadId: "t2" }
    assert.deepStrictEqual(read(note("turn/started", { ...other, turn: { id: "x", status: "inProgress" } })), [])
    const signals = read(
      note("item/started", {
        item: {
          type: "collabAgentToolCall",
          id: "c1",
          tool: "spawnAgent",
          status: "inProgress",
          senderThreadId: thread,
          receiverThreadIds: ["t2"],
          prompt: "look"
        }
      }),
      note("item/completed", { ...other, turnId: "x", item: { type: "agentMessage", id: "m", text: "found" } }),
      note("turn/completed", { ...other, turn: { id: "x", status: "completed" } })
    )
    assert.deepStrictEqual(only(signals, "subagentStarted").map(({ agentPath }) => agentPath), [["t2"]])
    assert.deepStrictEqual(only(signals, "item").at(-1)?.agentPath, ["t2"])
    assert.deepStrictEqual(only(signals, "turnEnded"), [])
    assert.deepStrictEqual(only(signals, "subagentEnded")[0]?.verdict, { _tag: "completed", stopReason: "endTurn" })
  })

  it("of a plan, a diff, a name and what the provider changes are told as what they are", () => {
    const signals = read(
      note("turn/plan/updated", {
        explanation: null,
        plan: [{ step: "look", status: "completed" }, { step: "act", status: "inProgress" }]
      }),
      note("turn/diff/updated", {
        diff:
          "diff --git a/a.txt b/a.txt\nnew file mode 100644\n--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n" +
          "diff --git a/b c.txt b/d.txt\nsimilarity index 50%\nrename from b c.txt\nrename to d.txt\n--- a/b c.txt\n+++ b/d.txt\n@@ -1 +1 @@\n-x\n+y"
      }),
      note("thread/name/updated", { threadName: "A name" }),
      note("model/rerouted", { fromModel: "big", toModel: "small", reason: "capacity" }),
      note("deprecationNotice", { summary: "Old.", details: "Use the new one." })
    )
    assert.deepStrictEqual(only(signals, "plan")[0]?.entries, [
      { text: "look", status: "completed" },
      { text: "act", status: "running" }
    ])
    assert.deepStrictEqual(
      only(signals, "diff")[0]?.files.map((
        { additions, change, deletions, movedTo, path }
      ) => [path, change, movedTo, additions, deletions]),
      [["a.txt", "added", undefined, 2, 0], ["b c.txt", "moved", "d.txt", 1, 1]]
    )
    assert.deepStrictEqual(only(signals, "info")[0]?.title, "A name")
    assert.deepStrictEqual(only(signals, "notice").map(({ code, text }) => [code, text]), [
      ["modelRerouted", "The provider answers with small instead of big."],
      ["deprecation", "Old. Use the new one."]
    ])
  })

  it("codex trap 2: ids of requests are kept apart by their kind", () => {
    const ask = (id: number | string): Message => ({
      id,
      method: "item/commandExecution/requestApproval",
      params: { threadId: thread, turnId: turn, itemId: "i", command: "true" }
    })
    const signals = read(ask(0), ask("0"), note("serverRequest/resolved", { requestId: "0" }))
    assert.deepStrictEqual(only(signals, "requestOpened").map(({ key }) => key), ["#0", ":0"])
    assert.deepStrictEqual(only(signals, "requestClosed").map(({ key }) => key), [":0"])
  })
})
