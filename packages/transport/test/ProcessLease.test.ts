import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as ProcessLease from "../src/ProcessLease.ts"
import * as ProcessTree from "../src/ProcessTree.ts"

const started = Effect.fnUntraced(function*(child: ChildProcess) {
  const pid = child.pid ?? -1
  const startTime = (yield* ProcessTree.startTime(pid)) ?? -1
  return { pid, startTime }
})

/** A process that leads its group and stays; it goes with the scope. */
const sleeper = (env: Readonly<Record<string, string>>) =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => spawn("sleep", ["300"], { detached: true, stdio: "ignore", env: { ...process.env, ...env } })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    ),
    started
  )

/** One that has ended. */
const ended = Effect.gen(function*() {
  const child = spawn("sleep", ["300"], { stdio: "ignore" })
  const ref = yield* started(child)
  yield* Effect.callback<void>((resume) => {
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })
  return ref
})

const place = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const directory = `${yield* fs.makeTempDirectoryScoped({ prefix: "reins-lease-" })}/leases`
  const leases = yield* ProcessLease.make({ directory })
  const names = Effect.orElseSucceed(fs.readDirectory(directory), () => [])
  const write = (name: string, lease: unknown) =>
    Effect.andThen(
      fs.makeDirectory(directory, { recursive: true }),
      fs.writeFileString(`${directory}/${name}.json`, JSON.stringify(lease))
    )
  const space = yield* ProcessTree.space
  return { directory, leases, names, write, space: space ?? { bootId: "", pidNamespace: "" } }
})

const live = <A, E>(name: string, body: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  it.live(name, () => body.pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 20_000)

describe("ProcessLease", () => {
  live(
    "is a file, closed to other users, for as long as the scope lives",
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { directory, leases, names } = yield* place
      const child = yield* sleeper(leases.environment)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* leases.hold(child)
        const [name = ""] = yield* names
        assert.strictEqual((yield* fs.stat(`${directory}/${name}`)).mode & 0o077, 0)
        assert.strictEqual((yield* fs.stat(directory)).mode & 0o077, 0)
        // Its host lives: it is let alone.
        assert.strictEqual(yield* leases.sweep, 0)
        assert.deepStrictEqual(yield* names, [name])
      }))
      assert.deepStrictEqual(yield* names, [])
      assert.isTrue(yield* ProcessTree.isAlive(child))
    })
  )

  live(
    "of a dead host: the process is ended, with what it had started, and the lease removed",
    Effect.gen(function*() {
      const { leases, names, space, write } = yield* place
      const mark = "mark-of-a-dead-host"
      const child = yield* sleeper({ REINS_OWNER: `outer:${mark}` })
      // A tool in a session of its own, whose parent is gone.
      const tool = yield* sleeper({ REINS_OWNER: `outer:${mark}` })
      yield* write("dead", { v: 1, ...space, host: yield* ended, child, mark })
      assert.strictEqual(yield* leases.sweep, 2)
      assert.isFalse(yield* ProcessTree.isAlive(child))
      assert.isFalse(yield* ProcessTree.isAlive(tool))
      assert.deepStrictEqual(yield* names, [])
      assert.strictEqual(yield* leases.sweep, 0)
    })
  )

  live(
    "is not acted on where anything does not agree",
    Effect.gen(function*() {
      const { leases, names, space, write } = yield* place
      const mark = "mark-that-agrees"
      const child = yield* sleeper({ REINS_OWNER: mark })
      const lease = { v: 1, ...space, host: yield* ended, child, mark }
      yield* write("other-mark", { ...lease, mark: "another" })
      yield* write("other-boot", { ...lease, bootId: "another" })
      yield* write("other-space", { ...lease, pidNamespace: "pid:[1]" })
      yield* write("newer", { ...lease, v: 2 })
      yield* write("half", "{")
      assert.strictEqual(yield* leases.sweep, 0)
      assert.isTrue(yield* ProcessTree.isAlive(child))
      // What can never be acted on again is forgotten; what somebody else may act on is kept.
      assert.deepStrictEqual((yield* names).toSorted(), ["half.json", "newer.json", "other-space.json"])
    })
  )

  live(
    "that cannot be written is no reason to fail",
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.makeTempFileScoped({ prefix: "reins-lease-" })
      const leases = yield* ProcessLease.make({ directory: `${file}/leases` })
      yield* leases.hold(yield* sleeper({}))
      assert.strictEqual(yield* leases.sweep, 0)
    })
  )
})
