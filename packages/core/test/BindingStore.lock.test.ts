/** Who owns a session among processes; the other processes are real ones. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { AgentError } from "@reins/core/AgentError"
import { BindingStore, layerFileSystem, layerMemory } from "@reins/core/BindingStore"
import { SessionId } from "@reins/core/Ids"
import * as processIdentity from "../src/internal/processIdentity.ts"
import { Effect, Exit, FileSystem, Layer, Path, Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const id = SessionId.make("ses_Lock")
const program = fileURLToPath(new URL("./fixtures/holder.ts", import.meta.url))

interface Holder {
  readonly process: ChildProcess
  /** What it says next. */
  readonly line: Effect.Effect<string>
  /** Ends its input, and waits until it has gone. */
  readonly letGo: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
}

/** Runs as long as the scope lives. */
const holder = (directory: string, at = 0) =>
  Effect.acquireRelease(
    Effect.sync((): Holder => {
      const child = spawn(process.execPath, ["--conditions=@reins/source", program, directory, id, String(at)], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      const gone = once(child, "exit")
      return {
        process: child,
        line: Effect.promise(() => lines.next()).pipe(Effect.map(({ value }) => String(value))),
        letGo: Effect.promise(() => {
          child.stdin.end()
          return gone
        }),
        kill: Effect.promise(() => {
          child.kill("SIGKILL")
          return gone
        })
      }
    }),
    (held) => held.process.exitCode === null && held.process.signalCode === null ? held.kill : Effect.void
  )

const temporary = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = path.join(yield* fs.makeTempDirectoryScoped(), "bindings")
  yield* fs.makeDirectory(directory, { mode: 0o700 })
  const locks = Effect.map(fs.readDirectory(directory), (names) => names.filter((name) => name.includes(".lock")))
  const root = path.join(directory, "ses_%4cock.lock")
  return { fs, directory, locks, root }
})

const inDirectory = (directory: string) => Effect.provide(layerFileSystem(directory))

const inSlow = (directory: string, fs: FileSystem.FileSystem) =>
  Effect.provide(Layer.provide(layerFileSystem(directory), Layer.succeed(FileSystem.FileSystem, fs)))

/** Takes the lock for as long as the scope lives. */
const acquire = BindingStore.use((store) => store.acquire(id))

const busy = (error: AgentError) => error.reason._tag === "SessionBusy" ? error.reason : assert.fail(error.message)

const live = <E>(name: string, body: Effect.Effect<void, E, NodeServices.NodeServices | Scope.Scope>) =>
  it.live(name, () => body.pipe(Effect.scoped, Effect.provide(NodeServices.layer)), 60_000)

