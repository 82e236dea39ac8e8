/** The Messages wire: what Claude speaks. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ScriptedModel } from "../src/index.ts"
import { script, withModel } from "./fixtures/modelClient.ts"

type Json = Readonly<Record<string, unknown>>
type Model = ScriptedModel.ScriptedModel["Service"]

const post = (model: Model, body: object) =>
  Effect.promise(async () => {
    const response = await fetch(`${model.url}/messages?beta=true`, {
      method: "POST",
      headers: { "x-api-key": "a key that nobody keeps" },
      body: JSON.stringify({ model: "m", max_tokens: 9, stream: true, tools: [{ name: "Bash" }], ...body })
    })
    const text = await response.text()
    const events = text.split("\n\n").flatMap((frame): Array<Json> => {
      const data = /^data: (.*)$/m.exec(frame)?.[1]
      if (data === undefined) return []
      try {
        return [JSON.parse(data) as Json]
      } catch {
        return [{ type: "broken" }]
      }
    })
    return { status: response.status, text, events }
  })

const user = (text: string) => ({ role: "user", content: [{ type: "text", text }] })
const ask = (model: Model, step: Parameters<typeof script>[0]) => post(model, { messages: [user(script(step))] })
const short = (events: ReadonlyArray<Json>) =>
  events.map(({ content_block, delta, index, type }) => {
    const what = (content_block ?? delta) as Json | undefined
    return [type, ...(index === undefined ? [] : [index]), ...(what?.["type"] === undefined ? [] : [what["type"]])]
      .join(" ")
  })

describe("the Messages wire", () => {
  it.live("streams a thought and a text as two blocks, then its reason and usage", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const { events } = yield* ask(model, {
          do: "text",
          reasoning: "hm well",
          text: "one two",
          usage: { prompt: 10, completion: 5, cached: 3 }
        })
        assert.deepStrictEqual(short(events), [
          "message_start",
          "content_block_start 0 thinking",
          "content_block_delta 0 thinking_delta",
          "content_block_delta 0 thinking_delta",
          "content_block_delta 0 signature_delta",
          "content_block_stop 0",
          "content_block_start 1 text",
          "content_block_delta 1 text_delta",
          "content_block_delta 1 text_delta",
          "content_block_stop 1",
          "message_delta",
          "message_stop"
        ])
        assert.deepStrictEqual(events.at(-2), {
          type: "message_delta",
          delta: { stop_reason: "end_turn", stop_sequence: null },
          usage: { input_tokens: 7, cache_creation_input_tokens: 0, cache_read_input_tokens: 3, output_tokens: 5 }
        })
      })
    ))

  it.live("calls tools with their input in pieces, and takes their results as steps of the script", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const prompt = user(script([
          { do: "tools", tools: [{ name: "Bash", args: { command: "x".repeat(60) }, id: "a" }] },
          { do: "text", text: "seen" }
        ]))
        const first = yield* post(model, { messages: [prompt] })
        const input = first.events.flatMap(({ delta }) => {
          const piece = (delta as Json | undefined)?.["partial_json"]
          return typeof piece === "string" ? [piece] : []
        })
        assert.isAbove(input.length, 1)
        assert.deepStrictEqual(JSON.parse(input.join("")), { command: "x".repeat(60) })
        assert.deepInclude(first.events.at(-2)?.["delta"], { stop_reason: "tool_use" })
        const second = yield* post(model, {
          system: [{ type: "text", text: "be brief" }],
          messages: [
            prompt,
            { role: "assistant", content: [{ type: "tool_use", id: "a", name: "Bash", input: {} }] },
            { role: "user", content: [{ type: "tool_result", tool_use_id: "a", content: "out" }] }
          ]
        })
        assert.include(second.text, "seen")
        const [, recorded] = yield* model.requests
        assert.deepStrictEqual(recorded?.request.toolResultsAfterLastUser, [{ id: "a", name: "Bash", content: "out" }])
        assert.notProperty(recorded?.headers, "x-api-key")
      })
    ))

  it.live("answers as one body where nothing is streamed", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const { text } = yield* post(model, {
          stream: false,
          messages: [
            user(script({ do: "tools", text: "now", tools: [{ name: "Bash", args: { command: "ls" }, id: "a" }] }))
          ]
        })
        const body = JSON.parse(text) as Json
        assert.deepStrictEqual(body["content"], [
          { type: "text", text: "now" },
          { type: "tool_use", id: "a", name: "Bash", input: { command: "ls" } }
        ])
        assert.strictEqual(body["stop_reason"], "tool_use")
      })
    ))

  it.live("fails in the words of the API: a status, an error within the stream, an end without a reason, broken JSON", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const refused = yield* ask(model, { do: "status", code: 529 })
        assert.deepStrictEqual([refused.status, JSON.parse(refused.text)], [
          529,
          { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }
        ])
        const broken = yield* ask(model, { do: "streamError", message: "stop", after: 1, code: "overloaded_error" })
        assert.deepStrictEqual(broken.events.at(-1), {
          type: "error",
          error: { type: "overloaded_error", message: "stop" }
        })
        const open = yield* ask(model, { do: "noFinish", text: "half" })
        assert.deepStrictEqual(short(open.events).slice(-2), ["content_block_stop 0", "message_stop"])
        const garbage = yield* ask(model, { do: "malformed", text: "half", after: 1 })
        assert.deepStrictEqual(garbage.events.at(-1), { type: "broken" })
        const bad = yield* post(model, { messages: "none" })
        assert.strictEqual(bad.status, 400)
        assert.include(bad.text, "invalid_request_error")
      })
    ))
})
