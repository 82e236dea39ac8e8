import { assert, layer } from "@effect/vitest"
import { SessionEvent } from "@reins/core/SessionEvent"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Schema } from "effect"
import * as Reins from "./fixtures/reins.ts"
import { leftBehind, Place, run, start } from "./fixtures/reins.ts"

const { prompt } = ScriptedModel
const bash = (command: string): ScriptedModel.Step => ({
  do: "tools",
  tools: [{ name: "bash", args: { command, description: "a step" } }]
})
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(SessionEvent))
const events = (stdout: string) => stdout.trimEnd().split("\n").map((line) => decode(line))
const sessionOf = (stderr: string) => /^Session (\S+) with opencode/m.exec(stderr)?.[1] ?? ""

layer(Reins.layer, { excludeTestServices: true, timeout: "60 seconds" })("reins run", (it) => {
  it.effect("writes the answer to standard output, and goes on with the session in a new process", () =>
    Effect.gen(function*() {
      const { cwd, env, root } = yield* Place
      const model = yield* ScriptedModel.ScriptedModel
      const first = yield* run(["run", prompt("remember the word kiwi", { do: "text", text: "Noted.\nIt is kiwi." })])
      assert.deepStrictEqual(
        { code: first.code, stdout: first.stdout },
        { code: 0, stdout: "Noted.\nIt is kiwi.\n" },
        first.stderr
      )
      const id = sessionOf(first.stderr)
      assert.match(id, /^ses_/)
      assert.include(first.stderr, `reins run --session ${id}`)
      // oxlint-disable-next-line no-control-regex
      assert.notMatch(first.stdout + first.stderr, /\u001b/)
      assert.deepStrictEqual(leftBehind(root), [])

      const fs = yield* FileSystem.FileSystem
      assert.strictEqual((yield* fs.stat(`${env["XDG_STATE_HOME"]}/reins`)).mode & 0o777, 0o700)
      assert.strictEqual((yield* fs.stat(`${env["XDG_DATA_HOME"]}/reins`)).mode & 0o777, 0o700)

      // Started elsewhere: the directory is that of the session.
      const second = yield* run(["run", "--session", id], {
        stdin: prompt("which word?", { do: "text", text: "Kiwi." })
      })
      assert.deepStrictEqual(
        { code: second.code, stdout: second.stdout },
        { code: 0, stdout: "Kiwi.\n" },
        second.stderr
      )
      assert.strictEqual(sessionOf(second.stderr), id)
      assert.include(second.stderr, cwd)
      const last = (yield* model.requests).findLast(({ request }) => !request.isTitle)
      assert.include(JSON.stringify(last?.request.messages), "remember the word kiwi")
    }))

  it.effect("writes every event as a line of JSON, and nothing else", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Place
      const fs = yield* FileSystem.FileSystem
      const { code, stderr, stdout } = yield* run([
        "run",
        "--json",
        "--approve",
        "all",
        prompt("work", [bash("echo made > made.txt"), { do: "text", text: "It is made." }])
      ])
      assert.strictEqual(code, 0, stderr)
      const all = events(stdout)
      assert.deepStrictEqual(
        all.flatMap((event) => event.seq ?? []),
        all.filter((event) => event._tag !== "ItemDelta").map((_, index) => index + 1)
      )
      assert.deepStrictEqual([...new Set(all.map((event) => event.sessionId))], [sessionOf(stderr)])
      assert.strictEqual(all.at(-1)?._tag, "SessionClosed")
      const settled = all.filter((event) => event._tag === "TurnSettled")
      assert.deepStrictEqual(settled.map((event) => event.outcome), [{ _tag: "completed", stopReason: "endTurn" }])
      assert.strictEqual(yield* fs.readFileString(`${cwd}/made.txt`), "made\n")
    }))

  it.effect("ends with 1 and advice when the turn fails", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run([
        "run",
        prompt("work", { do: "status", code: 401, message: "bad key" })
      ])
      assert.deepStrictEqual({ code, stdout }, { code: 1, stdout: "" }, stderr)
      assert.match(stderr, /credentials.*bad key[\s\S]*status 401[\s\S]*What to do: /)
    }))

  it.effect("declines without a terminal what would have to be asked, says so once, and ends with 4", () =>
    Effect.gen(function*() {
      const { cwd } = yield* Place
      const fs = yield* FileSystem.FileSystem
      const model = yield* ScriptedModel.ScriptedModel
      const { code, stderr, stdout } = yield* run([
        "run",
        prompt("work", [bash("touch one.txt"), bash("touch two.txt"), { do: "text", text: "I could not." }])
      ])
      assert.deepStrictEqual({ code, stdout }, { code: 4, stdout: "I could not.\n" }, stderr)
      assert.strictEqual(stderr.split("nobody is there to answer").length - 1, 1)
      assert.include(stderr, "Run touch one.txt")
      assert.isFalse(yield* fs.exists(`${cwd}/one.txt`))
      const last = (yield* model.requests).findLast(({ request }) => !request.isTitle)
      assert.include(JSON.stringify(last?.request.toolResultsAfterLastUser), "Nobody is there to be asked")
    }))

  it.effect("interrupts the turn when the time is over, and ends with 124", () =>
    Effect.gen(function*() {
      const { root } = yield* Place
      const { code, stderr, stdout } = yield* run([
        "run",
        "--json",
        "--timeout",
        "10s",
        prompt("wait", { do: "hang" })
      ])
      assert.strictEqual(code, 124, stderr)
      assert.include(stderr, "Timed out after 10 s")
      const settled = events(stdout).filter((event) => event._tag === "TurnSettled")
      assert.deepStrictEqual(settled.map((event) => event.outcome), [{ _tag: "interrupted", by: "user" }])
      assert.deepStrictEqual(leftBehind(root), [])
    }))

  it.effect("interrupts the turn on Ctrl-C, ends with 130, and leaves no process", () =>
    Effect.gen(function*() {
      const { root } = yield* Place
      const running = yield* start([
        "run",
        prompt("talk", { do: "text", text: "One two three", gate: "i", gateAfter: 1 })
      ])
      yield* running.says("One")
      yield* running.signal("SIGINT")
      assert.strictEqual(yield* running.exit, 130)
      assert.include(running.stderr(), "Interrupted after")
      assert.deepStrictEqual(leftBehind(root), [])
    }))

  it.effect("leaves at once on a second Ctrl-C, and still leaves no process", () =>
    Effect.gen(function*() {
      const { root } = yield* Place
      const running = yield* start([
        "run",
        prompt("talk", { do: "text", text: "One two three", gate: "j", gateAfter: 1 })
      ])
      yield* running.says("One")
      yield* running.signal("SIGINT")
      yield* running.says("once more leaves", "stderr")
      yield* running.signal("SIGINT")
      assert.strictEqual(yield* running.exit, 130)
      assert.notInclude(running.stderr(), "Error")
      assert.deepStrictEqual(leftBehind(root), [])
    }))

  it.effect("ends quietly when nobody reads its output any more", () =>
    Effect.gen(function*() {
      const { root } = yield* Place
      const running = yield* start(["run", "--json", prompt("talk", { do: "text", words: 400, rate: 50 })])
      yield* running.says("TurnStarted")
      yield* running.stopReading
      assert.strictEqual(yield* running.exit, 130)
      assert.match(running.stderr(), /^Session .*\nTo go on: .*\n$/)
      assert.deepStrictEqual(leftBehind(root), [])
    }))

  it.effect("ends with 3 when the agent is not installed", () =>
    Effect.gen(function*() {
      const { code, stderr } = yield* run(["run", "hello"], { env: { REINS_OPENCODE_BIN: "/nonexistent" } })
      assert.strictEqual(code, 3)
      assert.match(stderr, /"opencode" was not found.*\/nonexistent[\s\S]*What to do: /)
    }))

  it.effect("asks in a terminal before a command runs, and runs it after y", () =>
    Effect.gen(function*() {
      const { cwd, root } = yield* Place
      const fs = yield* FileSystem.FileSystem
      const running = yield* start(
        ["run", prompt("work", [bash("touch asked.txt"), { do: "text", text: "It is there." }])],
        { terminal: true }
      )
      yield* running.says("? Run touch asked.txt")
      yield* running.says(" > ")
      assert.isFalse(yield* fs.exists(`${cwd}/asked.txt`))
      yield* running.type("y\n")
      assert.strictEqual(yield* running.exit, 0, running.stdout())
      assert.isTrue(yield* fs.exists(`${cwd}/asked.txt`))
      // The spinner, colours, the tool line and the answer share the screen.
      assert.match(
        running.stdout(),
        /Starting the agent[\s\S]*\u2713[\s\S]*Ran touch asked\.txt[\s\S]*It is there\.\r\n/
      )
      assert.deepStrictEqual(leftBehind(root), [])
    }))
})
