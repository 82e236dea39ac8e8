/** The part of replay that knows no protocol, with a reader of a protocol made up here. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Capabilities from "@reins/core/Capabilities"
import { PromptId, SessionId } from "@reins/core/Ids"
import * as Prompt from "@reins/core/Prompt"
import type { Connection, ConnectOptions } from "@reins/core/Provider"
import type { RequestSignal, Signal } from "@reins/core/Signal"
import { Effect, Exit, Fiber, Scope, Stream } from "effect"
import type { Json } from "effect/Schema"
import { TestClock } from "effect/testing"
import type { WireTape } from "../src/index.ts"
import { TapeProvider } from "../src/index.ts"

const ask: RequestSignal = {
  _tag: "requestOpened",
  key: "ask-1",
  kind: "command",
  subject: "Run ls",
  options: ["accept", "cancel"],
  facts: {}
}
const busy = (turn: string): Signal => ({ _tag: "turnStarted", turn, prompt: turn })
const say = (text: string): Signal => ({ _tag: "delta", key: "item", stream: "text", text, turn: "key-1" })
const lost = AgentError.make(new AgentError.ConnectionLost({ target: "test", description: "cut" }))

/** Lines of a line protocol: what the host sends is a step, what the agent sends are signals as they are. */
const reader: TapeProvider.TapeReader = {
  kind: "lines",
  capabilities: { ...Capabilities.none, steer: true, interrupt: true, history: true, fork: true },
  read: (frames) =>
    Effect.sync(() => [{
      how: { _tag: "new" },
      cursor: { v: 1, id: "one" },
      steps: frames.map((frame): TapeProvider.TapeStep =>
        frame.dir === "in" && frame.channel === "signal"
          ? { _tag: "received", t: frame.t, frames: [frame.frame] }
          : { ...frame.frame as unknown as TapeProvider.TapeStep, t: frame.t }
      ),
      play: () => {
        let told = 0
        return {
          connect: () => {},
          receive: (received) => {
            told += received.length
            return received as ReadonlyArray<Signal>
          },
          snapshot: (request) => ({
            activity: told > 0 ? "busy" : "idle",
            prompts: Object.fromEntries(request.prompts.map((key) => [key, told > 0 ? "taken" : "absent"])),
            turns: Object.fromEntries(request.turns.map((key) => [key, { _tag: "running" }])),
            signals: [],
            requests: [],
            complete: true
          })
        }
      }
    }])
}

const at = (t: number, dir: WireTape.Direction, channel: string, frame: unknown): WireTape.Frame => ({
  t,
  dir,
  channel,
  frame: frame as Json
})
const out = (t: number, step: object) => at(t, "out", "step", step)
const told = (t: number, signal: Signal) => at(t, "in", "signal", signal)

const tape = [
  out(100, { _tag: "submitted", call: 1, key: "key-1", text: "go" }),
  told(110, busy("key-1")),
  at(120, "in", "step", { _tag: "returned", call: 1 }),
  told(150, say("a")),
  told(250, ask),
  out(900, { _tag: "answered", call: 2, request: "ask-1", as: ["accept"] }),
  told(1_000, say("b")),
  out(1_100, { _tag: "interrupted", call: 3 }),
  told(1_200, say("c"))
]

const options = (cursor?: Json): ConnectOptions => ({
  sessionId: SessionId.make("ses_1"),
  cwd: "/",
  recreate: false,
  policy: ApprovalPolicy.askAlways,
  report: () => {},
  ...(cursor === undefined ? undefined : { cursor })
})

const instance = Effect.fnUntraced(function*(frames: ReadonlyArray<WireTape.Frame>, speed?: number) {
  const provider = yield* TapeProvider.make(reader, frames, { speed })
  return yield* provider.make("tape")
})

const submission = (text: string, key = "live-1", attempt = 1) => ({
  promptId: PromptId.make(`prm_${key}`),
  key,
  input: Prompt.text(text),
  attempt
})

