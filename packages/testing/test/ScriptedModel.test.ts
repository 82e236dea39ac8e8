import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ScriptedModel } from "../src/index.ts"
import { ask, bodyOf, call, script, withModel } from "./fixtures/modelClient.ts"
import * as rawClient from "./fixtures/rawClient.ts"

/** The conversation after some answers: what an agent sends next. */
const after = (content: string, answers: ReadonlyArray<object>) =>
  bodyOf(content, { messages: [{ role: "user", content }, ...answers] })

const toolTurn = (id: string, result: string) => [
  {
    role: "assistant",
    content: null,
    tool_calls: [{ id, type: "function", function: { name: "bash", arguments: "{}" } }]
  },
  { role: "tool", tool_call_id: id, content: result }
]

describe("answers", () => {
  it.live("streams a text word by word", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, script({ do: "text", text: "one two  three" }))
        assert.strictEqual(answer.headers.get("content-type"), "text/event-stream; charset=utf-8")
        assert.strictEqual(answer.content, "one two  three")
        assert.strictEqual(answer.finish, "stop")
        assert.strictEqual(answer.events.at(-1), "[DONE]")
        assert.strictEqual(answer.events.length, 1 + 3 + 1 + 1)
      })
    ))

  it.live("makes up words and characters, and cuts them as told", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const words = yield* ask(model, script({ do: "text", words: 1000 }))
        assert.strictEqual(words.content.split(" ").length, 1000)
        const chars = yield* ask(model, script({ do: "text", chars: 100, chunkSize: 30 }))
        assert.strictEqual(chars.content.length, 100)
        assert.strictEqual(chars.events.length, 1 + 4 + 1 + 1)
        const whole = yield* ask(model, script({ do: "text", text: "a😀b", chunkSize: 1 }))
        assert.strictEqual(whole.content, "a😀b")
        assert.strictEqual(whole.events.length, 1 + 3 + 1 + 1)
      })
    ))

  it.live("thinks before it speaks", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, script({ do: "reasoning", text: "let me see", answer: "yes" }))
        assert.strictEqual(answer.reasoning, "let me see")
        assert.strictEqual(answer.content, "yes")
        const text = yield* ask(model, script({ do: "text", reasoning: "hm", text: "no" }))
        assert.strictEqual(text.reasoning, "hm")
        assert.strictEqual(text.content, "no")
      })
    ))

  it.live("calls tools in parallel, with whole or broken arguments", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const command = "echo ".padEnd(200, "x")
        const answer = yield* call(
          model,
          bodyOf(
            script({
              do: "tools",
              text: "both",
              tools: [{ name: "bash", args: { command } }, { name: "read", rawArgs: "{\"a\":", id: "mine" }]
            }),
            { stream: false }
          )
        )
        const [choice] = JSON.parse(answer.text).choices
        assert.strictEqual(choice.finish_reason, "tool_calls")
        assert.strictEqual(choice.message.content, "both")
        const [first, second] = choice.message.tool_calls
        assert.deepStrictEqual(JSON.parse(first.function.arguments), { command })
        assert.deepStrictEqual(second, {
          id: "mine",
          type: "function",
          function: { name: "read", arguments: "{\"a\":" }
        })

        const streamed = yield* ask(model, script({ do: "tools", tools: [{ name: "bash", args: { command } }] }))
        const deltas = streamed.events.slice(0, -1).flatMap((event) =>
          JSON.parse(event).choices[0]?.delta.tool_calls ?? []
        )
        assert.strictEqual(deltas[0].function.name, "bash")
        assert.notStrictEqual(deltas[0].id, first.id)
        const pieces = deltas.map((delta: { function: { arguments: string } }) => delta.function.arguments)
        assert.isAbove(pieces.length, 2)
        assert.deepStrictEqual(JSON.parse(pieces.join("")), { command })
      })
    ))

  it.live("walks through the steps of a turn, then says done", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const content = script([
          { do: "tools", tools: [{ name: "bash", args: {} }] },
          { do: "text", text: "finished" }
        ])
        assert.strictEqual((yield* ask(model, content)).finish, "tool_calls")
        assert.strictEqual((yield* call(model, after(content, toolTurn("c1", "out")))).content, "finished")
        const long = [...toolTurn("c1", "out"), ...toolTurn("c2", "out")]
        assert.strictEqual((yield* call(model, after(content, long))).content, "done")
        assert.strictEqual((yield* ask(model, "no script at all")).content, "done")
      })
    ))

  it.live("obeys scripts of users only", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const foreign = script({ do: "status", code: 500 })
        const messages = [
          { role: "system", content: foreign },
          {
            role: "user",
            content: [{ type: "text", text: "say" }, { type: "text", text: script({ do: "text", text: "mine" }) }]
          },
          { role: "user", content: "a reminder without a script" }
        ]
        assert.strictEqual((yield* ask(model, "", { messages })).content, "mine")
        assert.strictEqual(
          (yield* ask(model, "", { messages: [...messages, ...toolTurn("c1", foreign)] })).content,
          "done"
        )
      })
    ))

  it.live("refuses a broken script aloud", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, "go <<<{\"txet\":1}>>>")
        assert.strictEqual(answer.status, 400)
        assert.include(JSON.parse(answer.text).error.message, "broken script")
      })
    ))

  it.live("gives calls without tools a title, whatever the prompt says", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, script({ do: "status", code: 500 }), { tools: [] })
        assert.strictEqual(answer.content, "Scripted title")
      })
    ))

  it.live("scripts titles on request, and counts them apart", () =>
    withModel((model) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(model, "a", { tools: undefined })).content, "title of a")
        yield* ask(model, "b")
        const request = yield* model.awaitRequest(0)
        assert.strictEqual(request.lastUserText, "b")
        const title = yield* model.awaitRequest((request) => request.isTitle)
        assert.strictEqual(title.lastUserText, "a")
      }), { titles: (request) => ({ do: "text", text: `title of ${request.lastUserText}` }) }))

  it.live("reports usage, counted or given", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const usageOf = (events: ReadonlyArray<string>) =>
          events.slice(0, -1).flatMap((event) => JSON.parse(event).usage ?? [])
        const step: ScriptedModel.Step = { do: "text", text: "12345678" }
        assert.deepStrictEqual(usageOf((yield* ask(model, script(step))).events), [])
        const asked = { stream_options: { include_usage: true } }
        const counted = usageOf((yield* ask(model, script(step), asked)).events)
        assert.strictEqual(counted[0].completion_tokens, 2)
        assert.isAbove(counted[0].prompt_tokens, 0)
        const given = script({ ...step, usage: { prompt: 90_000, completion: 10, cached: 5 } })
        assert.deepStrictEqual(usageOf((yield* ask(model, given)).events), [{
          prompt_tokens: 90_000,
          completion_tokens: 10,
          total_tokens: 90_010,
          prompt_tokens_details: { cached_tokens: 5 }
        }])
      })
    ))

  it.live("lists its models and knows no other route", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const models = yield* Effect.promise(() => fetch(`${model.url}/models`).then((response) => response.text()))
        assert.deepStrictEqual(JSON.parse(models).data.map((entry: { id: string }) => entry.id), ["a", "b"])
        const other = yield* Effect.promise(() => fetch(`${model.url}/embeddings`, { method: "POST" }))
        assert.strictEqual(other.status, 404)
        const bad = yield* call(model, { model: 5 })
        assert.strictEqual(bad.status, 400)
      }), { models: ["a", "b"] }))

  it.effect("keeps the pace by the clock", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const client = yield* rawClient.post(model.port, bodyOf(script({ do: "text", text: "one two three", rate: 2 })))
        yield* client.awaitText("one ")
        assert.notInclude(client.received(), "two ")
        yield* TestClock.adjust("499 millis")
        assert.notInclude(client.received(), "two ")
        yield* TestClock.adjust("1 millis")
        yield* client.awaitText("two ")
        assert.notInclude(client.received(), "three")
        yield* TestClock.adjust("500 millis")
        yield* client.awaitText("[DONE]")
      })
    ))
})

