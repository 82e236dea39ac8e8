/** What a prompt of the real Codex can hold besides text. */
import { assert, layer } from "@effect/vitest"
import * as Catalogue from "@reins/core/Catalogue"
import * as Prompt from "@reins/core/Prompt"
import * as Providers from "@reins/core/Providers"
import { Effect, FileSystem } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Model from "./fixtures/model.ts"
import * as Png from "./fixtures/png.ts"
import { prompt, text } from "./fixtures/script.ts"

const png = Png.png(2, 2)

const completed = { _tag: "completed", stopReason: "endTurn" } as const

const heard = Effect.map(Model.lastBody, (body) => JSON.stringify(body["input"]))

layer(Codex.layer(), { excludeTestServices: true, timeout: "60 seconds" })("a prompt of Codex", (it) => {
  it.effect("holds files of text and images, by path and by bytes", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Codex.Place
      yield* fs.writeFileString(`${cwd}/notes.txt`, "the heron is grey")
      yield* fs.writeFile(`${cwd}/shot.png`, png)
      const session = yield* Codex.open()
      const turn = yield* session.prompt(Prompt.make(
        prompt("look", text("seen")),
        Prompt.file("notes.txt"),
        Prompt.file({ name: "list.md", data: Buffer.from("- milk") }),
        Prompt.file("shot.png"),
        Prompt.image({ mediaType: "image/png", data: png })
      ))
      assert.deepStrictEqual(yield* turn.outcome, completed)
      const input = yield* heard
      assert.include(input, JSON.stringify("<file name=\"notes.txt\">\nthe heron is grey\n</file>").slice(1, -1))
      assert.include(input, JSON.stringify("<file name=\"list.md\">\n- milk\n</file>").slice(1, -1))
      assert.strictEqual(input.split("input_image").length - 1, 2)
      assert.include(input, "data:image/png;base64,")
    }))

  it.effect("is refused before anything is sent when it holds what Codex cannot take", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Codex.Place
      yield* fs.writeFileString(`${cwd}/paper.pdf`, "%PDF-1.7")
      const session = yield* Codex.open()
      const reason = (...parts: ReadonlyArray<Prompt.PromptPart>) =>
        Effect.map(Effect.flip(session.prompt(Prompt.make("look", ...parts))), (error) => error.reason._tag)
      assert.strictEqual(yield* reason(Prompt.file("paper.pdf")), "Unsupported")
      assert.strictEqual(yield* reason(Prompt.mention("reviewer")), "Unsupported")
      assert.strictEqual(yield* reason(Prompt.image({ mediaType: "image/tiff", data: png })), "Unsupported")
      assert.strictEqual(yield* reason(Prompt.image({ mediaType: "image/gif", data: png })), "InvalidRequest")
      assert.strictEqual(yield* reason(Prompt.file("missing.txt")), "InvalidRequest")
      assert.strictEqual(yield* reason(Prompt.file(".")), "InvalidRequest")
      assert.strictEqual(yield* reason(Prompt.command("no-such-skill")), "InvalidRequest")
      const turn = yield* session.prompt(prompt("go on", text("still here")))
      assert.deepStrictEqual(yield* turn.outcome, completed)
    }))

  it.effect("calls a skill, whose instructions the model then has", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd, home } = yield* Codex.Place
      yield* fs.makeDirectory(`${home}/skills/greet`, { recursive: true })
      yield* fs.writeFileString(
        `${home}/skills/greet/SKILL.md`,
        "---\nname: greet\ndescription: Greets by name.\n---\nSay hello in Norwegian: hei hei.\n"
      )
      const provider = yield* Effect.flatMap(Providers.Providers, (all) => all.get("codex"))
      const commands = yield* Catalogue.commands(provider, { cwd })
      assert.deepInclude(commands, { name: "greet", source: "skill", description: "Greets by name." })
      const session = yield* Codex.open()
      const turn = yield* session.prompt(
        Prompt.make(prompt("", text("hei")), Prompt.command("greet", "Ada"))
      )
      assert.deepStrictEqual(yield* turn.outcome, completed)
      const input = yield* heard
      assert.include(input, "$greet Ada")
      assert.include(input, "Say hello in Norwegian: hei hei.")
    }))

  it.effect("that is longer than Codex takes is refused, and the next one runs", () =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      const long = yield* session.prompt("x".repeat(2 * 1024 * 1024))
      const receipt = yield* long.receipt
      if (receipt._tag !== "failed") return assert.fail(`the receipt was ${receipt._tag}`)
      assert.strictEqual(receipt.error._tag, "InvalidRequest")
      assert.include(receipt.error.message, "maximum length of 1048576 characters")
      const turn = yield* session.prompt(prompt("go on", text("still here")))
      assert.deepStrictEqual(yield* turn.outcome, completed)
    }))
})
