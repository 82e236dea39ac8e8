/** The Responses wire: what Codex speaks. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { ScriptedModel } from "../src/index.ts"
import { script, withModel } from "./fixtures/modelClient.ts"

interface Event {
  readonly type: string
  readonly delta?: string
  readonly item?: Readonly<Record<string, unknown>>
  readonly response?: Readonly<Record<string, unknown>>
}

type Model = ScriptedModel.ScriptedModel["Service"]

const user = (text: string) => ({ type: "message", role: "user", content: [{ type: "input_text", text }] })

const post = (model: Model, body: object) =>
  Effect.promise(async () => {
    const response = await fetch(`${model.url}/responses`, {
      method: "POST",
      body: JSON.stringify({ model: "m", stream: true, tools: [{ type: "function", name: "exec_command" }], ...body })
    })
    const text = await response.text()
    const events = text.split("\n\n").flatMap((frame): Array<Event> => {
      const data = /^data: (.*)$/m.exec(frame)?.[1]
      if (data === undefined) return []
      try {
        return [JSON.parse(data) as Event]
      } catch {
        return [{ type: "broken" }]
      }
    })
    return { status: response.status, text, events }
  })

const ask = (model: Model, step: Parameters<typeof script>[0]) => post(model, { input: [user(script(step))] })

const types = (events: ReadonlyArray<Event>) => events.map(({ type }) => type)
const items = (events: ReadonlyArray<Event>) =>
  events.flatMap(({ item, type }) => type === "response.output_item.done" && item !== undefined ? [item] : [])

describe("the Responses wire", () => {
  it.live("streams a thought and a text as two items, then is complete with its usage", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const { events } = yield* ask(model, {
          do: "text",
          reasoning: "hm well",
          text: "one two",
          usage: { prompt: 10, completion: 5, cached: 3 }
        })
        assert.deepStrictEqual(types(events), [
          "response.created",
          "response.output_item.added",
          "response.reasoning_summary_part.added",
          "response.reasoning_summary_text.delta",
          "response.reasoning_summary_text.delta",
          "response.output_item.done",
          "response.output_item.added",
          "response.content_part.added",
          "response.output_text.delta",
          "response.output_text.delta",
          "response.output_item.done",
          "response.completed"
        ])
        assert.deepStrictEqual(items(events).map((item) => [item["type"], item["summary"] ?? item["content"]]), [
          ["reasoning", [{ type: "summary_text", text: "hm well" }]],
          ["message", [{ type: "output_text", text: "one two", annotations: [] }]]
        ])
        const response = events.at(-1)?.response
        assert.deepInclude(response, { status: "completed", id: "resp_0" })
        assert.deepStrictEqual(response?.["usage"], {
          input_tokens: 10,
          input_tokens_details: { cached_tokens: 3 },
          output_tokens: 5,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: 15
        })
      })
    ))

  it.live("calls functions and custom tools, whose input is text", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const { events } = yield* ask(model, {
          do: "tools",
          tools: [{ name: "exec_command", args: { cmd: "true" }, id: "a" }, { name: "apply_patch", input: "*** Begin" }]
        })
        const calls = items(events)
        assert.deepInclude(calls[0], { type: "function_call", call_id: "a", arguments: "{\"cmd\":\"true\"}" })
        assert.deepInclude(calls[1], { type: "custom_tool_call", name: "apply_patch", input: "*** Begin" })
        assert.include(types(events), "response.custom_tool_call_input.delta")
      })
    ))

  it.live("takes the next step after each answer, however many items that has", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const prompt = user(script([
          { do: "tools", tools: [{ name: "exec_command", id: "a" }, { name: "exec_command", id: "b" }], text: "go" },
          { do: "text", text: "second" }
        ]))
        const answer = [
          { type: "reasoning", summary: [] },
          { type: "message", role: "assistant", content: [{ type: "output_text", text: "go" }] },
          { type: "function_call", call_id: "a", name: "exec_command", arguments: "{}" },
          { type: "function_call", call_id: "b", name: "exec_command", arguments: "{}" },
          { type: "function_call_output", call_id: "a", output: "one" },
          { type: "function_call_output", call_id: "b", output: [{ type: "input_text", text: "two" }] }
        ]
        yield* post(model, { input: [prompt] })
        const { events } = yield* post(model, { input: [prompt, ...answer] })
        assert.deepInclude(items(events)[0], { content: [{ type: "output_text", text: "second", annotations: [] }] })
        const request = (yield* model.requests)[1]?.request
        assert.deepStrictEqual(request?.toolResultsAfterLastUser, [
          { id: "a", name: "exec_command", content: "one" },
          { id: "b", name: "exec_command", content: "two" }
        ])
        assert.deepStrictEqual(request?.tools, ["exec_command"])
      })
    ))

  it.live("ends in the ways of its own: incomplete, failed, without an end, broken, refused", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const length = yield* ask(model, { do: "finish", reason: "length" })
        assert.deepInclude(length.events.at(-1)?.response, {
          status: "incomplete",
          incomplete_details: { reason: "max_output_tokens" }
        })
        const failed = yield* ask(model, { do: "streamError", message: "full", code: "server_is_overloaded" })
        assert.strictEqual(failed.events.at(-1)?.type, "response.failed")
        assert.deepInclude(failed.events.at(-1)?.response, { error: { code: "server_is_overloaded", message: "full" } })
        const open = yield* ask(model, { do: "noFinish", text: "half" })
        assert.strictEqual(open.events.at(-1)?.type, "response.output_item.done")
        const broken = yield* ask(model, { do: "malformed" })
        assert.strictEqual(broken.events.at(-1)?.type, "broken")
        const refused = yield* ask(model, { do: "status", code: 401 })
        assert.strictEqual(refused.status, 401)
        assert.strictEqual(JSON.parse(refused.text).error.code, "invalid_api_key")
        assert.strictEqual((yield* post(model, { model: 5 })).status, 400)
      })
    ))

  it.live("answers in one body where no stream is asked for", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const { text } = yield* post(model, {
          stream: false,
          input: script({ do: "tools", text: "go", tools: [{ name: "exec_command", args: { cmd: "true" } }] })
        })
        const body = JSON.parse(text)
        assert.strictEqual(body.status, "completed")
        assert.deepStrictEqual(body.output.map((item: { readonly type: string }) => item.type), [
          "message",
          "function_call"
        ])
        assert.strictEqual(body.output[1].arguments, "{\"cmd\":\"true\"}")
      })
    ))
})
