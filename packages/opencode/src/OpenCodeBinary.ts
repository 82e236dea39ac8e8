/**
 * Finds the native `opencode` binary.
 *
 * @since 0.1.0
 */
import type { AgentError } from "@reins/core/AgentError"
import * as AgentBinary from "@reins/transport/AgentBinary"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"

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
}): Effect.fn.Return<AgentBinary.AgentBinary, AgentError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const avx2 = yield* fs.readFileString("/proc/cpuinfo").pipe(
    Effect.map((text) => text.includes("avx2")),
    Effect.orElseSucceed(() => true)
  )
  const name = process.platform === "win32" ? "opencode.exe" : "opencode"
  return yield* AgentBinary.find({
    ...options,
    name: "opencode",
    variable: "REINS_OPENCODE_BIN",
    packaged: platformPackages(process.platform, process.arch, avx2).map((pkg) => `${pkg}/bin/${name}`)
  })
})
