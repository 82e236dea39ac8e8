/** One secret in every place of the wire; the tape is searched for it, in every form and for its halves. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Redaction from "@reins/core/Redaction"
import { Effect, Fiber, FileSystem, Layer, Queue, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import type { Json } from "effect/Schema"
import { WireTape } from "../src/index.ts"
import * as httpServer from "./fixtures/httpServer.ts"

/** With characters that each encoding writes differently. */
const secret = "Tr0ub4dor&3 \"ß\\n/+staple=battery"
const word = "plain-horse-4711-battery"
const secrets = [secret, word]

const base64 = (text: string) => Buffer.from(text).toString("base64")
const escaped = (text: string) => JSON.stringify(text).slice(1, -1)
const forms = (value: string): ReadonlyArray<string> => [
  value,
  escaped(value),
  escaped(escaped(value)),
  encodeURIComponent(value),
  Buffer.from(value).toString("hex"),
  ...["", "u", "us", "opencode:"].flatMap((before) => [
    base64(before + value),
    Buffer.from(before + value).toString("base64url")
  ])
]

/** Pieces that are long enough to be no accident. */
const pieces = (value: string): ReadonlyArray<string> => {
  const half = Math.ceil(value.length / 2)
  return [value.slice(0, half), value.slice(half)]
}

const assertClean = (tape: string, place: string) => {
  for (const value of secrets) {
    for (const form of forms(value)) assert.notInclude(tape, form, place)
    for (const piece of pieces(value)) assert.notInclude(tape, piece, place)
  }
}

const recorder = (options: Partial<WireTape.RecorderOptions> = {}) =>
  WireTape.recorderMemory({ redactor: Redaction.make({ values: secrets }), ...options })

/** What an agent's wire carries a secret in, apart from calls. */
const frames: ReadonlyArray<readonly [place: string, frame: Json]> = secrets.flatMap((value) =>
  [
    ["a text", `it is ${value}, really`],
    ["a field", { method: "thread/start", params: { note: value } }],
    ["a key", { [value]: true }],
    ["the environment as an object", { params: { env: { PATH: "/bin", AGENT_TOKEN: value, OTHER: value } } }],
    ["the environment as a list", { env: [{ name: "AGENT_TOKEN", value }, { name: "OTHER", value }] }],
    ["the environment as text", `PATH=/bin\nOTHER=${value}\nAGENT_TOKEN=${value}`],
    ["arguments", ["agent", "--key", value, `--token=${value}`]],
    ["JSON in JSON", { output: JSON.stringify({ inner: value }) }],
    ["JSON in JSON in JSON", { output: JSON.stringify({ inner: JSON.stringify({ value }) }) }],
    ["Base64", { image: `data:text/plain;base64,${base64(value)}` }],
    ["Base64 behind other bytes", `Basic ${base64(`opencode:${value}`)}`],
    ["Base64url", {
      token: Buffer.from(`u${value}`).toString("base64url"),
      text: Buffer.from(value).toString("base64url")
    }],
    ["hexadecimal", Buffer.from(value).toString("hex")],
    ["an address", `http://127.0.0.1:1/x?q=${encodeURIComponent(value)}`]
  ] satisfies ReadonlyArray<readonly [string, Json]>
)