describe("code", () => {
  it.live("answers from the request, or leaves it to the prompt", () =>
    withModel((model) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(model, "hello")).content, "you said hello, with bash")
        const results = after("hello", toolTurn("c1", "42"))
        assert.strictEqual((yield* call(model, results)).content, "bash gave 42")
        assert.strictEqual(
          (yield* ask(model, script({ do: "text", text: "from the prompt" }))).content,
          "from the prompt"
        )
      }), {
      respond: (request) =>
        request.lastUserText.includes("<<<")
          ? undefined
          : request.hasToolResults
          ? { do: "text", text: request.toolResultsAfterLastUser.map((r) => `${r.name} gave ${r.content}`).join() }
          : { do: "text", text: `you said ${request.lastUserText}, with ${request.tools.join()}` }
    }))

  it.live("may give a whole turn", () =>
    withModel((model) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(model, "x")).status, 503)
        assert.strictEqual((yield* ask(model, "x")).finish, "tool_calls")
        assert.strictEqual((yield* call(model, after("x", toolTurn("c", "")))).content, "end")
      }), {
      respond: () => [
        { do: "status", code: 503, times: 1 },
        { do: "tools", tools: [{ name: "bash" }] },
        { do: "text", text: "end" }
      ]
    }))

  it.live("that throws is a server error", () =>
    withModel((model) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* ask(model, "x")).status, 500)
      }), {
      respond: () => {
        throw new Error("a bug in the test")
      }
    }))
})