describe("the lock of a session", () => {
  for (const [name, layer] of [["files", undefined], ["memory", layerMemory]] as const) {
    live(
      `in ${name} is held once, and gone with its scope`,
      Effect.gen(function*() {
        const { directory, locks } = yield* temporary
        yield* Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Scope.provide(acquire, scope)
          const error = yield* Effect.flip(Effect.scoped(acquire))
          assert.include(busy(error).holder, "this process")
          // Of another session it says nothing.
          yield* Effect.scoped(BindingStore.use((store) => store.acquire(SessionId.make("another"))))
          yield* Scope.close(scope, Exit.void)
          yield* Effect.scoped(acquire)
          assert.deepStrictEqual(yield* locks, [])
        }).pipe(Effect.provide(layer ?? layerFileSystem(directory)))
      })
    )
  }

  live(
    "names the process that holds it, and is free when that one lets go",
    Effect.gen(function*() {
      const { directory, locks } = yield* temporary
      const other = yield* holder(directory)
      assert.strictEqual(yield* other.line, "held")
      const error = yield* Effect.flip(Effect.scoped(acquire)).pipe(inDirectory(directory))
      assert.deepStrictEqual([busy(error).pid, error.sessionId], [other.process.pid, id])
      assert.include(error.message, `process ${other.process.pid}`)
      yield* other.letGo
      assert.deepStrictEqual(yield* locks, [])
      yield* Effect.scoped(acquire).pipe(inDirectory(directory))
    })
  )

  live(
    "of a process that died by SIGKILL is taken over, and nothing of it is left",
    Effect.gen(function*() {
      const { directory, locks } = yield* temporary
      const other = yield* holder(directory)
      assert.strictEqual(yield* other.line, "held")
      yield* other.kill
      assert.strictEqual((yield* locks).length, 1)
      yield* Effect.gen(function*() {
        yield* acquire
        assert.strictEqual((yield* locks).length, 1)
        const third = yield* holder(directory)
        assert.strictEqual(yield* third.line, `busy ${process.pid}`)
      }).pipe(Effect.scoped, inDirectory(directory))
      assert.deepStrictEqual(yield* locks, [])
    })
  )

  live(
    "goes to exactly one of several processes that race for a dead owner's",
    Effect.gen(function*() {
      const { directory, locks } = yield* temporary
      for (let round = 0; round < 3; round++) {
        const first = yield* holder(directory)
        assert.strictEqual(yield* first.line, "held")
        yield* first.kill
        const at = Date.now() + 2_500
        const racers = yield* Effect.forEach([1, 2, 3, 4, 5], () => holder(directory, at))
        const said = yield* Effect.forEach(racers, (racer) => racer.line, { concurrency: "unbounded" })
        const winners = racers.filter((_, index) => said[index] === "held")
        assert.strictEqual(winners.length, 1, said.join(", "))
        for (const line of said) if (line !== "held") assert.strictEqual(line, `busy ${winners[0]?.process.pid}`)
        yield* Effect.forEach(racers, (racer) => racer.letGo, { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* locks, [])
      }
    })
  )

  for (const [what, released] of [["holds it", false], ["held it and gave it back", true]] as const) {
    live(
      `is not taken by a claim on a dead owner that another one followed, who ${what}`,
      Effect.gen(function*() {
        const { directory, fs, locks, root } = yield* temporary
        const self = yield* processIdentity.current(fs)
        const dead = { ...self, pid: 2 ** 22 - 1, start: 1 }
        yield* fs.writeFileString(root, JSON.stringify({ v: 1, nonce: "dead", process: dead }))
        const first = yield* Scope.make()
        // The second has looked, and comes to its claim when the first has gone through with its own.
        const slow = FileSystem.FileSystem.of({
          ...fs,
          link: (from, to) =>
            (to.endsWith(".dead") && from.includes(".tmp")
              ? acquire.pipe(
                Scope.provide(first),
                inDirectory(directory),
                Effect.provide(NodeServices.layer),
                Effect.andThen(released ? Scope.close(first, Exit.void) : Effect.void),
                Effect.orDie
              )
              : Effect.void).pipe(Effect.andThen(fs.link(from, to)))
        })
        if (released) yield* Effect.scoped(Effect.andThen(acquire, locks)).pipe(inSlow(directory, slow))
        else busy(yield* Effect.flip(Effect.scoped(acquire)).pipe(inSlow(directory, slow)))
        yield* Scope.close(first, Exit.void)
        assert.deepStrictEqual(yield* locks, [])
      })
    )
  }

  live(
    "survives an owner that died while it took over",
    Effect.gen(function*() {
      const { directory, fs, locks, root } = yield* temporary
      const dead = { pid: 2 ** 22 - 1, start: 1 }
      const self = yield* processIdentity.current(fs)
      const owner = (nonce: string) => JSON.stringify({ v: 1, nonce, process: { ...self, ...dead } })
      // The first died, the second died between its claim and the end of its take-over.
      yield* fs.writeFileString(root, owner("one"))
      yield* fs.writeFileString(`${root}.one`, owner("two"))
      yield* fs.writeFileString(`${root}.stray`, owner("three"))
      yield* Effect.gen(function*() {
        yield* acquire
        assert.deepStrictEqual(yield* locks, ["ses_%4cock.lock"])
        yield* Effect.flip(Effect.scoped(acquire))
      }).pipe(Effect.scoped, inDirectory(directory))
      assert.deepStrictEqual(yield* locks, [])
    })
  )

  live(
    "is judged by more than a pid",
    Effect.gen(function*() {
      const { directory, fs, root } = yield* temporary
      const self = yield* processIdentity.current(fs)
      const other = yield* holder(`${directory}-of-another`)
      const pid = other.process.pid ?? 0
      const fate = (process: Partial<processIdentity.ProcessIdentity>) =>
        Effect.gen(function*() {
          yield* fs.writeFileString(root, JSON.stringify({ v: 1, nonce: "n", process: { ...self, ...process } }))
          const exit = yield* Effect.exit(Effect.scoped(acquire)).pipe(inDirectory(directory))
          return Exit.isSuccess(exit) ? "taken over" : "busy"
        })
      const stat = yield* fs.readFileString(`/proc/${pid}/stat`)
      const start = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19])
      assert.strictEqual(yield* fate({ pid, start }), "busy")
      // The same number, given to a process that started later.
      assert.strictEqual(yield* fate({ pid, start: start - 1 }), "taken over")
      // The machine was started again since.
      assert.strictEqual(yield* fate({ pid, start, boot: "another" }), "taken over")
      // Where it cannot be told from here, nothing is taken from anybody.
      assert.strictEqual(yield* fate({ pid, start, boot: "another", machine: "another" }), "busy")
      assert.strictEqual(yield* fate({ pid: 2 ** 22 - 1, namespace: "pid:[1]" }), "busy")
      yield* fs.writeFileString(root, "{ broken")
      const error = yield* Effect.flip(Effect.scoped(acquire)).pipe(inDirectory(directory))
      assert.isTrue(error.reason._tag === "StoreFailed" && error.reason.path === root)
    })
  )
})
