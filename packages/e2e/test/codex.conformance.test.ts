/** The real Codex against the suite that every adapter has to pass. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import * as Codex from "@reins/codex/Codex"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import * as Sessions from "@reins/core/Sessions"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as Conformance from "@reins/testing/Conformance"
import type * as FaultInjector from "@reins/testing/FaultInjector"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import * as Context from "effect/Context"
import * as CodexRelay from "./fixtures/codexRelay.ts"
import { scripted } from "./fixtures/conformanceAgent.ts"
import * as Processes from "./fixtures/processes.ts"

/** What all clauses share: one server, one model, and what stands between the server and its host. */
class Shared extends Context.Service<Shared, {
  readonly root: string
  readonly cwd: string
  readonly control: FaultInjector.Control
}>()("@reins/e2e/codexConformance/Shared") {}

/** Each cut ends a server and starts the next: CI takes every eighth. `REINS_EVERY_CUT=1` takes each. */
const options = { every: process.env["REINS_EVERY_CUT"] === undefined ? 8 : 1 }

const HostLive = Layer.unwrap(Effect.gen(function*() {
  const model = yield* ScriptedModel.ScriptedModel
  const sandbox = yield* CodexSandbox.make({ url: model.url })
  const { binary, control } = yield* CodexRelay.make(sandbox.root)
  const codex = Codex.make({
    binary,
    env: sandbox.env,
    leases: `${sandbox.root}/leases`,
    // Each cut is the end of a server, and there are as many as a turn has frames.
    restarts: { max: 1_000, window: "1 minute" }
  })
  return Sessions.layer.pipe(
    Layer.provideMerge(Providers.layer({ codex })),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.merge(Layer.succeed(Shared, { root: sandbox.root, cwd: sandbox.cwd, control }))
  )
})).pipe(Layer.provideMerge(ScriptedModel.layer({ titles: false })), Layer.provideMerge(NodeServices.layer))

const subject = Effect.gen(function*() {
  const sessions = yield* Sessions.Sessions
  const { control, cwd, root } = yield* Shared
  const instance = yield* Effect.flatMap(Providers.Providers, (providers) => providers.get("codex"))
  const found: Conformance.Subject = {
    capabilities: instance.capabilities,
    open: sessions.openScoped({ provider: "codex", cwd, title: "conformance" }),
    agent: scripted({ do: "tools", tools: [{ name: "exec_command", args: { cmd: "echo asked" } }] }),
    wire: {
      cut: Effect.orDie(control.cut()),
      end: Effect.orDie(control.halfClose()),
      stall: Effect.as(Effect.orDie(control.stall()), Effect.orDie(control.resume())),
      cutAfter: (n) =>
        Effect.orDie(control.onFrame({ n, do: "cut" })).pipe(
          // A cut that did not come before the end of the turn goes with its relay.
          Effect.andThen(Effect.addFinalizer(() => Effect.orDie(control.kill)))
        ),
      unknown: Effect.orDie(control.noise(`{"method":"never/heardOf","params":{}}\n`)),
      kill: Effect.sync(() => {
        for (const pid of Processes.withEnvironment(`CODEX_HOME=${root}/codex-home`)) {
          if (Processes.withText("app-server").includes(pid)) process.kill(pid, "SIGKILL")
        }
      })
    }
  }
  return found
})

layer(HostLive, { excludeTestServices: true, timeout: "60 seconds" })("the real Codex conforms", (it) => {
  for (const { name } of Conformance.clauses(Effect.never, options)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const context = yield* Effect.context<Sessions.Sessions | Shared | Providers.Providers>()
        const clauses = Conformance.clauses(Effect.provide(subject, context), options)
        const result = yield* Effect.result(clauses.find((clause) => clause.name === name)?.run ?? Effect.die(name))
        if (result._tag === "Success") return
        if (result.failure._tag === "NotApplicable") {
          assert.match(result.failure.message, /capability|no "(repeat|reorder)"/)
          return
        }
        assert.fail(result.failure.message)
      }), 300_000)
  }
})
