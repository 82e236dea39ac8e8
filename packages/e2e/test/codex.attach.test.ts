/** A `codex app-server` of somebody else, over a WebSocket: spoken to, never owned. */
import { NodeServices, NodeSocket } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import * as CodexProvider from "@reins/codex/Codex"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as FaultInjector from "@reins/testing/FaultInjector"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import type { Scope } from "effect"
import { Effect, FileSystem, Layer, Redacted, Schema, Stream } from "effect"
import * as Codex from "./fixtures/codexHost.ts"
import * as Foreign from "./fixtures/foreignCodex.ts"
import * as Host from "./fixtures/host.ts"
import { gatedText, prompt, text } from "./fixtures/script.ts"

const Platform = Layer.mergeAll(NodeServices.layer, NodeSocket.layerWebSocketConstructor)
const Model = ScriptedModel.layer({ titles: false })

const host = (options: CodexProvider.AttachOptions, policy = ApprovalPolicy.askAlways) =>
  Sessions.layer.pipe(
    Layer.provideMerge(Providers.layer({ codex: CodexProvider.make(options) })),
    Layer.provideMerge(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(policy))
  )

const open = (options: Partial<Sessions.OpenOptions>) =>
  Effect.flatMap(Sessions.Sessions, (sessions) => sessions.openScoped({ provider: "codex", ...options }))

const sandbox = Effect.flatMap(ScriptedModel.ScriptedModel, ({ url }) => CodexSandbox.make({ url }))

const completed = { _tag: "completed", stopReason: "endTurn" } as const

/** The agent's own name of the session's conversation. */
const threadOf = Effect.fnUntraced(function*(session: Session) {
  const store = yield* BindingStore.BindingStore
  const binding = yield* Effect.flatMap(store.get(session.id), Effect.fromOption)
  return (yield* Schema.decodeUnknownEffect(Schema.Struct({ threadId: Schema.String }))(binding.cursor)).threadId
})

const live = <A, E>(
  name: string,
  body: () => Effect.Effect<
    A,
    E,
    Layer.Success<typeof Platform> | ScriptedModel.ScriptedModel | Scope.Scope
  >
) => it.live(name, () => body().pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Model, Platform))), 60_000)

live("a session attaches, works, and leaves the server as it was", () =>
  Effect.gen(function*() {
    const { cwd, env } = yield* sandbox
    const server = yield* Foreign.start({ env })
    yield* Effect.gen(function*() {
      const session = yield* open({ cwd, title: "mine" })
      const turn = yield* session.prompt(prompt("go", text("done")))
      assert.deepStrictEqual(yield* turn.outcome, completed)
      const ready = yield* Host.awaitEvent(session, Host.isTag("ProcessChanged"))
      // It has no process that would be ours to name.
      assert.deepStrictEqual(ready.status, {
        _tag: "ready",
        version: CodexProvider.testedVersion,
        protocol: "json-rpc"
      })
      const provider = yield* Effect.flatMap(Providers.Providers, (all) => all.get("codex"))
      const probe = yield* provider.probe
      assert.deepInclude(probe, { installed: true, support: "tested" })
      assert.isUndefined(probe.binary)
      const refused = yield* Effect.flip(open({ cwd, env: { A: "1" } }))
      assert.strictEqual(refused.reason._tag, "InvalidRequest")
      yield* session.close
    }).pipe(Effect.scoped, Effect.provide(host({ url: server.url })))
    assert.isTrue(server.isAlive())
  }))

live(
  "what another client is asked is left to it, and what both are asked is settled by the first",
  () =>
    Effect.gen(function*() {
      const { cwd, env } = yield* sandbox
      const server = yield* Foreign.start({ env })
      yield* Effect.gen(function*() {
        const other = yield* Foreign.client(server.url)
        const session = yield* open({ cwd })
        yield* session.attach()
        // A thread of its own, which the session never hears of.
        const { thread } = yield* other.startThread({ cwd, approvalPolicy: "untrusted", sandbox: "workspace-write" })
        yield* other.startTurn(
          thread.id,
          [{ type: "text", text: prompt("own", Codex.exec("echo own"), text("own done")), text_elements: [] }],
          "key-of-the-other",
          {}
        )
        const own = yield* other.next("item/commandExecution/requestApproval")
        // The session's thread, which both hear.
        const mine = yield* session.prompt(prompt("mine", Codex.exec("echo mine"), text("mine done")))
        const request = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        assert.strictEqual(request.facts.command, "echo mine")
        yield* other.resumeThread(yield* threadOf(session), {})
        const shared = yield* other.next("item/commandExecution/requestApproval")
        yield* other.peer.answer(shared.id ?? -1, { decision: "accept" })
        assert.deepStrictEqual(yield* mine.outcome, completed)
        const settled = yield* Host.awaitEvent(session, Host.isTag("RequestSettled"))
        assert.strictEqual(settled.by, "provider")
        // Its own request still waits for it.
        yield* other.peer.answer(own.id ?? -1, { decision: "accept" })
        yield* other.next("turn/completed")
      }).pipe(Effect.scoped, Effect.provide(host({ url: server.url })))
    })
)

