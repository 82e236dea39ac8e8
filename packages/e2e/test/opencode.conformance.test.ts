/** The real OpenCode against the suite that every adapter has to pass. */
import { layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Providers from "@reins/core/Providers"
import * as Stores from "@reins/core/Stores"
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
import * as ConformanceAgent from "./fixtures/conformanceAgent.ts"
import { bash } from "./fixtures/script.ts"
import { servers } from "./soak/faults.ts"
import { isOpenCode } from "./soak/subjects.ts"
import * as Wire from "./fixtures/wire.ts"

/** Frames that are told twice: more than the turns of a clause have. */
const repeated = 400

/** What all clauses share: one server, one model, one proxy on the event stream. */
class Shared extends Context.Service<Shared, {
  readonly sandbox: OpenCodeSandbox.OpenCodeSandbox
  readonly proxy: Proxy
  /** Holds back what is answered to calls, while it is on; the events that a call leads to come before its answer. */
  readonly late: { on: boolean }
}>()("@reins/e2e/conformance/Shared") {}

const model = ConformanceAgent.watchedModel()

/** How long answers are held back: longer than events take. */
const hold = "250 millis"

const HostLive = Layer.unwrap(Effect.gen(function*() {
  const { url } = yield* ScriptedModel.ScriptedModel
  const sandbox = yield* OpenCodeSandbox.make({ url })
  const wire = yield* Wire.make
  const late = { on: false }
  const holding = (client: HttpClient.HttpClient): HttpClient.HttpClient =>
    HttpClient.transform(
      client,
      (answer, { method }) => late.on && method === "POST" ? Effect.tap(answer, () => Effect.sleep(hold)) : answer
    )
  // A dead wire is noticed by the silence of the turn, long before the heartbeat of the server is missed.
  return Sessions.layerWith({ silence: "3 seconds" }).pipe(
    Layer.provideMerge(
      Providers.layer({
        opencode: OpenCode.make({
          env: sandbox.env,
          leases: `${sandbox.root}/leases`,
          // Each clause that kills the server begins anew: the wait before the next one does not grow.
          restarts: { max: 1_000, window: "100 millis" }
        })
      })
    ),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.provide(
      Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, (client) => holding(wire.http(client))))
        .pipe(
          Layer.provide(NodeHttpClient.layerUndici)
        )
    ),
    Layer.merge(Layer.succeed(Shared, { sandbox, proxy: wire.proxy, late }))
  )
})).pipe(Layer.provideMerge(model.layer), Layer.provideMerge(NodeServices.layer))

/** A host of its own, with a server of its own: the mark makes another environment. */
const OwnHost = (sandbox: OpenCodeSandbox.OpenCodeSandbox, mark: string) =>
  Sessions.layer.pipe(
    Layer.provide(Providers.layer({
      opencode: OpenCode.make({
        env: { ...sandbox.env, [ConformanceAgent.variable]: mark },
        leases: `${sandbox.root}/leases`
      })
    })),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.provide(NodeHttpClient.layerUndici),
    Layer.provide(NodeServices.layer)
  )

const subject = Effect.gen(function*() {
  const sessions = yield* Sessions.Sessions
  const { late, proxy, sandbox } = yield* Shared
  const { cwd, root } = sandbox
  const mark = crypto.randomUUID()
  const store = yield* Layer.build(Stores.layerMemory)
  const instance = yield* Effect.flatMap(Providers.Providers, (providers) => providers.get("opencode"))
  const found: Conformance.Subject = {
    capabilities: instance.capabilities,
    open: sessions.openScoped({ provider: "opencode", cwd, title: "conformance" }),
    agent: ConformanceAgent.scripted(mark, bash),
    leftovers: ConformanceAgent.leftovers(mark, model.answering),
    host: (id) =>
      Effect.gen(function*() {
        const host = yield* Layer.build(Layer.provide(OwnHost(sandbox, mark), Layer.succeedContext(store)))
        return yield* Context.get(host, Sessions.Sessions).open(
          id === undefined ? { provider: "opencode", cwd } : { id }
        )
      }),
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
      repeat: Effect.gen(function*() {
        let inForce = true
        const { faults } = yield* proxy.counters
        const match = (line: string) => inForce && line.includes("/global/event")
        for (let n = 1; n <= repeated; n++) yield* proxy.duplicate({ match, n })
        yield* Effect.addFinalizer(() =>
          Effect.gen(function*() {
            inForce = false
            if ((yield* proxy.counters).faults - faults < 50) return yield* Effect.die("too little was told twice")
          })
        )
      }),
      // The stream keeps its order; the answers to calls come beside it.
      reorder: Effect.acquireRelease(
        Effect.sync(() => {
          late.on = true
        }),
        () =>
          Effect.sync(() => {
            late.on = false
          })
      ),
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
    it.effect(name, (test) =>
      Effect.gen(function*() {
        const context = yield* Effect.context<Sessions.Sessions | Shared | Providers.Providers>()
        const clauses = Conformance.clauses(Effect.provide(subject, context))
        yield* ConformanceAgent.judge(
          test,
          clauses.find((clause) => clause.name === name),
          /^the agent has the capability/
        )
      }), 300_000)
  }
})
