/** Forks, reverts, compactions and prompts with files over a provider worked by hand. */
import { assert, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as BindingStore from "@reins/core/BindingStore"
import type * as Capabilities from "@reins/core/Capabilities"
import type { TurnId } from "@reins/core/Ids"
import * as Prompt from "@reins/core/Prompt"
import type { Connection, Provider, ProviderInstance, TurnReference } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import type { Signal } from "@reins/core/Signal"
import * as Sessions from "@reins/core/Sessions"
import { Deferred, Effect, Fiber, Layer, Stream } from "effect"
import * as Hand from "./fixtures/handProvider.ts"

interface Changes {
  readonly connection?: Partial<Connection>
  readonly instance?: Partial<ProviderInstance>
  readonly capabilities?: Partial<Capabilities.Capabilities>
}

/** The provider by hand with abilities of a test's own. */
const able = (hand: Hand.Hand, changes: Changes): Provider => ({
  kind: "hand",
  make: (id) =>
    Effect.map(hand.provider.make(id), (instance): ProviderInstance => ({
      ...instance,
      ...changes.instance,
      capabilities: { ...instance.capabilities, ...changes.capabilities },
      connect: (options) =>
        Effect.map(instance.connect(options), (connection) => ({ ...connection, ...changes.connection }))
    }))
})

const layer = (provider: Provider) =>
  Sessions.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(Providers.layer({ hand: provider }), BindingStore.layerMemory))
  )

const open = Effect.flatMap(Sessions.Sessions, (sessions) => sessions.open({ provider: "hand", cwd: "/repo" }))

const answering = (hand: Hand.Hand) => {
  hand.submit = (submission) => Effect.sync(() => hand.say(...Hand.answer(submission.key, "well")))
}

const turnOf = Effect.fnUntraced(function*(handle: Effect.Success<ReturnType<typeof prompting>>) {
  const receipt = yield* handle.receipt
  yield* handle.outcome
  return receipt._tag === "consumed" ? receipt.turnId : assert.fail("the prompt was not taken")
})
const prompting = (session: Effect.Success<typeof open>, text: string) => session.prompt(text)

it.effect("a provider that cannot rewrite its history says so before anything is sent", () => {
  const hand = Hand.make()
  return Effect.gen(function*() {
    const session = yield* open
    const errors = [
      yield* Effect.flip(session.fork()),
      yield* Effect.flip(session.revert({ beforeTurn: "trn_1" as TurnId })),
      yield* Effect.flip(session.unrevert),
      yield* Effect.flip(session.compact),
      yield* Effect.flip(session.configure({ title: "new" })),
      yield* Effect.flip(session.prompt(Prompt.make(Prompt.command("init")))),
      yield* Effect.flip(session.prompt(Prompt.make(Prompt.image({ mediaType: "image/png", data: "AAAA" })))),
      yield* Effect.flip(session.prompt(Prompt.make(Prompt.file("a.txt"))))
    ]
    assert.deepStrictEqual(errors.map((error) => error.reason._tag), errors.map(() => "Unsupported"))
    assert.strictEqual(hand.submissions.length, 0)
  }).pipe(Effect.provide(layer(hand.provider)))
})

it.effect("a revert names the turn with the keys that are remembered, and is told once it is done", () => {
  const hand = Hand.make()
  answering(hand)
  const asked: Array<TurnReference> = []
  const provider = able(hand, {
    capabilities: { revert: true },
    connection: {
      revert: (turn) =>
        Effect.sync(() => {
          asked.push(turn)
          return { files: "kept" as const }
        }),
      unrevert: Effect.succeed(true)
    }
  })
  return Effect.gen(function*() {
    const session = yield* open
    const id = yield* turnOf(yield* prompting(session, "one"))
    const { seq } = yield* session.view
    assert.deepStrictEqual(yield* session.revert({ beforeTurn: id }), { files: "kept" })
    assert.deepStrictEqual(asked, [{ id, keys: [hand.submissions[0]?.key ?? ""] }])
    assert.strictEqual((yield* session.view).seq, seq + 1)
    yield* session.unrevert
    assert.strictEqual((yield* session.view).seq, seq + 2)
  }).pipe(Effect.provide(layer(provider)))
})

it.effect("a revert that fails is not told", () => {
  const hand = Hand.make()
  answering(hand)
  const provider = able(hand, {
    capabilities: { revert: true },
    connection: {
      revert: () => Effect.fail(AgentError.make(new AgentError.InvalidRequest({ description: "no such turn" })))
    }
  })
  return Effect.gen(function*() {
    const session = yield* open
    const id = yield* turnOf(yield* prompting(session, "one"))
    const { seq } = yield* session.view
    assert.strictEqual((yield* Effect.flip(session.revert({ beforeTurn: id }))).reason._tag, "InvalidRequest")
    assert.strictEqual((yield* session.view).seq, seq)
  }).pipe(Effect.provide(layer(provider)))
})

