/** The real OpenCode against the suite that every adapter has to pass. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Providers from "@reins/core/Providers"
import * as Conformance from "@reins/testing/Conformance"
import type { Proxy } from "@reins/testing/FaultInjector"
import { Effect, Layer } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import * as BindingStore from "@reins/core/BindingStore"
import * as Sessions from "@reins/core/Sessions"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as Context from "effect/Context"
import { scripted } from "./fixtures/conformanceAgent.ts"
import { bash } from "./fixtures/script.ts"
import { servers } from "./soak/faults.ts"
import { isOpenCode } from "./soak/subjects.ts"
import * as Wire from "./fixtures/wire.ts"

/** What all clauses share: one server, one model, one proxy on the event stream. */
class Shared extends Context.Service<Shared, {
  readonly root: string
  readonly cwd: string
  readonly proxy: Proxy
}>()("@reins/e2e/conformance/Shared") {}

const HostLive = Layer.unwrap(Effect.gen(function*() {
  const model = yield* ScriptedModel.ScriptedModel
  const sandbox = yield* OpenCodeSandbox.make({ url: model.url })
  const wire = yield* Wire.make
  return Sessions.layer.pipe(
    Layer.provideMerge(
      Providers.layer({ opencode: OpenCode.make({ env: sandbox.env, leases: `${sandbox.root}/leases` }) })
    ),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.provide(
      Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, wire.http)).pipe(
        Layer.provide(NodeHttpClient.layerUndici)
      )
    ),
    Layer.merge(Layer.succeed(Shared, { root: sandbox.root, cwd: sandbox.cwd, proxy: wire.proxy }))
  )
})).pipe(Layer.provideMerge(ScriptedModel.layer({ titles: false })), Layer.provideMerge(NodeServices.layer))

const subject = Effect.gen(function*() {
  const sessions = yield* Sessions.Sessions
  const { cwd, proxy, root } = yield* Shared
  const instance = yield* Effect.flatMap(Providers.Providers, (providers) => providers.get("opencode"))
  const found: Conformance.Subject = {
    capabilities: instance.capabilities,
    open: sessions.openScoped({ provider: "opencode", cwd, title: "conformance" }),
    agent: scripted(bash("echo asked")),
    wire: {
      cut: proxy.cut(),
      end: proxy.halfClose(),
      stall: Effect.as(proxy.stall(), proxy.resume),
      cutAfter: Effect.fnUntraced(function*(n) {
        let inForce = true
        yield* proxy.onFrame({ match: (line) => inForce && line.includes("/global/event"), n, do: "cut" })
        // A turn may end before its n-th frame, and the next clause would be cut in its place.
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            inForce = false
          })
        )
      }),
      unknown: proxy.noise("data: {this is no frame\n\n", "/global/event"),
      kill: Effect.sync(() => {
        for (const pid of servers({ root, isServer: isOpenCode }))
          process.kill(pid, "SIGKILL")
      })
    }
  }
  return found
})

layer(HostLive, { excludeTestServices: true, timeout: "60 seconds" })("the real OpenCode conforms", (it) => {
  for (const { name } of Conformance.clauses(Effect.never)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const context = yield* Effect.context<Sessions.Sessions | Shared | Providers.Providers>()
        const clauses = Conformance.clauses(Effect.provide(subject, context))
        const result = yield* Effect.result(clauses.find((clause) => clause.name === name)?.run ?? Effect.die(name))
        if (result._tag === "Success") return
        if (result.failure._tag === "NotApplicable") {
          // It can do all of these, and its adapter puts what it repeats or turns round in order.
          assert.match(result.failure.message, /capability|no "(repeat|reorder)"/)
          return
        }
        assert.fail(result.failure.message)
      }), 300_000)
  }
})
