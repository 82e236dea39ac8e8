/** The published packages, as a user gets them: what is in them, and that the README's programs run on them. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import * as OpenCodeBinary from "@reins/opencode/OpenCodeBinary"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Context, Deferred, Effect, FileSystem, Layer } from "effect"
import { build } from "esbuild"
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import type { Manifest, Packed, Project } from "./fixtures/consumer.ts"
import * as consumer from "./fixtures/consumer.ts"
import { blocksOf, root } from "./fixtures/docs/blocks.ts"
import type { Result } from "./fixtures/docs/programs.ts"
import { run } from "./fixtures/docs/programs.ts"
import { respond } from "./fixtures/docs/scenario.ts"

const forms = ["as an ES module", "by require", "as one bundle, with nothing beside it"] as const
type Form = typeof forms[number]

class Packages extends Context.Service<Packages, {
  readonly packed: ReadonlyArray<Packed>
  readonly project: Project
  /** What the compiler said of the programs. */
  readonly compiled: ReadonlyArray<Result>
  /** What a program did. */
  readonly result: (program: string, form: Form) => Effect.Effect<Result>
}>()("@reins/e2e/packing/Packages") {}

/** The programs of the two READMEs. */
const examples = ["README.md", "packages/reins/README.md"].map((page) => {
  const block = blocksOf(page).find((block) => block.language === "ts")
  if (block === undefined) throw new Error(`${page} has no program`)
  return block
})

const compilerOptions = {
  target: "ES2023",
  // Effect's own declarations name what browsers have.
  lib: ["ES2023", "DOM", "DOM.AsyncIterable", "ESNext.Disposable"],
  module: "NodeNext",
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  rootDir: ".",
  outDir: "out"
}

/** CommonJS has no `await` at the top of a file: there a program is the body of a function. */
const commonJs = (code: string): string => {
  const lines = code.split("\n")
  const isImport = (line: string) => line.startsWith("import ")
  if (!lines.some((line) => /^(?:await|for await|const .*= await|try)\b/.test(line))) return code
  return [
    ...lines.filter(isImport),
    "const main = async () => {",
    ...lines.filter((line) => !isImport(line)),
    "}",
    "void main()"
  ].join("\n")
}

const names = examples.map(({ info }) => info.replace(/\.ts$/, ""))

/** Runs a program of the project as its user would, in a sandbox of its own. */
const host = (file: string, args: ReadonlyArray<string> = []) =>
  Effect.scoped(Effect.gen(function*() {
    const model = yield* ScriptedModel.ScriptedModel
    const sandbox = yield* OpenCodeSandbox.make({ url: model.url })
    const binary = yield* OpenCodeBinary.find({ from: [root] })
    return yield* run(process.execPath, [file, ...args], {
      cwd: sandbox.cwd,
      env: { ...sandbox.env, REINS_OPENCODE_BIN: binary.path }
    })
  }))

const bundled = Effect.fnUntraced(function*(project: Project, program: string) {
  const fs = yield* FileSystem.FileSystem
  const outfile = `${yield* fs.makeTempDirectoryScoped()}/${program}.mjs`
  const { errors, warnings } = yield* Effect.promise(() =>
    build({
      entryPoints: [`${project.directory}/module/out/${program}.js`],
      outfile,
      bundle: true,
      platform: "node",
      target: "node22",
      format: "esm",
      logLevel: "silent",
      // CommonJS packages below (undici) call `require` for what Node itself has.
      banner: {
        js: "import { createRequire as requireOf } from \"node:module\"; const require = requireOf(import.meta.url);"
      }
    })
  )
  if (errors.length + warnings.length > 0) return yield* Effect.die(JSON.stringify([errors, warnings]))
  return yield* host(outfile)
}, Effect.scoped)

const runs = {
  "as an ES module": (project: Project, program: string) => host(`${project.directory}/module/out/${program}.js`),
  "by require": (project: Project, program: string) => host(`${project.directory}/commonjs/out/${program}.js`),
  "as one bundle, with nothing beside it": bundled
}

