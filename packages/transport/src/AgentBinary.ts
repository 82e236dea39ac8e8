/**
 * Finds the native binary of an agent.
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
export interface AgentBinary {
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
 * What is looked for, and where.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Name of the program, without the ending that Windows wants. */
  readonly name: string
  /** Environment variable that may hold its path. */
  readonly variable: string
  /** Its path, given by the host. */
  readonly binary?: string | undefined
  /** Directories above which `node_modules` is looked for. */
  readonly from: ReadonlyArray<string>
  /** Paths inside of `node_modules` of the native binary for this machine, best first. */
  readonly packaged: ReadonlyArray<string>
}

/**
 * Looks in this order: the explicit path, the environment variable, the platform packages in the nearest `node_modules`
 * above each of `from`, then `PATH`, where a native binary wins over a script. Everything that was looked at is named
 * in the `NotInstalled` error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const find = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<AgentBinary, AgentError.AgentError, FileSystem.FileSystem | Path.Path> {
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

  const explicit = options.binary ?? (yield* variable(options.variable))
  if (explicit !== undefined) {
    const found = yield* usable(explicit)
    if (found !== undefined) return found
    // Named by the host: falling back to another binary would hide the mistake.
    return yield* AgentError.make(
      new AgentError.NotInstalled({
        binary: options.name,
        tried,
        description: options.binary === undefined
          ? `The environment variable ${options.variable} names it, so no other place was looked at. Unset it to have the program searched for.`
          : "The path was given explicitly, so no other place was looked at."
      })
    )
  }

  const name = process.platform === "win32" ? `${options.name}.exe` : options.name
  const seen = new Set<string>()
  for (const start of options.from) {
    let directory = path.resolve(start)
    while (!seen.has(directory)) {
      seen.add(directory)
      for (const packaged of options.packaged) {
        const candidate = path.join(directory, "node_modules", packaged)
        if (!(yield* fs.exists(candidate).pipe(Effect.orElseSucceed(() => false)))) continue
        const found = yield* usable(candidate)
        if (found !== undefined) return found
      }
      directory = path.dirname(directory)
    }
    tried.push(path.join(path.resolve(start), "…", "node_modules", options.packaged[0] ?? name))
  }

  const scripts: Array<AgentBinary> = []
  for (const directory of ((yield* variable("PATH")) ?? "").split(process.platform === "win32" ? ";" : ":")) {
    if (directory === "") continue
    const found = yield* usable(path.join(directory, name))
    if (found === undefined) continue
    if (yield* isScript(fs, found.path)) scripts.push(found)
    else return found
  }
  const script = scripts[0]
  if (script !== undefined) return script
  return yield* AgentError.make(new AgentError.NotInstalled({ binary: options.name, tried }))
})

const isScript = (fs: FileSystem.FileSystem, path: string): Effect.Effect<boolean> =>
  Effect.scoped(Effect.gen(function*() {
    const file = yield* fs.open(path, { flag: "r" })
    const head = yield* file.readAlloc(2)
    return Option.isSome(head) && head.value[0] === 0x23 && head.value[1] === 0x21
  })).pipe(Effect.orElseSucceed(() => false))
