/** The agent's own conversations: listed, read, taken over, deleted. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as BindingStore from "@reins/core/BindingStore"
import type { Conversation } from "@reins/core/Conversation"
import type { HistoryPage } from "@reins/core/History"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import type { Scope } from "effect"
import { Effect, FileSystem, Layer, Stream } from "effect"
import * as Foreign from "./fixtures/foreignServer.ts"
import * as Host from "./fixtures/host.ts"
import { bash, gatedText, prompt, text } from "./fixtures/script.ts"

type Needs = Layer.Success<ReturnType<typeof Host.layer>> | Scope.Scope

/** A host attached to a server that others use too. */
const shared = <A, E>(name: string, body: (server: Foreign.ForeignServer) => Effect.Effect<A, E, Needs>) =>
  it.live(name, () =>
    Effect.gen(function*() {
      const port = yield* Foreign.freePort
      return yield* Effect.gen(function*() {
        const place = yield* Host.Place
        return yield* body(yield* Foreign.start({ env: place.env, port }))
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ openCode: { url: `http://127.0.0.1:${port}` } })))
    }), 120_000)

/** A conversation that another client begins. */
const begin = (server: Foreign.ForeignServer, cwd: string, title: string) =>
  Effect.map(
    server.call<{ readonly id: string }>("POST", `/session?directory=${encodeURIComponent(cwd)}`, { title }),
    ({ id }) => id
  )

const idOf = (conversation: Conversation) => (conversation.cursor as { readonly sessionID: string }).sessionID

const words = (page: HistoryPage) =>
  page.turns.map((turn) => [
    turn.outcome?._tag ?? "running",
    ...turn.items.map(({ item }) =>
      "text" in item ? item.text.split(" <<<")[0] ?? "" : item._tag === "command" ? item.output.trim() : item._tag
    )
  ])

