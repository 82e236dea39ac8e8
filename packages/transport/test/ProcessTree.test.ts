import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schedule, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { ProcessTree } from "../src/index.ts"

/** Starts a shell script and answers its pid and the words of its first line. */
const shell = Effect.fnUntraced(function*(script: string) {
  const handle = yield* ChildProcess.make("/bin/sh", ["-c", script], { stdin: "ignore", forceKillAfter: "1 second" })
  const first = Deferred.makeUnsafe<ReadonlyArray<string>>()
  yield* handle.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => Deferred.succeed(first, line.split(" "))),
    Effect.forkScoped
  )
  const words = yield* Deferred.await(first)
  const startTime = (yield* ProcessTree.startTime(handle.pid)) ?? -1
  return { handle, root: { pid: Number(handle.pid), startTime }, words }
})

const gone = (ref: ProcessTree.ProcessRef) =>
  Effect.repeat(ProcessTree.isAlive(ref), {
    while: (alive) => alive,
    schedule: Schedule.max([Schedule.spaced("10 millis"), Schedule.recurs(500)])
  }).pipe(Effect.map((alive) => !alive))

describe("ProcessTree", () => {
  it.live("lists children and grandchildren with parent, group and session", () =>
    Effect.gen(function*() {
      const { root, words } = yield* shell("sh -c 'sleep 300 & wait' & setsid sleep 300 & echo $! $$; wait")
      const tool = Number(words[0])
      const found = yield* Effect.repeat(ProcessTree.descendants(root), {
        until: (members) => members.length === 3 && members.some((one) => one.pid === tool && one.sid === tool),
        schedule: Schedule.spaced("10 millis")
      })
      const child = found.find((one) => one.ppid === root.pid && one.pid !== tool)
      assert.isDefined(child)
      assert.strictEqual(child.sid, root.pid)
      assert.isTrue(found.some((one) => one.ppid === child.pid && one.pgid === root.pid))
      yield* ProcessTree.killTree(root, found)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("kills what left the group for a session of its own, and what ignores SIGTERM", () =>
    Effect.gen(function*() {
      const script = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done' & wait"
      const { root, words } = yield* shell(script)
      const collected = yield* ProcessTree.descendants(root)
      const tool = collected.find((one) => one.pid === Number(words[0]))
      assert.isDefined(tool)
      assert.notStrictEqual(tool.sid, root.pid)
      const survivors = yield* ProcessTree.killTree(root, collected, { term: "100 millis" })
      assert.deepStrictEqual(survivors, [])
      assert.isFalse(yield* ProcessTree.isAlive(root))
      assert.isFalse(yield* ProcessTree.isAlive(tool))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("finds a child by its session when its parent ended after it was collected", () =>
    Effect.gen(function*() {
      // The tool starts another one and ends, when it is told to; the root ends as well.
      const tool = "trap \"sleep 300 & exit\" HUP; echo $$; while :; do sleep 0.05; done"
      const { root, words } = yield* shell(`setsid sh -c '${tool}' & wait`)
      const collected = yield* ProcessTree.descendants(root)
      const parent = collected.find((one) => one.pid === Number(words[0]))
      assert.isDefined(parent)
      assert.isTrue(yield* ProcessTree.signalProcess(parent, "SIGHUP"))
      assert.isTrue(yield* gone(parent))
      assert.isTrue(yield* gone(root))
      const left = yield* ProcessTree.descendants(root, collected)
      const orphan = left.find((one) => one.sid === parent.pid)
      assert.isDefined(orphan)
      assert.isUndefined(collected.find((one) => one.pid === orphan.pid))
      assert.deepStrictEqual(yield* ProcessTree.killTree(root, collected), [])
      assert.isFalse(yield* ProcessTree.isAlive(orphan))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("counts a zombie as dead", () =>
    Effect.gen(function*() {
      // The shell was replaced by a program that never reaps the child which the shell had started.
      const { words } = yield* shell("sleep 0.2 & echo $!; exec sleep 300")
      const child = Number(words[0])
      const startTime = yield* ProcessTree.startTime(child)
      assert.isDefined(startTime)
      assert.isTrue(yield* gone({ pid: child, startTime }))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("does not signal a pid that has another start time", () =>
    Effect.gen(function*() {
      const { handle, root } = yield* shell("echo up; exec sleep 300")
      const stranger = { pid: root.pid, startTime: root.startTime + 1 }
      assert.isFalse(yield* ProcessTree.isAlive(stranger))
      assert.isFalse(yield* ProcessTree.signalProcess(stranger, "SIGKILL"))
      assert.deepStrictEqual(yield* ProcessTree.killTree(stranger, []), [])
      assert.isTrue(yield* handle.isRunning)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("refuses the group ids that mean everyone, and the host itself", () =>
    Effect.gen(function*() {
      for (const pgid of [0, 1, -1, Number.NaN]) assert.isFalse(yield* ProcessTree.signalGroup(pgid, "SIGHUP"))
      const startTime = yield* ProcessTree.startTime(process.pid)
      assert.isDefined(startTime)
      assert.isFalse(yield* ProcessTree.signalProcess({ pid: process.pid, startTime }, "SIGTERM"))
    }))

  it.live("waits no longer than the graces", () =>
    Effect.gen(function*() {
      const { root } = yield* shell("trap '' TERM; echo up; while :; do sleep 0.05; done")
      const fiber = yield* Effect.forkChild(ProcessTree.killTree(root, [], { term: "50 millis", kill: "1 second" }))
      assert.deepStrictEqual(yield* Fiber.join(fiber), [])
    }).pipe(Effect.provide(NodeServices.layer)))
})
