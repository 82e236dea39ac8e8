/** What the user's own settings allow is asked about all the same, in subagents too. */
import { assert, describe, it } from "@effect/vitest"
import type { AgentRequest } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import type { DurableEvent } from "@reins/core/SessionEvent"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { bash, prompt, text, tools } from "./fixtures/script.ts"

/** Accepts all that is asked, and keeps what it was. */
const accepting = Effect.fnUntraced(function*(session: Session) {
  const asked: Array<AgentRequest> = []
  yield* session.attach()
  yield* session.events().pipe(
    Stream.filter(Host.isTag("RequestOpened")),
    Stream.runForEach((event) =>
      Effect.gen(function*() {
        const request = (yield* session.requests).find((open) => open.id === event.requestId)
        if (request === undefined) return
        asked.push(request)
        yield* Effect.ignore(session.answer(request.id, { _tag: "accept" }))
      })
    ),
    Effect.forkScoped
  )
  return asked
})

const delegating = (agent: string, cwd: string, name: string) =>
  prompt(
    "work",
    bash(`echo parent-${name}`),
    tools(["task", {
      description: "d",
      subagent_type: agent,
      prompt: prompt(
        "child",
        bash(`echo child-${name}`),
        tools(["write", { filePath: `${cwd}/${name}.txt`, content: "x\n" }]),
        text("child done")
      )
    }]),
    text("done")
  )

/** Runs a command in the session and a command and a write in a subagent, and says what was asked. */
const askedFor = Effect.fnUntraced(function*(session: Session, agent: string, name: string) {
  const asked = yield* accepting(session)
  const turn = yield* session.prompt(delegating(agent, session.cwd, name))
  assert.strictEqual((yield* turn.outcome)._tag, "completed")
  return asked.map((request) => `${request.agentPath?.length ?? 0} ${request.kind}`)
})

const everything = ["0 command", "0 subagent", "1 command", "1 edit"]

const write = Effect.fnUntraced(function*(path: string, content: unknown) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(path.slice(0, path.lastIndexOf("/")), { recursive: true })
  yield* fs.writeFileString(path, typeof content === "string" ? content : JSON.stringify(content))
})

const on = (options: Host.HostOptions) => Effect.provide(Host.layer({ policy: ApprovalPolicy.askAlways, ...options }))

/** Accepts whatever is asked, and is not the policy under which nothing is asked. */
const acceptsAllAsked = ApprovalPolicy.prepend(ApprovalPolicy.fullAccess, [
  { name: "never", when: { kinds: ["no such kind"] }, then: { _tag: "decline" } }
])

const allowAll = { bash: "allow", edit: "allow", task: "allow" }

describe("askAlways asks although", () => {
  it.live("the global and the project's opencode.json allow everything, `*` first", () =>
    Effect.gen(function*() {
      const { cwd, root } = yield* Host.Place
      yield* write(`${root}/config/opencode/opencode.json`, { permission: { ...allowAll, webfetch: "allow" } })
      yield* write(`${cwd}/opencode.json`, { permission: { "*": "allow", ...allowAll, bash: { "*": "allow" } } })
      assert.deepStrictEqual(yield* askedFor(yield* Host.open(), "general", "files"), everything)
    }).pipe(Effect.scoped, on({})), 60_000)

  it.live("the project allows it for the agents by name, and for agents of its own", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      yield* write(`${cwd}/opencode.json`, {
        agent: {
          build: { permission: allowAll },
          general: { permission: allowAll },
          helper: { mode: "subagent", description: "h", permission: { "*": "allow", ...allowAll } }
        }
      })
      yield* write(
        `${cwd}/.opencode/agent/filed.md`,
        "---\nmode: subagent\ndescription: f\npermission:\n  bash:\n    \"echo *\": allow\n  edit: allow\n---\nhelp"
      )
      for (const agent of ["general", "helper", "filed"]) {
        assert.deepStrictEqual(yield* askedFor(yield* Host.open(), agent, agent), everything, agent)
      }
    }).pipe(Effect.scoped, on({})), 90_000)

  it.live("the caller's OPENCODE_CONFIG_CONTENT allows it, with comments in it", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const config = OpenCodeSandbox.openCodeConfig(model.url, {
        permission: "allow",
        agent: { explore: { permission: allowAll }, own: { mode: "subagent", description: "o", permission: allowAll } }
      })
      const content = JSON.stringify(config).replace(/^\{/, "{ // mine\n").replace(/\}$/, ", /* so far */ }")
      const env = { OPENCODE_CONFIG_CONTENT: content }
      for (const agent of ["general", "own"]) {
        assert.deepStrictEqual(yield* askedFor(yield* Host.open({ env }), agent, `content-${agent}`), everything, agent)
      }
    }).pipe(Effect.scoped, on({})), 60_000)

  it.live("OPENCODE_PERMISSION, which OpenCode merges last, allows it", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      // An agent without permissions of its own has none of ours by name.
      yield* write(`${cwd}/.opencode/agent/plain.md`, "---\nmode: subagent\ndescription: p\n---\nhelp")
      const session = yield* Host.open({ env: { OPENCODE_PERMISSION: JSON.stringify(allowAll) } })
      assert.deepStrictEqual(yield* askedFor(session, "plain", "variable"), everything)
    }).pipe(Effect.scoped, on({})), 60_000)

  it.live(
    "the session was opened with a policy that accepts everything, and changed to one that asks",
    () =>
      Effect.gen(function*() {
        const session = yield* Host.open({ policy: ApprovalPolicy.fullAccess })
        const free = yield* session.prompt(delegating("general", session.cwd, "before"))
        assert.strictEqual((yield* free.outcome)._tag, "completed")
        yield* session.configure({ policy: ApprovalPolicy.askAlways })
        assert.deepStrictEqual(yield* askedFor(session, "general", "after"), everything)
        yield* session.configure({ policy: ApprovalPolicy.fullAccess })
        const again = yield* session.prompt(prompt("again", bash("echo free"), text("done")))
        assert.strictEqual((yield* again.outcome)._tag, "completed")
      }).pipe(Effect.scoped, on({})),
    60_000
  )
})

