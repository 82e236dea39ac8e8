/** Images and files of prompts by themselves. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Prompt from "@reins/core/Prompt"
import * as PromptFiles from "@reins/core/PromptFiles"
import { Effect, FileSystem } from "effect"
import * as FastCheck from "fast-check"

const bytes = (...values: ReadonlyArray<number | string>): Uint8Array =>
  Uint8Array.from(values.flatMap((value) => typeof value === "number" ? [value] : [...Buffer.from(value, "latin1")]))

describe("PromptFiles", () => {
  it("tells types apart by the bytes", () => {
    const types: ReadonlyArray<readonly [Uint8Array, string | undefined]> = [
      [bytes(0x89, "PNG\r\n", 0x1a, "\n"), "image/png"],
      [bytes(0xff, 0xd8, 0xff, 0xe0), "image/jpeg"],
      [bytes("GIF89a"), "image/gif"],
      [bytes("RIFF", 0, 0, 0, 0, "WEBPVP8 "), "image/webp"],
      [bytes("RIFF", 0, 0, 0, 0, "WAVE"), undefined],
      [bytes("%PDF-1.7"), "application/pdf"],
      [Buffer.from("grüße 👋"), "text/plain"],
      [bytes(), "text/plain"],
      [bytes("a", 0, "b"), undefined],
      [bytes(0xff, 0xfe, "a"), undefined]
    ]
    for (const [data, type] of types) assert.strictEqual(PromptFiles.mediaTypeOf(data), type)
  })

  it("counts the bytes behind base64", () => {
    FastCheck.assert(FastCheck.property(FastCheck.uint8Array({ maxLength: 200 }), (data) => {
      assert.strictEqual(PromptFiles.sizeOf(Buffer.from(data).toString("base64")), data.length)
    }))
  })

  it("refuses bytes that are none, too many, or beside a path", () => {
    const tagged = (part: Prompt.PromptPart, max = 10) => PromptFiles.problem(part, 3, max)?.message
    assert.isUndefined(tagged(Prompt.image({ mediaType: "image/png", data: bytes(1, 2, 3) })))
    assert.include(tagged(Prompt.image({ mediaType: "image/png", data: "?!" })), "base64")
    assert.include(tagged(Prompt.image({ mediaType: "image/png", data: "" })), "empty")
    assert.include(tagged(Prompt.image({ mediaType: "image/png", data: new Uint8Array(11) })), "limit is 10 bytes")
    assert.include(tagged({ _tag: "File", path: "a", data: "" }), "either")
    assert.include(tagged({ _tag: "File" }), "either")
    assert.include(tagged(Prompt.file(" ")), "empty")
    assert.include(tagged(Prompt.file(" ")), "prompt.parts[3].path")
  })

  it("holds a prompt without its bytes", () => {
    const input = Prompt.make("text", Prompt.image({ mediaType: "image/png", data: bytes(1, 2, 3), name: "a.png" }))
    assert.strictEqual(PromptFiles.attached(input), 3)
    assert.deepStrictEqual(PromptFiles.withoutData(input).parts[1], {
      _tag: "Image",
      mediaType: "image/png",
      name: "a.png",
      data: ""
    })
    const plain = Prompt.make("text")
    assert.strictEqual(PromptFiles.withoutData(plain), plain)
  })

  it.effect("reads paths relative to the directory, links followed, and never more than the limit", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const cwd = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${cwd}/a.txt`, "0123456789")
      yield* fs.symlink(`${cwd}/a.txt`, `${cwd}/link`)
      yield* fs.makeDirectory(`${cwd}/folder`)
      const read = (part: Prompt.PromptPart, maxBytes = 10) => PromptFiles.read(Prompt.make(part), { cwd, maxBytes })
      const expected = Buffer.from("0123456789").toString("base64")
      assert.deepStrictEqual((yield* read(Prompt.file("a.txt"))).parts, [{
        _tag: "File",
        name: "a.txt",
        data: expected
      }])
      assert.deepStrictEqual((yield* read({ _tag: "File", path: `${cwd}/link`, name: "named" })).parts, [
        { _tag: "File", name: "named", data: expected }
      ])
      assert.include((yield* Effect.flip(read(Prompt.file("a.txt"), 9))).message, "limit is 9 bytes")
      assert.include((yield* Effect.flip(read(Prompt.file("folder")))).message, "directory")
      assert.include((yield* Effect.flip(read(Prompt.file("none")))).message, "does not exist")
      assert.include((yield* Effect.flip(read(Prompt.file("a.txt/none")))).message, "a.txt/none")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})
