import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import { Deferred, Effect, Fiber, FileSystem, Queue, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { WireTape } from "../src/index.ts"
import * as httpServer from "./fixtures/httpServer.ts"

const secret = "correct-horse-battery"
const token = `sk-${"a1B2".repeat(8)}`
const redactor = () => Redaction.make({ values: [secret] })
const frames = (lines: Iterable<string>) => Stream.runCollect(WireTape.readLines(lines))
const brief = (all: ReadonlyArray<WireTape.Frame>) => all.map(({ channel, dir, frame }) => [dir, channel, frame])
const frame = (t: number, value: string, dir: WireTape.Direction = "in"): WireTape.Frame => ({
  t,
  dir,
  channel: "sse",
  frame: value
})

describe("WireTape.recorder", () => {
  it.effect("writes a header and frames with the time since the start", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(5_000)
      const tape = yield* WireTape.recorderMemory({ redactor: redactor(), provider: "fake", meta: { agent: "1.2.3" } })
      tape.record("out", "stdin", { method: "hello" })
      yield* TestClock.adjust("1500 millis")
      tape.record("in", "stdout", "line", { n: 1 })
      const [head, ...rest] = yield* tape.lines
      assert.deepStrictEqual(JSON.parse(head ?? ""), {
        v: 1,
        kind: "reins-tape",
        provider: "fake",
        startedAt: 5_000,
        meta: { agent: "1.2.3" }
      })
      assert.deepStrictEqual(rest.map((line) => JSON.parse(line)), [
        { t: 0, dir: "out", channel: "stdin", frame: { method: "hello" } },
        { t: 1_500, dir: "in", channel: "stdout", frame: "line", meta: { n: 1 } }
      ])
    }))

  it.effect("keeps no secret of a frame, either way", () =>
    Effect.gen(function*() {
      const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
      for (const dir of ["in", "out"] as const) {
        tape.record(dir, "http", { text: `it is ${secret}`, [secret]: 1, nested: [{ apiKey: "short", token }] })
        tape.record(dir, "stdout", `and ${token}.`, { note: secret })
      }
      const text = (yield* tape.lines).join("\n")
      for (const planted of [secret, token, "short"]) assert.notInclude(text, planted)
      assert.include(text, Redaction.replacement)
    }))

  it.effect("keeps no secret that is split over chunks, at any place", () =>
    Effect.gen(function*() {
      for (const planted of [secret, token]) {
        for (let at = 1; at < planted.length; at++) {
          const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
          const text = tape.text(at % 2 === 0 ? "in" : "out", "sse")
          text.push("data: first\n\n")
          text.push(`data: ${planted.slice(0, at)}`)
          text.push(planted.slice(at, at + 3))
          yield* tape.flush
          text.push(`${planted.slice(at + 3)} after\n\ndata: la`)
          yield* tape.flush
          text.push("st\n\n")
          text.end()
          const found = yield* tape.lines.pipe(Effect.flatMap(frames))
          assert.strictEqual(
            found.map((frame) => frame.frame).join(""),
            `data: first\n\ndata: ${Redaction.replacement} after\n\ndata: last\n\n`
          )
        }
      }
    }))

  it.effect("lets a chunk go when its line has ended, and a half secret never", () =>
    Effect.gen(function*() {
      const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
      const text = tape.text("in", "stdout")
      text.push("one\n")
      assert.deepStrictEqual(brief(yield* tape.lines.pipe(Effect.flatMap(frames))), [["in", "stdout", "one\n"]])
      text.push(`two ${secret.slice(0, 12)}`)
      tape.record("out", "stdin", "after")
      assert.strictEqual((yield* tape.lines).length, 2)
      yield* tape.close
      const all = yield* tape.lines
      assert.notInclude(all.join("\n"), secret.slice(0, 12))
      assert.deepStrictEqual(brief(yield* frames(all)), [
        ["in", "stdout", "one\n"],
        ["in", "stdout", `two ${Redaction.replacement}`],
        ["out", "stdin", "after"]
      ])
      tape.record("in", "stdout", "too late")
      assert.strictEqual(tape.dropped(), 1)
    }))

  it.effect("lets text without a line end go before it is long, and nothing of a secret in it", () =>
    Effect.gen(function*() {
      const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
      const text = tape.text("in", "stdout")
      for (let count = 0; count < 2_000; count++) {
        for (const part of [" word ", token.slice(0, 9), token.slice(9), " ", secret.slice(0, 5), secret.slice(5)]) {
          text.push(part)
        }
      }
      const open = (yield* tape.lines).join("\n")
      assert.isAbove(open.length, 100_000)
      text.end()
      for (const line of [open, (yield* tape.lines).join("\n")]) {
        assert.notInclude(line, "a1B2")
        assert.notInclude(line, "horse")
      }
      const all = yield* tape.lines.pipe(Effect.flatMap(frames))
      const kept = all.map((frame) => frame.frame).join("")
      assert.isTrue(
        kept === ` word ${Redaction.replacement} ${Redaction.replacement}`.repeat(2_000),
        kept.slice(0, 200)
      )
    }))

  it.effect("does not wait for a slow sink: it drops, and says how many", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const started = yield* Deferred.make<void>()
      const lines: Array<string> = []
      const tape = yield* WireTape.recorder({
        redactor: redactor(),
        maxBuffered: 2_000,
        write: (text) =>
          Deferred.succeed(started, undefined).pipe(
            Effect.andThen(Deferred.await(gate)),
            Effect.andThen(Effect.sync(() => void lines.push(...text.trimEnd().split("\n"))))
          )
      })
      yield* Deferred.await(started)
      for (let count = 0; count < 100; count++) tape.record("in", "stdout", "x".repeat(100))
      const dropped = tape.dropped()
      assert.isTrue(dropped > 80 && dropped < 100, `${dropped}`)
      yield* Deferred.succeed(gate, undefined)
      yield* tape.flush
      tape.record("in", "stdout", "room again")
      yield* tape.close
      const all = yield* frames(lines)
      assert.strictEqual(all.length, 100 - dropped + 2)
      assert.deepStrictEqual(brief(all).slice(-2), [["mark", "tape", { dropped }], ["in", "stdout", "room again"]])
    }))

  it.effect("ends a tape that is full, cuts a long frame, and marks what is missing", () =>
    Effect.gen(function*() {
      const tape = yield* WireTape.recorderMemory({ redactor: redactor(), maxBytes: 1_000, maxFrameChars: 300 })
      tape.record("in", "stdout", { text: "y".repeat(400) })
      for (let count = 0; count < 10; count++) tape.record("in", "stdout", "z".repeat(290))
      tape.record("in", "stdout", "short")
      yield* tape.close
      const lines = yield* tape.lines
      const all = yield* frames(lines)
      assert.strictEqual(all[0]?.truncated, JSON.stringify({ text: "y".repeat(400) }).length)
      assert.strictEqual(all[0]?.frame, `{"text":"${"y".repeat(291)}`)
      assert.deepStrictEqual(brief(all).slice(1), [
        ["in", "stdout", "z".repeat(290)],
        ["mark", "tape", { dropped: 10 }]
      ])
      assert.isBelow(lines.slice(1).join("\n").length, 1_000)
    }))

  it.effect("fails flush and close with the sink, and record never", () =>
    Effect.gen(function*() {
      const error = AgentError.make(new AgentError.StoreFailed({ operation: "write" }))
      const tape = yield* WireTape.recorder({ redactor: redactor(), write: () => Effect.fail(error) })
      assert.strictEqual(yield* Effect.flip(tape.flush), error)
      tape.record("in", "stdout", "lost")
      assert.strictEqual(tape.dropped(), 1)
      assert.strictEqual(yield* Effect.flip(tape.close), error)
    }))

  it.live("writes a file for its owner alone, whole when the scope has closed", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = `${yield* fs.makeTempDirectoryScoped()}/tape.ndjson`
      yield* fs.writeFileString(path, "what was there before", { mode: 0o644 })
      yield* Effect.scoped(Effect.gen(function*() {
        const tape = yield* WireTape.recorderFile({ path, redactor: redactor(), provider: "fake" })
        for (let n = 0; n < 500; n++) tape.record("in", "stdout", { n })
        tape.text("in", "stderr").push("no newline")
      }))
      assert.strictEqual(Number((yield* fs.stat(path)).mode) & 0o777, 0o600)
      assert.strictEqual((yield* WireTape.header(path)).provider, "fake")
      const all = yield* Stream.runCollect(WireTape.read(path))
      assert.strictEqual(all.length, 501)
      assert.deepStrictEqual(all[499]?.frame, { n: 499 })
      assert.strictEqual(all[500]?.frame, "no newline")
      const missing = yield* Effect.flip(WireTape.recorderFile({ path: `${path}/no/file`, redactor: redactor() }))
      assert.strictEqual(missing.reason._tag, "StoreFailed")
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("WireTape.read", () => {
  const head = JSON.stringify({ v: 1, kind: "reins-tape", startedAt: 0, later: true })
  const line = JSON.stringify({ ...frame(1, "a"), unknown: [1] })

  it.effect("passes over a torn last line and unknown fields", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* frames([head, line, line.slice(0, -9)]), [frame(1, "a")])
    }))

  it.effect("fails on a broken line before others, a newer version, and what is no tape", () =>
    Effect.gen(function*() {
      const reason = (lines: ReadonlyArray<string>) =>
        frames(lines).pipe(Effect.flip, Effect.map((error) => error.reason))
      assert.strictEqual((yield* reason([head, "{", line]))._tag, "StoreFailed")
      const newer = yield* reason([head.replace("\"v\":1", "\"v\":2"), line])
      assert.isTrue(newer._tag === "InvalidRequest" && newer.field === "v")
      for (const other of [[], ["{}"], ["not json", line], [line]]) {
        const wrong = yield* reason(other)
        assert.isTrue(wrong._tag === "InvalidRequest" && wrong.field === "kind", JSON.stringify(other))
      }
    }))
})

