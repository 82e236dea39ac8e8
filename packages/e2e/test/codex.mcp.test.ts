/** MCP servers that a session of the real Codex brings along. */
import { assert, layer } from "@effect/vitest"
import type { Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as McpServer from "@reins/core/McpServer"
import * as Redaction from "@reins/core/Redaction"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Redacted, Stream } from "effect"
import { fileURLToPath } from "node:url"
import * as Codex from "./fixtures/codexHost.ts"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import * as Processes from "./fixtures/processes.ts"
import { prompt, text } from "./fixtures/script.ts"

const program = fileURLToPath(new URL("./fixtures/mcpServer.mjs", import.meta.url))
const secret = "sesame-\"open\"-9f2c"
const local = (manner: string, options: Parameters<typeof McpServer.local>[1] = {}) =>
  McpServer.local([process.execPath, program, manner], { env: { MCP_SECRET: Redacted.make(secret) }, ...options })

/** Codex calls the tools of a server by a namespace. */
const call = (name: string, args: Record<string, number> = {}): ScriptedModel.Step => ({
  do: "tools",
  tools: [{ name, namespace: "mcp__numbers", args }]
})

const isToolCall = (event: SessionEvent | Lagged): event is Extract<SessionEvent, { readonly _tag: "ItemCompleted" }> =>
  event._tag === "ItemCompleted" && event.item._tag === "toolCall"

const completed = { _tag: "completed", stopReason: "endTurn" } as const