describe("conversations", () => {
  shared(
    "are listed in pages, newest first, of one directory or of all, those of subagents left out",
    (server) =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const { cwd, root } = yield* Host.Place
        const fs = yield* FileSystem.FileSystem
        yield* fs.makeDirectory(`${root}/other`)
        const ids: Array<string> = []
        for (let n = 0; n < 7; n++) ids.unshift(yield* begin(server, cwd, `number ${n}`))
        yield* server.call("POST", "/session", { title: "a subagent", parentID: ids[0] })
        const elsewhere = yield* begin(server, `${root}/other`, "elsewhere")
        const read = Effect.fnUntraced(function*(options: { readonly cwd?: string; readonly limit: number }) {
          const found: Array<Conversation> = []
          let after: string | undefined
          let pages = 0
          do {
            const page: Effect.Success<ReturnType<typeof sessions.conversations>> = yield* sessions.conversations({
              provider: "opencode",
              ...options,
              ...(after === undefined ? undefined : { after })
            })
            found.push(...page.conversations)
            after = page.after
            pages++
          } while (after !== undefined)
          return { found, pages }
        })
        const here = yield* read({ cwd, limit: 3 })
        assert.deepStrictEqual(here.found.map(idOf), ids)
        assert.strictEqual(here.pages, 3)
        const [first] = here.found
        assert.strictEqual(first?.title, "number 6")
        assert.strictEqual(first?.cwd, cwd)
        assert.isAbove(first?.updatedAt ?? 0, 1_600_000_000_000)
        assert.deepStrictEqual((yield* read({ limit: 50 })).found.map(idOf), [elsewhere, ...ids])
        const error = yield* Effect.flip(sessions.conversations({ provider: "opencode", after: "nonsense" }))
        assert.isTrue(error.reason._tag === "InvalidRequest" && error.reason.field === "after")
      })
  )

  shared(
    "begun elsewhere are taken over: what was said is history, what follows are events",
    (server) =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const model = yield* ScriptedModel.ScriptedModel
        const { cwd } = yield* Host.Place
        const native = yield* begin(server, cwd, "of a person at a terminal")
        yield* server.prompt(native, prompt("first", text("one")))
        yield* server.prompt(native, prompt("second", bash("echo from a tool"), text("two")))
        const [conversation] = (yield* sessions.conversations({ provider: "opencode", cwd })).conversations
        const session = yield* sessions.adopt({ provider: "opencode", cursor: conversation?.cursor ?? null })
        assert.strictEqual(session.cwd, cwd)
        const before = yield* session.events().pipe(
          Stream.takeUntil((event) => event._tag === "ConnectionChanged" && event.status._tag === "live"),
          Stream.runCollect
        )
        assert.isFalse([...before].some((event) => event._tag === "TurnStarted"))
        const history = yield* session.history()
        assert.deepStrictEqual(words(history), [
          ["completed", "first", "one"],
          ["completed", "second", "from a tool", "two"]
        ])
        const turn = yield* session.prompt(prompt("third", text("three")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.include((yield* model.requests).at(-1)?.text, "first")
        // Turns and items have the same ids in events and in the history.
        const events = [
          ...yield* session.events({ deltas: false }).pipe(
            Stream.takeUntil((event) => event._tag === "TurnSettled"),
            Stream.runCollect
          )
        ]
        const newest = (yield* session.history({ limit: 1 })).turns
        assert.deepStrictEqual(
          newest.map(({ id, items }) => [id, ...items.map(({ item }) => item.id)]),
          [[
            events.find(Host.isTag("TurnStarted"))?.turnId,
            ...events.filter(Host.isTag("ItemCompleted")).map(({ itemId }) => itemId)
          ]]
        )
        // Taken over once more it is the same session, open or not.
        assert.strictEqual(
          (yield* sessions.adopt({ provider: "opencode", cursor: { v: 1, sessionID: native } })).id,
          session.id
        )
        yield* session.close
        const again = yield* sessions.adopt({ provider: "opencode", cursor: { v: 1, sessionID: native } })
        assert.strictEqual(again.id, session.id)
        assert.strictEqual((yield* sessions.list()).sessions.length, 1)
        assert.strictEqual((yield* sessions.list()).sessions[0]?.title, "of a person at a terminal")
      })
  )

  shared("that are at work are taken over in the middle of their turn", (server) =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const model = yield* ScriptedModel.ScriptedModel
      const { cwd } = yield* Host.Place
      const native = yield* begin(server, cwd, "busy")
      yield* server.prompt(native, prompt("old", text("done")))
      yield* server.call("POST", `/session/${native}/prompt_async`, {
        parts: [{ type: "text", text: prompt("running", gatedText("what they wait for", "middle")) }]
      })
      yield* model.awaitGate("middle")
      const session = yield* sessions.adopt({ provider: "opencode", cursor: { v: 1, sessionID: native } })
      yield* Host.awaitEvent(session, (event) => event._tag === "ItemCompleted")
      yield* model.openAll
      const settled = yield* Host.awaitEvent(session, Host.isTag("TurnSettled"))
      assert.strictEqual(settled.outcome._tag, "completed")
      const texts = [
        ...yield* session.events().pipe(Stream.takeUntil((event) => event._tag === "TurnSettled"), Stream.runCollect)
      ].filter(Host.isTag("ItemCompleted")).map(({ item }) => "text" in item ? item.text.split(" <<<")[0] : item._tag)
      assert.deepStrictEqual(texts, ["running", "what they wait for"])
    }))

  shared(
    "of a cursor that is none of theirs are refused, each with its reason, and nothing is begun",
    (server) =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const { cwd } = yield* Host.Place
        yield* begin(server, cwd, "the only one")
        const cases = [
          [null, "InvalidRequest", "none of OpenCode's"],
          ["ses_x", "InvalidRequest", "none of OpenCode's"],
          [{ v: 1, thread: "t" }, "InvalidRequest", "none of OpenCode's"],
          // An id that would lead the call to another route.
          [{ v: 1, sessionID: "../global/dispose" }, "InvalidRequest", "none of OpenCode's"],
          [{ v: 2, sessionID: "ses_x" }, "InvalidRequest", "version 2"],
          [{ v: 1, sessionID: "ses_0000000000000000000000000" }, "SessionNotFound", "ses_0000000000000000000000000"]
        ] as const
        for (const [cursor, tag, said] of cases) {
          const error = yield* Effect.flip(sessions.adopt({ provider: "opencode", cursor }))
          assert.strictEqual(error.reason._tag, tag, JSON.stringify(cursor))
          assert.include(error.message, said)
        }
        assert.deepStrictEqual((yield* sessions.list()).sessions, [])
        assert.strictEqual((yield* sessions.conversations({ provider: "opencode" })).conversations.length, 1)
      })
  )

  shared("are read in pages of turns, also long ones", (server) =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const { cwd } = yield* Host.Place
      const native = yield* begin(server, cwd, "long")
      for (let n = 0; n < 52; n++) yield* server.prompt(native, prompt(`question ${n}`, text(`answer ${n}`)))
      const session = yield* sessions.adopt({ provider: "opencode", cursor: { v: 1, sessionID: native } })
      const pages: Array<HistoryPage> = []
      let before: string | undefined
      do {
        const page: HistoryPage = yield* session.history({ limit: 25, ...(before === undefined ? {} : { before }) })
        pages.unshift(page)
        before = page.before
      } while (before !== undefined)
      assert.deepStrictEqual(pages.map((page) => page.turns.length), [2, 25, 25])
      assert.deepStrictEqual(
        pages.flatMap(words),
        Array.from({ length: 52 }, (_, n) => ["completed", `question ${n}`, `answer ${n}`])
      )
    }))
})

describe("removing a session", () => {
  it.live(
    "forgets it, and deletes the agent's conversation only where that is asked for",
    () =>
      Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const { cwd } = yield* Host.Place
        const [kept, deleted] = [yield* Host.open({ title: "kept" }), yield* Host.open({ title: "deleted" })]
        for (const session of [kept, deleted]) {
          const turn = yield* session.prompt(prompt("hi", text("hello")))
          assert.strictEqual((yield* turn.outcome)._tag, "completed")
        }
        assert.deepStrictEqual(
          (yield* sessions.list({ title: "KEPT" })).sessions.map(({ lastOutcome, open, provider, title }) => [
            lastOutcome,
            open,
            provider,
            title
          ]),
          [["completed", true, "opencode", "kept"]]
        )
        yield* sessions.remove(kept.id)
        yield* sessions.remove(deleted.id, { provider: true })
        assert.deepStrictEqual((yield* sessions.list()).sessions, [])
        const { conversations } = yield* sessions.conversations({ provider: "opencode", cwd })
        assert.deepStrictEqual(conversations.map(({ title }) => title), ["kept"])
        const again = yield* sessions.adopt({ provider: "opencode", cursor: conversations[0]?.cursor ?? null })
        assert.deepStrictEqual(words(yield* again.history()), [["completed", "hi", "hello"]])
        assert.strictEqual((yield* Effect.flip(sessions.open({ id: deleted.id }))).reason._tag, "SessionNotFound")
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Host.layer({
            store: Layer.orDie(
              Layer.unwrap(
                Effect.map(
                  FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped()),
                  BindingStore.layerFileSystem
                )
              ).pipe(Layer.provide(NodeServices.layer))
            )
          })
        )
      ),
    120_000
  )
})
