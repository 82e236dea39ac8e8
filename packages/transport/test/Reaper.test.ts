/** What a host leaves behind is ended without it, however it ends. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Effect, FileSystem, Schema } from "effect"
import { spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as ProcessLease from "../src/ProcessLease.ts"
import * as ProcessTree from "../src/ProcessTree.ts"

const Ref = Schema.Struct({ pid: Schema.Int, startTime: Schema.Int })
const decode = Schema.decodeUnknownSync(
  Schema.fromJsonString(Schema.Struct({ reaper: Schema.Int, root: Ref, tools: Schema.Array(Ref) }))
)

const script = fileURLToPath(new URL("fixtures/reapedHost.ts", import.meta.url))

const host = Effect.fnUntraced(function*(directory: string, mode = "live", env: Readonly<Record<string, string>> = {}) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=@reins/source", script, directory, mode], {
        detached: true,
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, ...env }
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let text = ""
  const line = yield* Effect.callback<string>((resume) => {
    child.stdout.setEncoding("utf8").on("data", (some: string) => {
      text += some
      if (text.includes("\n")) resume(Effect.succeed(text))
    })
  })
  const told = decode(line.trim())
  const reaperStart = (yield* ProcessTree.startTime(told.reaper)) ?? -1
  // Should a test fail, nothing of it is left.
  yield* Effect.addFinalizer(() => ProcessTree.killTree(told.root, [...told.tools] as never))
  return {
    ...told,
    pid: child.pid ?? -1,
    all: [told.root, ...told.tools],
    reaper: { pid: told.reaper, startTime: reaperStart },
    exited: Effect.callback<void>((resume) => {
      if (child.exitCode !== null || child.signalCode !== null) resume(Effect.void)
      else child.once("exit", () => resume(Effect.void))
    })
  }
})

const alive = (refs: ReadonlyArray<ProcessTree.ProcessRef>) =>
  Effect.map(
    Effect.forEach(refs, (ref) => Effect.map(ProcessTree.isAlive(ref), (is) => is ? [ref.pid] : [])),
    (found) => found.flat()
  )

/** How long it took until none of them lived, in milliseconds; fails after 5 seconds with those that do. */
const allGone = Effect.fnUntraced(function*(refs: ReadonlyArray<ProcessTree.ProcessRef>) {
  const since = yield* Clock.currentTimeMillis
  while (true) {
    const left = yield* alive(refs)
    const took = (yield* Clock.currentTimeMillis) - since
    if (left.length === 0) return took
    if (took > 5_000) return yield* Effect.die(new Error(`still alive after 5 s: ${left.join(", ")}`))
    yield* Effect.sleep(20)
  }
})

const directory = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped({ prefix: "reins-reaper-" }))

const live = <A, E>(name: string, body: Effect.Effect<A, E, NodeServices.NodeServices | Scope.Scope>) =>
  it.live(name, () => body.pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 30_000)

/** The number that the kernel has given last; the next process gets the next one. */
const lastNumber = "/proc/sys/kernel/ns_last_pid"

const canChooseNumbers = (): boolean => {
  try {
    writeFileSync(lastNumber, readFileSync(lastNumber))
    return true
  } catch {
    return false
  }
}

