/**
 * A host that is there to be killed: it opens the sessions that it finds, sends prompts, answers, interrupts, and writes
 * down what it was told as it was told. Told to settle, it lets everything come to its end and leaves.
 */
import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import { Effect, Layer, Random, Stream } from "effect"
import { appendFileSync, existsSync, readFileSync } from "node:fs"

export interface Orders {
  readonly cwd: string
  readonly state: string
  readonly leases: string
  readonly env: Readonly<Record<string, string>>
  readonly seed: number
  readonly round: number
  readonly sessions: number
}

/** The last line of a file that was written whole. */
const lastSeq = (file: string): number => {
  if (!existsSync(file)) return 0
  const last = readFileSync(file, "utf8").split("\n").filter((line) => line.endsWith("}")).at(-1)
  return last === undefined ? 0 : (JSON.parse(last) as { readonly seq: number }).seq
}

const program = (orders: Orders, settle: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    const note = (name: string, value: unknown) =>
      appendFileSync(`${orders.state}/${name}`, `${JSON.stringify(value)}\n`)
    let settling = false
    let sent = 0
    const isAtWork = (): boolean => !settling

    const live = Effect.fnUntraced(function*(session: Session) {
      const log = `${session.id}.ndjson`
      yield* session.attach()
      yield* session.events({ after: lastSeq(`${orders.state}/${log}`) }).pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag !== "ItemDelta") note(log, event)
          })
        ),
        Effect.forkScoped
      )
      // Answers are given now and then; when all is to come to its end, at once.
      yield* Effect.forever(Effect.gen(function*() {
        const [request] = yield* session.requests
        if (request !== undefined && (settling || (yield* Random.nextIntBetween(0, 4)) === 0)) {
          yield* Effect.ignore(session.answer(request.id, { _tag: "accept" }))
        }
        yield* Effect.sleep(60)
      })).pipe(Effect.forkScoped)
      yield* Effect.gen(function*() {
        while (isAtWork()) {
          const choice = yield* Random.nextIntBetween(0, 10)
          if (choice < 5) {
            const kind = ["text", "long", "tool", "tool"][yield* Random.nextIntBetween(0, 4)] ?? "text"
            const name = `P-${orders.round}-${session.id.slice(-6)}-${++sent}`
            const turn = yield* session.prompt(`${kind} ${name}`)
            note("prompts.ndjson", { session: session.id, id: turn.id, name, kind })
          } else if (choice === 5) yield* session.interrupt
          yield* Effect.sleep(yield* Random.nextIntBetween(20, 700))
        }
      }).pipe(Effect.ignoreCause, Effect.forkScoped)
    })

    const { sessions: stored } = yield* sessions.list()
    const ids = stored.map(({ sessionId }) => sessionId)
    const opened = yield* Effect.forEach(
      Array.from({ length: Math.max(orders.sessions, ids.length) }, (_, index) => ids[index]),
      (id) =>
        sessions.open(id === undefined ? { provider: "opencode", cwd: orders.cwd, title: "crash" } : { id }).pipe(
          Effect.tap(live)
        ),
      { concurrency: 4 }
    )
    console.log("ready")
    yield* settle
    settling = true
    const restless = Effect.forEach(opened, (session) =>
      Effect.map(session.current, (view) => {
        console.error(JSON.stringify({ ...view, items: view.items.length }).slice(0, 5_000))
      }))
    yield* Effect.forEach(opened, (session) => session.quiescent, { concurrency: "unbounded" }).pipe(
      Effect.raceFirst(Effect.andThen(Effect.sleep("100 seconds"), Effect.andThen(restless, Effect.never)))
    )
    yield* Effect.sleep(200)
    console.log("settled")
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Sessions.layer.pipe(
        Layer.provide(Providers.layer({ opencode: OpenCode.make({ env: orders.env, leases: orders.leases }) })),
        Layer.provide(SqliteStores.layer({ filename: `${orders.state}/reins.db` })),
        Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
        Layer.provide(NodeHttpClient.layerUndici),
        Layer.provide(NodeServices.layer)
      )
    ),
    Random.withSeed(`${orders.seed} ${orders.round}`)
  )

const orders = JSON.parse(process.argv[2] ?? "{}") as Orders
const settle = Effect.callback<void>((resume) => {
  process.stdin.once("data", () => resume(Effect.void))
})

Effect.runPromise(program(orders, settle)).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error("the host failed", error)
    process.exit(1)
  }
)
