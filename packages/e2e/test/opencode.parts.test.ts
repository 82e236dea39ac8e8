/** Images and files in prompts to the real OpenCode: what the model is sent, and what is refused before. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Prompt from "@reins/core/Prompt"
import { Effect, FileSystem } from "effect"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { png } from "./fixtures/png.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"
import * as ScriptedModel from "@reins/testing/ScriptedModel"

const seeing = {
  provider: {
    scripted: {
      models: {
        "scripted-1": { attachment: true, modalities: { input: ["text", "image", "pdf"], output: ["text"] } },
        blind: { name: "Blind", tool_call: true, limit: { context: 100_000, output: 8_000 } }
      }
    }
  }
}

const picture = png(4, 4)
const pdf = Buffer.from("%PDF-1.4\n%%EOF\n")
const url = (type: string, data: Buffer) => `data:${type};base64,${data.toString("base64")}`

layer(
  Host.layer({
    policy: ApprovalPolicy.fullAccess,
    overrides: seeing,
    limits: { attachment: 100_000, attachments: 150_000 }
  }),
  { excludeTestServices: true, timeout: "60 seconds" }
)("images and files for OpenCode", (it) => {
  it.effect("sends an image as a data URL, with its bytes as they are", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(
        Prompt.make("what is this", Prompt.image({ mediaType: "image/png", data: picture, name: "a.png" }))
      )
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      const sent = yield* Model.lastPrompt
      assert.strictEqual(sent[0]?.text, "what is this")
      assert.strictEqual(sent[1]?.image_url?.url, url("image/png", picture))
    }))

  it.effect("a prompt may be an image alone", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(Prompt.make(Prompt.image({ mediaType: "image/png", data: picture })))
      assert.strictEqual((yield* turn.receipt)._tag, "consumed")
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      assert.strictEqual((yield* Model.lastPrompt)[0]?.image_url?.url, url("image/png", picture))
    }))

  it.effect("reads a file by its path when the prompt is taken, and sends its text with its name", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      const fs = yield* FileSystem.FileSystem
      const model = yield* ScriptedModel.ScriptedModel
      yield* fs.writeFileString(`${cwd}/notes.txt`, "grüße\n")
      const session = yield* Host.open()
      const first = yield* session.prompt(prompt("wait", gatedText("waiting for it", "parts-gate")))
      yield* model.awaitGate("parts-gate")
      const turn = yield* session.prompt(Prompt.make(Prompt.file("notes.txt"), "read it"))
      yield* fs.writeFileString(`${cwd}/notes.txt`, "changed since")
      yield* fs.remove(`${cwd}/notes.txt`)
      yield* model.open("parts-gate")
      assert.strictEqual((yield* first.outcome)._tag, "completed")
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      const sent = yield* Model.lastPrompt
      const words = sent.map((part) => part.text ?? "").join("\n")
      assert.include(words, "grüße")
      assert.include(words, "notes.txt")
      assert.include(words, "read it")
      assert.notInclude(JSON.stringify(yield* Model.lastBody), "file://")
    }))

  it.effect("sends JSON and other text as text, and a PDF as a document", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(Prompt.make(
        "look",
        Prompt.file({ data: Buffer.from("{\"a\":1}"), mediaType: "application/json", name: "a.json" }),
        Prompt.file({ data: Buffer.from("<svg/>"), mediaType: "image/svg+xml", name: "a.svg" }),
        Prompt.file({ data: pdf, name: "a.pdf" })
      ))
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      const sent = yield* Model.lastPrompt
      const words = sent.map((part) => part.text ?? "").join("\n")
      assert.include(words, "{\"a\":1}")
      assert.include(words, "<svg/>")
      assert.deepStrictEqual(sent.filter((part) => part.type === "file").map((part) => part["file"]), [
        { filename: "a.pdf", file_data: url("application/pdf", pdf) }
      ])
    }))

  it.effect("refuses what OpenCode cannot take before anything is sent", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      const fs = yield* FileSystem.FileSystem
      yield* fs.makeDirectory(`${cwd}/folder`, { recursive: true })
      yield* fs.writeFile(`${cwd}/large.txt`, new Uint8Array(100_001).fill(97))
      yield* fs.writeFile(`${cwd}/a.zip`, Buffer.from("PK\u0003\u0004\u0000\u0000"))
      const session = yield* Host.open()
      const before = (yield* Model.bodies).length
      const refused = Effect.fnUntraced(function*(part: Prompt.PromptPart) {
        const error = yield* Effect.flip(session.prompt(Prompt.make("see", part)))
        return `${error.reason._tag}: ${error.message}`
      })
      const data = picture
      assert.match(yield* refused(Prompt.file("missing.txt")), /^InvalidRequest: .*missing\.txt" does not exist/)
      assert.match(yield* refused(Prompt.file("folder")), /^InvalidRequest: .*folder" is a directory/)
      assert.match(yield* refused(Prompt.file("/dev/null")), /^InvalidRequest: .*is no regular file/)
      assert.match(
        yield* refused(Prompt.file("large.txt")),
        /^InvalidRequest: .*large\.txt" has 100001 bytes; the limit/
      )
      assert.match(yield* refused(Prompt.file("a.zip")), /^Unsupported: .*none of .*text in UTF-8/)
      assert.match(
        yield* refused(Prompt.file({ data: Buffer.from([0, 1]), mediaType: "application/zip" })),
        /^Unsupported: .*application\/zip/
      )
      assert.match(yield* refused(Prompt.image({ mediaType: "image/bmp", data })), /^Unsupported: .*image\/bmp/)
      assert.match(
        yield* refused(Prompt.image({ mediaType: "image/jpeg", data })),
        /^InvalidRequest: .*image\/jpeg.*image\/png/
      )
      assert.match(
        yield* refused(Prompt.image({ mediaType: "image/png", data: new Uint8Array(100_001) })),
        /^InvalidRequest: .*limit/
      )
      assert.match(
        yield* refused(Prompt.image({ mediaType: "image/png", data: "no base64!" })),
        /^InvalidRequest: .*base64/
      )
      assert.match(yield* refused({ _tag: "File" }), /^InvalidRequest: .*either a path or its bytes/)
      assert.match(yield* refused(Prompt.mention("nobody")), /^InvalidRequest: .*no subagent "nobody"/)
      yield* session.quiescent
      assert.strictEqual((yield* Model.bodies).length, before)
    }))

  it.effect("refuses an image for a model that takes none, where OpenCode would tell the model in its place", () =>
    Effect.gen(function*() {
      const session = yield* Host.open({ model: "scripted/blind" })
      const image = Prompt.make("see", Prompt.image({ mediaType: "image/png", data: picture }))
      const error = yield* Effect.flip(session.prompt(image))
      assert.strictEqual(error.reason._tag, "Unsupported")
      assert.include(error.message, "scripted/blind")
      // The model that is in use when the prompt is sent counts.
      yield* session.configure({ model: "scripted/scripted-1" })
      const turn = yield* session.prompt(image)
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
    }))

  it.effect("a prompt that was taken and cannot be sent any more fails, and is not sent", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const first = yield* session.prompt(prompt("wait", gatedText("waiting for it", "blind-gate")))
      yield* model.awaitGate("blind-gate")
      const turn = yield* session.prompt(
        Prompt.make("see it", Prompt.image({ mediaType: "image/png", data: picture }))
      )
      yield* session.configure({ model: "scripted/blind" })
      yield* model.open("blind-gate")
      yield* first.outcome
      const receipt = yield* turn.receipt
      assert.strictEqual(receipt._tag, "failed")
      if (receipt._tag === "failed") assert.strictEqual(receipt.error._tag, "Unsupported")
      assert.notInclude(JSON.stringify(yield* Model.lastBody), "see it")
    }))

  it.effect("an image that cannot be decoded fails its prompt, and the next one runs", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      const turn = yield* session.prompt(
        Prompt.make("see", Prompt.image({ mediaType: "image/png", data: picture.subarray(0, 20) }))
      )
      const receipt = yield* turn.receipt
      assert.strictEqual(receipt._tag, "failed")
      if (receipt._tag === "failed") assert.include(receipt.error.message, "decoded")
      const next = yield* session.prompt(prompt("go on", text("fine")))
      assert.strictEqual((yield* next.outcome)._tag, "completed")
    }))

  it.effect("bounds the bytes that wait in a session", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const first = yield* session.prompt(prompt("wait", gatedText("waiting for it", "bound-gate")))
      yield* model.awaitGate("bound-gate")
      const large = Prompt.make("see", Prompt.file({ data: new Uint8Array(80_000).fill(97), name: "a.txt" }))
      const second = yield* session.prompt(large)
      const error = yield* Effect.flip(session.prompt(large))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.include(error.message, "150000")
      assert.isTrue(yield* session.withdraw(second.id))
      const third = yield* session.prompt(large)
      yield* model.open("bound-gate")
      yield* first.outcome
      assert.strictEqual((yield* third.outcome)._tag, "completed")
    }))
})