describe("what the user denies", () => {
  it.live(
    "stays denied, whatever the policy accepts: in general, by pattern, for an agent, in plan mode, by variable",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { cwd } = yield* Host.Place
        yield* write(`${cwd}/.env`, "SECRET=planted")
        yield* write(`${cwd}/a.txt`, "plain")
        yield* write(`${cwd}/opencode.json`, {
          permission: { read: { "*": "allow", "*.env": "deny" }, edit: "deny" },
          agent: { helper: { mode: "subagent", description: "h", permission: { bash: "allow" } } }
        })
        const session = yield* Host.open({ env: { OPENCODE_PERMISSION: JSON.stringify({ webfetch: "deny" }) } })
        const turn = yield* session.prompt(prompt(
          "work",
          tools(["read", { filePath: `${cwd}/.env` }]),
          tools(["read", { filePath: `${cwd}/a.txt` }]),
          tools(["write", { filePath: `${cwd}/new.txt`, content: "x\n" }]),
          tools(["webfetch", { url: "http://127.0.0.1:1/", format: "text" }]),
          tools(["task", {
            description: "d",
            subagent_type: "helper",
            prompt: prompt("child", tools(["write", { filePath: `${cwd}/child.txt`, content: "x\n" }]), text("no"))
          }]),
          text("done")
        ))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const model = yield* ScriptedModel.ScriptedModel
        const seen = JSON.stringify(yield* model.requests)
        assert.notInclude(seen, "planted")
        assert.include(seen, "plain")
        assert.isFalse(yield* fs.exists(`${cwd}/new.txt`))
        assert.isFalse(yield* fs.exists(`${cwd}/child.txt`))
        yield* session.configure({ mode: "plan" })
        const planned = yield* session.prompt(
          prompt("plan", tools(["write", { filePath: `${cwd}/plan.txt`, content: "x\n" }]), text("no"))
        )
        assert.strictEqual((yield* planned.outcome)._tag, "completed")
        assert.isFalse(yield* fs.exists(`${cwd}/plan.txt`))
        const asked = yield* session.events({ after: 0 }).pipe(
          Stream.takeUntil((event) =>
            event._tag === "TurnSettled" && event.turnId === planned.id.replace("prm", "trn")
          ),
          Stream.filter(Host.isTag("RequestOpened")),
          Stream.map((event) => event.kind),
          Stream.runCollect
        )
        assert.deepStrictEqual([...asked], ["read", "subagent"])
      }).pipe(Effect.scoped, on({ policy: acceptsAllAsked })),
    90_000
  )

  it.live("in plan mode, which edits nothing, stays denied without any configuration", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd } = yield* Host.Place
      const session = yield* Host.open({ mode: "plan" })
      const turn = yield* session.prompt(
        prompt("plan", tools(["write", { filePath: `${cwd}/plan.txt`, content: "x\n" }]), text("no"))
      )
      assert.strictEqual((yield* turn.outcome)._tag, "completed")
      assert.isFalse(yield* fs.exists(`${cwd}/plan.txt`))
    }).pipe(Effect.scoped, on({ policy: acceptsAllAsked })), 60_000)
})

describe("the rules of a conversation", () => {
  it.live("do not grow with each opening", () =>
    Effect.gen(function*() {
      const requests: Array<string> = []
      const heard: Array<DurableEvent> = []
      yield* Effect.gen(function*() {
        const first = yield* Host.open()
        yield* Effect.flatMap(first.prompt(prompt("hi", text("hi"))), (turn) => turn.outcome)
        yield* first.close
        const again = yield* Host.open({ id: first.id, onProgress: (event) => heard.push(event) })
        const turn = yield* again.prompt(prompt("hi", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
      }).pipe(
        Effect.scoped,
        Effect.provide(Host.layer({
          policy: ApprovalPolicy.askAlways,
          http: Host.watching((request) => requests.push(`${request.method} ${new URL(request.url).pathname}`))
        }))
      )
      assert.isAbove(requests.length, 0)
      assert.deepStrictEqual(requests.filter((line) => line.startsWith("PATCH")), [])
    }), 60_000)
})
