import { assert, describe, it } from "@effect/vitest"
import { textOf } from "@reins/core/Item"
import type { RequestSignal } from "@reins/core/Signal"
import * as fs from "node:fs"
import * as normalise from "../src/internal/normalise.ts"
import type { Frame } from "./fixtures/replay.ts"
import { frames, sessionOf, signalsOf } from "./fixtures/replay.ts"
import { itemsOf, lastItems, only, tags } from "./fixtures/signals.ts"

const names = fs.readdirSync(new URL("fixtures", import.meta.url)).filter((file) => file.endsWith(".jsonl")).map(
  (file) => file.slice(0, -".jsonl".length)
)

describe("normalise, on recorded frames", () => {
  it("tells a plain turn in the order of the wire", () => {
    const signals = signalsOf("02b-text-warm")
    assert.strictEqual(
      tags(signals),
      "info prompt item turnProgress item delta delta delta delta delta item usage turnFinish turnEnded"
    )
    const prompt = only(signals, "prompt")[0]
    assert.strictEqual(prompt?.key, prompt?.turn)
    for (const signal of signals) {
      if (signal._tag === "item" || signal._tag === "turnFinish") assert.strictEqual(signal.turn, prompt?.key)
    }
    assert.deepStrictEqual(only(signals, "usage")[0]?.usage, {
      input: 100,
      output: 10,
      reasoning: 0,
      cacheRead: 0,
      cacheWrite: 0,
      total: 110,
      cost: { amount: 0, currency: "USD" }
    })
  })

  it.each(names)("%s: deltas laid in order are the final text, and nothing is unrecognised", (name) => {
    const signals = signalsOf(name)
    assert.deepStrictEqual(only(signals, "unrecognised"), [])
    const laid = new Map<string, string>()
    const voided = new Set(only(signals, "itemVoided").map((signal) => signal.key))
    for (const signal of signals) {
      if (signal._tag === "delta") laid.set(signal.key, (laid.get(signal.key) ?? "") + signal.text)
      if (signal._tag !== "item" || signal.status === undefined || voided.has(signal.key)) continue
      const text = laid.get(signal.key)
      if (text !== undefined) assert.strictEqual(textOf(signal.item), text)
    }
  })

  it.each(names)("%s: each prompt and each final item is told once, and text that grows only grows", (name) => {
    const signals = signalsOf(name)
    const prompts = only(signals, "prompt").map((signal) => signal.key)
    assert.strictEqual(new Set(prompts).size, prompts.length)
    const final = new Set<string>()
    const texts = new Map<string, string>()
    for (const signal of only(signals, "item")) {
      assert.isFalse(final.has(signal.key), signal.key)
      if (signal.status !== undefined) final.add(signal.key)
      if (!signal.hasText) continue
      const before = texts.get(signal.key) ?? ""
      assert.isTrue(textOf(signal.item).startsWith(before))
      texts.set(signal.key, textOf(signal.item))
    }
  })

  it("tells reasoning apart from text although their deltas look the same", () => {
    const signals = signalsOf("02c-reasoning")
    assert.strictEqual(itemsOf(signals, "reasoning").length, 1)
    assert.strictEqual(itemsOf(signals, "assistantMessage").length, 1)
    assert.notStrictEqual(itemsOf(signals, "reasoning")[0]?.item.text, "")
  })

  it("gives an ask the item, the input and the kind of its call", () => {
    const table: ReadonlyArray<readonly [name: string, kind: string, subject: string]> = [
      ["03a-perm-once", "command", "Run echo hi-once"],
      ["03j-edit-write-ask", "edit", "Change /sandbox/proj/a.txt"],
      ["03k-external-dir", "externalDirectory", "Use /etc/hostname, which is outside of the project"],
      ["23-webfetch", "network", "Fetch http://127.0.0.1:1/x"],
      ["24-grep", "read", "Search . for foo.*bar"],
      ["20-subagent", "command", "Run mkdir sub1"]
    ]
    for (const [name, kind, subject] of table) {
      const signals = signalsOf(name)
      const ask = only(signals, "requestOpened")[0]
      assert.strictEqual(ask?.kind, kind, name)
      assert.strictEqual(ask?.subject, subject, name)
      assert.isTrue(lastItems(signals).has(ask?.item ?? ""), name)
      assert.isDefined(ask?.facts.input, name)
      assert.deepStrictEqual(ask?.options, ["accept", "acceptForSession", "decline", "cancel"])
      assert.strictEqual(only(signals, "requestClosed")[0]?.key, ask?.key, name)
    }
  })

  it("tells where a command would run although the ask came before the input of its call", () => {
    const [ask] = only(signalsOf("27-workdir"), "requestOpened")
    assert.strictEqual(ask?.facts.command, "pwd")
    assert.strictEqual(ask?.facts.cwd, "/sandbox/proj")
  })

  it("gives an edit its path and diff, and the file change its state", () => {
    const signals = signalsOf("03j-edit-write-ask")
    const [write, edit] = only(signals, "requestOpened")
    assert.deepStrictEqual(write?.facts.paths, ["/sandbox/proj/a.txt"])
    assert.include(edit?.facts.diff ?? "", "-two\n+three")
    const changes = itemsOf(signals, "fileChange").map((signal) => signal.item.changes[0])
    assert.strictEqual(changes[0]?.change, "added")
    assert.strictEqual(changes[1]?.change, "updated")
    assert.strictEqual(changes[1]?.additions, 1)
  })

  it("closes both asks when one of two is rejected", () => {
    const closed = only(signalsOf("03i-perm-reject-one-of-two"), "requestClosed")
    assert.deepStrictEqual(closed.map((signal) => signal.accepted), [false, false])
  })

  it("offers answers for a question, and tells whether it was answered", () => {
    const answered = signalsOf("04a-question-reply")
    const ask: RequestSignal | undefined = only(answered, "requestOpened")[0]
    assert.strictEqual(ask?.kind, "question")
    assert.strictEqual(ask?.subject, "Which colour?")
    assert.deepStrictEqual(ask?.options, ["answers", "decline", "cancel"])
    assert.deepStrictEqual(ask?.facts.questions, [{
      text: "Which colour?",
      header: "Colour",
      options: [{ label: "Red", description: "r" }, { label: "Blue", description: "b" }],
      multiple: false,
      freeText: true
    }])
    assert.isTrue(only(answered, "requestClosed")[0]?.accepted)
    assert.isFalse(only(signalsOf("04b-question-reject"), "requestClosed")[0]?.accepted)
  })

  it("tells an abort as no error, and what was running as interrupted", () => {
    for (const name of ["05a-abort-text", "05c-abort-bash-running", "05e-abort-question-pending"]) {
      const signals = signalsOf(name)
      assert.deepStrictEqual(only(signals, "turnError"), [], name)
      assert.deepStrictEqual(only(signals, "turnFinish"), [], name)
      assert.strictEqual(only(signals, "turnEnded").length, 2, name)
    }
    assert.strictEqual(itemsOf(signalsOf("05c-abort-bash-running"), "command")[0]?.status, "interrupted")
    assert.strictEqual(itemsOf(signalsOf("05e-abort-question-pending"), "toolCall")[0]?.status, "interrupted")
  })

  it("maps errors, limits and refusals", () => {
    const errors = (name: string) => only(signalsOf(name), "turnError").map((signal) => signal.error._tag)
    assert.deepStrictEqual([...new Set(errors("06a-401"))], ["AuthRequired"])
    assert.deepStrictEqual([...new Set(errors("06b-400"))], ["InvalidRequest"])
    assert.deepStrictEqual([...new Set(errors("06i-garbage-sse"))], ["UpstreamFailed"])
    assert.deepStrictEqual(errors("06m-finish-content_filter"), [])
    assert.strictEqual(only(signalsOf("06m-finish-content_filter"), "turnFinish")[0]?.stopReason, "refusal")
    assert.strictEqual(only(signalsOf("06l-finish-length"), "turnFinish")[0]?.stopReason, "maxTokens")
    assert.strictEqual(only(signalsOf("06o-insufficient-quota"), "turnRetrying")[0]?.error?._tag, "QuotaExceeded")
    const limited = only(signalsOf("06d-429-retryafter1-x2"), "turnRetrying")
    assert.deepStrictEqual(limited.map((signal) => [signal.attempt, signal.error?._tag]), [
      [1, "RateLimited"],
      [2, "RateLimited"]
    ])
    assert.isDefined(limited[0]?.until)
  })

  it("tells a failure once although the server repeats it as a stack trace after the end", () => {
    const model = only(signalsOf("06u-bad-model"), "turnError")
    assert.deepStrictEqual(model.map((signal) => signal.error._tag), ["ModelNotFound"])
    const agent = only(signalsOf("06u4-bad-agent"), "turnError")
    assert.deepStrictEqual(agent.map((signal) => signal.error._tag), ["InvalidRequest"])
    assert.notInclude(JSON.stringify(agent), "bunfs")
  })

  it("voids what a step streamed before it was tried again", () => {
    const signals = signalsOf("06f-cut-midstream-once")
    const [voided] = only(signals, "itemVoided")
    const [first, second] = itemsOf(signals, "assistantMessage")
    assert.strictEqual(voided?.key, first?.key)
    assert.strictEqual(only(signals, "itemVoided").length, 1)
    assert.strictEqual(second?.item.text, "recovered recovered ")
    assert.strictEqual(only(signalsOf("06f2-cut-midstream-forever"), "itemVoided").length, 4)
  })

  it("keeps a compaction inside of the turn that it interrupts", () => {
    for (const name of ["06c-context-overflow-400", "06x-autocompact"]) {
      const signals = signalsOf(name)
      const [prompt] = only(signals, "prompt")
      assert.strictEqual(only(signals, "prompt").length, 1, name)
      assert.strictEqual(itemsOf(signals, "compaction").length, 1, name)
      assert.isAbove(only(signals, "turnCompacting").length, 0, name)
      assert.strictEqual(only(signals, "notice")[0]?.code, "compacted", name)
      for (const signal of signals) {
        if (signal._tag === "item" || signal._tag === "turnFinish" || signal._tag === "usage") {
          assert.strictEqual(signal.turn, prompt?.key, name)
        }
      }
      // The summary's own finish is none of the turn.
      assert.strictEqual(only(signals, "turnFinish").length, 1, name)
      const order = signals.map((signal) => signal._tag)
      assert.isAbove(order.indexOf("turnFinish"), order.indexOf("notice"), name)
      assert.strictEqual(itemsOf(signals, "userMessage").length, 1, name)
    }
  })

  it("makes a compaction that was asked for by hand a turn of its own", () => {
    const signals = signalsOf("28-summarize")
    const [, own] = only(signals, "prompt")
    assert.strictEqual(only(signals, "prompt").length, 2)
    assert.strictEqual(itemsOf(signals, "compaction")[0]?.turn, own?.key)
    assert.strictEqual(only(signals, "turnFinish").filter((signal) => signal.turn === own?.key).length, 0)
  })

  it("keeps the name and kind of a call that could not be read, and tells it as failed", () => {
    const unknown = itemsOf(signalsOf("06p-tool-unknown"), "toolCall")[0]
    assert.strictEqual(unknown?.item.tool, "no_such_tool")
    assert.strictEqual(unknown?.status, "failed")
    const broken = itemsOf(signalsOf("06q-tool-bad-json"), "command")[0]
    assert.strictEqual(broken?.status, "failed")
    assert.include(broken?.item.error ?? "", "JSON")
    assert.strictEqual(itemsOf(signalsOf("06r-tool-missing-arg"), "command")[0]?.status, "failed")
  })

  it("gives a command its output as it grows, and its exit code", () => {
    const signals = signalsOf("06s-tool-nonzero-exit")
    const outputs = only(signals, "item").flatMap((signal) =>
      signal.item._tag === "command" && signal.hasText ? [signal.item.output] : []
    )
    assert.deepStrictEqual(outputs, ["out\n", "out\nerr\n", "out\nerr\n"])
    const [command] = itemsOf(signals, "command")
    assert.strictEqual(command?.item.exitCode, 3)
    assert.strictEqual(command?.status, "completed")
  })

  it("gives the work of a subagent its path and the turn of its parent", () => {
    const signals = signalsOf("20-subagent")
    const [prompt] = only(signals, "prompt")
    const [started] = only(signals, "subagentStarted")
    const [ended] = only(signals, "subagentEnded")
    assert.strictEqual(only(signals, "prompt").length, 1)
    assert.strictEqual(started?.agent, "general")
    assert.strictEqual(started?.title, "sub job (@general subagent)")
    assert.deepStrictEqual(ended?.verdict, { _tag: "completed", stopReason: "endTurn" })
    const [ask] = only(signals, "requestOpened")
    assert.deepStrictEqual(ask?.agentPath, started?.agentPath)
    assert.strictEqual(ask?.turn, prompt?.key)
    const [call] = itemsOf(signals, "subagent")
    assert.deepStrictEqual(call?.item.path, started?.agentPath)
    assert.strictEqual(call?.item.prompt, "CHILD work")
    const texts = itemsOf(signals, "assistantMessage")
    assert.deepStrictEqual(texts.map((signal) => signal.agentPath), [started?.agentPath, undefined])
    assert.deepStrictEqual([...new Set(texts.map((signal) => signal.turn))], [prompt?.key])
    assert.strictEqual(only(signals, "turnFinish").length, 1)
    assert.strictEqual(only(signals, "turnEnded").length, 1)
  })

  it("tells a list of work once", () => {
    const plans = only(signalsOf("21-todo"), "plan")
    assert.deepStrictEqual(plans.map((signal) => signal.entries), [[
      { text: "one", status: "completed", priority: "high" },
      { text: "two", status: "running", priority: "low" }
    ]])
  })

  it("finds the endless loop at the third answer without a finish reason", () => {
    const recorded = frames("25-loop")
    const state = normalise.make({ sessionId: sessionOf(recorded) })
    let answers = 0
    for (const frame of recorded) {
      const signals = normalise.applyAll(state, [frame])
      if (!JSON.stringify(frame).includes("\"step-finish\"")) continue
      answers++
      assert.strictEqual(only(signals, "turnError").length, answers >= 3 ? 1 : 0)
      assert.deepStrictEqual(normalise.looping(state), answers >= 3 ? [state.sessionId] : [])
    }
    assert.strictEqual(answers, 5)
    assert.deepStrictEqual(normalise.looping(state), [])
  })

  it("belongs prompts that came while a turn ran to themselves", () => {
    const signals = signalsOf("07a-two-prompts-while-running")
    const prompts = only(signals, "prompt").map((signal) => signal.key)
    assert.strictEqual(prompts.length, 3)
    const progress = only(signals, "turnProgress").map((signal) => signal.turn)
    assert.deepStrictEqual(progress, [prompts[0], prompts[2]])
  })

  it.each(names)("%s: no field, missing or of another type, makes it throw", (name) => {
    const recorded = frames(name)
    const state = normalise.make({ sessionId: sessionOf(recorded) })
    for (const frame of recorded) {
      for (const broken of mutations(frame)) normalise.applyAll(state, [broken])
      normalise.applyAll(state, [frame])
    }
  })
})

/** The frame with each of its fields, in turn, missing or of another type. */
const mutations = function*(frame: Frame): Generator<normalise.OpenCodeEvent> {
  const paths: Array<ReadonlyArray<string>> = []
  const walk = (value: unknown, path: ReadonlyArray<string>): void => {
    if (path.length > 0) paths.push(path)
    if (typeof value !== "object" || value === null || path.length > 4) return
    for (const key of Object.keys(value)) walk((value as { readonly [key: string]: unknown })[key], [...path, key])
  }
  walk(frame.properties, [])
  for (const path of paths) {
    for (const value of [undefined, null, 7, "", [], {}]) {
      const properties = structuredClone(frame.properties) as { [key: string]: unknown }
      let target = properties
      for (const key of path.slice(0, -1)) target = target[key] as { [key: string]: unknown }
      target[path.at(-1) ?? ""] = value
      yield { type: frame.type, properties }
    }
  }
  for (const properties of [undefined, null, 7, "", []]) yield { type: frame.type, properties }
}
