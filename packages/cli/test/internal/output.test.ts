import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { Writable } from "node:stream"
import * as output from "../../src/internal/output.ts"
import { Output } from "../../src/internal/output.ts"

/** A stream that takes a text only when the test says so, if `slow`. */
const fake = (isTTY: boolean, slow = false) => {
  let text = ""
  const waiting: Array<() => void> = []
  const stream = Object.assign(
    new Writable({
      decodeStrings: false,
      write: (chunk, _encoding, done) => {
        text += String(chunk)
        if (slow) waiting.push(done)
        else done()
      }
    }),
    { isTTY, columns: 80 }
  ) as unknown as NodeJS.WriteStream
  return { stream, text: () => text, take: () => waiting.shift()?.() }
}

const open = (options: {
  readonly stdout?: ReturnType<typeof fake>
  readonly stderr?: ReturnType<typeof fake>
  readonly stdin?: boolean
  readonly env?: Record<string, string>
}) =>
  Effect.provide(
    Output,
    output.layer({
      env: options.env ?? {},
      stdin: { isTTY: options.stdin ?? true },
      stdout: (options.stdout ?? fake(true)).stream,
      stderr: (options.stderr ?? fake(true)).stream
    })
  )

describe("output", () => {
  it.effect("is coloured only on a terminal that takes it", () =>
    Effect.gen(function*() {
      const color = (options: Parameters<typeof open>[0]) => Effect.map(open(options), (out) => out.color)
      assert.isTrue(yield* color({}))
      assert.isFalse(yield* color({ env: { NO_COLOR: "1" } }))
      assert.isFalse(yield* color({ env: { TERM: "dumb" } }))
      assert.isFalse(yield* color({ stdout: fake(false), env: { FORCE_COLOR: "1" } }))
    }))

  it.effect("asks only where somebody can read and type", () =>
    Effect.gen(function*() {
      const canAsk = (options: Parameters<typeof open>[0]) => Effect.map(open(options), (out) => out.canAsk)
      assert.isTrue(yield* canAsk({ stdout: fake(false) }))
      assert.isFalse(yield* canAsk({ stdin: false }))
      assert.isFalse(yield* canAsk({ stderr: fake(false) }))
    }))

  it.effect("waits until what it wrote was taken", () =>
    Effect.gen(function*() {
      const stdout = fake(false, true)
      const out = yield* open({ stdout })
      const fiber = yield* Effect.forkChild(out.answer("text"))
      yield* Effect.yieldNow
      assert.strictEqual(stdout.text(), "text")
      assert.isUndefined(fiber.pollUnsafe())
      stdout.take()
      yield* Fiber.join(fiber)
    }))

  it.effect("puts a note on a line of its own", () =>
    Effect.gen(function*() {
      const stderr = fake(true)
      const out = yield* open({ stderr })
      yield* out.note("yes or no > ")
      yield* out.note("meanwhile\n")
      yield* out.note("yes or no > ")
      yield* out.lineTyped
      yield* out.note("thanks\n")
      assert.strictEqual(stderr.text(), "yes or no > \nmeanwhile\nyes or no > thanks\n")
    }))

  it.effect("wipes the spinner before anything is written, and shows none while a line is open", () =>
    Effect.gen(function*() {
      const stderr = fake(true)
      const out = yield* open({ stderr })
      yield* out.spin(() => "Waiting")
      yield* Effect.yieldNow
      yield* TestClock.adjust("150 millis")
      assert.match(stderr.text(), /Waiting$/)
      yield* out.answer("Hel")
      // oxlint-disable-next-line no-control-regex
      assert.match(stderr.text(), /Waiting\r\u001b\[2K$/)
      const before = stderr.text()
      yield* TestClock.adjust("1 second")
      assert.strictEqual(stderr.text(), before)
    }).pipe(Effect.scoped))

  it.effect("tells that nobody reads any more, and then drops the answer without waiting", () =>
    Effect.gen(function*() {
      const stdout = fake(false, true)
      const out = yield* open({ stdout })
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(out.readerGone, 0)))
      stdout.stream.emit("error", new Error("EPIPE"))
      yield* out.readerGone
      yield* out.answer("text")
      assert.strictEqual(stdout.text(), "")
    }))
})