describe("WireTape.play", () => {
  const tape = [frame(100, "a"), frame(100, "b"), frame(400, "out", "out"), frame(1_000, "c")]
  const run = Effect.fnUntraced(function*(options: Parameters<typeof WireTape.play>[1]) {
    const seen: Array<unknown> = []
    const fiber = yield* WireTape.play(tape, options).pipe(
      Stream.runForEach((frame) => Effect.sync(() => seen.push(frame.frame))),
      Effect.forkScoped
    )
    yield* Effect.yieldNow
    return { fiber, seen }
  })

  it.effect("keeps the pace of the tape", () =>
    Effect.gen(function*() {
      const { fiber, seen } = yield* run({ dir: "in" })
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(seen, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen, ["a", "b"])
      yield* TestClock.adjust("899 millis")
      assert.deepStrictEqual(seen, ["a", "b"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(seen, ["a", "b", "c"])
      yield* Fiber.join(fiber)
    }))

  it.effect("plays faster, or at once", () =>
    Effect.gen(function*() {
      const { seen } = yield* run({ speed: 10 })
      yield* TestClock.adjust("40 millis")
      assert.deepStrictEqual(seen, ["a", "b", "out"])
      for (const speed of [0, Infinity]) {
        const atOnce = yield* run({ speed })
        yield* Fiber.join(atOnce.fiber)
        assert.deepStrictEqual(atOnce.seen, ["a", "b", "out", "c"])
      }
      const wrong = yield* Effect.flip(Stream.runDrain(WireTape.play(tape, { speed: -1 })))
      assert.strictEqual(wrong.reason._tag, "InvalidRequest")
    }))
})

describe("WireTape.httpClient", () => {
  it.live("records requests, answers and event streams, and changes nothing", () =>
    Effect.gen(function*() {
      const server = yield* httpServer.make
      const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
      const client = WireTape.httpClient(yield* HttpClient.HttpClient, tape)

      const request = HttpClientRequest.post(`${server.url}?token=${token}`).pipe(
        HttpClientRequest.setHeaders({ authorization: `Bearer ${token}`, cookie: "id=plain-cookie", "x-note": secret }),
        HttpClientRequest.bodyJsonUnsafe({ text: `say ${secret}`, password: "pw" })
      )
      const call = yield* Effect.forkScoped(Effect.flatMap(client.execute(request), (response) => response.json))
      const posted = yield* Queue.take(server.exchanges)
      assert.strictEqual(posted.request.headers.authorization, `Bearer ${token}`)
      posted.response.writeHead(201, { "content-type": "application/json", "set-cookie": "id=plain-cookie" })
      posted.response.end(JSON.stringify({ answer: secret }))
      assert.deepStrictEqual(yield* Fiber.join(call), { answer: secret })

      const chunks = yield* Queue.unbounded<string>()
      const reading = yield* Effect.forkScoped(
        client.get(server.url).pipe(
          Effect.flatMap((response) =>
            Stream.runForEach(response.stream, (chunk) => Queue.offer(chunks, Buffer.from(chunk).toString()))
          )
        )
      )
      const events = yield* server.events
      const sent = ["data: one\n\n", `data: ${secret.slice(0, 9)}`, `${secret.slice(9)}\n\n`, "data: é\n\n"]
      for (const text of sent) {
        yield* events.write(text)
        assert.strictEqual(yield* Queue.take(chunks), text)
      }
      events.response.end()
      yield* Fiber.join(reading)

      const lines = yield* tape.lines
      for (const planted of [secret, token, "plain-cookie", "\"pw\"", secret.slice(9)]) {
        assert.notInclude(lines.join("\n"), planted)
      }
      const all = yield* frames(lines)
      const of = (channel: string) => all.filter((frame) => frame.channel === channel)
      assert.deepStrictEqual(of("sse").map(({ frame, meta }) => [frame, meta]), [
        ["data: one\n\n", { id: 2 }],
        [`data: ${Redaction.replacement}`, { id: 2 }],
        ["\n\n", { id: 2 }],
        ["data: é\n\n", { id: 2 }]
      ])
      const http = of("http").map(({ dir, frame }) => ({ dir, ...frame as object }))
      assert.containsSubset(http, [
        { dir: "out", id: 1, method: "POST", body: { text: `say ${Redaction.replacement}` } },
        { dir: "in", id: 1, status: 201 },
        { dir: "in", id: 1, body: { answer: Redaction.replacement } },
        { dir: "out", id: 2, method: "GET", url: server.url },
        { dir: "in", id: 2, status: 200 },
        { dir: "in", id: 2, end: "done" }
      ])
      assert.strictEqual(http.length, 6)
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))

  it.live("records a refusal, a cut and a body that is no text", () =>
    Effect.gen(function*() {
      const server = yield* httpServer.make
      const tape = yield* WireTape.recorderMemory({ redactor: redactor() })
      const client = WireTape.httpClient(yield* HttpClient.HttpClient, tape)
      const cut = yield* Effect.forkScoped(
        client.get(server.url).pipe(Effect.flatMap((response) => Stream.runDrain(response.stream)), Effect.flip)
      )
      const first = yield* server.events
      yield* first.write("data: half")
      first.response.socket?.destroy()
      yield* Fiber.join(cut)
      const bytes = yield* Effect.forkScoped(Effect.flatMap(client.get(server.url), (response) => response.arrayBuffer))
      const second = yield* Queue.take(server.exchanges)
      second.response.writeHead(200, { "content-type": "application/octet-stream" }).end(Buffer.alloc(7))
      assert.strictEqual((yield* Fiber.join(bytes)).byteLength, 7)
      const refused = yield* Effect.forkScoped(Effect.flip(client.get(server.url)))
      const third = yield* Queue.take(server.exchanges)
      third.response.socket?.destroy()
      yield* Fiber.join(refused)
      const all = brief(yield* tape.lines.pipe(Effect.flatMap(frames)))
      assert.containsSubset(all, [
        ["in", "sse", "data: half"],
        ["in", "http", { id: 1, end: "failed" }],
        ["in", "http", { id: 2, body: { bytes: 7 } }],
        ["in", "http", { id: 3, end: "failed" }]
      ])
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
})
