/** Directories, settings and numbers beyond the plain case, on the real OpenCode. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Duration, Effect, Exit, FileSystem, Layer, Schedule, Scope, Stream } from "effect"
import { execFileSync } from "node:child_process"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, gatedText, prompt, text, tools } from "./fixtures/script.ts"
import { serverOf } from "./fixtures/server.ts"

const on = (options: Host.HostOptions = {}) => Effect.provide(Host.layer(options))

const completes = Effect.fnUntraced(function*(session: Session, words: string) {
  const turn = yield* session.prompt(words)
  const events = [...yield* Stream.runCollect(turn.events)]
  assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
  return events
})

const begun = (session: Session) =>
  Host.awaitEvent(
    session,
    (event) => event._tag === "ItemDelta" && event.stream === "output" && event.text.includes("begun")
  )

describe("a directory", () => {
  it.live("with spaces and letters beyond ASCII works, asks and questions included", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { root } = yield* Host.Place
      const cwd = `${root}/mein Ordner ü€ #1`
      yield* fs.makeDirectory(cwd)
      const session = yield* Host.open({ cwd, policy: ApprovalPolicy.askAlways })
      yield* session.attach()
      const turn = yield* session.prompt(prompt("go", bash("pwd"), text("done")))
      const opened = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
      yield* session.answer(opened.requestId, { _tag: "accept" })
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      const done = yield* Host.awaitEvent(
        session,
        (event) => event._tag === "ItemCompleted" && event.item._tag === "command"
      )
      assert.strictEqual(
        done._tag === "ItemCompleted" && done.item._tag === "command" ? done.item.output.trim() : "",
        cwd
      )
    }).pipe(Effect.scoped, on()), 60_000)

  it.live("that is a git repository shows what the turn changed", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { cwd, root } = yield* Host.Place
      yield* fs.writeFileString(`${cwd}/poem.txt`, "roses are red\n")
      const git = (...args: ReadonlyArray<string>) =>
        execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@localhost", ...args], {
          cwd,
          env: { ...process.env, HOME: root },
          stdio: "pipe"
        })
      git("init", "-q")
      git("add", ".")
      git("commit", "-q", "-m", "first")
      const session = yield* Host.open()
      yield* completes(
        session,
        prompt(
          "edit",
          tools(["read", { filePath: `${cwd}/poem.txt` }]),
          tools(["edit", { filePath: `${cwd}/poem.txt`, oldString: "red", newString: "blue" }]),
          tools(["write", { filePath: `${cwd}/new.txt`, content: "new\n" }]),
          text("edited")
        )
      )
      const diff = yield* Host.awaitEvent(
        session,
        (event) => event._tag === "DiffUpdated" && event.files.length === 2
      )
      const files = diff._tag === "DiffUpdated" ? diff.files : []
      assert.deepStrictEqual(
        files.map((file) => [file.path, file.change]).toSorted(),
        [["new.txt", "added"], ["poem.txt", "updated"]]
      )
      assert.include(files.find((file) => file.path === "poem.txt")?.diff, "+roses are blue")
    }).pipe(Effect.scoped, on()), 60_000)

  it.live("with two sessions: each answers its own asks", () =>
    Effect.gen(function*() {
      const sessions = [yield* Host.open(), yield* Host.open()]
      for (const session of sessions) yield* session.attach()
      const turns = yield* Effect.forEach(sessions, (session, index) =>
        session.prompt(prompt("go", bash(`echo ${index}`), text(`done ${index}`))))
      for (const [index, session] of sessions.entries()) {
        const opened = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        const open = yield* session.requests
        assert.deepStrictEqual(
          open.map((request) =>
            request.facts.command
          ),
          [`echo ${index}`]
        )
        yield* session.answer(opened.requestId, index === 0 ? { _tag: "accept" } : { _tag: "decline", reason: "no" })
      }
      for (const turn of turns) assert.strictEqual((yield* turn.outcome)._tag, "completed")
      for (const [index, session] of sessions.entries()) {
        const command = yield* Host.awaitEvent(
          session,
          (event) => event._tag === "ItemCompleted" && event.item._tag === "command"
        )
        assert.strictEqual(
          command._tag === "ItemCompleted" ? command.status : "",
          index === 0 ? "completed" : "declined"
        )
      }
    }).pipe(Effect.scoped, on({ policy: ApprovalPolicy.askAlways })), 60_000)
})

describe("a session", () => {
  it.live("without a title gets the one that the agent makes", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Host.Place
      const sessions = yield* Sessions.Sessions
      const session = yield* sessions.openScoped({ provider: "opencode", cwd })
      yield* completes(session, prompt("what is a plum", text("a fruit")))
      const info = yield* Host.awaitEvent(session, Host.isTag("SessionInfo"))
      assert.isAbove(info.title.length, 0)
      assert.notMatch(info.title, /^New session/)
    }).pipe(Effect.scoped, on()), 60_000)

  it.live("takes a prompt of 200 kB", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const long = `${"größer ".repeat(25_000)}the end`
      yield* completes(session, `${long}${prompt("", text("read"))}`)
      assert.isTrue((yield* model.requests).some(({ request }) => request.lastUserText.startsWith(long)))
    }).pipe(Effect.scoped, on()), 60_000)

  it.live("that is deleted at the agent says so to the next prompt", () =>
    Effect.gen(function*() {
      const session = yield* Host.open()
      yield* completes(session, prompt("hi", text("hello")))
      const server = yield* serverOf(session)
      const all = yield* server.call("GET", `/session?directory=${encodeURIComponent(session.cwd)}`)
      const [{ id }] = all as readonly [{ readonly id: string }]
      yield* server.call("DELETE", `/session/${id}`)
      const turn = yield* session.prompt(prompt("still there?", text("yes")))
      const receipt = yield* turn.receipt
      assert.isTrue(receipt._tag === "failed" && receipt.error._tag === "SessionNotFound", JSON.stringify(receipt))
      assert.strictEqual((yield* turn.outcome)._tag, "notRun")
    }).pipe(Effect.scoped, on()), 60_000)

  it.live("keeps the server's password out of its events, though a tool prints it", () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const session = yield* Host.open()
      const events = yield* completes(session, prompt("go", bash("env | grep OPENCODE_SERVER"), text("printed")))
      const { password } = yield* serverOf(session)
      assert.isAtLeast(password.length, 32)
      assert.include(JSON.stringify(events), "OPENCODE_SERVER_PASSWORD=")
      assert.notInclude(JSON.stringify(events), password)
      assert.include((yield* model.requests).at(-1)?.text, "OPENCODE_SERVER_PASSWORD=")
    }).pipe(Effect.scoped, on()), 60_000)
})

describe("a server", () => {
  it.live("serves 20 sessions opened at once with one process and one event stream", () =>
    Effect.gen(function*() {
      const streams: Array<string> = []
      yield* Effect.gen(function*() {
        const sessions = yield* Effect.forEach(Array.from({ length: 20 }), () => Host.open(), {
          concurrency: "unbounded"
        })
        yield* Effect.forEach(
          sessions,
          (session, index) =>
            Effect.map(completes(session, prompt(`q${index}`, text(`answer ${index}`))), (events) =>
              assert.deepStrictEqual(
                events.flatMap((event) =>
                  event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" ? [event.item.text] : []
                ),
                [`answer ${index}`]
              )),
          { concurrency: "unbounded", discard: true }
        )
        const pids = yield* Effect.forEach(sessions, (session) =>
          Effect.map(serverOf(session), ({ pid }) =>
            pid))
        assert.strictEqual(new Set(pids).size, 1)
        assert.strictEqual(streams.length, 1)
      }).pipe(
        Effect.scoped,
        on({
          http: Host.watching((request) => {
            if (request.url.endsWith("/global/event")) streams.push(request.url)
          })
        })
      )
    }), 90_000)

  it.live("is another one for another environment", () =>
    Effect.gen(function*() {
      const plain = yield* Host.open()
      const other = yield* Host.open({ env: { REINS_TEST_COLOUR: "mauve" } })
      const same = yield* Host.open({ env: { REINS_TEST_COLOUR: "mauve" } })
      const pids = yield* Effect.forEach([plain, other, same], (session) =>
        Effect.map(serverOf(session), ({ pid }) => pid))
      assert.notStrictEqual(pids[0], pids[1])
      assert.strictEqual(pids[1], pids[2])
      const events = yield* completes(other, prompt("go", bash("echo $REINS_TEST_COLOUR"), text("done")))
      assert.isTrue(events.some((event) =>
        event._tag === "ItemCompleted" && event.item._tag === "command" && event.item.output.includes("mauve")
      ))
    }).pipe(Effect.scoped, on()), 60_000)

  it.live(
    "is ended after its last session closed and its time passed, and the next session gets another",
    () =>
      Effect.gen(function*() {
        const { root } = yield* Host.Place
        yield* Effect.gen(function*() {
          const sessions = yield* Sessions.Sessions
          const session = yield* sessions.open({ provider: "opencode", cwd: `${root}/project` })
          const { pid } = yield* serverOf(session)
          const second = yield* sessions.open({ provider: "opencode", cwd: `${root}/project` })
          yield* session.close
          yield* completes(second, prompt("still", text("here")))
          assert.isTrue(Processes.isAlive(pid))
          yield* second.close
          yield* Processes.until(() => !Processes.isAlive(pid), "the idle server still runs")
          const next = yield* Host.open()
          yield* completes(next, prompt("go", text("new")))
          assert.notStrictEqual((yield* serverOf(next)).pid, pid)
        }).pipe(
          Effect.provide(Layer.fresh(Host.layer({ openCode: { idleTimeToLive: "100 millis" } })))
        )
      }).pipe(Effect.scoped, on()),
    60_000
  )

  it.live(
    "that is released while two sessions work is asked to close once, and leaves nothing, within 5 s",
    () =>
      Effect.gen(function*() {
        const disposals: Array<string> = []
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(
          Host.layer({
            http: Host.watching((request) => {
              if (request.url.endsWith("/global/dispose")) disposals.push(request.url)
            })
          }),
          scope
        )
        const pid = yield* Effect.gen(function*() {
          const model = yield* ScriptedModel.ScriptedModel
          const sessions = yield* Sessions.Sessions
          const { cwd } = yield* Host.Place
          const one = yield* sessions.open({ provider: "opencode", cwd, title: "1" })
          const two = yield* sessions.open({ provider: "opencode", cwd, title: "2" })
          yield* one.prompt(prompt("go", bash("echo begun; sleep 41"), text("never")))
          yield* two.prompt(prompt("go", gatedText("a long answer", "release-1")))
          yield* begun(one)
          yield* model.awaitGate("release-1")
          return (yield* serverOf(one)).pid
        }).pipe(Effect.provideContext(context))
        assert.isAbove(Processes.withText("sleep 41").length, 0)
        const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
        assert.isAtMost(Duration.toMillis(took), 5_000)
        assert.isFalse(Processes.isAlive(pid))
        assert.deepStrictEqual(Processes.withText("sleep 41"), [])
        assert.strictEqual(disposals.length, 1)
      }),
    60_000
  )

  it.live(
    "that cannot read its global configuration is InvalidConfig with the file, and works when it is mended",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { root } = yield* Host.Place
        const file = `${root}/config/opencode/opencode.json`
        yield* fs.makeDirectory(`${root}/config/opencode`, { recursive: true })
        for (const [content, issue] of [["{ \"model\": 5 }", "model"], ["{ nope", "line 1"]] as const) {
          yield* fs.writeFileString(file, content)
          const error = yield* Effect.flip(Host.open())
          assert.isTrue(error.reason._tag === "InvalidConfig" && error.reason.file === file, error.message)
          assert.include(error.message, issue)
          assert.notInclude(error.message, "nope")
        }
        yield* fs.writeFileString(file, "{}")
        // A refused start is not tried again at once.
        const session = yield* Host.open().pipe(Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 20 }))
        yield* completes(session, prompt("go", text("mended")))
      }).pipe(Effect.scoped, on()),
    60_000
  )
})

describe("opening and closing", () => {
  it.live("a hundred sessions on one server leaves it working", () =>
    Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const { cwd } = yield* Host.Place
      const first = yield* Host.open()
      yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => Effect.flatMap(sessions.open({ provider: "opencode", cwd, title: "t" }), (session) => session.close),
        { concurrency: 8, discard: true }
      )
      yield* completes(first, prompt("go", text("fine")))
    }).pipe(Effect.scoped, on()), 90_000)
})
