import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, type Path, type Scope } from "effect"
import * as OpenCodeBinary from "../src/OpenCodeBinary.ts"

const native = "\x7fELF not a script"

const executable = Effect.fnUntraced(function*(path: string, content = native) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(path.slice(0, path.lastIndexOf("/")), { recursive: true })
  yield* fs.writeFileString(path, content)
  yield* fs.chmod(path, 0o755)
  return path
})

const place = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "reins-binary-" }), fs.realPath)
)

const withEnv = (env: Record<string, string>) => Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))

const pkg = `opencode-${process.platform}-${process.arch}`

const live = <A, E>(
  name: string,
  body: Effect.Effect<A, E, Scope.Scope | FileSystem.FileSystem | Path.Path>
) => it.live(name, () => body.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))

describe("OpenCodeBinary", () => {
  live(
    "takes the explicit path, and no other when that is none",
    Effect.gen(function*() {
      const root = yield* place
      const path = yield* executable(`${root}/mine`)
      yield* executable(`${root}/node_modules/${pkg}/bin/opencode`)
      assert.strictEqual((yield* OpenCodeBinary.find({ binary: path, from: [root] })).path, path)
      const error = yield* Effect.flip(OpenCodeBinary.find({ binary: `${root}/none`, from: [root] }))
      assert.isTrue(error.reason._tag === "NotInstalled" && error.reason.tried.join() === `${root}/none`)
    })
  )

  live(
    "takes REINS_OPENCODE_BIN, which is not set when it is empty",
    Effect.gen(function*() {
      const root = yield* place
      const path = yield* executable(`${root}/mine`)
      const installed = yield* executable(`${root}/node_modules/${pkg}/bin/opencode`)
      const find = OpenCodeBinary.find({ from: [root] })
      assert.strictEqual((yield* find.pipe(withEnv({ REINS_OPENCODE_BIN: path }))).path, path)
      assert.strictEqual((yield* find.pipe(withEnv({ REINS_OPENCODE_BIN: "" }))).path, installed)
    })
  )

  live(
    "takes the nearest node_modules above",
    Effect.gen(function*() {
      const root = yield* place
      const far = yield* executable(`${root}/node_modules/${pkg}/bin/opencode`)
      const near = yield* executable(`${root}/a/node_modules/${pkg}/bin/opencode`)
      assert.strictEqual((yield* OpenCodeBinary.find({ from: [`${root}/a/b/c`] })).path, near)
      assert.strictEqual((yield* OpenCodeBinary.find({ from: [`${root}/z`] })).path, far)
    })
  )

  live(
    "in PATH prefers a native binary to a script, passes over what cannot run, and names what it tried",
    Effect.gen(function*() {
      const root = yield* place
      const fs = yield* FileSystem.FileSystem
      const script = yield* executable(`${root}/first/opencode`, "#!/usr/bin/env node\n")
      const plain = yield* executable(`${root}/second/opencode`)
      yield* fs.chmod(plain, 0o644)
      yield* fs.makeDirectory(`${root}/third/opencode`, { recursive: true })
      const binary = yield* executable(`${root}/fourth/opencode`)
      const path = ["first", "second", "third", "", "fourth"].map((name) => name && `${root}/${name}`)
      const from = [`${root}/empty`]
      const find = OpenCodeBinary.find({ from })
      assert.strictEqual((yield* find.pipe(withEnv({ PATH: path.join(":") }))).path, binary)
      assert.strictEqual((yield* find.pipe(withEnv({ PATH: path.slice(0, 3).join(":") }))).path, script)
      const error = yield* Effect.flip(find.pipe(withEnv({ PATH: `${root}/second` })))
      assert.isTrue(error.reason._tag === "NotInstalled")
      const tried = error.reason._tag === "NotInstalled" ? error.reason.tried : []
      assert.isTrue(tried.includes(plain) && tried.some((entry) => entry.includes(pkg)))
      assert.strictEqual((yield* Effect.flip(find.pipe(withEnv({})))).reason._tag, "NotInstalled")
    })
  )

  live(
    "has another key when the file behind the path is replaced, and the same through a link",
    Effect.gen(function*() {
      const root = yield* place
      const fs = yield* FileSystem.FileSystem
      const path = yield* executable(`${root}/mine`)
      yield* fs.symlink(path, `${root}/link`)
      const before = yield* OpenCodeBinary.find({ binary: path, from: [] })
      assert.deepStrictEqual(yield* OpenCodeBinary.find({ binary: `${root}/link`, from: [] }), before)
      yield* executable(path, `${native}, newer`)
      const after = yield* OpenCodeBinary.find({ binary: path, from: [] })
      assert.strictEqual(after.path, before.path)
      assert.notStrictEqual(after.key, before.key)
    })
  )
})
