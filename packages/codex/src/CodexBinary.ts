/**
 * Finds the native `codex` binary.
 *
 * @since 0.1.0
 */
import type { AgentError } from "@reins/core/AgentError"
import * as AgentBinary from "@reins/transport/AgentBinary"
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"

/** The directory of `@openai/codex-<platform>` that holds the binary is named by the target that it was built for. */
const targets: Readonly<Record<string, string>> = {
  "linux-x64": "x86_64-unknown-linux-musl",
  "linux-arm64": "aarch64-unknown-linux-musl",
  "darwin-x64": "x86_64-apple-darwin",
  "darwin-arm64": "aarch64-apple-darwin",
  "win32-x64": "x86_64-pc-windows-msvc",
  "win32-arm64": "aarch64-pc-windows-msvc"
}

/**
 * Looks in this order: the explicit path, `REINS_CODEX_BIN`, the platform package of `@openai/codex` in the nearest
 * `node_modules` above each of `from`, then `PATH`, where a native binary wins over a script. Everything that was looked
 * at is named in the `NotInstalled` error.
 *
 * @category constructors
 * @since 0.1.0
 */
export const find = (options: {
  readonly binary?: string
  readonly from: ReadonlyArray<string>
}): Effect.Effect<AgentBinary.AgentBinary, AgentError, FileSystem.FileSystem | Path.Path> => {
  const platform = `${process.platform}-${process.arch}`
  const target = targets[platform]
  const name = process.platform === "win32" ? "codex.exe" : "codex"
  const inside = `@openai/codex-${platform}/vendor/${target ?? ""}/bin/${name}`
  return AgentBinary.find({
    ...options,
    name: "codex",
    variable: "REINS_CODEX_BIN",
    // Not every package manager puts the platform package beside its parent.
    packaged: target === undefined ? [] : [inside, `@openai/codex/node_modules/${inside}`]
  })
}
