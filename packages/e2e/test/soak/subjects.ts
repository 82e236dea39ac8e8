/** The agents that a soak can have: the real ones, with something between them and their host that breaks. */
import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import * as Codex from "@reins/codex/Codex"
import * as Providers from "@reins/core/Providers"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import { Effect, Layer } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as CodexRelay from "../fixtures/codexRelay.ts"
import * as Wire from "../fixtures/wire.ts"

/** What can happen to the wire. */
export interface Breaking {
  readonly cut: Effect.Effect<void>
  readonly halfClose: Effect.Effect<void>
  readonly stall: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly delay: (ms: number) => Effect.Effect<void>
}

export interface Subject {
  readonly root: string
  readonly cwd: string
  readonly providers: Layer.Layer<Providers.Providers>
  readonly wire: Breaking
  /** Whether a process with this command line is the agent's server. */
  readonly isServer: (command: string) => boolean
}

/** Whether a command line is that of an OpenCode server. */
export const isOpenCode = (command: string): boolean => command.includes("\0serve\0")

const opencode = Effect.fnUntraced(function*(url: string) {
  const sandbox = yield* OpenCodeSandbox.make({ url })
  const { http, proxy } = yield* Wire.make
  const providers = Providers.layer({
    opencode: OpenCode.make({ env: sandbox.env, leases: `${sandbox.root}/leases` })
  }).pipe(
    Layer.provide(
      Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, http)).pipe(
        Layer.provide(NodeHttpClient.layerUndici)
      )
    ),
    Layer.provide(NodeServices.layer)
  )
  const subject: Subject = {
    root: sandbox.root,
    cwd: sandbox.cwd,
    providers,
    wire: {
      cut: proxy.cut(),
      halfClose: proxy.halfClose(),
      stall: proxy.stall(),
      resume: proxy.resume,
      delay: (ms) => proxy.delay(ms)
    },
    isServer: isOpenCode
  }
  return subject
})

const codex = Effect.fnUntraced(function*(url: string) {
  const sandbox = yield* CodexSandbox.make({ url })
  const { binary, control, native } = yield* CodexRelay.make(sandbox.root)
  const providers = Providers.layer({
    codex: Codex.make({
      binary,
      env: sandbox.env,
      leases: `${sandbox.root}/leases`,
      // Each fault of its wire is the end of a server.
      restarts: { max: 1_000, window: "1 minute" }
    })
  }).pipe(Layer.provide(NodeServices.layer))
  const subject: Subject = {
    root: sandbox.root,
    cwd: sandbox.cwd,
    providers,
    // A relay that is stopped, or gone, takes no command.
    wire: {
      cut: Effect.ignore(control.cut()),
      halfClose: Effect.ignore(control.halfClose()),
      stall: Effect.ignore(control.stall()),
      resume: Effect.ignore(control.resume()),
      delay: (ms) => Effect.ignore(control.delay(ms))
    },
    isServer: (command) => command.startsWith(`${native}\0app-server\0`)
  }
  return subject
})

export const subjects = { opencode, codex }
export type Provider = keyof typeof subjects