it.effect("a prompt that comes while the history is rewritten waits until that is done", () => {
  const hand = Hand.make()
  answering(hand)
  return Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const provider = able(hand, {
      capabilities: { revert: true },
      connection: { revert: () => Effect.as(Deferred.await(gate), { files: "kept" as const }) }
    })
    yield* Effect.gen(function*() {
      const session = yield* open
      const id = yield* turnOf(yield* prompting(session, "one"))
      const revert = yield* Effect.forkChild(session.revert({ beforeTurn: id }), { startImmediately: true })
      const next = yield* Effect.forkChild(prompting(session, "two"), { startImmediately: true })
      assert.strictEqual(hand.submissions.length, 1)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(revert)
      yield* turnOf(yield* Fiber.join(next))
      assert.strictEqual(hand.submissions.length, 2)
    }).pipe(Effect.provide(layer(provider)))
  })
})

it.effect("a compaction ends as its turn does, not when the agent answers", () => {
  const hand = Hand.make()
  const compaction = (key: string): ReadonlyArray<Signal> => [
    { _tag: "prompt", key, turn: key },
    {
      _tag: "item",
      key: `${key}-item`,
      turn: key,
      item: { _tag: "compaction", automatic: false },
      hasText: false,
      status: "completed"
    },
    { _tag: "turnCompacting", turn: key }
  ]
  return Effect.gen(function*() {
    const done = yield* Deferred.make<void>()
    const provider = able(hand, {
      capabilities: { compact: true },
      connection: {
        compact: Effect.andThen(Effect.sync(() => hand.say(...compaction("m1"))), Deferred.await(done))
      }
    })
    yield* Effect.gen(function*() {
      const session = yield* open
      const compact = yield* Effect.forkChild(session.compact, { startImmediately: true })
      yield* session.events().pipe(Stream.filter((event) => event._tag === "TurnChanged"), Stream.runHead)
      yield* Deferred.succeed(done, undefined)
      yield* Effect.yieldNow
      assert.isUndefined(compact.pollUnsafe())
      hand.say({ _tag: "turnEnded", turn: "m1", fact: "idle", verdict: { _tag: "completed", stopReason: "endTurn" } })
      assert.deepStrictEqual(yield* Fiber.join(compact), { _tag: "completed", stopReason: "endTurn" })
    }).pipe(Effect.provide(layer(provider)))
  })
})

it.effect("a compaction that the agent refuses fails with its reason", () => {
  const hand = Hand.make()
  const provider = able(hand, {
    capabilities: { compact: true },
    connection: {
      compact: Effect.fail(AgentError.make(new AgentError.InvalidRequest({ description: "nothing to compact" })))
    }
  })
  return Effect.gen(function*() {
    const session = yield* open
    assert.strictEqual((yield* Effect.flip(session.compact)).reason._tag, "InvalidRequest")
    // Nothing is held back behind it.
    answering(hand)
    yield* turnOf(yield* prompting(session, "one"))
  }).pipe(Effect.provide(layer(provider)))
})

it.effect("prompts keep their order while files are read, and the engine does not hold their bytes", () => {
  const hand = Hand.make()
  answering(hand)
  return Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const provider = able(hand, {
      capabilities: { files: true },
      instance: { prepare: (input) => Effect.as(Deferred.await(gate), input) }
    })
    yield* Effect.gen(function*() {
      const session = yield* open
      const slow = yield* Effect.forkChild(
        session.prompt(Prompt.make(Prompt.file({ data: "AAAA", name: "a" }))),
        { startImmediately: true }
      )
      const quick = yield* Effect.forkChild(prompting(session, "quick"), { startImmediately: true })
      yield* Deferred.succeed(gate, undefined)
      yield* turnOf(yield* Fiber.join(slow))
      yield* turnOf(yield* Fiber.join(quick))
      assert.deepStrictEqual(hand.submissions.map(({ input }) => input.parts[0]), [
        { _tag: "File", data: "AAAA", name: "a" },
        { _tag: "Text", text: "quick" }
      ])
    }).pipe(Effect.provide(layer(provider)))
  })
})

it.effect("what the agent says of a prompt counts, what keeps it from saying it does not", () => {
  const hand = Hand.make()
  answering(hand)
  let answer: AgentError.AgentError | undefined
  const provider = able(hand, {
    capabilities: { images: true },
    connection: { accepts: () => Effect.suspend(() => answer === undefined ? Effect.void : Effect.fail(answer)) }
  })
  const image = Prompt.make(Prompt.image({ mediaType: "image/png", data: "AAAA" }))
  return Effect.gen(function*() {
    const session = yield* open
    answer = AgentError.make(new AgentError.Unsupported({ operation: "an image", provider: "hand" }))
    assert.strictEqual((yield* Effect.flip(session.prompt(image))).reason._tag, "Unsupported")
    answer = AgentError.make(new AgentError.ConnectionLost({ target: "hand" }))
    yield* turnOf(yield* session.prompt(image))
    assert.strictEqual(hand.submissions.length, 1)
  }).pipe(Effect.provide(layer(provider)))
})
