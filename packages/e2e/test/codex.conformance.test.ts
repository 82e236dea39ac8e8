/** The real Codex against the suite that every adapter has to pass. */
import { NodeServices } from "@effect/platform-node"
import { layer } from "@effect/vitest"
import * as Codex from "@reins/codex/Codex"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import * as Sessions from "@reins/core/Sessions"
import * as Stores from "@reins/core/Stores"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as Conformance from "@reins/testing/Conformance"
import type * as FaultInjector from "@reins/testing/FaultInjector"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import * as Context from "effect/Context"
import * as CodexRelay from "./fixtures/codexRelay.ts"
import * as ConformanceAgent from "./fixtures/conformanceAgent.ts"
import { exec } from "./fixtures/codexHost.ts"
import * as Processes from "./fixtures/processes.ts"

/** What all clauses share: one server, one model, and what stands between the server and its host. */
class Shared extends Context.Service<Shared, {
  readonly sandbox: CodexSandbox.CodexSandbox
  readonly native: string
  readonly control: FaultInjector.Control
}>()("@reins/e2e/codexConformance/Shared") {}

/** Each cut ends a server and starts the next: CI takes every eighth. `REINS_EVERY_CUT=1` takes each. */
const options = { every: process.env["REINS_EVERY_CUT"] === undefined ? 4 : 1 }

/** Lines that are told twice: more than the turns of a clause have. */
const repeated = 200

const model = ConformanceAgent.watchedModel()

const HostLive = Layer.unwrap(Effect.gen(function*() {
  const { url } = yield* ScriptedModel.ScriptedModel
  const sandbox = yield* CodexSandbox.make({ url })
  const { binary, control, native } = yield* CodexRelay.make(sandbox.root)
  const codex = Codex.make({
    binary,
    env: sandbox.env,
    leases: `${sandbox.root}/leases`,
    // Each cut is the end of a server, and none of them is the fault of the one before: the wait does not grow.
    restarts: { max: 1_000, window: "100 millis" }
  })
  // Codex has no heartbeat: a dead wire is noticed by the silence of a turn alone.
  return Sessions.layerWith({ silence: "2 seconds", silenceEnd: "8 seconds" }).pipe(
    Layer.provideMerge(Providers.layer({ codex })),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.merge(Layer.succeed(Shared, { sandbox, native, control }))
  )
})).pipe(Layer.provideMerge(model.layer), Layer.provideMerge(NodeServices.layer))

/** A host of its own, with a server of its own that no wire can break. */
const OwnHost = (sandbox: CodexSandbox.CodexSandbox, binary: string, mark: string) =>
  Sessions.layer.pipe(
    Layer.provide(Providers.layer({
      codex: Codex.make({
        binary,
        env: { ...sandbox.env, [ConformanceAgent.variable]: mark },
        leases: `${sandbox.root}/leases`
      })
    })),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.provide(NodeServices.layer)
  )

const subject = Effect.gen(function*() {
  const sessions = yield* Sessions.Sessions
  const { control, native, sandbox } = yield* Shared
  const { cwd, home } = sandbox
  const mark = crypto.randomUUID()
  const store = yield* Layer.build(Stores.layerMemory)
  const instance = yield* Effect.flatMap(Providers.Providers, (providers) => providers.get("codex"))
  // A rule that did not come up before the end of the turn goes with its relay.
  const endOfRules = Effect.addFinalizer(() => Effect.orDie(control.kill))
  const found: Conformance.Subject = {
    capabilities: instance.capabilities,
    open: sessions.openScoped({ provider: "codex", cwd, title: "conformance" }),
    agent: ConformanceAgent.scripted(mark, exec),
    leftovers: ConformanceAgent.leftovers(mark, model.answering),
    host: (id) =>
      Effect.gen(function*() {
        const host = yield* Layer.build(Layer.provide(OwnHost(sandbox, native, mark), Layer.succeedContext(store)))
        return yield* Context.get(host, Sessions.Sessions).open(id === undefined ? { provider: "codex", cwd } : { id })
      }),
    lacks: { reorder: "all that Codex says comes over one pipe, which keeps its order" },
    wire: {
      cut: Effect.orDie(control.cut()),
      end: Effect.orDie(control.halfClose()),
      stall: Effect.as(Effect.orDie(control.stall()), Effect.orDie(control.resume())),
      cutAfter: (n) => Effect.andThen(Effect.orDie(control.onFrame({ n, do: "cut" })), endOfRules),
      repeat: Effect.gen(function*() {
        for (let n = 1; n <= repeated; n++) yield* Effect.orDie(control.duplicate({ n }))
        yield* endOfRules
      }),
      unknown: Effect.orDie(control.noise(`{"method":"never/heardOf","params":{}}\n`)),
      kill: Effect.sync(() => {
        for (const pid of Processes.withEnvironment(`CODEX_HOME=${home}`)) {
          if (Processes.withText("app-server").includes(pid)) process.kill(pid, "SIGKILL")
        }
      })
    }
  }
  return found
})

layer(HostLive, { excludeTestServices: true, timeout: "60 seconds" })("the real Codex conforms", (it) => {
  for (const { name } of Conformance.clauses(Effect.never, options)) {
    it.effect(name, (test) =>
      Effect.gen(function*() {
        const context = yield* Effect.context<Sessions.Sessions | Shared | Providers.Providers>()
        const clauses = Conformance.clauses(Effect.provide(subject, context), options)
        yield* ConformanceAgent.judge(
          test,
          clauses.find((clause) => clause.name === name),
          /^the agent has the capability|^all that Codex says/
        )
      }), 300_000)
  }
})
