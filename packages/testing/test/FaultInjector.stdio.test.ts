import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Queue, Schedule, Scope } from "effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { FaultInjector } from "../src/index.ts"

const agent = fileURLToPath(new URL("fixtures/lineAgent.mjs", import.meta.url))
const main = fileURLToPath(new URL("../src/faultRelayMain.ts", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** What an adapter does: it spawns, writes, and reads lines. */
const start = Effect.fnUntraced(function*(command: string, args: ReadonlyArray<string>) {
  const child = spawn(command, args, { stdio: "pipe" })
  const lines = yield* Queue.unbounded<string>()
  const errors = yield* Queue.unbounded<string>()
  for (const [stream, queue] of [[child.stdout, lines], [child.stderr, errors]] as const) {
    let pending = ""
    stream.setEncoding("utf8").on("data", (text: string) => {
      const all = (pending + text).split("\n")
      pending = all.pop() ?? ""
      for (const line of all) Queue.offerUnsafe(queue, line)
    })
    stream.on("end", () => void Queue.offerUnsafe(queue, `${pending}<end>`))
  }
  child.stdin.on("error", () => undefined)
  const ended = new Promise<Ended>((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })))
  yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
  return {
    child,
    say: (line: string) => Effect.sync(() => void child.stdin.write(`${line}\n`)),
    line: Queue.take(lines),
    error: Queue.take(errors),
    silent: Effect.map(Queue.size(lines), (size) => size === 0),
    exit: Effect.promise(() => ended)
  }
})

const relayed = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const { control, ...relay } = yield* FaultInjector.stdio({ command: process.execPath, args: [agent, ...args] })
  return { control, relay, start: start(relay.command, relay.args) }
})

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    // A dead one that nobody has waited for yet still has its pid.
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return process.platform !== "linux"
  }
}

/** Ends when no process has this pid. */
const gone = (pid: number) =>
  Effect.suspend(() => isAlive(pid) ? Effect.fail("alive" as const) : Effect.void).pipe(
    Effect.retry({ times: 500, schedule: Schedule.spaced("10 millis") })
  )

describe("FaultInjector.stdio", () => {
  it.live("relays three streams, the end of input and the exit code", () =>
    Effect.gen(function*() {
      const { control, start } = yield* relayed()
      const adapter = yield* start
      assert.strictEqual(yield* adapter.line, "ready")
      yield* adapter.say("hello wörld")
      assert.strictEqual(yield* adapter.line, "hello wörld")
      yield* adapter.say("err oops")
      assert.strictEqual(yield* adapter.error, "oops")
      yield* control.awaitFrame(2)
      adapter.child.stdin.end("last\n")
      assert.strictEqual(yield* adapter.line, "last")
      assert.strictEqual(yield* adapter.line, "bye")
      assert.deepStrictEqual(yield* adapter.exit, { code: 0, signal: null })
      assert.deepStrictEqual(yield* control.awaitExit, { code: 0, signal: null })
    }))

  it.live("repeats an exit code, a signal of the agent, and passes signals on", () =>
    Effect.gen(function*() {
      const { control, start } = yield* relayed("--stubborn")
      const first = yield* start
      yield* first.say("exit 7")
      assert.deepStrictEqual(yield* first.exit, { code: 7, signal: null })
      const second = yield* start
      yield* second.say("die SIGKILL")
      assert.deepStrictEqual(yield* second.exit, { code: null, signal: "SIGKILL" })
      const third = yield* start
      assert.strictEqual(yield* third.line, "ready")
      third.child.kill("SIGTERM")
      assert.strictEqual(yield* third.line, "no")
      yield* control.kill
      assert.deepStrictEqual(yield* third.exit, { code: null, signal: "SIGKILL" })
    }))

  it.live("stalls, delays, duplicates and adds noise on command", () =>
    Effect.gen(function*() {
      const { control, start } = yield* relayed()
      yield* control.duplicate({ n: 2 })
      const adapter = yield* start
      assert.strictEqual(yield* adapter.line, "ready")
      yield* adapter.say("twice")
      assert.strictEqual(yield* adapter.line, "twice")
      assert.strictEqual(yield* adapter.line, "twice")
      yield* control.stall()
      yield* adapter.say("err through")
      yield* adapter.say("held")
      assert.strictEqual(yield* adapter.error, "through")
      assert.isTrue(yield* adapter.silent)
      yield* control.resume()
      assert.strictEqual(yield* adapter.line, "held")
      yield* control.noise("{not json\n")
      assert.strictEqual(yield* adapter.line, "{not json")
      yield* control.delay(1)
      yield* adapter.say("late")
      assert.strictEqual(yield* adapter.line, "late")
    }))

  it.live("cuts one stream and keeps the others", () =>
    Effect.gen(function*() {
      const { control, start } = yield* relayed("--stubborn")
      const adapter = yield* start
      assert.strictEqual(yield* adapter.line, "ready")
      yield* control.halfClose("stdin")
      assert.strictEqual(yield* adapter.line, "bye")
      yield* control.cut("stdout")
      assert.strictEqual(yield* adapter.line, "<end>")
      const { childPid } = yield* control.awaitStart
      assert.isTrue(isAlive(childPid))
    }))

  it.live("acts at the n-th line of an argument, without any control", () =>
    Effect.gen(function*() {
      const run = (...at: ReadonlyArray<string>) =>
        start(process.execPath, [
          "--conditions=@reins/source",
          "--disable-warning=ExperimentalWarning",
          main,
          ...at.flatMap((rule) => ["--at", rule]),
          "--",
          process.execPath,
          agent
        ])
      const cut = yield* run("stdout:2:cut", "stdout:1:noise:#\n")
      assert.strictEqual(yield* cut.line, "ready")
      assert.strictEqual(yield* cut.line, "#")
      yield* cut.say("two\nthree")
      assert.strictEqual(yield* cut.line, "two")
      assert.strictEqual(yield* cut.line, "<end>")
      const killed = yield* run("stdin:1:kill")
      yield* killed.say("anything")
      assert.deepStrictEqual(yield* killed.exit, { code: null, signal: "SIGKILL" })
      const wrong = yield* run("stdout:0:cut")
      assert.strictEqual(yield* wrong.error, "No rule: stdout:0:cut")
      assert.deepStrictEqual(yield* wrong.exit, { code: 2, signal: null })
    }))

  it.live("leaves no agent behind when the relay is killed, or the scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { control, start } = yield* relayed("--stubborn").pipe(Scope.provide(scope))
      const first = yield* start
      const killed = yield* control.awaitStart
      assert.strictEqual(yield* first.line, "ready")
      // Without these the agent would notice by itself.
      yield* control.halfClose("stdin")
      assert.strictEqual(yield* first.line, "bye")
      first.child.kill("SIGKILL")
      yield* gone(killed.childPid)
      const second = yield* start
      assert.strictEqual(yield* second.line, "ready")
      const closed = yield* control.awaitStart
      assert.notStrictEqual(closed.childPid, killed.childPid)
      yield* control.stall()
      yield* Scope.close(scope, Exit.void)
      yield* gone(closed.childPid)
      yield* second.exit
    }))

  it.live("says that an agent cannot be started", () =>
    Effect.gen(function*() {
      const { args, command } = yield* FaultInjector.stdio({ command: "/nowhere/agent" })
      const adapter = yield* start(command, args)
      assert.include(yield* adapter.error, "cannot start /nowhere/agent")
      assert.deepStrictEqual(yield* adapter.exit, { code: 127, signal: null })
    }))
})
