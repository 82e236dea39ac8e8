/**
 * Finds the native `opencode` binary.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"

/**
 * A binary that was found. `key` changes when the file at the path is replaced by another.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeBinary {
  readonly path: string
  readonly key: string
}

const variable = (name: string) =>
  Config.String(name).pipe(
    Config.option,
    Effect.orElseSucceed(() => Option.none<string>()),
    // Set but empty is how a shell says "not set".
    Effect.map((value) => Option.getOrUndefined(Option.filter(value, (text) => text !== "")))
  )

/**
 * The packages that carry the native binary for this machine, best first. The baseline build runs on processors
 * without AVX2.
 */
const platformPackages = (platform: string, arch: string, avx2: boolean): ReadonlyArray<string> => {
  const os = platform === "win32" ? "windows" : platform
  const base = `opencode-${os}-${arch}`
  if (arch !== "x64") return [base, `${base}-musl`]
  return avx2
    ? [base, `${base}-baseline`, `${base}-musl`, `${base}-baseline-musl`]
    : [`${base}-baseline`, `${base}-baseline-musl`]
}

/**
 * Looks in this order: the explicit path, `REINS_OPENCODE_BIN`, the platform package in the nearest `node_modules`
 * above each of `from`, then `PATH`, where a native binary wins over a script. Everything that was looked at is named
 * in the `NotInstalled` error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const find = Effect.fnUntraced(function*(options: {
  readonly binary?: string
  readonly from: ReadonlyArray<string>
}): Effect.fn.Return<OpenCodeBinary, AgentError.AgentError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const tried: Array<string> = []

  const usable = Effect.fnUntraced(function*(candidate: string) {
    tried.push(candidate)
    const real = yield* fs.realPath(candidate).pipe(Effect.option)
    if (Option.isNone(real)) return undefined
    const info = yield* fs.stat(real.value).pipe(Effect.option)
    if (Option.isNone(info) || info.value.type !== "File" || (info.value.mode & 0o111) === 0) return undefined
    const changed = Option.match(info.value.mtime, { onNone: () => 0, onSome: (date) => date.getTime() })
    return { path: real.value, key: `${real.value}@${changed}:${info.value.size}` }
  })

  const explicit = options.binary ?? (yield* variable("REINS_OPENCODE_BIN"))
  if (explicit !== undefined) {
    const found = yield* usable(explicit)
    if (found !== undefined) return found
    // Named by the host: falling back to another binary would hide the mistake.
    return yield* AgentError.make(
      new AgentError.NotInstalled({
        binary: "opencode",
        tried,
        description: options.binary === undefined
          ? "The environment variable REINS_OPENCODE_BIN names it, so no other place was looked at. Unset it to have the program searched for."
          : "The path was given explicitly, so no other place was looked at."
      })
    )
  }

  const avx2 = yield* fs.readFileString("/proc/cpuinfo").pipe(
    Effect.map((text) => text.includes("avx2")),
    Effect.orElseSucceed(() => true)
  )
  const packages = platformPackages(process.platform, process.arch, avx2)
  const name = process.platform === "win32" ? "opencode.exe" : "opencode"
  const seen = new Set<string>()
  for (const start of options.from) {
    let directory = path.resolve(start)
    while (!seen.has(directory)) {
      seen.add(directory)
      for (const pkg of packages) {
        const candidate = path.join(directory, "node_modules", pkg, "bin", name)
        if (!(yield* fs.exists(candidate).pipe(Effect.orElseSucceed(() => false)))) continue
        const found = yield* usable(candidate)
        if (found !== undefined) return found
      }
      directory = path.dirname(directory)
    }
    tried.push(path.join(path.resolve(start), "…", "node_modules", packages[0] ?? "", "bin", name))
  }

  const scripts: Array<OpenCodeBinary> = []
  for (const directory of ((yield* variable("PATH")) ?? "").split(process.platform === "win32" ? ";" : ":")) {
    if (directory === "") continue
    const found = yield* usable(path.join(directory, name))
    if (found === undefined) continue
    if (yield* isScript(fs, found.path)) scripts.push(found)
    else return found
  }
  const script = scripts[0]
  if (script !== undefined) return script
  return yield* AgentError.make(new AgentError.NotInstalled({ binary: "opencode", tried }))
})

const isScript = (fs: FileSystem.FileSystem, path: string): Effect.Effect<boolean> =>
  Effect.scoped(Effect.gen(function*() {
    const file = yield* fs.open(path, { flag: "r" })
    const head = yield* file.readAlloc(2)
    return Option.isSome(head) && head.value[0] === 0x23 && head.value[1] === 0x21
  })).pipe(Effect.orElseSucceed(() => false))