describe("the reaper", () => {
  live(
    "ends all of a host that was killed: tools without environment, in sessions of their own, deaf to TERM",
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const place = yield* directory
      const one = yield* host(place)
      assert.isAtLeast(one.all.length, 11)
      assert.deepStrictEqual(yield* alive([one.reaper]), [one.reaper.pid])
      assert.strictEqual((yield* fs.readDirectory(place)).length, 1)
      process.kill(one.pid, "SIGKILL")
      const took = yield* allGone(one.all)
      yield* allGone([one.reaper])
      assert.deepStrictEqual(yield* fs.readDirectory(place), [])
      yield* Effect.logDebug(`all gone after ${took} ms`)
    })
  )

  live(
    "ends the tools of a server that was dead already",
    Effect.gen(function*() {
      const one = yield* host(yield* directory, "serverDead")
      yield* allGone([one.root])
      // Those that had no mark and a parent in no session of the server's are not found any more.
      const marked = one.tools.filter((tool) => {
        try {
          return readFileSync(`/proc/${tool.pid}/environ`, "latin1").includes(ProcessLease.variable)
        } catch {
          return false
        }
      })
      assert.isAtLeast(marked.length, 3)
      process.kill(one.pid, "SIGKILL")
      yield* allGone(marked)
    })
  )

  live(
    "goes without a trace when the host has ended its processes itself",
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const place = yield* directory
      const one = yield* host(place, "orderly")
      yield* one.exited
      yield* allGone([one.reaper])
      assert.deepStrictEqual(yield* fs.readDirectory(place), [])
    })
  )

  live(
    "is not ended by what ends the group of the host",
    Effect.gen(function*() {
      const one = yield* host(yield* directory)
      process.kill(-one.pid, "SIGTERM")
      process.kill(-one.pid, "SIGHUP")
      yield* one.exited
      yield* allGone(one.all)
    })
  )

  live(
    "leaves the processes of another host alone",
    Effect.gen(function*() {
      const place = yield* directory
      const one = yield* host(place)
      const two = yield* host(place)
      process.kill(one.pid, "SIGKILL")
      yield* allGone(one.all)
      yield* allGone([one.reaper])
      assert.strictEqual((yield* alive(two.all)).length, two.all.length)
      process.kill(two.pid, "SIGKILL")
      yield* allGone(two.all)
    })
  )

  live(
    "leaves the processes of an outer host alone when an inner one dies",
    Effect.gen(function*() {
      const place = yield* directory
      const outer = yield* ProcessLease.make({ directory: `${place}/outer` })
      const sibling = spawn("sleep", ["300"], { stdio: "ignore", env: { ...process.env, ...outer.environment } })
      const ref = { pid: sibling.pid ?? -1, startTime: (yield* ProcessTree.startTime(sibling.pid ?? -1)) ?? -1 }
      const inner = yield* host(place, "live", outer.environment)
      process.kill(inner.pid, "SIGKILL")
      yield* allGone(inner.all)
      assert.deepStrictEqual(yield* alive([ref]), [ref.pid])
      sibling.kill("SIGKILL")
    })
  )

  live(
    "is started again when somebody ends it",
    Effect.gen(function*() {
      const one = yield* host(yield* directory)
      process.kill(one.reaper.pid, "SIGKILL")
      yield* allGone([one.reaper])
      // The host starts another one as soon as it hears of it.
      while (true) {
        const children = yield* ProcessTree.descendants(one.pid)
        const known = new Set(one.all.map(({ pid }) => pid))
        if (children.some(({ pid }) => !known.has(pid))) break
        yield* Effect.sleep(20)
      }
      process.kill(one.pid, "SIGKILL")
      yield* allGone(one.all)
    })
  )

  live(
    "that is killed together with its host leaves the rest to the next start",
    Effect.gen(function*() {
      const place = yield* directory
      const one = yield* host(place)
      process.kill(one.pid, "SIGSTOP")
      process.kill(one.reaper.pid, "SIGKILL")
      process.kill(one.pid, "SIGKILL")
      yield* allGone([one.reaper])
      // Of a host that is not dead yet nothing is swept.
      yield* one.exited
      assert.strictEqual((yield* alive(one.all)).length, one.all.length)
      const leases = yield* ProcessLease.make({ directory: place })
      assert.isAbove(yield* leases.sweep, 0)
      yield* allGone(one.all)
    })
  )

  it("does not touch a process that was given the number of one of ours", (test) => {
    test.skip(!canChooseNumbers(), `${lastNumber} is not writable, by which a process is given a chosen number`)
    return Effect.runPromise(
      Effect.gen(function*() {
        const place = yield* directory
        // Its tools would keep the number: it names their session.
        const one = yield* host(place, "alone")
        yield* allGone([one.root])
        // The kernel gives the next number after this one.
        let stranger = -1
        for (let attempt = 0; attempt < 200 && stranger !== one.root.pid; attempt++) {
          writeFileSync(lastNumber, String(one.root.pid - 1))
          const child = spawn("sleep", ["300"], { stdio: "ignore", detached: true, env: {} })
          stranger = child.pid ?? -1
          if (stranger !== one.root.pid) child.kill("SIGKILL")
        }
        assert.strictEqual(stranger, one.root.pid)
        const ref = { pid: stranger, startTime: (yield* ProcessTree.startTime(stranger)) ?? -1 }
        process.kill(one.pid, "SIGKILL")
        yield* allGone([one.reaper])
        assert.deepStrictEqual(yield* alive([ref]), [stranger])
        process.kill(stranger, "SIGKILL")
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
    )
  }, 30_000)
})
