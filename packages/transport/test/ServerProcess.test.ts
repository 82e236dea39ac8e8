import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import type { AgentErrorReason } from "@reins/core/AgentError"
import { Deferred, Effect, Exit, Fiber, Redacted, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ProcessTree, ServerProcess } from "../src/index.ts"
import * as fakeSpawner from "./fixtures/fakeSpawner.ts"

const shell = (script: string) => ({ command: "/bin/sh", args: ["-c", script] })
/** A line `ready …` makes it ready, with the words that follow. */
const whenReady = { line: (line: string) => line.startsWith("ready") ? line.split(" ").slice(1) : undefined }

const pidOf = Effect.fnUntraced(function*(word: string | undefined) {
  const pid = Number(word)
  return { pid, startTime: (yield* ProcessTree.startTime(pid)) ?? -1 }
})

const alive = (pid: number) => Effect.map(ProcessTree.startTime(pid), (startTime) => startTime !== undefined)

const reasonOf = <Tag extends AgentErrorReason["_tag"]>(
  error: { readonly reason: AgentErrorReason },
  tag: Tag
): Extract<AgentErrorReason, { readonly _tag: Tag }> => {
  const { reason } = error
  assert.strictEqual(reason._tag, tag)
  return reason as Extract<AgentErrorReason, { readonly _tag: Tag }>
}

