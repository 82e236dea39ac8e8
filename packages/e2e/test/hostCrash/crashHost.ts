/**
 * A host that is there to be killed: it opens the sessions that it finds, sends prompts, answers, interrupts, and writes
 * down what it was told as it was told. Told to settle, it lets everything come to its end and leaves.
 */
import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import type { SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import { Effect, Layer, Random, Stream } from "effect"
import { appendFileSync } from "node:fs"
import * as phases from "./phases.ts"
import { lines } from "./verdict.ts"

export interface Orders {
  readonly cwd: string
  readonly state: string
  readonly leases: string
  readonly env: Readonly<Record<string, string>>
  readonly seed: number
  readonly round: number
  readonly sessions: number
  /** It sends nothing, and lets come to its end what it finds. */
  readonly quiet: boolean
}

/** Prompts that wait in a session: of more than these the next hosts would have too much to do to be idle ever. */
const maxQueued = 3

const program = (orders: Orders, settle: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    const note = (name: string, value: unknown) =>
      appendFileSync(`${orders.state}/${name}`, `${JSON.stringify(value)}\n`)
    let settling = false
    let sent = 0
    const isAtWork = (): boolean => !settling && !orders.quiet
    const following: Array<ReturnType<typeof phases.follow>> = []
    let said: string | undefined
    /** Says what is going on, each time that it has changed. */
    const say = (): void => {
      const now = [...new Set(following.flatMap((session) => session.now()))].toSorted().join(" ")
      if (now !== said) console.log(`now ${now === "" ? "idle" : now}`)
      said = now
    }

    const live = Effect.fnUntraced(function*(session: Session) {
      const log = `${session.id}.ndjson`
      const now = phases.follow()
      following.push(now)
      yield* session.attach()
      const noted = lines<SessionEvent>(`${orders.state}/${log}`)
      for (const event of noted) now.take(event)
      yield* session.events({ after: noted.at(-1)?.seq ?? 0 }).pipe(
        Stream.runForEach((event) =>
          Effect.sync(() => {
            if (event._tag === "ItemDelta") return
            note(log, event)
            if (event._tag !== "Lagged") now.take(event)
            say()
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
          if (choice < 5 && (yield* session.view).queue.length < maxQueued) {
            const kind = ["text", "long", "tool", "tool"][yield* Random.nextIntBetween(0, 4)] ?? "text"
            const name = `P-${orders.round}-${session.id.slice(-6)}-${++sent}`
            const turn = yield* session.prompt(`${kind} ${name}`)
            note("prompts.ndjson", { session: session.id, id: turn.id, name, kind })
          } else if (choice === 5) yield* session.interrupt
          yield* Effect.sleep(yield* Random.nextIntBetween(20, 700))
        }
      }).pipe(Effect.ignoreCause, Effect.forkScoped)
    })

    console.log("opening")
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