/** Keeps what a connection tells, as one word each. */
const listen = Effect.fnUntraced(function*(connection: Connection) {
  const seen: Array<string> = []
  const fiber = yield* connection.signals.pipe(
    Stream.runForEach((signal) =>
      Effect.sync(() =>
        seen.push(
          signal._tag === "delta"
            ? `${signal.text} of ${signal.turn}`
            : signal._tag === "notice"
            ? `${signal.code}: ${signal.text}`
            : signal._tag
        )
      )
    ),
    Effect.forkScoped
  )
  return { seen, fiber }
})

/** Lets all fibers run that can. */
const settle = Effect.forEach(Array.from({ length: 40 }), () => Effect.yieldNow, { discard: true })

describe("TapeProvider", () => {
  it.effect("holds what the agent said until the host has done what it came from", () =>
    Effect.gen(function*() {
      const provider = yield* instance(tape)
      const connection = yield* provider.connect(options())
      const { seen } = yield* listen(connection)
      yield* settle
      assert.deepStrictEqual(seen, [])
      yield* connection.submit(submission("go"))
      yield* settle
      assert.deepStrictEqual(seen, ["turnStarted", "a of live-1", "requestOpened"])
      assert.strictEqual(yield* connection.settle(ask, { _tag: "accept" }), "delivered")
      yield* settle
      assert.deepStrictEqual(seen.slice(3), ["b of live-1"])
      yield* connection.interrupt
      yield* settle
      assert.deepStrictEqual(seen.slice(4), ["c of live-1"])
    }).pipe(Effect.scoped))

  it.effect("keeps the pace of the recording by the clock, and no time that the host takes is made up for", () =>
    Effect.gen(function*() {
      const provider = yield* instance(tape, 1)
      const connection = yield* provider.connect(options())
      const { seen } = yield* listen(connection)
      const sent = yield* Effect.forkScoped(connection.submit(submission("go")))
      yield* settle
      yield* TestClock.adjust("99 millis")
      yield* settle
      assert.deepStrictEqual(seen, [])
      yield* TestClock.adjust("11 millis")
      yield* settle
      assert.deepStrictEqual(seen, ["turnStarted"])
      assert.isUndefined(sent.pollUnsafe())
      yield* TestClock.adjust("10 millis")
      yield* Fiber.join(sent)
      yield* TestClock.adjust("130 millis")
      yield* settle
      assert.deepStrictEqual(seen.length, 3)
      // The host takes an hour; what follows the answer comes 100 ms after it.
      yield* TestClock.adjust("1 hour")
      yield* settle
      yield* connection.settle(ask, { _tag: "accept" })
      yield* settle
      yield* TestClock.adjust("99 millis")
      yield* settle
      assert.strictEqual(seen.length, 3)
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.strictEqual(seen.length, 4)
    }).pipe(Effect.scoped))

  it.effect("tells a host that it does something else, and refuses a prompt that the tape does not have", () =>
    Effect.gen(function*() {
      const provider = yield* instance(tape)
      const connection = yield* provider.connect(options())
      const { seen } = yield* listen(connection)
      yield* connection.submit(submission("something else"))
      yield* connection.settle(ask, { _tag: "cancel" })
      yield* connection.settle({ ...ask, key: "ask-2", subject: "Other" }, { _tag: "accept" })
      yield* connection.interrupt
      yield* connection.interrupt
      yield* settle
      assert.deepStrictEqual(seen.filter((word) => word.startsWith("tapeDiverged")), [
        "tapeDiverged: The prompt is another than on the tape, which has: go",
        "tapeDiverged: The request \"Run ls\" was answered otherwise on the tape: accept.",
        "tapeDiverged: The request \"Other\" was not answered on the tape.",
        "tapeDiverged: The turn was not interrupted on the tape, which goes on."
      ])
      assert.isTrue(seen.includes("c of live-1"))
      const error = yield* Effect.flip(connection.submit(submission("more", "live-2")))
      assert.strictEqual(error.reason._tag, "InvalidRequest")
      assert.include(error.message, "1 prompts")
    }).pipe(Effect.scoped))

  it.effect("breaks its connection where the tape does, and goes on with the next one", () =>
    Effect.gen(function*() {
      const provider = yield* instance([
        out(0, { _tag: "submitted", call: 1, key: "key-1" }),
        at(1, "in", "step", { _tag: "returned", call: 1, error: lost }),
        told(2, busy("key-1")),
        at(3, "in", "step", { _tag: "lost", error: lost }),
        at(4, "in", "step", { _tag: "connected" }),
        out(5, { _tag: "submitted", call: 2, key: "key-1" }),
        told(6, say("whole")),
        at(7, "in", "step", { _tag: "returned", call: 2 })
      ])
      const scope = yield* Scope.make()
      const one = yield* provider.connect(options()).pipe(Scope.provide(scope))
      assert.deepStrictEqual(one.how, { _tag: "new" })
      assert.deepStrictEqual((yield* one.snapshot({ prompts: ["live-1"], turns: [] })).prompts, { "live-1": "absent" })
      const first = yield* listen(one)
      assert.strictEqual((yield* Effect.flip(one.submit(submission("go")))).reason._tag, "ConnectionLost")
      const ended = yield* Fiber.await(first.fiber)
      assert.isTrue(Exit.isFailure(ended))
      yield* Scope.close(scope, Exit.void)
      const two = yield* provider.connect(options(one.cursor))
      assert.deepStrictEqual(two.how, { _tag: "resumed" })
      const read = yield* two.snapshot({ prompts: ["live-1"], turns: ["live-1"] })
      assert.deepStrictEqual([read.prompts, read.turns], [{ "live-1": "taken" }, { "live-1": { _tag: "running" } }])
      const second = yield* listen(two)
      yield* two.submit(submission("go", "live-1", 2))
      assert.deepStrictEqual(second.seen, ["whole of live-1"])
    }).pipe(Effect.scoped))

  it.effect("gives a call that waits for its end an error when the connection is released", () =>
    Effect.gen(function*() {
      const provider = yield* instance([
        out(0, { _tag: "submitted", call: 1, key: "key-1" }),
        out(1, { _tag: "interrupted", call: 2 }),
        at(2, "in", "step", { _tag: "returned", call: 1 })
      ])
      const scope = yield* Scope.make()
      const connection = yield* provider.connect(options()).pipe(Scope.provide(scope))
      yield* listen(connection)
      const sent = yield* Effect.forkScoped(Effect.flip(connection.submit(submission("go"))))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(sent)).reason._tag, "ConnectionLost")
    }).pipe(Effect.scoped))

  it.effect("has no conversation twice, and none that it does not hold", () =>
    Effect.gen(function*() {
      const provider = yield* instance(tape)
      yield* provider.connect(options())
      assert.strictEqual((yield* Effect.flip(provider.connect(options()))).reason._tag, "InvalidRequest")
      const unknown = yield* Effect.flip(provider.connect(options({ v: 1, id: "other" })))
      assert.strictEqual(unknown.reason._tag, "SessionNotFound")
      // A tape has one past: it offers nothing that an agent would have to do anew.
      assert.isFalse(provider.capabilities.history || provider.capabilities.fork)
    }).pipe(Effect.scoped))

  it.effect("refuses a tape with a hole, and a speed below 0", () =>
    Effect.gen(function*() {
      const hole = yield* Effect.flip(TapeProvider.make(reader, [...tape, at(5, "mark", "tape", { dropped: 3 })]))
      assert.strictEqual(hole.reason._tag, "InvalidRequest")
      assert.include(hole.message, "hole")
      for (const speed of [-1, Number.NaN]) {
        const wrong = yield* Effect.flip(TapeProvider.make(reader, tape, { speed }))
        assert.isTrue(wrong.reason._tag === "InvalidRequest" && wrong.reason.field === "speed")
      }
    }))
})