describe("ServerProcess with real processes", () => {
  it.live("is ready with what its line tells, and gone when its scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const server = yield* ServerProcess.spawn({
        ...shell("echo noise; printf '\\033[32mready\\033[0m one\\n'; exec sleep 300"),
        ready: whenReady
      }).pipe(Scope.provide(scope))
      assert.deepStrictEqual(server.info, ["one"])
      assert.isTrue(yield* alive(server.pid))
      assert.include(server.tail(), "noise\nready one")
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* alive(server.pid))
      assert.strictEqual((yield* server.exited).signal, "SIGTERM")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("leads a group and session of its own, with our additions to the inherited environment", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({
        ...shell("echo ready $ADDED ${PATH:+path} ${HOME:-nohome}; exec sleep 300"),
        env: { ADDED: "value", HOME: undefined },
        ready: whenReady
      })
      assert.deepStrictEqual(server.info, ["value", "path", "nohome"])
      const [child] = yield* ProcessTree.descendants(process.pid).pipe(
        Effect.map((all) => all.filter((one) => one.pid === server.pid))
      )
      assert.strictEqual(child?.pgid, server.pid)
      assert.strictEqual(child?.sid, server.pid)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("has no standard input to wait for", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({ ...shell("cat; echo ready; exec sleep 300"), ready: whenReady })
      assert.deepStrictEqual(server.info, [])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("fails the start at once when it exits, with code and tail", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ServerProcess.spawn({
        ...shell("echo to stdout; printf '\\033[91mport taken\\033[0m\\n' >&2; exit 3"),
        ready: whenReady
      }))
      const reason = reasonOf(error, "ProcessExited")
      assert.strictEqual(reason.code, 3)
      assert.strictEqual(reason.stderrTail?.trim(), "port taken")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("tells a missing binary, one that may not be run, and a missing directory apart", () =>
    Effect.gen(function*() {
      const spawn = (command: string, cwd?: string, args: ReadonlyArray<string> = []) =>
        Effect.flip(ServerProcess.spawn({ command, args, cwd, ready: {} }))
      const missing = yield* spawn("/nonexistent/agent")
      assert.deepStrictEqual(reasonOf(missing, "NotInstalled").tried, ["/nonexistent/agent"])
      assert.strictEqual((yield* spawn("/etc/passwd")).reason._tag, "SpawnFailed")
      assert.strictEqual((yield* spawn("/etc/passwd/agent")).reason._tag, "SpawnFailed")
      assert.strictEqual((yield* spawn("/bin/sh", "/nonexistent")).reason._tag, "SpawnFailed")
      assert.strictEqual((yield* spawn("/bin/sh", undefined, ["x".repeat(4 << 20)])).reason._tag, "SpawnFailed")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("drains what nobody reads: 10 MB on each output do not block it, and the tail stays small", () =>
    Effect.gen(function*() {
      const flood = "head -c 10485760 /dev/zero | tr '\\0' x"
      const server = yield* ServerProcess.spawn({
        ...shell(`echo ready; ${flood} >&2; ${flood} | fold -w 100; echo; echo the end >&2; exit 7`),
        ready: whenReady
      })
      const exited = yield* server.exited
      assert.strictEqual(exited.code, 7)
      assert.isTrue(exited.stderrTail?.endsWith("the end\n"))
      assert.isBelow(server.tail().length, 64 * 1024)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("keeps secrets of its environment out of the tail and of errors", () =>
    Effect.gen(function*() {
      const secret = "correct-horse-battery-staple"
      const error = yield* Effect.flip(ServerProcess.spawn({
        ...shell(`echo "token $SECRET refused for ${secret}" >&2; exit 1`),
        env: { SECRET: Redacted.make(secret) },
        ready: whenReady
      }))
      const reason = reasonOf(error, "ProcessExited")
      assert.include(reason.stderrTail, "refused")
      assert.notInclude(reason.stderrTail, secret)
      assert.notInclude(reason.command, secret)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("kills one that ignores SIGTERM", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({
        ...shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"),
        ready: whenReady,
        grace: { term: "100 millis" }
      })
      yield* server.stop
      assert.isFalse(yield* alive(server.pid))
      assert.strictEqual((yield* server.exited).signal, "SIGKILL")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("ends a tool that runs in a session of its own", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({
        ...shell("setsid sleep 300 & echo ready $!; wait"),
        ready: whenReady
      })
      const tool = yield* pidOf(server.info[0])
      assert.isTrue(yield* ProcessTree.isAlive(tool))
      yield* server.stop
      assert.isFalse(yield* ProcessTree.isAlive(tool))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("closes politely first, and then ends the tools whose parent exited by that", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({
        ...shell(
          "trap 'echo polite >&2; exit 0' HUP; setsid sleep 300 & echo ready $! $$; while :; do sleep 0.05; done"
        ),
        ready: whenReady,
        politeStop: ([, pid]) => Effect.sync(() => process.kill(Number(pid), "SIGHUP"))
      })
      const tool = yield* pidOf(server.info[0])
      yield* server.stop
      assert.strictEqual((yield* server.exited).code, 0)
      assert.strictEqual(server.tail().trim(), "polite")
      assert.isFalse(yield* ProcessTree.isAlive(tool))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("stops once for two who ask at the same time, and for one who asks later", () =>
    Effect.gen(function*() {
      let polite = 0
      const server = yield* ServerProcess.spawn({
        ...shell("echo ready; exec sleep 300"),
        ready: whenReady,
        politeStop: () => Effect.sync(() => polite++),
        voluntaryExit: 0
      })
      yield* Effect.all([server.stop, server.stop], { concurrency: 2 })
      assert.isFalse(yield* alive(server.pid))
      yield* server.stop
      assert.strictEqual(polite, 1)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("goes on with a stop whose caller was interrupted", () =>
    Effect.gen(function*() {
      const begun = Deferred.makeUnsafe<void>()
      const proceed = Deferred.makeUnsafe<void>()
      const server = yield* ServerProcess.spawn({
        ...shell("echo ready; exec sleep 300"),
        ready: whenReady,
        politeStop: () => Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(proceed)),
        voluntaryExit: 0
      })
      const caller = yield* Effect.forkChild(server.stop)
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(caller)
      yield* Deferred.succeed(proceed, undefined)
      yield* server.stop
      assert.isFalse(yield* alive(server.pid))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("kills what is starting when the start is interrupted, and its tools", () =>
    Effect.gen(function*() {
      const pids = Deferred.makeUnsafe<ReadonlyArray<string>>()
      const starting = yield* Effect.forkChild(Effect.scoped(ServerProcess.spawn({
        ...shell("setsid sleep 300 & echo $$ $!; wait"),
        ready: {
          line: (line: string): string | undefined => {
            Deferred.doneUnsafe(pids, Exit.succeed(line.split(" ")))
            return undefined
          }
        }
      })))
      const [server, tool] = yield* Effect.forEach(yield* Deferred.await(pids), pidOf)
      yield* Fiber.interrupt(starting)
      assert.isDefined(server)
      assert.isDefined(tool)
      assert.isFalse(yield* ProcessTree.isAlive(server))
      assert.isFalse(yield* ProcessTree.isAlive(tool))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("kills what does not become ready in time, and says what it wrote", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ServerProcess.spawn({
        ...shell("echo $$; echo waiting for the moon >&2; exec sleep 300"),
        ready: whenReady,
        startTimeout: "500 millis"
      }))
      const reason = reasonOf(error, "StartTimeout")
      assert.strictEqual(reason.waited, 500)
      assert.strictEqual(reason.stderrTail?.trim(), "waiting for the moon")
      const left = yield* ProcessTree.descendants(process.pid)
      assert.deepStrictEqual(left, [])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("ends what a server leaves in its group when it exits by itself", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({
        ...shell("sleep 300 >/dev/null 2>&1 & echo ready $!; exit 0"),
        ready: whenReady
      })
      const left = yield* pidOf(server.info[0])
      assert.strictEqual((yield* server.exited).code, 0)
      yield* Effect.repeat(ProcessTree.isAlive(left), { while: (yes) => yes, schedule: Schedule.spaced("5 millis") })
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("does not lose an exit that nobody waited for", () =>
    Effect.gen(function*() {
      const server = yield* ServerProcess.spawn({ ...shell("echo ready; exit 9"), ready: whenReady })
      yield* Effect.repeat(alive(server.pid), { while: (yes) => yes, schedule: Schedule.spaced("5 millis") })
      assert.strictEqual((yield* server.exited).code, 9)
      yield* server.stop
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("ServerProcess in time", () => {
  const spawn = <A>(
    child: Effect.Success<typeof fakeSpawner.make>,
    options: Omit<ServerProcess.Options<A, A, never, never>, "command" | "args">
  ) => Effect.provide(ServerProcess.spawn({ command: "/agent", args: [], ...options }), child.layer)

  it.effect("reports each stage and each second of waiting", () =>
    Effect.gen(function*() {
      const child = yield* fakeSpawner.make
      const reports: Array<ServerProcess.StartProgress> = []
      const probed = Deferred.makeUnsafe<string>()
      const starting = yield* Effect.forkScoped(spawn(child, {
        ready: { line: (line) => line.includes("ready") ? line : undefined, probe: () => Deferred.await(probed) },
        onProgress: (report) => Effect.sync(() => reports.push(report))
      }))
      yield* TestClock.adjust("2500 millis")
      yield* child.write("loading\n")
      yield* TestClock.adjust("1 second")
      yield* child.write("rea")
      yield* child.write("dy\n")
      yield* TestClock.adjust("200 millis")
      yield* Deferred.succeed(probed, "healthy")
      const server = yield* Fiber.join(starting)
      assert.strictEqual(server.info, "healthy")
      assert.deepStrictEqual(reports, [
        { elapsed: 0, stage: "spawned" },
        { elapsed: 1_000, stage: "spawned" },
        { elapsed: 2_000, stage: "spawned" },
        { elapsed: 3_000, stage: "spawned", lastLine: "loading" },
        { elapsed: 3_500, stage: "line", lastLine: "ready" },
        { elapsed: 3_500, stage: "probing", lastLine: "ready" }
      ])
      yield* child.exit(0)
    }))

  it.effect("gives a probe 250 ms, and tries again until one answers", () =>
    Effect.gen(function*() {
      const child = yield* fakeSpawner.make
      const attempts: Array<number> = []
      const starting = yield* Effect.forkScoped(spawn(child, {
        ready: {
          probe: () =>
            Effect.suspend(() => {
              attempts.push(attempts.length)
              // The first is never answered, the second refused, the third answered.
              return attempts.length === 1
                ? Effect.never
                : attempts.length === 2
                ? Effect.fail("no")
                : Effect.succeed(7)
            })
        }
      }))
      yield* TestClock.adjust("249 millis")
      assert.strictEqual(attempts.length, 1)
      yield* TestClock.adjust("51 millis")
      assert.strictEqual(attempts.length, 2)
      assert.isUndefined(starting.pollUnsafe())
      yield* TestClock.adjust("50 millis")
      assert.strictEqual((yield* Fiber.join(starting)).info, 7)
      yield* child.exit(0)
    }))

  it.effect("waits 60 s for readiness, and not for a listener that hangs", () =>
    Effect.gen(function*() {
      const child = yield* fakeSpawner.make
      const starting = yield* Effect.forkScoped(Effect.flip(spawn(child, {
        ready: { line: () => undefined },
        onProgress: () => Effect.never
      })))
      yield* TestClock.adjust("59 seconds")
      assert.isUndefined(starting.pollUnsafe())
      yield* child.exit(0)
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(starting)
      assert.strictEqual(error.reason._tag, "ProcessExited")
      const second = yield* fakeSpawner.make
      const slow = yield* Effect.forkScoped(Effect.flip(spawn(second, { ready: { line: () => undefined } })))
      yield* TestClock.adjust("60 seconds")
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(slow)).reason._tag, "StartTimeout")
    }))

  it.effect("stops within 5 s, whatever the polite close and the process do", () =>
    Effect.gen(function*() {
      const child = yield* fakeSpawner.make
      const server = yield* spawn(child, {
        ready: {},
        politeStop: () => Effect.uninterruptible(Effect.never)
      })
      const stopping = yield* Effect.forkScoped(server.stop)
      yield* TestClock.adjust("4900 millis")
      assert.isUndefined(stopping.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(stopping)
    }))

  it.effect("fails the start with the defect of a line reader", () =>
    Effect.gen(function*() {
      const child = yield* fakeSpawner.make
      const starting = yield* Effect.forkScoped(Effect.exit(spawn(child, {
        ready: {
          line: (): string => {
            throw new TypeError("bad reader")
          }
        }
      })))
      yield* TestClock.adjust("1 millis")
      yield* child.write("line\n")
      yield* TestClock.adjust("5 seconds")
      const exit = yield* Fiber.join(starting)
      assert.isTrue(Exit.hasDies(exit))
    }))
})