const Live = Layer.effect(
  Packages,
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const packed = yield* consumer.pack(yield* fs.makeTempDirectoryScoped({ prefix: "reins-pack-" }))
    const project = yield* consumer.install(packed)
    // The same programs as ES modules and as CommonJS, where the compiler makes `require` of each import.
    for (const type of ["module", "commonjs"] as const) {
      const directory = `${project.directory}/${type}`
      yield* fs.remove(directory, { recursive: true, force: true })
      yield* fs.makeDirectory(directory)
      yield* fs.writeFileString(`${directory}/package.json`, JSON.stringify({ type }))
      yield* fs.writeFileString(
        `${directory}/tsconfig.json`,
        JSON.stringify({
          // All declarations once is enough.
          compilerOptions: { ...compilerOptions, skipLibCheck: type === "commonjs" },
          include: ["*.ts"]
        })
      )
      for (const { code, info } of examples) {
        yield* fs.writeFileString(`${directory}/${info}`, type === "module" ? code : commonJs(code))
      }
    }
    const compiled = yield* Effect.forEach(
      ["module", "commonjs"],
      (type) => run(`${root}node_modules/.bin/tsc`, ["-p", type], { cwd: project.directory }),
      { concurrency: 2 }
    )
    // Most of their time is the start of an agent, so they run two at a time; each test waits for its own.
    const results = new Map<string, Deferred.Deferred<Result>>()
    const all = names.flatMap((program) => forms.map((form) => ({ program, form, key: `${program} ${form}` })))
    for (const { key } of all) results.set(key, yield* Deferred.make<Result>())
    yield* Effect.forEach(all, ({ form, key, program }) => {
      const result = results.get(key)
      return result === undefined
        ? Effect.void
        : Effect.asVoid(Deferred.into(Effect.orDie(runs[form](project, program)), result))
    }, { concurrency: 2, discard: true }).pipe(Effect.forkScoped)
    return Packages.of({
      packed,
      project,
      compiled,
      result: (program, form) => {
        const result = results.get(`${program} ${form}`)
        return result === undefined ? Effect.die(`${program} is not run`) : Deferred.await(result)
      }
    })
  })
)

const manifestOf = (directory: string): Manifest =>
  JSON.parse(readFileSync(`${directory}/package.json`, "utf8")) as Manifest

const installedAt = (project: Project, name: string): string => `${project.directory}/node_modules/${name}`

/** A Node before 22 on this machine; or ours, which says that it is one. */
const oldNode = (): readonly [command: string, args: ReadonlyArray<string>] => {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const candidate = join(directory, "node")
    if (directory.includes("node_modules") || !existsSync(candidate)) continue
    const version = execFileSync(candidate, ["--version"], { encoding: "utf8" })
    if (Number.parseInt(version.slice(1), 10) < 22) return [candidate, []]
  }
  const pretend = "Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.20.2'}})"
  return [process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(pretend)}`]]
}

/** Some releases of Node call the `require` of an ES module experimental. */
const withoutWarning = (stderr: string): string =>
  stderr.replaceAll(/^.*ExperimentalWarning: .*\n|^\(Use `node --trace-warnings.*\n/gm, "")

/** What a stack trace looks like. */
const trace = /\n\s+at |node:internal|file:\/\//

