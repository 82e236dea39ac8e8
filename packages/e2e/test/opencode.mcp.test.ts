/** MCP servers that a session of the real OpenCode brings along. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Catalogue from "@reins/core/Catalogue"
import * as McpServer from "@reins/core/McpServer"
import * as Prompt from "@reins/core/Prompt"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import type { SessionEvent } from "@reins/core/SessionEvent"
import { Effect, FileSystem, Logger, Redacted, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import * as Host from "./fixtures/host.ts"
import * as Model from "./fixtures/model.ts"
import { bash, prompt, text, tools } from "./fixtures/script.ts"

const program = fileURLToPath(new URL("./fixtures/mcpServer.mjs", import.meta.url))
const secret = "sesame-\"open\"-9f2c"
const local = (manner: string, options: Parameters<typeof McpServer.local>[1] = {}) =>
  McpServer.local([process.execPath, program, manner], { env: { MCP_SECRET: Redacted.make(secret) }, ...options })

/** A server on loopback: it answers 401, or not at all. */
const web = (manner: "refuses" | "hangs") =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const server = createServer((_request, response) => {
        if (manner === "refuses") response.writeHead(401, { "www-authenticate": "Bearer" }).end()
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({
          url: `http://127.0.0.1:${port}/mcp`,
          close: () => {
            server.closeAllConnections()
            server.close()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ url }) => url))

const notices = (session: Session, count: number) =>
  session.events().pipe(
    Stream.filter((event): event is Extract<SessionEvent, { readonly _tag: "Notice" }> =>
      event._tag === "Notice" && event.code.startsWith("mcp")
    ),
    Stream.take(count),
    Stream.runCollect,
    Effect.timeout("30 seconds"),
    Effect.map((found) => [...found].map(({ code, text }) => ({ code, text })))
  )

layer(Host.layer({ policy: ApprovalPolicy.askAlways }), { excludeTestServices: true, timeout: "60 seconds" })(
  "MCP servers of an OpenCode session",
  (it) => {
    it.effect("a tool is offered, asked about, and called", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        assert.deepStrictEqual(yield* notices(session, 1), [
          { code: "mcpConnected", text: "The MCP server \"numbers\" is connected." }
        ])
        const turn = yield* session.prompt(prompt("add", tools(["numbers_add", { a: 20, b: 22 }]), text("added")))
        const request = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        assert.strictEqual(request.facts.tool, "numbers_add")
        assert.deepStrictEqual(request.facts.input, { a: 20, b: 22 })
        yield* session.answer(request.requestId, { _tag: "accept" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        const done = yield* Host.awaitEvent(
          session,
          (event): event is Extract<SessionEvent, { readonly _tag: "ItemCompleted" }> =>
            event._tag === "ItemCompleted" && event.item._tag === "toolCall"
        )
        assert.strictEqual(done.status, "completed")
        if (done.item._tag === "toolCall") {
          assert.strictEqual(done.item.server, "numbers")
          assert.strictEqual(done.item.output, "42")
        }
        const names = JSON.stringify((yield* Model.bodies)[0]?.["tools"])
        assert.include(names, "numbers_add")
      }))

    it.effect("a declined tool is not called", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        const turn = yield* session.prompt(prompt("add", tools(["numbers_add", { a: 1, b: 1 }]), text("left it")))
        const request = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.answer(request.requestId, { _tag: "decline" })
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const done = yield* Host.awaitEvent(
          session,
          (event): event is Extract<SessionEvent, { readonly _tag: "ItemCompleted" }> =>
            event._tag === "ItemCompleted" && event.item._tag === "toolCall"
        )
        assert.strictEqual(done.status, "declined")
      }))

    it.effect("a subagent's call of a tool is asked about, too", () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ mcpServers: { numbers: local("works") } })
        yield* session.attach()
        const child = prompt("child", tools(["numbers_add", { a: 3, b: 4 }]), text("child done"))
        const turn = yield* session.prompt(
          prompt(
            "delegate",
            tools(["task", { description: "d", subagent_type: "general", prompt: child }]),
            text("parent done")
          )
        )
        const asked = (tool: string) =>
          Host.awaitEvent(
            session,
            (event): event is Extract<SessionEvent, { readonly _tag: "RequestOpened" }> =>
              event._tag === "RequestOpened" && event.facts.tool === tool
          )
        yield* session.answer((yield* asked("task")).requestId, { _tag: "accept" })
        const request = yield* asked("numbers_add")
        assert.strictEqual(request.agentPath?.length, 1)
        yield* session.answer(request.requestId, { _tag: "accept" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      }))

    it.effect("sessions without the servers do not get their tools", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("hello", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.notInclude(JSON.stringify((yield* Model.lastBody)["tools"]), "numbers_add")
      }))

    it.effect("failures are told with their reason, and none keeps the session from working", () =>
      Effect.gen(function*() {
        const refuses = yield* web("refuses")
        const hangs = yield* web("hangs")
        const headers = { authorization: `Bearer ${secret}` }
        const session = yield* Host.open({
          mcpServers: {
            numbers: local("works"),
            dies: local("dies"),
            missing: McpServer.local(["/does/not/exist"]),
            hangs: local("hangs", { startTimeout: 500 }),
            off: local("works", { enabled: false }),
            farHangs: McpServer.remote(hangs, { headers, startTimeout: 500 }),
            farSlow: McpServer.remote(hangs, { headers, startTimeout: 3_000 }),
            farRefuses: McpServer.remote(refuses, { headers })
          }
        })
        // OpenCode tries two ways for a URL, each for the whole time: the session has not waited for the second.
        const { seq } = yield* session.view
        const told = yield* notices(session, 9)
        assert.deepStrictEqual(
          told.flatMap(({ code, text }) => text.includes("\"farSlow\"") ? [code] : []),
          ["mcpSlow", "mcpFailed"]
        )
        assert.isAbove((yield* session.view).seq, seq)
        const of = (name: string) => told.find(({ text }) => text.includes(`"${name}"`))
        assert.strictEqual(of("numbers")?.code, "mcpConnected")
        assert.strictEqual(of("dies")?.code, "mcpFailed")
        assert.strictEqual(of("missing")?.code, "mcpFailed")
        assert.include(of("missing")?.text, "ENOENT")
        assert.strictEqual(of("hangs")?.code, "mcpFailed")
        assert.include(of("hangs")?.text, "timed out")
        assert.strictEqual(of("off")?.code, "mcpDisabled")
        assert.strictEqual(of("farHangs")?.code, "mcpFailed")
        assert.strictEqual(of("farRefuses")?.code, "mcpNeedsAuth")
        const turn = yield* session.prompt(prompt("hello", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.include(JSON.stringify((yield* Model.lastBody)["tools"]), "numbers_add")
      }))

    it.effect("secrets of headers and variables are in no event, no log line, and not in the environment of tools", () => {
      const lines: Array<string> = []
      const logger = Logger.make(({ cause, message }) => {
        lines.push(JSON.stringify([message, String(cause)]))
      })
      return Effect.gen(function*() {
        const { root } = yield* Host.Place
        const fs = yield* FileSystem.FileSystem
        const refuses = yield* web("refuses")
        const events: Array<string> = []
        const session = yield* Host.open({
          policy: ApprovalPolicy.fullAccess,
          mcpServers: {
            numbers: local("works"),
            dies: local("dies"),
            far: McpServer.remote(`${refuses}?token=${encodeURIComponent(secret)}`, {
              headers: { authorization: `Bearer ${secret}`, "x-key": secret }
            })
          },
          onProgress: (event) => events.push(JSON.stringify(event))
        })
        yield* session.events().pipe(
          Stream.runForEach((event) => Effect.sync(() => events.push(JSON.stringify(event)))),
          Effect.forkScoped
        )
        const turn = yield* session.prompt(
          prompt("tell", tools(["numbers_tell", {}]), bash("env > seen-by-tools; echo ok"), text("told"))
        )
        for (const event of yield* Stream.runCollect(turn.events)) events.push(JSON.stringify(event))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        // The tool did print it: what the host reads has it taken out.
        assert.isTrue(events.some((event) => event.includes("numbers_tell") && event.includes("it is ")))
        const written = (value: string) => JSON.stringify(value).slice(1, -1)
        const forms = [secret, written(secret), written(written(secret)), encodeURIComponent(secret)]
        for (const form of forms) {
          assert.isFalse(events.some((event) => event.includes(form)), "in an event")
          assert.isFalse(lines.some((line) => line.includes(form)), "in a log line")
          assert.notInclude(yield* fs.readFileString(`${root}/project/seen-by-tools`), form)
        }
        assert.isAbove(events.length, 10)
      }).pipe(Effect.provide(Logger.layer([logger])))
    })

    it.effect("the servers are there again after a crash of OpenCode", () =>
      Effect.gen(function*() {
        // An environment of its own: the server of this session is shared with nobody.
        const session = yield* Host.open({
          policy: ApprovalPolicy.fullAccess,
          env: { OF_THIS_TEST: "1" },
          mcpServers: { numbers: local("works") }
        })
        const first = yield* session.prompt(prompt("add", tools(["numbers_add", { a: 1, b: 2 }]), text("added")))
        assert.strictEqual((yield* first.outcome)._tag, "completed")
        const ready = yield* Host.awaitEvent(
          session,
          (event): event is Extract<SessionEvent, { readonly _tag: "ProcessChanged" }> =>
            event._tag === "ProcessChanged" && event.status._tag === "ready"
        )
        const pid = ready.status._tag === "ready" ? ready.status.pid : undefined
        if (pid === undefined) return assert.fail("the server has no pid")
        process.kill(pid, "SIGKILL")
        yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ConnectionChanged" && event.status._tag === "resynced"
        )
        const second = yield* session.prompt(prompt("again", tools(["numbers_add", { a: 40, b: 2 }]), text("added")))
        const events = [...yield* Stream.runCollect(second.events)]
        assert.strictEqual((yield* second.outcome)._tag, "completed")
        assert.deepStrictEqual(
          events.flatMap((event) =>
            event._tag === "ItemCompleted" && event.item._tag === "toolCall" ? [event.item.output] : []
          ),
          ["42"]
        )
      }))

    it.effect("what cannot be a server is refused before anything starts", () =>
      Effect.gen(function*() {
        for (
          const mcpServers of [
            { "a b": local("works") },
            { empty: McpServer.local([""]) },
            { file: McpServer.remote("file:///etc/passwd") },
            { never: local("works", { startTimeout: 0 }) }
          ]
        ) {
          const error = yield* Effect.flip(Host.open({ mcpServers }))
          assert.strictEqual(error.reason._tag, "InvalidRequest")
        }
      }))

    it.effect("prompts of a server are commands", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const mcpServers = { numbers: local("works") }
        const provider = yield* Effect.flatMap(Providers.Providers, (all) => all.get("opencode"))
        const found = (yield* Catalogue.commands(provider, { cwd, mcpServers })).find(({ source }) => source === "mcp")
        assert.include(found?.name, "count")
        const session = yield* Host.open({ mcpServers })
        const turn = yield* session.prompt(Prompt.make(Prompt.command(found?.name ?? "")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.include(JSON.stringify(yield* Model.lastPrompt), "count to three")
      }))
  }
)