live(
  "a connection that breaks while something is asked is made again, and it is asked again",
  () =>
    Effect.gen(function*() {
      const { cwd, env } = yield* sandbox
      const server = yield* Foreign.start({ env })
      const proxy = yield* FaultInjector.proxy({ target: { host: "127.0.0.1", port: server.port } })
      yield* Effect.gen(function*() {
        const session = yield* open({ cwd })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("go", Codex.exec("echo asked > once.txt"), text("done")))
        const first = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* proxy.cut()
        const again = yield* session.events({ after: first.seq ?? 0 }).pipe(
          Stream.filter(Host.isTag("RequestOpened")),
          Stream.runHead,
          Effect.flatMap(Effect.fromOption)
        )
        assert.strictEqual(again.facts.command, first.facts.command)
        // The one before it is settled with the resync: nobody waits for it.
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
        )
        assert.deepStrictEqual((yield* session.requests).map(({ id }) => id), [again.requestId])
        yield* session.answer(again.requestId, { _tag: "accept" })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const fs = yield* FileSystem.FileSystem
        assert.strictEqual(yield* fs.readFileString(`${cwd}/once.txt`), "asked\n")
      }).pipe(Effect.scoped, Effect.provide(host({ url: `ws://127.0.0.1:${proxy.port}` })))
    })
)

live("a server that dies in the middle of a turn is found again when it is there again", () =>
  Effect.gen(function*() {
    const { cwd, env } = yield* sandbox
    const first = yield* Foreign.start({ env })
    yield* Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* open({ cwd })
      const before = yield* session.prompt(prompt("before", text("was said")))
      assert.deepStrictEqual(yield* before.outcome, completed)
      const turn = yield* session.prompt(prompt("go", gatedText("never said to its end", "never")))
      yield* Host.awaitEvent(session, (event) => event._tag === "ItemDelta" && event.text.startsWith("neve"))
      yield* first.kill
      const second = yield* Foreign.start({ env, port: first.port })
      assert.strictEqual((yield* turn.outcome)._tag, "lost")
      yield* model.open("never")
      const after = yield* session.prompt(prompt("after", text("goes on")))
      assert.deepStrictEqual(yield* after.outcome, completed)
      assert.strictEqual((yield* session.history()).turns.length, 3)
      assert.isTrue(second.isAlive())
    }).pipe(Effect.scoped, Effect.provide(host({ url: first.url })))
  }))

live("a token is asked for, and shown nowhere", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { cwd, env, root } = yield* sandbox
    const token = "sesame-open-9f2c-1a2b3c4d5e6f7890"
    yield* fs.writeFileString(`${root}/token`, token)
    const server = yield* Foreign.start({ env, tokenFile: `${root}/token` })
    const attempt = (given: string | undefined) =>
      Effect.gen(function*() {
        const session = yield* open({ cwd })
        const turn = yield* session.prompt(prompt("go", text("done")))
        return yield* turn.outcome
      }).pipe(
        Effect.scoped,
        Effect.provide(host({ url: server.url, ...(given === undefined ? {} : { token: Redacted.make(given) }) }))
      )
    assert.deepStrictEqual(yield* attempt(token), completed)
    for (const wrong of [undefined, "wrong-token-wrong-token"]) {
      const error = yield* Effect.flip(attempt(wrong))
      assert.include(["Unavailable", "AuthRequired"], error.reason._tag)
      assert.isFalse(JSON.stringify(AgentError.toInfo(error)).includes("wrong-token"))
    }
  }))

live("an address that cannot be used is told without what it holds", () =>
  Effect.gen(function*() {
    const { cwd } = yield* sandbox
    const wrong: ReadonlyArray<CodexProvider.AttachOptions> = [
      { url: "no address" },
      { url: "http://127.0.0.1:1" },
      { url: "ws://user:hunter2222@127.0.0.1:1" },
      { url: "ws://127.0.0.1:1/?token=hunter2222" },
      { url: "ws://example.org:1", token: Redacted.make("hunter2222") }
    ]
    for (const options of wrong) {
      const error = yield* Effect.flip(open({ cwd })).pipe(Effect.scoped, Effect.provide(host(options)))
      assert.strictEqual(error.reason._tag, "InvalidConfig", options.url)
      assert.isFalse(JSON.stringify(AgentError.toInfo(error)).includes("hunter2222"))
    }
    const nobody = yield* Effect.flip(open({ cwd })).pipe(
      Effect.scoped,
      Effect.provide(host({ url: "ws://127.0.0.1:1" }))
    )
    assert.strictEqual(nobody.reason._tag, "Unavailable")
  }))

live(
  "a conversation that another process writes is busy, and one in the archive is taken out of it",
  () =>
    Effect.gen(function*() {
      const { cwd, env } = yield* sandbox
      const server = yield* Foreign.start({ env })
      yield* Effect.gen(function*() {
        const other = yield* Foreign.client(server.url)
        const { thread } = yield* other.startThread({ cwd, approvalPolicy: "never", sandbox: "workspace-write" })
        const input = [{ type: "text", text: prompt("other", text("re:other")), text_elements: [] }]
        yield* other.startTurn(thread.id, input, "key-of-the-other", {})
        yield* other.next("turn/completed")
        const sessions = yield* Sessions.Sessions
        const adopt = sessions.adopt({ provider: "codex", cursor: { v: 1, threadId: thread.id } })
        const busy = yield* Effect.flip(adopt)
        assert.strictEqual(busy.reason._tag, "SessionBusy")
        assert.include(busy.message, "another codex process")
        // It lets go of it by the archive.
        yield* other.archiveThread(thread.id)
        const session = yield* adopt
        const turn = yield* session.prompt(prompt("mine", text("re:mine")))
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.strictEqual((yield* session.history()).turns.length, 2)
        yield* session.close
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Sessions.layer.pipe(
            Layer.provideMerge(Providers.layer({ codex: CodexProvider.make({ env, leases: false }) })),
            Layer.provide(BindingStore.layerMemory),
            Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.fullAccess))
          )
        )
      )
    })
)
