import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as modelScript from "../../src/internal/modelScript.ts"
import type { Step } from "../../src/internal/modelScript.ts"

const stepsIn = (text: string): ReadonlyArray<Step> => {
  const found = modelScript.find(text)
  assert.strictEqual(found._tag, "Steps", JSON.stringify(found))
  return found._tag === "Steps" ? found.steps : []
}

const expanded = (input: unknown): ReadonlyArray<Step> => Result.getOrThrow(modelScript.decode(input))

describe("scripts in prompts", () => {
  it("finds a single step and a list", () => {
    assert.deepStrictEqual(stepsIn("say it <<<{\"do\":\"text\",\"text\":\"hi\"}>>> please"), [{
      do: "text",
      text: "hi"
    }])
    assert.deepStrictEqual(stepsIn("<<<[ {\"text\":\"a\"}, {\"hang\":true} ]>>>"), [
      { do: "text", text: "a" },
      { do: "hang" }
    ])
  })

  it("sees through a prompt that was quoted on its way, once or twice", () => {
    const script = "run <<<{\"tools\":[{\"name\":\"bash\",\"args\":{\"command\":\"echo \\\"a b\\\"\"}}]}>>>"
    const expected: ReadonlyArray<Step> = [{
      do: "tools",
      tools: [{ name: "bash", args: { command: "echo \"a b\"" } }]
    }]
    assert.deepStrictEqual(stepsIn(JSON.stringify(script)), expected)
    assert.deepStrictEqual(stepsIn(JSON.stringify(JSON.stringify(script))), expected)
    assert.deepStrictEqual(stepsIn("'run <<<{\\\"text\\\":\\\"it's\\\"}>>>'"), [{ do: "text", text: "it's" }])
  })

  it("reads a script spread over lines, quoted or not", () => {
    assert.deepStrictEqual(stepsIn("<<<\n[\n  {\"text\": \"a\"}\n]\n>>>"), [{ do: "text", text: "a" }])
    assert.deepStrictEqual(stepsIn("\"<<<\n[\n  {\\\"text\\\": \\\"a\\\"}\n]\n>>>\""), [{ do: "text", text: "a" }])
  })

  it("takes the outermost brackets, so an argument may hold a script", () => {
    const inner = "sub <<<{\"text\":\"inner\"}>>>"
    const outer = `<<<${JSON.stringify({ tools: [{ name: "task", args: { prompt: inner } }] })}>>>`
    assert.deepStrictEqual(stepsIn(outer), [{ do: "tools", tools: [{ name: "task", args: { prompt: inner } }] }])
  })

  it("survives a round trip of text that looks like its own end", () => {
    const steps: ReadonlyArray<Step> = [{ do: "text", text: `a >>> b <<<{"x":1}>>> \\" ü 😀 ${">>>".repeat(200)}` }]
    assert.deepStrictEqual(stepsIn(`before ${modelScript.render(steps)} after >>>`), steps)
  })

  it("leaves other uses of angle brackets alone", () => {
    for (const text of ["", "no script", "<<<<<<< HEAD\nx\n>>>>>>> other", "cat <<<word", "1 << 2 >>> 3"]) {
      assert.deepStrictEqual(modelScript.find(text), { _tag: "None" })
    }
  })

  it("tells a broken script from none", () => {
    for (
      const text of [
        "<<<{\"text\":>>>",
        "<<<{\"text\":\"open\"}",
        "<<<{\"txet\":\"typo\"}>>>",
        "<<<{\"text\":\"a\",\"rat\":3}>>>",
        "<<<{\"text\":5}>>>",
        "<<<{\"words\":-1}>>>",
        "<<<{\"status\":99}>>>",
        "<<<{\"tools\":[]}>>>"
      ]
    ) {
      assert.strictEqual(modelScript.find(text)._tag, "Broken", text)
    }
  })

  it("expands the short forms", () => {
    assert.deepStrictEqual(
      expanded([
        { words: 3, rate: 10 },
        { reasoning: "hm", text: "so" },
        { reasoning: "hm" },
        { tools: [{ name: "bash", rawArgs: "{" }], text: "first" },
        { status: 429, headers: { "retry-after": "1" }, times: 2 },
        { hang: { headers: true }, times: 1 },
        { stall: 2 },
        { cut: true },
        { cut: { before: "headers" } },
        { malformed: true, text: "a" },
        { noFinish: true, done: false },
        { streamError: "boom" },
        { finish: "length", usage: { prompt: 5 } },
        { text: "a b", gateAfter: 1, gate: "g" }
      ]),
      [
        { do: "text", words: 3, rate: 10 },
        { do: "text", reasoning: "hm", text: "so" },
        { do: "reasoning", text: "hm" },
        { do: "tools", tools: [{ name: "bash", rawArgs: "{" }], text: "first" },
        { do: "status", code: 429, headers: { "retry-after": "1" }, times: 2 },
        { do: "hang", headers: true, times: 1 },
        { do: "stall", after: 2 },
        { do: "cut" },
        { do: "cut", before: "headers" },
        { do: "malformed", text: "a" },
        { do: "noFinish", done: false },
        { do: "streamError", message: "boom" },
        { do: "finish", reason: "length", usage: { prompt: 5 } },
        { do: "text", text: "a b", gateAfter: 1, gate: "g" }
      ]
    )
  })
})