layer(Codex.layer({ policy: ApprovalPolicy.askAlways }), { excludeTestServices: true, timeout: "60 seconds" })(
  "MCP servers of a Codex session",
  (it) => {
    it.effect("a tool is offered, asked about, and called", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("add", call("add", { a: 20, b: 22 }), text("added")))
        const request = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        assert.strictEqual(request.kind, "tool")
        assert.strictEqual(request.facts.tool, "numbers.add")
        assert.deepStrictEqual(request.facts.input, { a: 20, b: 22 })
        yield* session.answer(request.requestId, { _tag: "accept" })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const done = yield* Host.awaitEvent(session, isToolCall)
        assert.strictEqual(done.status, "completed")
        if (done.item._tag === "toolCall") {
          assert.strictEqual(done.item.server, "numbers")
          assert.include(JSON.stringify(done.item.output), "42")
        }
      }))

    it.effect("a declined tool is not called, and the turn goes on", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("add", call("add", { a: 1, b: 1 }), text("left it")))
        const request = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.answer(request.requestId, { _tag: "decline" })
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.notStrictEqual((yield* Host.awaitEvent(session, isToolCall)).status, "completed")
      }))

    it.effect("asks its user by a form, which is answered, declined, or cancelled with the turn", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        let after = 0
        const asked = Effect.fnUntraced(function*(answer: Answer) {
          const turn = yield* session.prompt(prompt("ask", call("ask"), text("asked")))
          const next = Effect.suspend(() =>
            session.events({ after }).pipe(
              Stream.filter(Host.isTag("RequestOpened")),
              Stream.runHead,
              Effect.flatMap(Effect.fromOption),
              Effect.tap(({ seq = 0 }) => Effect.sync(() => void (after = seq)))
            )
          )
          const approval = yield* next
          assert.strictEqual(approval.kind, "tool")
          yield* session.answer(approval.requestId, { _tag: "accept" })
          const form = yield* next
          assert.strictEqual(form.kind, "elicitation")
          assert.strictEqual(form.subject, "Which colour?")
          assert.include(JSON.stringify(form.facts.schema), "The colour")
          yield* session.answer(form.requestId, answer)
          return yield* turn.outcome
        })
        const heard = Effect.map(Model.lastBody, (body) => JSON.stringify(body["input"]))
        assert.deepStrictEqual(yield* asked({ _tag: "content", value: { colour: "grey" } }), completed)
        assert.match(yield* heard, /the user said .{0,20}action.{0,20}accept.{0,80}grey/)
        assert.deepStrictEqual(yield* asked({ _tag: "decline" }), completed)
        assert.match(yield* heard, /the user said .{0,20}action.{0,20}decline/)
        assert.deepStrictEqual(yield* asked({ _tag: "cancel" }), { _tag: "interrupted", by: "user" })
        const turn = yield* session.prompt(prompt("go on", text("went on")))
        assert.deepStrictEqual(yield* turn.outcome, completed)
      }))

    it.effect("is that of the newest opening, also while the thread is loaded with those of the one before", () =>
      Effect.gen(function*() {
        const servers = Effect.map(Codex.servers, (pids) => pids.join())
        const own = (mark: string) => ({ numbers: local("works", { env: { ONLY_HERE: mark } }) })
        const running = (mark: string) => Processes.withEnvironment(`ONLY_HERE=${mark}`).length
        const first = yield* Codex.open({ mcpServers: own("one-of-this-test") })
        assert.deepStrictEqual(yield* (yield* first.prompt(prompt("go on", text("went on")))).outcome, completed)
        const before = yield* servers
        yield* first.close
        // The same set goes on as it is.
        const again = yield* Codex.open({ id: first.id, mcpServers: own("one-of-this-test") })
        assert.deepStrictEqual(yield* (yield* again.prompt(prompt("go on", text("went on")))).outcome, completed)
        assert.strictEqual(running("one-of-this-test"), 1)
        yield* again.close
        // Another one takes its place.
        const other = yield* Codex.open({
          id: first.id,
          mcpServers: own("two-of-this-test"),
          policy: ApprovalPolicy.fullAccess
        })
        const turn = yield* other.prompt(prompt("add", call("add", { a: 20, b: 22 }), text("added")))
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.deepStrictEqual([running("one-of-this-test"), running("two-of-this-test")], [0, 1])
        yield* other.close
        // None is a set, too; and the conversation is whole.
        const none = yield* Codex.open({ id: first.id })
        assert.strictEqual((yield* none.history()).turns.length, 3)
        assert.deepStrictEqual(yield* (yield* none.prompt(prompt("go on", text("went on")))).outcome, completed)
        assert.strictEqual(running("two-of-this-test"), 0)
        assert.strictEqual(yield* servers, before)
      }))

    it.effect("is there in a copy of the conversation, too", () =>
      Effect.gen(function*() {
        const session = yield* Codex.open({
          mcpServers: { numbers: local("works") },
          policy: ApprovalPolicy.fullAccess
        })
        const first = yield* session.prompt(prompt("go on", text("went on")))
        assert.deepStrictEqual(yield* first.outcome, completed)
        const copy = yield* session.fork()
        const turn = yield* copy.prompt(prompt("add", call("add", { a: 20, b: 22 }), text("added")))
        assert.deepStrictEqual(yield* turn.outcome, completed)
        assert.include(JSON.stringify((yield* Model.lastBody)["input"]), "42")
        yield* copy.close
      }))

    it.effect("its secrets are in no file of the agent's home, and in no event when a tool tells them", () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { home } = yield* Codex.Place
        const session = yield* Codex.open({
          mcpServers: { numbers: local("works") },
          policy: ApprovalPolicy.fullAccess
        })
        const first = yield* session.prompt(prompt("add", call("add", { a: 1, b: 2 }), text("added")))
        assert.deepStrictEqual(yield* first.outcome, completed)
        for (const name of yield* fs.readDirectory(home, { recursive: true })) {
          const file = `${home}/${name}`
          // The agent has links to its own binary there.
          if (name.startsWith("tmp/arg0") || (yield* fs.stat(file)).type !== "File") continue
          assert.isFalse((yield* fs.readFileString(file)).includes("sesame"), name)
        }
        const turn = yield* session.prompt(prompt("tell", call("tell"), text("told")))
        const events = yield* turn.events.pipe(Stream.runCollect)
        assert.deepStrictEqual(yield* turn.outcome, completed)
        const told = JSON.stringify([[...events], yield* session.history()])
        // The tool did print it: what the host reads has it taken out, live and in what the agent keeps.
        assert.isAtLeast(told.split(`it is ${Redaction.replacement}`).length, 3)
        for (const form of [secret, JSON.stringify(secret).slice(1, -1)]) assert.isFalse(told.includes(form))
      }))

    it.effect("one that dies, and one that hangs, is told, and the session does without it", () =>
      Effect.gen(function*() {
        for (const manner of ["dies", "hangs"]) {
          const session = yield* Codex.open({ mcpServers: { numbers: local(manner, { startTimeout: 1_000 }) } })
          yield* session.attach()
          const turn = yield* session.prompt(prompt("go on", text("went on")))
          const notice = yield* Host.awaitEvent(
            session,
            (event): event is Extract<SessionEvent, { readonly _tag: "Notice" }> =>
              event._tag === "Notice" && event.code === "mcpFailed"
          )
          assert.include(notice.text, "The MCP server \"numbers\" failed, and the session does without it.")
          assert.notInclude(notice.text, secret)
          assert.deepStrictEqual(yield* turn.outcome, completed)
        }
      }))

    it.effect("what cannot be a server is refused before anything is sent", () =>
      Effect.gen(function*() {
        const wrong = (servers: McpServer.McpServers) => Effect.flip(Codex.open({ mcpServers: servers }))
        for (
          const servers of [
            { "a b": local("works") },
            { numbers: McpServer.local([" "]) },
            { numbers: McpServer.remote("file:///etc/passwd") },
            { numbers: local("works", { startTimeout: -1 }) }
          ]
        ) assert.strictEqual((yield* wrong(servers)).reason._tag, "InvalidRequest")
      }))
  }
)

const ofTheUser = "[mcp_servers.numbers]\ncommand = \"/bin/true\"\ndefault_tools_approval_mode = \"approve\"\n"

layer(Codex.layer({ policy: ApprovalPolicy.askAlways, config: ofTheUser }), {
  excludeTestServices: true,
  timeout: "60 seconds"
})("beside MCP servers of the user", (it) => {
  it.effect("one of the same name is refused: Codex would make one of the two, with the user's permissions", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Codex.open({ mcpServers: { numbers: local("works") } }))
      assert.strictEqual(
        error.reason._tag === "InvalidRequest" ? error.reason.field : error.reason._tag,
        "mcpServers.numbers"
      )
      const session = yield* Codex.open({ mcpServers: { other: local("works") } })
      const turn = yield* session.prompt(prompt("go on", text("went on")))
      assert.deepStrictEqual(yield* turn.outcome, completed)
    }))
})
