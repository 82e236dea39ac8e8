import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type * as AgentError from "@reins/core/AgentError"
import { type Binding, BindingStore, layerFileSystem, layerMemory } from "@reins/core/BindingStore"
import { SessionId } from "@reins/core/Ids"
import { Deferred, Effect, Exit, Fiber, FileSystem, Layer, Logger, Option, Path, PlatformError } from "effect"
import * as fc from "fast-check"

const binding = (id: string, fields?: Partial<Binding>): Binding => ({
  v: 1,
  sessionId: SessionId.make(id),
  provider: "agent",
  cwd: "/repo",
  createdAt: 1,
  updatedAt: 2,
  lastSeq: 0,
  started: false,
  ...fields
})

const full = binding("full", {
  cursor: { v: 3, thread: "t-1", list: [1, null, "x", { a: true }] },
  model: "model",
  mode: "plan",
  title: "A title",
  lastSeq: 17,
  lastOutcome: "completed",
  started: true
})

/** Runs against the files of `directory`. */
const inDirectory = (directory: string) => Effect.provide(layerFileSystem(directory))

const temporary = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* fs.makeTempDirectoryScoped()
  return { fs, path, root, directory: path.join(root, "state", "bindings") }
})

const reasonOf = (error: AgentError.AgentError) => {
  assert.strictEqual(error.reason._tag, "StoreFailed")
  return error.reason._tag === "StoreFailed" ? error.reason : assert.fail("another reason")
}

/** The file system with some operations replaced, for a layer of its own. */
const withFaults = (faults: (fs: FileSystem.FileSystem) => Partial<FileSystem.FileSystem>) =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (fs) => FileSystem.FileSystem.of({ ...fs, ...faults(fs) }))
  )

const broken = (method: string) =>
  Effect.fail(
    PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method, description: "the plug was pulled" })
  )

const contract = (
  name: string,
  layer: Layer.Layer<BindingStore, AgentError.AgentError | PlatformError.PlatformError>
) =>
  describe(name, () => {
    it.live("gives back what was set, the last one", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.none())
        yield* store.set(full)
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.some(full))
        const next = { ...full, lastSeq: 18, updatedAt: 3 }
        yield* store.set(next)
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.some(next))
        const unstarted = binding("unstarted")
        yield* store.set(unstarted)
        assert.deepStrictEqual(yield* store.get(unstarted.sessionId), Option.some(unstarted))
      }).pipe(Effect.provide(layer)))

    it.live("removes, also what is not there", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        yield* store.set(full)
        yield* store.remove(full.sessionId)
        yield* store.remove(full.sessionId)
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.none())
        assert.deepStrictEqual(yield* store.list, [])
      }).pipe(Effect.provide(layer)))

    it.live("lists most recently updated first", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        yield* store.set(binding("b", { updatedAt: 5 }))
        yield* store.set(binding("c", { updatedAt: 9 }))
        yield* store.set(binding("a", { updatedAt: 5 }))
        assert.deepStrictEqual((yield* store.list).map((one) => one.sessionId), ["c", "a", "b"])
      }).pipe(Effect.provide(layer)))

    it.live("keeps a cursor as it is, byte by byte", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        const context = yield* Effect.context<never>()
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.jsonValue(), async (value) => {
              // What was sent to JSON once: a JSON value as an adapter makes it.
              const cursor = JSON.parse(JSON.stringify(value))
              const set = binding("cursor", { cursor })
              const got = await Effect.runPromiseWith(context)(
                Effect.andThen(store.set(set), Effect.flatMap(store.get(set.sessionId), Effect.fromOption))
              )
              assert.strictEqual(JSON.stringify(got.cursor), JSON.stringify(cursor))
            }),
            { numRuns: 100 }
          )
        )
      }).pipe(Effect.provide(layer)))

    it.live("what cannot be written as JSON is refused", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        const error = yield* Effect.flip(store.set(binding("nan", { cursor: Number.NaN })))
        assert.strictEqual(reasonOf(error).operation, "write the binding")
        assert.deepStrictEqual(yield* store.list, [])
      }).pipe(Effect.provide(layer)))

    it.live("any id has a binding of its own", () =>
      Effect.gen(function*() {
        const store = yield* BindingStore
        const ids = [
          "a",
          "A",
          "a/b",
          "a%2fb",
          "..",
          ".",
          "../../x",
          "/etc/passwd",
          "a b",
          "ä",
          "a\u0000b",
          "c:\\x",
          ".tmp",
          "\ud800",
          "\ufffd"
        ]
        for (const id of ids) yield* store.set(binding(id, { title: id }))
        for (const id of ids) {
          const got = yield* store.get(SessionId.make(id))
          assert.deepStrictEqual(Option.map(got, (one) => one.title), Option.some(id))
        }
        assert.strictEqual((yield* store.list).length, ids.length)
      }).pipe(Effect.provide(layer)))
  })

