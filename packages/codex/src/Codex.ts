/**
 * Codex as a provider: `codex app-server`, spoken to by JSON-RPC over its standard input and output.
 *
 * @since 0.1.0
 */
import * as Capabilities from "@reins/core/Capabilities"
import type { Provider } from "@reins/core/Provider"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { WebSocketConstructor } from "effect/socket/Socket"
import * as catalogue from "./internal/catalogue.ts"
import * as connection from "./internal/connection.ts"
import * as parts from "./internal/parts.ts"
import { ofOthers, own } from "./internal/servers.ts"
import type { Servers } from "./internal/servers.ts"

/**
 * The release that Reins is tested with.
 *
 * @category models
 * @since 0.1.0
 */
export const testedVersion = "0.169.0"

/**
 * How Codex is found and run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Absolute path of the native binary. Default: `REINS_CODEX_BIN`, the nearest `node_modules`, `PATH`. */
  readonly binary?: string
  /** Environment variables for the servers, besides the inherited ones; `CODEX_HOME` among them. */
  readonly env?: Readonly<Record<string, string>>
  /** Where to look for `node_modules`, besides the session's directory. Default: the working directory. */
  readonly searchFrom?: ReadonlyArray<string>
  /** From spawn to the end of the handshake. Default 60 seconds. */
  readonly startTimeout?: Duration.Input
  /**
   * A server that ends is started again; one that fails more than `max` times within `window` is unavailable for a while,
   * and is tried again by the next prompt. Default 5 in 60 seconds.
   */
  readonly restarts?: { readonly max: number; readonly window: Duration.Input }
  /** How long a server is kept after its last session closed. Default 5 minutes. */
  readonly idleTimeToLive?: Duration.Input
  /**
   * Absolute path where each server is noted while it runs, so that the next host ends it if this one is killed. Default:
   * `$XDG_STATE_HOME/reins/servers` or `~/.local/state/reins/servers`; `false`: nowhere.
   */
  readonly leases?: string | false
}

/**
 * A server that somebody else runs (`codex app-server --listen ws://…`): sessions attach to it, and never start, configure or
 * end it. `env` of a session is refused, and directories are not looked at, since they may be those of another host.
 *
 * @category models
 * @since 0.1.0
 */
export interface AttachOptions {
  /** `ws://127.0.0.1:4500`, or `wss` where it is another host. */
  readonly url: string
  /** Sent as `Authorization: Bearer`: what the server was given as `--ws-auth`. Over `wss` or to this host only. */
  readonly token?: Redacted.Redacted<string>
}

/**
 * What Codex can do through Reins.
 *
 * @category models
 * @since 0.1.0
 */
export const capabilities: Capabilities.Capabilities = {
  ...Capabilities.none,
  steer: true,
  interrupt: true,
  resume: true,
  history: true,
  list: true,
  remove: true,
  fork: true,
  revert: true,
  compact: true,
  images: true,
  files: true,
  commands: true,
  mcpServers: true,
  hostTools: true,
  setModel: true,
  setMode: true,
  setTitle: true,
  questions: true,
  plan: true,
  subagents: true,
  usage: true,
  unasked: [
    "commands that the user's own rules allow",
    "tools of MCP servers that say of themselves that they only read",
    "web searches"
  ]
}

/**
 * Codex for `Providers.layer`. Its servers are started when the first session needs them, and are shared by sessions with
 * the same binary and environment. With `url` the server is one that runs already.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (options: AttachOptions): Provider<WebSocketConstructor | FileSystem.FileSystem | Path.Path>
  (options?: Options): Provider<ChildProcessSpawner | FileSystem.FileSystem | Path.Path>
} = (options: Options | AttachOptions = {}): Provider<never> =>
  // The overloads say what each needs.
  ("url" in options ? provider(ofOthers(options)) : provider(own(options))) as Provider<never>

const provider = <R>(
  servers: Effect.Effect<Servers, never, R | Scope.Scope>
): Provider<R | FileSystem.FileSystem | Path.Path> => ({
  kind: "codex",
  make: (id) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const needs = { servers: yield* servers, fs, path }
      return {
        id,
        kind: "codex",
        capabilities,
        ...catalogue.make(needs.servers, testedVersion),
        connect: (session) => connection.connect(needs, session),
        prepare: (input, limits) =>
          parts.prepare(input, limits).pipe(
            Effect.provideService(FileSystem.FileSystem, fs),
            Effect.provideService(Path.Path, path)
          )
      }
    })
})
