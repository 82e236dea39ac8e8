/**
 * A place to run OpenCode against a scripted model: directories of its own, a configuration that knows no other
 * provider, and switches that keep it off the network.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as sandboxRoot from "./internal/sandboxRoot.ts"

/**
 * The provider's name in the configuration.
 *
 * @category models
 * @since 0.1.0
 */
export const provider = "scripted"

/**
 * The model's name below the provider.
 *
 * @category models
 * @since 0.1.0
 */
export const model = "scripted-1"

/**
 * A configuration of OpenCode, as JSON.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeConfig {
  readonly [key: string]: unknown
}

const merge = (base: OpenCodeConfig, overrides: OpenCodeConfig): OpenCodeConfig => {
  const merged: Record<string, unknown> = { ...base }
  for (const [key, value] of Object.entries(overrides)) {
    const before = merged[key]
    merged[key] = isPlain(before) && isPlain(value) ? merge(before, value) : value
  }
  return merged
}

const isPlain = (value: unknown): value is OpenCodeConfig => Predicate.isObject(value) && !Array.isArray(value)

/**
 * The configuration that makes the model at `url` the only one. Overrides are merged object by object; other values,
 * lists included, replace what was there.
 *
 * @category constructors
 * @since 0.1.0
 */
export const openCodeConfig = (url: string, overrides: OpenCodeConfig = {}): OpenCodeConfig =>
  merge({
    model: `${provider}/${model}`,
    // Titles and summaries go to the small model; without one they would go to a provider of the agent's choice.
    small_model: `${provider}/${model}`,
    share: "disabled",
    autoupdate: false,
    enabled_providers: [provider],
    provider: {
      [provider]: {
        npm: "@ai-sdk/openai-compatible",
        name: "Scripted",
        options: { baseURL: url, apiKey: "sk-scripted" },
        models: {
          [model]: {
            name: "Scripted 1",
            tool_call: true,
            reasoning: true,
            limit: { context: 100_000, output: 8_000 }
          }
        }
      }
    }
  }, overrides)

/**
 * The environment variables that keep OpenCode below `root` and off the network; they go on top of the caller's
 * environment. The directories named are not created here.
 *
 * @category constructors
 * @since 0.1.0
 */
export const openCodeEnv = (options: {
  readonly url: string
  readonly root: string
  readonly overrides?: OpenCodeConfig | undefined
}): Record<string, string> => ({
  HOME: `${options.root}/home`,
  XDG_CONFIG_HOME: `${options.root}/config`,
  XDG_DATA_HOME: `${options.root}/data`,
  XDG_CACHE_HOME: `${options.root}/cache`,
  XDG_STATE_HOME: `${options.root}/state`,
  TMPDIR: `${options.root}/tmp`,
  OPENCODE_DISABLE_MODELS_FETCH: "1",
  OPENCODE_DISABLE_AUTOUPDATE: "1",
  OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
  OPENCODE_DISABLE_DEFAULT_PLUGINS: "1",
  OPENCODE_DISABLE_EXTERNAL_SKILLS: "1",
  OPENCODE_DISABLE_CLAUDE_CODE: "1",
  // The agent still looks for packages of its configuration directory: nothing listens there.
  npm_config_registry: "http://127.0.0.1:1/",
  OPENCODE_CONFIG_CONTENT: JSON.stringify(openCodeConfig(options.url, options.overrides))
})

/**
 * Directories and environment for one OpenCode process, or several in turn.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeSandbox {
  /** The temporary directory that holds everything. */
  readonly root: string
  /** The project: an empty folder, no repository. */
  readonly cwd: string
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
  /** Merged into the configuration. */
  readonly overrides?: OpenCodeConfig | undefined
}): Effect.fn.Return<
  OpenCodeSandbox,
  PlatformError.PlatformError,
  FileSystem.FileSystem | Path.Path | Scope.Scope
> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = yield* sandboxRoot.make("reins-opencode-")
  const cwd = path.join(root, "project")
  for (const name of ["project", "home", "config", "data", "cache", "state", "tmp"]) {
    yield* fs.makeDirectory(path.join(root, name))
  }
  return { root, cwd, env: openCodeEnv({ url: options.url, root, overrides: options.overrides }) }
})
