import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import { Deferred, Effect, Fiber, Queue, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { ProcessTree, ServerProcess, Supervisor } from "../src/index.ts"

interface Life {
  readonly exit: (exited: ServerProcess.Exited) => Effect.Effect<void>
}

/** A supervised server that the test starts, fails and ends. */
const harness = Effect.fnUntraced(function*(
  options: Omit<Supervisor.Options<string, never>, "start" | "target"> & {
    readonly fail?: (start: number) => AgentError.AgentError | undefined
  } = {}
) {
  let starts = 0
  let open = 0
  const lives = yield* Queue.unbounded<Life>()
  const start = Effect.gen(function*() {
    const number = ++starts
    assert.strictEqual(open, 0, "the one before is gone")
    yield* Effect.acquireRelease(Effect.sync(() => open++), () => Effect.sync(() => open--))
    const error = options.fail?.(number)
    if (error !== undefined) return yield* error
    const exited = Deferred.makeUnsafe<ServerProcess.Exited>()
    const process: ServerProcess.ServerProcess<string> = {
      pid: 1_000 + number,
      command: "agent serve",
      info: `address ${number}`,
      exited: Deferred.await(exited),
      tail: () => "",
      stop: Effect.void
    }
    yield* Queue.offer(lives, { exit: (how) => Effect.asVoid(Deferred.succeed(exited, how)) })
    return process
  })
  const supervisor = yield* Supervisor.make({ ...options, start, target: "agent" })
  const statuses: Array<Supervisor.Status<string>> = []
  yield* SubscriptionRef.changes(supervisor.status).pipe(
    Stream.runForEach((status) => Effect.sync(() => statuses.push(status))),
    Effect.forkScoped({ startImmediately: true })
  )
  return { supervisor, statuses, lives, starts: () => starts, open: () => open }
})

const tags = (statuses: ReadonlyArray<Supervisor.Status>) => statuses.map((status) => status._tag)
const waits = (statuses: ReadonlyArray<Supervisor.Status>) =>
  statuses.flatMap((status) => status._tag === "restarting" ? [status.in] : [])
const broken = AgentError.make(
  new AgentError.ProcessExited({ command: "agent serve", code: 1, stderrTail: "database is locked" })
)

describe("Supervisor", () => {
  it.effect("starts at once, and lets who asks wait for it", () =>
    Effect.gen(function*() {
      const { starts, statuses, supervisor } = yield* harness()
      const running = yield* supervisor.current
      assert.strictEqual(running.generation, 1)
      assert.strictEqual(running.info, "address 1")
      assert.strictEqual((yield* supervisor.current).pid, 1_001)
      assert.strictEqual(starts(), 1)
      assert.deepStrictEqual(statuses.at(-1), { _tag: "ready", generation: 1, pid: 1_001, info: "address 1" })
    }))

  it.effect("restarts after an exit, waits out the back-off, and tells each step", () =>
    Effect.gen(function*() {
      const { lives, starts, statuses, supervisor } = yield* harness()
      const life = yield* Queue.take(lives)
      yield* supervisor.current
      yield* life.exit({ code: 1, stderrTail: "oops" })
      const waiting = yield* Effect.forkChild(supervisor.current)
      yield* TestClock.adjust("187 millis")
      assert.strictEqual(starts(), 1)
      yield* TestClock.adjust("126 millis")
      assert.strictEqual((yield* Fiber.join(waiting)).generation, 2)
      yield* Effect.yieldNow
      assert.deepStrictEqual(tags(statuses).slice(-5), ["ready", "exited", "restarting", "starting", "ready"])
      assert.deepInclude(statuses.find((one) => one._tag === "exited"), { generation: 1, code: 1, stderrTail: "oops" })
      assert.deepInclude(statuses.find((one) => one._tag === "restarting"), { attempt: 1 })
    }))

  it.effect("doubles the wait, gives up after five restarts in 60 s, and tries again when asked later", () =>
    Effect.gen(function*() {
      const { starts, statuses, supervisor } = yield* harness({ fail: (start) => start <= 6 ? broken : undefined })
      const waiting = yield* Effect.forkChild(Effect.flip(supervisor.current))
      yield* TestClock.adjust("20 seconds")
      const { reason } = yield* Fiber.join(waiting)
      assert.strictEqual(starts(), 6)
      waits(statuses).forEach((wait, index) => {
        const plain = 250 * 2 ** index
        assert.isTrue(wait >= plain * 0.75 && wait <= plain * 1.25, `wait ${index} is ${wait}`)
      })
      assert.strictEqual(waits(statuses).length, 5)
      assert.strictEqual(reason._tag, "Unavailable")
      assert.strictEqual(reason.stderrTail, "database is locked")
      assert.isTrue((reason.retryAfter ?? 0) > 40_000 && (reason.retryAfter ?? 0) <= 60_000)
      const last = statuses.at(-1)
      assert.isTrue(last?._tag === "unavailable" && last.retryAt === 60_000)

      yield* TestClock.adjust("10 seconds")
      const refused = yield* Effect.flip(supervisor.current)
      assert.strictEqual(refused.reason.retryAfter, 30_000)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(starts(), 6, "nothing starts by itself any more")
      assert.strictEqual((yield* supervisor.current).generation, 7)
    }))

  it.effect("does not count failures that are over a minute old", () =>
    Effect.gen(function*() {
      const { lives, statuses, supervisor } = yield* harness()
      for (let round = 0; round < 20; round++) {
        const life = yield* Queue.take(lives)
        yield* supervisor.current
        yield* life.exit({ code: 0 })
        yield* TestClock.adjust("15 seconds")
      }
      assert.notInclude(tags(statuses), "unavailable")
      assert.strictEqual((yield* supervisor.current).generation, 21)
    }))

  it.effect("on demand, starts when asked and not by itself", () =>
    Effect.gen(function*() {
      const { lives, starts, statuses, supervisor } = yield* harness({ restart: "onDemand" })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(starts(), 0)
      yield* supervisor.current
      yield* (yield* Queue.take(lives)).exit({ signal: "SIGKILL" })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(starts(), 1)
      assert.strictEqual(tags(statuses).at(-1), "exited")
      assert.strictEqual((yield* supervisor.current).generation, 2)
    }))

  it.effect("gives up at once on what a retry cannot mend, and tries again when asked", () =>
    Effect.gen(function*() {
      const missing = AgentError.make(new AgentError.NotInstalled({ binary: "agent", tried: ["/bin/agent"] }))
      const { starts, supervisor } = yield* harness({ fail: (start) => start === 1 ? missing : undefined })
      assert.strictEqual((yield* Effect.flip(supervisor.current)).reason._tag, "NotInstalled")
      assert.strictEqual((yield* Effect.flip(supervisor.current)).reason._tag, "NotInstalled")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(starts(), 1)
      assert.strictEqual((yield* supervisor.current).generation, 2)
    }))

  it.effect("lets nobody wait for a second start time-out", () =>
    Effect.gen(function*() {
      const late = AgentError.make(
        new AgentError.StartTimeout({ command: "agent", waited: 60_000, stderrTail: "slow" })
      )
      const { starts, supervisor } = yield* harness({ fail: () => late })
      const { reason } = yield* Effect.flip(supervisor.current)
      assert.strictEqual(reason._tag, "Unavailable")
      assert.strictEqual(reason.retryAfter, 10_000)
      assert.strictEqual(reason.stderrTail, "slow")
      assert.strictEqual(starts(), 1)
    }))

  it.effect("ends the server and its restarts when stopped, also for who waits", () =>
    Effect.gen(function*() {
      const { open, starts, statuses, supervisor } = yield* harness({
        fail: (start) => start === 1 ? broken : undefined
      })
      const waiting = yield* Effect.forkChild(Effect.flip(supervisor.current))
      yield* Effect.yieldNow
      yield* Effect.all([supervisor.stop, supervisor.stop], { concurrency: 2 })
      assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "Unavailable")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(starts(), 1)
      assert.strictEqual(open(), 0)
      assert.strictEqual((yield* Effect.flip(supervisor.current)).reason._tag, "Unavailable")
      assert.strictEqual(tags(statuses).at(-1), "stopped")
    }))

  it.effect("releases a running server when its scope closes", () =>
    Effect.gen(function*() {
      const { open, supervisor } = yield* Effect.scoped(Effect.tap(harness(), ({ supervisor }) => supervisor.current))
      assert.strictEqual(open(), 0)
      assert.strictEqual((yield* Effect.flip(supervisor.current)).reason._tag, "Unavailable")
    }))

  it.live("restarts a real process that was killed", () =>
    Effect.gen(function*() {
      const supervisor = yield* Supervisor.make({
        target: "agent",
        backoff: { base: "10 millis", cap: "1 second", jitter: 0 },
        start: ServerProcess.spawn({
          command: "/bin/sh",
          args: ["-c", "echo ready; exec sleep 300"],
          ready: { line: (line) => line === "ready" ? line : undefined }
        })
      })
      const first = yield* supervisor.current
      process.kill(first.pid, "SIGKILL")
      assert.strictEqual((yield* first.process.exited).signal, "SIGKILL")
      const second = yield* SubscriptionRef.changes(supervisor.status).pipe(
        Stream.filter((status) => status._tag === "ready" && status.generation === 2),
        Stream.runHead,
        Effect.andThen(supervisor.current)
      )
      assert.notStrictEqual(second.pid, first.pid)
      yield* supervisor.stop
      assert.isUndefined(yield* ProcessTree.startTime(second.pid))
    }).pipe(Effect.provide(NodeServices.layer)))
})