layer(
  Live.pipe(
    Layer.provideMerge(ScriptedModel.layer({ respond })),
    Layer.provideMerge(NodeServices.layer)
  ),
  { excludeTestServices: true, timeout: "80 seconds" }
)("the published packages", (it) => {
  it.effect("hold what they need and nothing else", () =>
    Effect.gen(function*() {
      const { packed, project } = yield* Packages
      assert.deepStrictEqual(packed.map(({ name }) => name).toSorted(), consumer.published.toSorted())
      for (const { files, name, size } of packed) {
        for (const needed of ["LICENSE", "README.md", "package.json"]) assert.include(files, needed, name)
        const odd = files.filter((file) =>
          !/^(?:LICENSE|README\.md|package\.json)$|^src\/[\w/]+\.ts$|^dist\/[\w/]+\.(?:js|js\.map|d\.ts|d\.ts\.map)$|^bin\/[\w-]+\.mjs$/
            .test(file)
        )
        assert.deepStrictEqual(odd, [], name)
        // What the compiler once made of a source that is gone: `npm run clean` and `npm run build` mend it.
        const stale = files.filter((file) => file.startsWith("dist/")).filter((file) =>
          !files.includes(file.replace(/^dist\/(.*?)\.(?:js|d\.ts)(?:\.map)?$/, "src/$1.ts"))
        )
        assert.deepStrictEqual(stale, [], name)
        assert.isBelow(size, 600_000, name)
        const at = installedAt(project, name)
        assert.strictEqual(readFileSync(`${at}/LICENSE`, "utf8"), readFileSync(`${root}LICENSE`, "utf8"), name)
        const manifest = manifestOf(at)
        const { engines, license, sideEffects, type } = manifest
        assert.deepStrictEqual({ engines, license, sideEffects, type }, {
          engines: { node: ">=22.19.0" },
          license: "MIT",
          sideEffects: false,
          type: "module"
        }, name)
        for (const target of targetsOf(manifest)) {
          if (!target.includes("*")) assert.include(files, target.replace(/^\.\//, ""), name)
        }
      }
    }))

  it.effect("resolve by every subpath, with types, and hide what is internal", () =>
    Effect.gen(function*() {
      const { packed, project } = yield* Packages
      const modules = packed.flatMap(({ files, name }) => {
        const open = Object.keys(manifestOf(installedAt(project, name)).exports ?? {}).includes("./*")
        const found = files.flatMap((file) => /^dist\/(\w+)\.js$/.exec(file)?.[1] ?? [])
        // Entries of commands run when they are loaded.
        const libraries = found.filter((module) => !/^index$|main$|^demo$/i.test(module))
        return [
          ...(files.includes("dist/index.js") ? [name] : []),
          ...(open ? libraries.map((module) => `${name}/${module}`) : [])
        ]
      })
      assert.isAbove(modules.length, 40)
      const code = `
        const missing = []
        for (const name of ${JSON.stringify(modules)}) {
          try {
            await import(name)
          } catch (error) {
            missing.push(name + ": " + error.message)
          }
        }
        const { createRequire } = await import("node:module")
        const require = createRequire(process.cwd() + "/x.js")
        for (const name of ${JSON.stringify(modules)}) {
          try {
            require(name)
          } catch (error) {
            missing.push("require " + name + ": " + error.message)
          }
        }
        const hidden = await import("@reins/core/internal/driver").then(() => "seen", (error) => error.code)
        process.stdout.write(JSON.stringify({ missing, hidden }))
        process.exit(0)`
      const result = yield* run(process.execPath, ["--input-type=module", "--eval", code], { cwd: project.directory })
      assert.deepStrictEqual(
        [result.stderr, JSON.parse(result.stdout)],
        ["", { missing: [], hidden: "ERR_PACKAGE_PATH_NOT_EXPORTED" }]
      )
    }))

  it.effect("share exactly one effect", () =>
    Effect.gen(function*() {
      const { project } = yield* Packages
      const copies = consumer.copiesOf(project.directory, "effect")
      if (project.by === "npm") {
        assert.deepStrictEqual(copies, [`${project.directory}/node_modules/effect`])
        const listed = yield* run("npm", ["ls", "effect", "--all", "--parseable"], { cwd: project.directory })
        assert.deepStrictEqual([listed.code, listed.stdout.trim().split("\n")], [0, copies])
      } else assert.deepStrictEqual(copies, [])
    }))

  it.effect("serve a host that has Effect 3", () =>
    Effect.gen(function*() {
      const { packed, project } = yield* Packages
      // Without a registry there is no Effect 3 to be had.
      if (project.by === "links") return
      const directory = yield* consumer.besideEffect3(project, packed)
      assert.deepStrictEqual(consumer.copiesOf(directory, "effect").map((copy) => copy.slice(directory.length)), [
        "/node_modules/effect",
        "/node_modules/reins/node_modules/effect"
      ])
      const code = `
        import { Effect } from "effect"
        import { Reins, ReinsError } from "reins"
        const reins = await Reins.create({ providers: { opencode: Reins.openCode({ binary: "/nowhere" }) } })
        const tag = await Effect.runPromise(Effect.tryPromise({
          try: () => reins.open({ provider: "opencode", cwd: process.cwd() }),
          catch: (error) => ReinsError.is(error) ? error.tag : "unknown"
        }).pipe(Effect.flip))
        await reins.close()
        console.log(tag)`
      const result = yield* run(process.execPath, ["--input-type=module", "--eval", code], { cwd: directory })
      assert.deepStrictEqual(result, { code: 0, stdout: "NotInstalled\n", stderr: "" })
    }))

  it.effect("type-check the programs of the READMEs, as ES modules and as CommonJS, declarations included", () =>
    Effect.gen(function*() {
      const { compiled, project } = yield* Packages
      assert.deepStrictEqual(compiled.map(({ code, stdout }) => [code, stdout]), [[0, ""], [0, ""]])
      for (const type of ["module", "commonjs"]) {
        const out = readFileSync(`${project.directory}/${type}/out/readme.js`, "utf8")
        assert.strictEqual(out.includes("require(\"@reins/core\")"), type === "commonjs")
      }
    }))

  for (const [index, program] of names.entries()) {
    for (const form of forms) {
      it.effect(`run ${program} ${form}`, () =>
        Effect.gen(function*() {
          const { code, stderr, stdout } = yield* (yield* Packages).result(program, form)
          assert.deepStrictEqual([code, stdout, withoutWarning(stderr)], [0, examples[index]?.output ?? "", ""])
        }))
    }
  }

  it.effect("give the commands, which answer", () =>
    Effect.gen(function*() {
      const { project } = yield* Packages
      for (
        const [command, words] of [
          ["reins", "run"],
          ["reins-scripted-model", "chat-completions"],
          ["reins-fault-relay", "--control"]
        ] as const
      ) {
        const bin = Object.entries(
          manifestOf(installedAt(project, command === "reins" ? "@reins/cli" : "@reins/testing")).bin ?? {}
        ).find(([name]) => name === command)?.[1]
        assert.isDefined(bin, command)
        const at = installedAt(project, command === "reins" ? "@reins/cli" : "@reins/testing")
        const result = yield* run(process.execPath, [join(at, bin ?? ""), "--help"], { cwd: project.directory })
        assert.deepStrictEqual([command, result.code, result.stderr], [command, 0, ""])
        assert.include(result.stdout, words)
      }
    }))

  it.effect("tell an old Node in a sentence that it is too old", () =>
    Effect.gen(function*() {
      const { project } = yield* Packages
      const [command, args] = oldNode()
      const reins = join(
        installedAt(project, "@reins/cli"),
        manifestOf(installedAt(project, "@reins/cli")).bin?.["reins"] ?? ""
      )
      const cli = yield* run(command, [...args, reins, "run", "hi"], { cwd: project.directory })
      assert.deepStrictEqual([cli.code, cli.stdout], [2, ""])
      assert.match(
        cli.stderr,
        /^reins needs Node 22\.19\.0 or newer, and this is Node \d+\.\d+\.\d+\.\n {2}What to do: /
      )
      assert.notMatch(cli.stderr, trace)
      for (const type of ["module", "commonjs"]) {
        const load = type === "module" ? "await import(\"reins\")" : "require(\"reins\")"
        const program = `(async () => {
          const { Reins, ReinsError } = ${load}
          await Reins.create({ providers: { opencode: Reins.openCode() } }).catch((error) => {
            if (ReinsError.is(error, "UnsupportedVersion")) console.error(error.message)
          })
        })()`
        const result = yield* run(command, [...args, `--input-type=${type}`, "--eval", program], {
          cwd: project.directory
        })
        assert.match(
          withoutWarning(result.stderr),
          /^Reins needs Node 22\.19\.0 or newer, and this is Node \d+\.\d+\.\d+\.\n$/
        )
        // One that catches nothing sees the sentence, and not where in the library it was thrown.
        const careless = yield* run(command, [
          ...args,
          `--input-type=${type}`,
          "--eval",
          `(async () => (${load}).Reins.create({ providers: {} }))()`
        ], { cwd: project.directory })
        assert.strictEqual(careless.code, 1)
        assert.include(careless.stderr, "Reins needs Node 22.19.0 or newer")
        assert.notMatch(careless.stderr, /^\s+at /m)
      }
    }))
})

const targetsOf = ({ bin, exports }: Manifest): ReadonlyArray<string> => [
  ...Object.values(bin ?? {}),
  ...Object.values(exports ?? {}).flatMap((target) =>
    target === null ? [] : typeof target === "string" ? [target] : Object.values(target)
  )
]
