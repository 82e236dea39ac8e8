/**
 * A place to run Codex against a scripted model: directories of its own, a configuration that knows no other provider, and
 * switches that keep it off the network.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as sandboxRoot from "./internal/sandboxRoot.ts"

/**
 * A model that Codex knows, with the tools `exec_command` and `apply_patch`.
 *
 * @category models
 * @since 0.1.0
 */
export const model = "gpt-5.5"

/**
 * The configuration that makes the model at `url` the only one, with short retries. `extra` is appended: tables of its own.
 *
 * @category constructors
 * @since 0.1.0
 */
export const codexConfig = (url: string, extra = ""): string =>
  `model = "${model}"
model_provider = "scripted"
check_for_update_on_startup = false

[model_providers.scripted]
name = "Scripted"
base_url = "${url}"
env_key = "SCRIPTED_API_KEY"
wire_api = "responses"
requires_openai_auth = false
request_max_retries = 1
stream_max_retries = 1
stream_idle_timeout_ms = 4000

[analytics]
enabled = false

${extra}
`

/**
 * Directories and environment for one Codex process, or several in turn.
 *
 * @category models
 * @since 0.1.0
 */
export interface CodexSandbox {
  /** The temporary directory that holds everything. */
  readonly root: string
  /** The project: an empty folder, no repository. */
  readonly cwd: string
  /** `CODEX_HOME`. */
  readonly home: string
  readonly env: Record<string, string>
}

/**
 * Makes a sandbox in a temporary directory that is removed, with all it holds, when the scope closes. End the agent
 * first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(options: {
  /** Base URL of the model, with `/v1`. */
  readonly url: string
  /** Appended to the configuration. */
  readonly config?: string | undefined
}): Effect.fn.Return<CodexSandbox, PlatformError.PlatformError, FileSystem.FileSystem | Path.Path | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* sandboxRoot.make("reins-codex-")
  const [cwd, home, tmp] = ["project", "codex-home", "tmp"].map((name) => path.join(root, name)) as [
    string,
    string,
    string
  ]
  for (const directory of [cwd, home, tmp]) yield* fs.makeDirectory(directory)
  yield* fs.writeFileString(path.join(home, "config.toml"), codexConfig(options.url, options.config))
  return {
    root,
    cwd,
    home,
    // Its home must not lie below its temporary directory.
    env: { CODEX_HOME: home, HOME: root, TMPDIR: tmp, SCRIPTED_API_KEY: "sk-scripted", RUST_LOG: "warn" }
  }
})
