/** Tools of the host: offered, called by the agent, answered once, whatever becomes of them. */
import * as Capabilities from "@reins/core/Capabilities"
import * as HostTool from "@reins/core/HostTool"
import type { Signal } from "@reins/core/Signal"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Schema } from "effect"
import { TestClock } from "effect/testing"
import { keyOf, open, settle, until, withHand } from "./fixtures/bentProvider.ts"
import * as Hand from "./fixtures/handProvider.ts"

const bent = { instance: { capabilities: { ...Capabilities.none, interrupt: true, resume: true, hostTools: true } } }

const called = (turn: string, key: string, tool: string, input: Schema.Json = {}): Signal => ({
  _tag: "requestOpened",
  key,
  turn,
  kind: "hostTool",
  subject: tool,
  options: ["content", "decline", "cancel"],
  facts: { tool, input }
})

const schema = { type: "object", properties: {} }
const tool = (run?: HostTool.HostTool["run"]): HostTool.HostTool => ({
  description: "Does something.",
  inputSchema: schema,
  ...(run === undefined ? undefined : { run })
})

/** A turn that runs, and a way to call tools in it. */
const running = (hand: Hand.Hand, tools: HostTool.HostTools) =>
  Effect.gen(function*() {
    const session = yield* open({ tools })
    yield* session.prompt("go")
    yield* settle
    hand.say(...Hand.begin(keyOf(hand), "working"))
    yield* settle
    return session
  })

const answers = (hand: Hand.Hand) => hand.answers.map(({ answer, request }) => [request.key, answer] as const)