describe("faults", () => {
  it.live("answers with a status, headers and a body", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const limited = yield* ask(model, script({ do: "status", code: 429, headers: { "retry-after": "7" } }))
        assert.strictEqual(limited.status, 429)
        assert.strictEqual(limited.headers.get("retry-after"), "7")
        assert.strictEqual(JSON.parse(limited.text).error.code, "rate_limit_exceeded")
        const body = { error: { message: "too long", code: "context_length_exceeded" } }
        assert.deepStrictEqual(JSON.parse((yield* ask(model, script({ do: "status", code: 400, body }))).text), body)
        assert.strictEqual((yield* ask(model, script({ do: "status", code: 500, body: "<html>" }))).text, "<html>")
      })
    ))

  it.live("fails a number of times for each conversation, then goes on", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const content = script([{ do: "status", code: 500, times: 2 }, { do: "text", text: "at last" }])
        const of = (session: string) => call(model, bodyOf(content), { "x-session-affinity": session })
        const statuses = [yield* of("a"), yield* of("a"), yield* of("b"), yield* of("a")].map((answer) => answer.status)
        assert.deepStrictEqual(statuses, [500, 500, 500, 200])
        assert.strictEqual((yield* of("a")).content, "at last")
      })
    ))

  it.live("fails anew when the same prompt is sent again", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const content = script([{ do: "status", code: 500, times: 1 }, { do: "text", text: "ok" }])
        assert.strictEqual((yield* ask(model, content)).status, 500)
        assert.strictEqual((yield* ask(model, content)).content, "ok")
        const again = {
          messages: [{ role: "user", content }, { role: "assistant", content: "ok" }, { role: "user", content }]
        }
        assert.strictEqual((yield* ask(model, content, again)).status, 500)
        assert.strictEqual((yield* ask(model, content, again)).content, "ok")
      })
    ))

  for (
    const [name, body] of [["streaming", { stream: true }], ["whole", { stream: false }]] as const
  ) {
    it.live(`hangs without a byte until the server goes (${name})`, () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const model = yield* Scope.provide(ScriptedModel.make(), scope)
        const client = yield* rawClient.post(model.port, bodyOf(script({ do: "hang" }), body))
        yield* model.awaitRequest(0)
        assert.strictEqual(yield* model.connections, 1)
        yield* Scope.close(scope, Exit.void)
        yield* client.closed
        assert.strictEqual(client.received(), "")
        assert.strictEqual(yield* model.connections, 0)
      }))

    it.live(`hangs after the headers (${name})`, () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const model = yield* Scope.provide(ScriptedModel.make(), scope)
        const client = yield* rawClient.post(model.port, bodyOf(script({ do: "hang", headers: true }), body))
        yield* client.awaitText("\r\n\r\n")
        yield* Scope.close(scope, Exit.void)
        yield* client.closed
        assert.match(client.received(), /^HTTP\/1\.1 200 OK\r\n/)
        assert.isTrue(client.received().endsWith("\r\n\r\n"))
      }))

    it.live(`closes the socket before the headers (${name})`, () =>
      withModel((model) =>
        Effect.gen(function*() {
          const client = yield* rawClient.post(model.port, bodyOf(script({ do: "cut", before: "headers" }), body))
          yield* client.closed
          assert.strictEqual(client.received(), "")
        })
      ))

    it.live(`breaks off half way (${name})`, () =>
      withModel((model) =>
        Effect.gen(function*() {
          const answer = yield* ask(model, script({ do: "cut", text: "one two three", after: 2 }), body)
          assert.strictEqual(answer.status, 200)
          assert.isTrue(answer.broken)
          assert.strictEqual(answer.content, body.stream ? "one two " : "")
        })
      ))
  }

  it.live("falls silent after some chunks", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const client = yield* rawClient.post(
          model.port,
          bodyOf(script({ do: "stall", text: "one two three", after: 2 }))
        )
        yield* client.awaitText("two ")
        yield* client.leave
        yield* client.closed
        assert.notInclude(client.received(), "three")
        assert.notInclude(client.received(), "finish_reason\":\"")
      })
    ))

  it.live("sends an event that is no JSON", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, script({ do: "malformed", text: "one two", after: 1 }))
        assert.strictEqual(answer.content, "one ")
        assert.throws(() => JSON.parse(answer.events.at(-1) ?? "{}"))
        const whole = yield* ask(model, script({ do: "malformed" }), { stream: false })
        assert.throws(() => JSON.parse(whole.text))
      })
    ))

  it.live("sends an error inside the stream", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const answer = yield* ask(model, script({ do: "streamError", message: "overloaded", after: 1 }))
        assert.strictEqual(JSON.parse(answer.events.at(-1) ?? "{}").error.message, "overloaded")
        assert.isFalse(answer.broken)
      })
    ))

  it.live("ends without a reason, or with any", () =>
    withModel((model) =>
      Effect.gen(function*() {
        const none = yield* ask(model, script({ do: "noFinish", text: "half" }))
        assert.deepStrictEqual([none.content, none.finish, none.events.at(-1)], ["half", null, "[DONE]"])
        const silent = yield* ask(model, script({ do: "noFinish", text: "", done: false }))
        assert.strictEqual(silent.events.length, 1)
        for (const reason of ["length", "content_filter", "whatever"]) {
          assert.strictEqual((yield* ask(model, script({ do: "finish", reason }))).finish, reason)
        }
      })
    ))
})