contract("BindingStore.layerMemory", layerMemory)

contract(
  "BindingStore.layerFileSystem",
  Layer.unwrap(Effect.map(temporary, ({ directory }) => layerFileSystem(directory))).pipe(
    Layer.provide(NodeServices.layer)
  )
)

describe("BindingStore.layerFileSystem (files)", () => {
  it.live("survives a restart", () =>
    Effect.gen(function*() {
      const { directory } = yield* temporary
      yield* BindingStore.use((store) => store.set(full)).pipe(inDirectory(directory))
      const got = yield* BindingStore.use((store) => store.get(full.sessionId)).pipe(inDirectory(directory))
      assert.deepStrictEqual(got, Option.some(full))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("files are 0600 and the directory is 0700, corrected when it was wider", () =>
    Effect.gen(function*() {
      const { directory, fs, path } = yield* temporary
      yield* fs.makeDirectory(directory, { recursive: true })
      yield* fs.chmod(directory, 0o755)
      yield* BindingStore.use((store) => store.set(full)).pipe(inDirectory(directory))
      assert.strictEqual((yield* fs.stat(directory)).mode & 0o777, 0o700)
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["full.json"])
      assert.strictEqual((yield* fs.stat(path.join(directory, "full.json"))).mode & 0o777, 0o600)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a directory that is shared with other users is refused and left as it is", () =>
    Effect.gen(function*() {
      const { directory, fs } = yield* temporary
      yield* fs.makeDirectory(directory, { recursive: true })
      yield* fs.chmod(directory, 0o1777)
      const error = yield* Effect.flip(Layer.build(layerFileSystem(directory)))
      assert.match(error.message, /shared with other users/)
      assert.strictEqual((yield* fs.stat(directory)).mode & 0o7777, 0o1777)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("no id leads out of the directory", () =>
    Effect.gen(function*() {
      const { directory, fs, path, root } = yield* temporary
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        for (const id of ["..", "../escaped", "/escaped", "a/../../escaped", "."]) yield* store.set(binding(id))
      }).pipe(inDirectory(directory))
      assert.deepStrictEqual(yield* fs.readDirectory(root), ["state"])
      assert.deepStrictEqual(yield* fs.readDirectory(path.dirname(directory)), ["bindings"])
      const names = yield* fs.readDirectory(directory)
      assert.strictEqual(names.length, 5)
      for (const name of names) assert.match(name, /^[a-z0-9_%-]+\.json$/)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a write that dies before its rename leaves the old binding, and nothing else", () =>
    Effect.gen(function*() {
      const { directory, fs } = yield* temporary
      yield* BindingStore.use((store) => store.set(full)).pipe(inDirectory(directory))
      const error = yield* BindingStore.use((store) => store.set({ ...full, title: "New" })).pipe(
        inDirectory(directory),
        Effect.provide(withFaults(() => ({ rename: () => broken("rename") }))),
        Effect.flip
      )
      const reason = reasonOf(error)
      assert.strictEqual(reason.operation, "write the binding")
      assert.match(reason.path ?? "", /full\.json$/)
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["full.json"])
      const got = yield* BindingStore.use((store) => store.get(full.sessionId)).pipe(inDirectory(directory))
      assert.deepStrictEqual(got, Option.some(full))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("what a crash left is ignored, and cleaned once it is old", () =>
    Effect.gen(function*() {
      const { directory, fs, path } = yield* temporary
      yield* BindingStore.use((store) => store.set(full)).pipe(inDirectory(directory))
      // A kill between the write and the rename: the rename never happens and neither does the cleaning.
      yield* BindingStore.use((store) => store.set({ ...full, title: "New" })).pipe(
        inDirectory(directory),
        Effect.provide(withFaults(() => ({ rename: () => broken("rename"), remove: () => broken("remove") }))),
        Effect.ignore
      )
      const left = (yield* fs.readDirectory(directory)).filter((name) => name.endsWith(".tmp"))
      assert.strictEqual(left.length, 1)
      const list = BindingStore.use((store) => store.list).pipe(inDirectory(directory))
      assert.deepStrictEqual(yield* list, [full])
      // It is young: another process may be writing it.
      assert.strictEqual((yield* fs.readDirectory(directory)).length, 2)
      const old = new Date(0)
      yield* fs.utimes(path.join(directory, left[0] ?? ""), old, old)
      assert.deepStrictEqual(yield* list, [full])
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["full.json"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("the contents are synced before the name points to them", () =>
    Effect.gen(function*() {
      const { directory } = yield* temporary
      const steps: Array<string> = []
      yield* BindingStore.use((store) => store.set(full)).pipe(
        inDirectory(directory),
        Effect.provide(withFaults((fs) => ({
          open: (path, options) =>
            Effect.map(fs.open(path, options), (file) => {
              const kind = path.endsWith(".tmp") ? "file" : "directory"
              return new Proxy(file, {
                get: (target, key) => {
                  if (key === "sync") return Effect.andThen(Effect.sync(() => steps.push(`sync ${kind}`)), target.sync)
                  const value: unknown = Reflect.get(target, key)
                  return typeof value === "function" ? value.bind(target) : value
                }
              })
            }),
          rename: (from, to) => Effect.andThen(Effect.sync(() => steps.push("rename")), fs.rename(from, to))
        })))
      )
      assert.deepStrictEqual(steps, ["sync file", "rename", "sync directory"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("concurrent sets of one id are whole, and the last one wins", () =>
    Effect.gen(function*() {
      const { directory, fs } = yield* temporary
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        const sets = Array.from({ length: 40 }, (_, i) => ({ ...full, lastSeq: i, title: "x".repeat(i * 50) }))
        yield* Effect.forEach(sets, store.set, { concurrency: "unbounded" })
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.fromNullishOr(sets[39]))
      }).pipe(inDirectory(directory))
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["full.json"])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a set that is interrupted while it writes ends before the one that follows it begins", () =>
    Effect.gen(function*() {
      const { directory } = yield* temporary
      const renaming = yield* Deferred.make<void>()
      const release = yield* Deferred.make<void>()
      const steps: Array<string> = []
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        const first = yield* Effect.forkChild(store.set({ ...full, title: "given up" }))
        yield* Deferred.await(renaming)
        const interrupt = yield* Effect.forkChild(Fiber.interrupt(first), { startImmediately: true })
        const second = yield* Effect.forkChild(store.set(full), { startImmediately: true })
        for (let i = 0; i < 5; i++) yield* Effect.yieldNow
        assert.deepStrictEqual(steps, [])
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(interrupt)
        yield* Fiber.join(second)
        assert.deepStrictEqual(steps, ["renamed", "renamed"])
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.some(full))
      }).pipe(
        inDirectory(directory),
        Effect.provide(withFaults((fs) => ({
          rename: (from, to) =>
            Deferred.succeed(renaming, undefined).pipe(
              Effect.andThen(Deferred.await(release)),
              Effect.andThen(fs.rename(from, to)),
              Effect.tap(() => Effect.sync(() => steps.push("renamed")))
            ),
          remove: (path, options) => Effect.andThen(Effect.sync(() => steps.push("removed")), fs.remove(path, options))
        })))
      )
    }).pipe(Effect.provide(NodeServices.layer)))

  const damaged = [
    ["empty", "", /it is not a binding; move the file away/],
    ["half written", "{\"v\":1,\"sessionId\":\"full\"", /move the file away/],
    ["another value", "[1,2]", /move the file away/],
    ["a field of the wrong kind", JSON.stringify({ ...full, lastSeq: "x" }), /move the file away/],
    ["another session's", JSON.stringify({ ...full, sessionId: "other" }), /move the file away/],
    ["a newer version", JSON.stringify({ ...full, v: 2 }), /version 2 and only 1 is known; update this program/]
  ] as const

  for (const [name, text, expected] of damaged) {
    it.live(`${name}: an error that names the file, and list goes on without it`, () =>
      Effect.gen(function*() {
        const { directory, fs, path } = yield* temporary
        const file = path.join(directory, "full.json")
        const warnings: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel === "Warn") warnings.push(String(message))
        })
        yield* Effect.gen(function*() {
          const store = yield* BindingStore
          const good = binding("good")
          yield* store.set(good)
          yield* fs.writeFileString(file, text)
          const error = yield* Effect.flip(store.get(full.sessionId))
          assert.strictEqual(reasonOf(error).path, file)
          assert.match(error.message, expected)
          assert.deepStrictEqual(yield* store.list, [good])
          assert.strictEqual(warnings.length, 1)
          assert.include(warnings[0], file)
          // Reading never changes it; setting replaces it.
          assert.strictEqual(yield* fs.readFileString(file), text)
          yield* store.set(full)
          assert.deepStrictEqual(yield* store.get(full.sessionId), Option.some(full))
        }).pipe(inDirectory(directory), Effect.provide(Logger.layer([logger])))
      }).pipe(Effect.provide(NodeServices.layer)))
  }

  it.live("fields that are not known are ignored", () =>
    Effect.gen(function*() {
      const { directory, fs, path } = yield* temporary
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        yield* fs.writeFileString(path.join(directory, "full.json"), JSON.stringify({ ...full, later: 1 }))
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.some(full))
      }).pipe(inDirectory(directory))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a directory that cannot be made is an error of the layer", () =>
    Effect.gen(function*() {
      const { fs, path, root } = yield* temporary
      const file = path.join(root, "file")
      yield* fs.writeFileString(file, "")
      const error = yield* Effect.flip(Layer.build(layerFileSystem(path.join(file, "bindings"))))
      assert.strictEqual(reasonOf(error).operation, "open the directory")
      assert.strictEqual(reasonOf(error).path, path.join(file, "bindings"))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a directory that went away is an error of each operation but get and remove, which find nothing", () =>
    Effect.gen(function*() {
      const { directory, fs } = yield* temporary
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        yield* fs.remove(directory, { recursive: true })
        assert.strictEqual(reasonOf(yield* Effect.flip(store.set(full))).operation, "write the binding")
        assert.strictEqual(reasonOf(yield* Effect.flip(store.list)).operation, "list the bindings")
        assert.deepStrictEqual(yield* store.get(full.sessionId), Option.none())
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(store.remove(full.sessionId))))
      }).pipe(inDirectory(directory))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("an id that is too long for a file name is a typed error", () =>
    Effect.gen(function*() {
      const { directory, fs } = yield* temporary
      const error = yield* BindingStore.use((store) => store.set(binding("x".repeat(400)))).pipe(
        inDirectory(directory),
        Effect.flip
      )
      assert.strictEqual(reasonOf(error).operation, "write the binding")
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("a file that is far too large is not read", () =>
    Effect.gen(function*() {
      const { directory, fs, path } = yield* temporary
      const file = path.join(directory, "full.json")
      let read = 0
      yield* Effect.gen(function*() {
        const store = yield* BindingStore
        yield* fs.writeFileString(file, "")
        yield* fs.truncate(file, 64 * 1024 * 1024)
        const error = yield* Effect.flip(store.get(full.sessionId))
        assert.strictEqual(reasonOf(error).path, file)
        assert.strictEqual(read, 0)
      }).pipe(
        inDirectory(directory),
        Effect.provide(withFaults((fs) => ({
          readFileString: (path, encoding) => {
            read++
            return fs.readFileString(path, encoding)
          }
        })))
      )
    }).pipe(Effect.provide(NodeServices.layer)))
})