describe("a tape holds no secret of", () => {
  it.effect("a frame, its notes, its channel or the header, either way", () =>
    Effect.gen(function*() {
      for (const [place, frame] of frames) {
        const tape = yield* recorder({ meta: { started: frame } })
        tape.record("in", "stdout", frame)
        tape.record("out", "stdin", { wrapped: frame }, { note: frame })
        if (typeof frame === "string") tape.record("in", frame, null)
        assertClean((yield* tape.lines).join("\n"), place)
      }
    }).pipe(Effect.scoped))

  it.effect("text in chunks, wherever it is split, in two and in three", () =>
    Effect.gen(function*() {
      for (const value of [word, ...forms(word)]) {
        for (let at = 1; at < value.length; at++) {
          const tape = yield* recorder()
          const text = tape.text("in", "stdout")
          text.push("first\nsecond ")
          text.push(value.slice(0, at))
          text.push(value.slice(at, at + 2))
          text.push(value.slice(at + 2))
          text.push(" third\n")
          text.end()
          const found = (yield* tape.lines).join("\n")
          assertClean(found, `${value} at ${at}`)
          assert.include(found, "third")
        }
      }
    }).pipe(Effect.scoped))

  it.effect("a frame that is cut in the middle of it, and text that is dropped around it", () =>
    Effect.gen(function*() {
      for (let before = 0; before <= word.length + 4; before++) {
        const tape = yield* recorder({ maxFrameChars: 40 })
        tape.record("in", "stdout", `${"x".repeat(40 - before)}${word} and more`)
        tape.record("in", "stdout", { text: `${"x".repeat(31 - Math.min(31, before))}${word} and more` })
        assertClean((yield* tape.lines).join("\n"), `${before}`)
      }
      const full = yield* recorder({ maxBuffered: 300 })
      const text = full.text("in", "stdout")
      text.push(`start ${word.slice(0, 9)}`)
      text.push(`${word.slice(9)} ${"y".repeat(400)}`)
      text.push(` ${word.slice(0, 9)}`)
      text.push(`${word.slice(9)}\n`)
      yield* full.close
      assertClean((yield* full.lines).join("\n"), "dropped")
    }).pipe(Effect.scoped))

  it.live("calls, their answers and event streams, in a file too", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = `${yield* fs.makeTempDirectoryScoped()}/tape.ndjson`
      const server = yield* httpServer.make
      yield* Effect.scoped(Effect.gen(function*() {
        const tape = yield* WireTape.recorderFile({ path, redactor: Redaction.make({ values: secrets }) })
        const client = WireTape.httpClient(yield* HttpClient.HttpClient, tape)
        for (const value of secrets) {
          const ascii = encodeURIComponent(value)
          const request = HttpClientRequest.post(`${server.url}/${ascii}?token=${ascii}&q=${ascii}`).pipe(
            HttpClientRequest.setHeaders({
              authorization: `Bearer ${ascii}`,
              "proxy-authorization": `Basic ${base64(`u:${value}`)}`,
              cookie: `id=${ascii}`,
              "x-api-key": ascii,
              "x-note": ascii,
              "x-basic": base64(`opencode:${value}`)
            }),
            HttpClientRequest.bodyJsonUnsafe({ prompt: `say ${value}`, env: { OTHER: value }, password: value })
          )
          const call = yield* Effect.forkScoped(Effect.flatMap(client.execute(request), (response) => response.json))
          const { request: received, response } = yield* Queue.take(server.exchanges)
          assert.strictEqual(received.headers["x-note"], ascii, "the server gets what was sent")
          response.writeHead(200, {
            "content-type": "application/json",
            "set-cookie": `id=${ascii}`,
            "x-echo": ascii,
            location: `/next?key=${ascii}`
          })
          response.end(JSON.stringify({ echo: value, nested: [JSON.stringify({ value })] }))
          assert.deepStrictEqual(yield* Fiber.join(call), { echo: value, nested: [JSON.stringify({ value })] })

          const plain = yield* Effect.forkScoped(
            Effect.flatMap(
              client.execute(
                HttpClientRequest.post(server.url).pipe(HttpClientRequest.bodyText(`form=${ascii}&${value}`))
              ),
              (response) => response.text
            )
          )
          const answered = yield* Queue.take(server.exchanges)
          answered.response.writeHead(500, { "content-type": "text/plain" }).end(`failed with ${value} at ${ascii}`)
          yield* Fiber.join(plain)

          const seen = yield* Queue.unbounded<string>()
          const reading = yield* Effect.forkScoped(
            client.get(server.url).pipe(
              Effect.flatMap((response) =>
                Stream.runForEach(response.stream, (chunk) => Queue.offer(seen, Buffer.from(chunk).toString()))
              )
            )
          )
          const events = yield* server.events
          const data = Buffer.from(`data: ${JSON.stringify({ delta: value, more: base64(`u:${value}`) })}\n\n`)
          // A byte at a time: each border there is.
          for (const byte of data) {
            yield* events.write(Buffer.from([byte]))
            yield* Queue.take(seen)
          }
          events.response.end()
          yield* Fiber.join(reading)
        }
      }))
      const text = yield* fs.readFileString(path)
      assertClean(text, "the file")
      // It is no empty tape that is clean.
      assert.isAbove(text.split(Redaction.replacement).length, 20)
      assert.isAbove(text.split("\"channel\":\"sse\"").length, 100)
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(NodeHttpClient.layerUndici, NodeServices.layer))))
})
