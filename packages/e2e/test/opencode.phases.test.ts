/** Ending a session, and the whole host, in every phase: bounded, complete, and without harm to neighbours. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Duration, Effect, Exit, Fiber, FileSystem, Layer, Scope, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { model, phases } from "./fixtures/phases.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, gatedText, prompt } from "./fixtures/script.ts"
import { serverOf } from "./fixtures/server.ts"
import { answers, assertUsable, assertWhole } from "./fixtures/turns.ts"

/** Asks about everything, so that all sessions share one server; accepts all but the network. */
const policy = ApprovalPolicy.prepend(ApprovalPolicy.fullAccess, [
  { name: "network", when: { kinds: ["network"] }, then: { _tag: "ask" } }
])

/** An MCP server that answers, and heeds neither SIGTERM nor the end of its input. */
const mcp = `
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {})
setInterval(() => {}, 1000)
const answer = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\\n")
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line)
  if (method === "initialize") answer(id, {
    protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "stubborn", version: "1" }
  })
  else if (method === "tools/list") answer(id, { tools: [] })
  else if (id !== undefined) answer(id, {})
})
`

const withStubbornMcp = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { cwd, root } = yield* Host.Place
  const file = `${root}/stubborn-mcp.cjs`
  yield* fs.writeFileString(file, mcp)
  yield* fs.writeFileString(
    `${cwd}/opencode.json`,
    JSON.stringify({ mcp: { stubborn: { type: "local", command: [process.execPath, file] } } })
  )
  return file
})

type Provided = Layer.Success<ReturnType<typeof Host.layer>> | Scope.Scope

describe("closing a session", () => {
  it.live(
    "in every phase ends its work within 5 s and disturbs no neighbour on the same server",
    () =>
      Effect.gen(function*() {
        const { root } = yield* Host.Place
        const sessions = yield* Sessions.Sessions
        const model = yield* ScriptedModel.ScriptedModel
        const neighbour = yield* Host.open()
        const undisturbed = yield* neighbour.prompt(prompt("go", gatedText("a neighbour's answer", "neighbour")))
        yield* model.awaitGate("neighbour")
        const { pid } = yield* serverOf(neighbour)
        for (const [name, reach] of Object.entries(phases)) {
          const session = yield* Host.open()
          const mark = `${root}/${name}`
          yield* reach(session, mark)
          assert.strictEqual((yield* serverOf(session)).pid, pid, name)
          const [took] = yield* Effect.timed(session.close)
          assert.isBelow(Duration.toMillis(took), 5_000, name)
          assert.deepStrictEqual((yield* session.view).requests, [], name)
          yield* Processes.until(() => Processes.withText(mark).length === 0, `a tool of the closed session: ${name}`)
        }
        const opening = yield* Effect.forkChild(sessions.open({ provider: "opencode", cwd: neighbour.cwd }))
        yield* Fiber.interrupt(opening)
        yield* model.open("neighbour")
        const told = [...yield* Stream.runCollect(undisturbed.events)]
        assert.deepStrictEqual(yield* undisturbed.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(answers(told), ["a neighbour's answer"])
        assertWhole(told)
        yield* assertUsable(neighbour)
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy, model }))),
    90_000
  )
})

describe("releasing the host", () => {
  /** Releases a host when the test has brought it somewhere, and finds no process that has inherited its directories. */
  const release = <E, R extends Provided>(reach: (root: string) => Effect.Effect<void, E, R>) =>
    Effect.gen(function*() {
      let disposals = 0
      const scope = yield* Scope.make()
      const http = Host.watching((request) => {
        if (request.url.endsWith("/global/dispose")) disposals++
      })
      const context = yield* Layer.buildWithScope(Host.layer({ policy, model, http }), scope)
      const root = yield* Effect.gen(function*() {
        const { root } = yield* Host.Place
        yield* reach(root)
        return root
      }).pipe(Effect.scoped, Effect.provideContext(context))
      assert.isAbove(Processes.withEnvironment(root).length, 0)
      const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
      assert.isAtMost(Duration.toMillis(took), 5_000)
      assert.deepStrictEqual(Processes.withEnvironment(root), [])
      return disposals
    })

  it.live(
    "trap 4: with a session in every phase leaves no process, stubborn ones included: disposed first, then signalled",
    () =>
      Effect.gen(function*() {
        const disposals = yield* release((root) =>
          Effect.gen(function*() {
            const { cwd } = yield* Host.Place
            const sessions = yield* Sessions.Sessions
            const file = yield* withStubbornMcp
            for (const [name, reach] of Object.entries(phases)) {
              const session = yield* sessions.open({ provider: "opencode", cwd, title: name })
              yield* reach(session, `${root}/${name}`)
            }
            assert.isAbove(Processes.withText(file).length, 0, "the MCP server does not run")
            for (const name of ["tool", "subagent"]) {
              assert.isAbove(Processes.withText(`${root}/${name}`).length, 0, `the ${name} does not run`)
            }
          })
        )
        assert.strictEqual(disposals, 1)
      }),
    60_000
  )

  it.live("while a session opens leaves no process", () =>
    release((root) =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const sessions = yield* Sessions.Sessions
        yield* Effect.forkDetach(Effect.ignore(sessions.open({ provider: "opencode", cwd })))
        yield* Processes.until(() => Processes.withEnvironment(root).length > 0, "no server starts", Processes.starts)
      })
    ), 60_000)
})

describe("eight sessions in two directories on one server", () => {
  it.live("do not hear each other, and one that is closed disturbs none", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const model = yield* ScriptedModel.ScriptedModel
      const { cwd, root } = yield* Host.Place
      yield* fs.makeDirectory(`${root}/other`)
      const all = yield* Effect.forEach(
        Array.from({ length: 8 }, (_, index) => index % 2 === 0 ? cwd : `${root}/other`),
        (cwd) => Host.open({ cwd }),
        { concurrency: "unbounded" }
      )
      const pids = yield* Effect.forEach(all, (session) => Effect.map(serverOf(session), ({ pid }) => pid))
      assert.strictEqual(new Set(pids).size, 1)
      const events = yield* Effect.forEach(all, Host.record)
      const turns = yield* Effect.forEach(
        all,
        (session, index) =>
          session.prompt(
            prompt(`q${index}`, bash(`echo out-${index}; pwd`), gatedText(`answer ${index}`, `eight-${index}`))
          ),
        { concurrency: "unbounded" }
      )
      for (const index of all.keys()) yield* model.awaitGate(`eight-${index}`)
      yield* all[3]?.close ?? Effect.void
      for (const index of all.keys()) yield* model.open(`eight-${index}`)
      for (const [index, turn] of turns.entries()) {
        const outcome = yield* turn.outcome
        assert.strictEqual(outcome._tag, index === 3 ? "interrupted" : "completed", `session ${index}`)
      }
      for (const [index, session] of all.entries()) {
        const seen = events[index] ?? []
        for (const event of seen) assert.isTrue(event._tag === "Lagged" || event.sessionId === session.id)
        assert.deepStrictEqual(
          seen.flatMap((event) =>
            event._tag === "ItemCompleted" && event.item._tag === "command" ? [event.item.output.trim()] : []
          ),
          [`out-${index}\n${session.cwd}`]
        )
        if (index === 3) continue
        assert.deepStrictEqual(answers(seen), [`answer ${index}`])
        assertWhole(seen)
        yield* assertUsable(session)
      }
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))), 90_000)
})