describe("a tool of the host", () => {
  it.effect("is told to the agent, runs when it is called, and what it came to is the answer", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const add = HostTool.make({
          description: "Adds two numbers.",
          input: Schema.Struct({ a: Schema.Number, b: Schema.Number }),
          run: ({ a, b }, call) => Effect.succeed({ sum: a + b, turn: call.turnId ?? null })
        })
        const session = yield* running(hand, { add })
        assert.deepStrictEqual(Object.keys(hand.connects[0]?.tools ?? {}), ["add"])
        hand.say(called(keyOf(hand), "r1", "add", { a: 20, b: 22 }))
        yield* settle
        const { turn } = yield* session.view
        assert.deepStrictEqual(answers(hand), [["r1", {
          _tag: "content",
          value: { sum: 42, turn: turn?.id ?? "none" }
        }]])
        const events = yield* until(session, (event) => event._tag === "RequestSettled")
        const settled = events.at(-1)
        assert.strictEqual(settled?._tag === "RequestSettled" ? settled.by : undefined, "host")
        // Nobody is attached, and nobody has to be.
        assert.isFalse(events.some((event) => event._tag === "Notice"))
      }), bent))

  it.effect("that fails, dies, gets a wrong input or comes to what is no JSON is a failed call, and the turn goes on", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        yield* running(hand, {
          fails: tool(() => Effect.fail({ message: "no such ticket" })),
          dies: tool(() => Effect.die(new Error("secret of the host"))),
          throws: tool(() => {
            throw new Error("secret of the host")
          }),
          odd: tool(() => Effect.succeed(undefined as never)),
          wordy: tool(() => Effect.fail({ message: "x".repeat(1_000_000) })),
          long: tool(() => Effect.succeed("x".repeat(HostTool.maxResult + 1))),
          typed: HostTool.make({
            description: "Takes a number.",
            input: Schema.Struct({ a: Schema.Number }),
            run: ({ a }) => Effect.succeed(a)
          })
        })
        for (const name of ["fails", "dies", "throws", "odd", "wordy", "long", "typed", "unknown"]) {
          hand.say(called(keyOf(hand), name, name, { a: "one" }))
        }
        yield* settle
        const told = new Map(answers(hand))
        assert.deepStrictEqual(told.get("fails"), { _tag: "decline", reason: "no such ticket" })
        for (const name of ["dies", "throws"]) {
          assert.deepStrictEqual(told.get(name), { _tag: "decline", reason: `The tool "${name}" failed in the host.` })
        }
        const reason = (name: string) => {
          const answer = told.get(name)
          return answer?._tag === "decline" ? answer.reason ?? "" : `answered ${answer?._tag}`
        }
        assert.include(reason("odd"), "no JSON")
        assert.isAtMost(reason("wordy").length, 16_384)
        assert.include(reason("long"), "4194305 characters")
        assert.include(reason("typed"), "Expected number")
        assert.strictEqual(reason("unknown"), "The host has no tool \"unknown\".")
      }), bent))

  it.effect("is stopped when nobody waits for it any more, and a late result is no second answer", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<string>()
        let stopped = 0
        const session = yield* running(hand, {
          waits: tool(() => Effect.onInterrupt(Deferred.await(gate), () => Effect.sync(() => void stopped++))),
          stays: tool(() => Effect.uninterruptible(Deferred.await(gate)))
        })
        hand.say(called(keyOf(hand), "r1", "waits"), called(keyOf(hand), "r2", "stays"))
        yield* settle
        yield* session.interrupt
        yield* settle
        hand.say({ _tag: "turnEnded", turn: keyOf(hand), verdict: { _tag: "interrupted", by: "user" }, fact: "ended" })
        yield* settle
        assert.strictEqual(stopped, 1)
        yield* Deferred.succeed(gate, "late")
        yield* settle
        assert.isFalse(answers(hand).some(([, answer]) => answer._tag === "content"))
        assert.deepStrictEqual(yield* session.requests, [])
      }), bent))

  it.effect("that cannot be interrupted holds up no close", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const over = yield* Deferred.make<string>()
        const session = yield* running(hand, { stays: tool(() => Effect.uninterruptible(Deferred.await(over))) })
        hand.say(called(keyOf(hand), "r1", "stays"))
        yield* settle
        const closing = yield* Effect.forkChild(session.close)
        yield* TestClock.adjust("10 seconds")
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(session.closed)))
        yield* Deferred.succeed(over, "late")
        closing.interruptUnsafe()
      }), bent))

  it.effect("without code of its own is answered by whoever is attached", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const session = yield* running(hand, { choose: tool() })
        hand.say(called(keyOf(hand), "r1", "choose"))
        yield* settle
        const [request] = yield* session.requests
        assert.strictEqual(request?.kind, "hostTool")
        if (request === undefined) return
        assert.strictEqual((yield* session.view).turn?.state._tag, "awaitingInput")
        const notice = (yield* until(session, ({ _tag }) => _tag === "Notice")).at(-1)
        assert.strictEqual(notice?._tag === "Notice" ? notice.code : undefined, "nobodyAttached")
        yield* session.answer(request.id, { _tag: "content", value: "the left one" })
        yield* settle
        assert.deepStrictEqual(answers(hand), [["r1", { _tag: "content", value: "the left one" }]])
      }), bent))

  it.effect("runs beside others, sixteen at a time", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<string>()
        let busy = 0
        yield* running(hand, {
          waits: tool(() =>
            Effect.suspend(() => {
              busy++
              return Deferred.await(gate)
            })
          )
        })
        for (let n = 0; n < 20; n++) hand.say(called(keyOf(hand), `r${n}`, "waits"))
        yield* settle
        assert.strictEqual(busy, HostTool.concurrency)
        yield* Deferred.succeed(gate, "done")
        yield* settle
        yield* settle
        assert.strictEqual(hand.answers.length, 20)
      }), bent))

  it.effect("is refused where the provider has none, and what cannot be a tool before anybody is asked", () =>
    withHand((hand) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* Effect.flip(open({ tools: { one: tool() } }))).reason._tag, "Unsupported")
        const wrong: ReadonlyArray<HostTool.HostTools> = [
          { "a b": tool() },
          { "1st": tool() },
          { one: { ...tool(), description: " " } },
          { one: { ...tool(), inputSchema: { type: "string" } } },
          { one: { ...tool(), inputSchema: [] } }
        ]
        for (const tools of wrong) {
          assert.strictEqual((yield* Effect.flip(open({ tools }))).reason._tag, "InvalidRequest")
        }
        assert.strictEqual(hand.connects.length, 0)
      })
    ))
})
