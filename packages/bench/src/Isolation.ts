/**
 * What one session in trouble costs its neighbours: how long their deltas take from the agent to the reader, beside the
 * same with a session that does as much and is well, and with none.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as EventJournal from "@reins/core/EventJournal"
import type { Provider } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import * as TestProvider from "@reins/testing/TestProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as path from "node:path"
import * as bench from "./internal/bench.ts"
import * as measure from "./internal/measure.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Sessions beside the one in trouble. */
  readonly neighbours: number
  /** Deltas of each of them in one run, a millisecond apart. */
  readonly events: number
  /** Runs of each, after one that is not counted. */
  readonly rounds: number
  /** Milliseconds after which what has not come counts as lost. */
  readonly limit: number
}

/**
 * The figures of docs/benchmarks.md.
 *
 * @category constructors
 * @since 0.1.0
 */
export const full: Options = { neighbours: 8, events: 1_000, rounds: 7, limit: 60_000 }

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { neighbours: 3, events: 50, rounds: 1, limit: 20_000 }

/**
 * One kind of trouble.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** Milliseconds, medians over the rounds. */
  readonly p50: number
  readonly p99: number
  /** Of the p99 to that beside a session that does as much and is well, in the same round; the median. */
  readonly toWell: number | undefined
  /** The same to that with no other session. */
  readonly toQuiet: number
}

/**
 * What was measured; the first row is the undisturbed one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  readonly rows: ReadonlyArray<Row>
}

/** As much as a pipe of the agent's process gives at once. */
const piece = "0123456789abcdef".repeat(4_096)
const piecesOfMegabyte = 16
const stampDigits = 16
const stamp = (): string => performance.now().toFixed(6).padStart(stampDigits, "0").slice(-stampDigits)

/** The prompts: `tick N`, `pour N` megabytes, `chatter`, `say`, `die`. */
const respond: TestProvider.Script = (turn) => {
  const [what, count = "0"] = turn.prompt.text.split(" ")
  switch (what) {
    case "tick":
      return Effect.forEach(
        Array.from({ length: Number(count) }),
        () => Effect.andThen(Effect.suspend(() => turn.say(stamp())), Effect.sleep(1)),
        { discard: true }
      )
    case "pour":
      return Effect.forEach(
        Array.from({ length: Number(count) * piecesOfMegabyte }),
        (_, index) => Effect.andThen(turn.command({ command: `part ${index}`, output: piece }), Effect.sleep(1)),
        { discard: true }
      )
    case "chatter":
      return Effect.forever(Effect.andThen(turn.say("more and more of it "), Effect.sleep(1)))
    case "say":
      return turn.say("x")
    case "die":
      return Effect.andThen(turn.say("x"), Effect.die(new Error("the adapter of this session is broken")))
    default:
      return Effect.void
  }
}

type Open = (provider?: "test" | "defective") => Effect.Effect<Session, AgentError.AgentError, Scope.Scope>
type Trouble = (open: Open, broken: Set<string>) => Effect.Effect<unknown, AgentError.AgentError, Scope.Scope>

/** The same again and again, as long as the scope lives. */
const again = (session: Session, text: string) =>
  Effect.andThen(Effect.flatMap(session.prompt(text), ({ outcome }) => outcome), Effect.sleep(10)).pipe(
    Effect.forever,
    Effect.forkScoped
  )

/** A session that speaks without end, to a reader that begins again a hundredth of a second after it failed. */
const chattering = (open: Open, read: () => Effect.Effect<void>) =>
  Effect.flatMap(open(), (session) =>
    Effect.andThen(
      session.prompt("chatter"),
      session.events().pipe(
        Stream.runForEach(read),
        Effect.ignoreCause,
        Effect.andThen(Effect.sleep(10)),
        Effect.forever,
        Effect.forkScoped
      )
    ))

/** Sessions that are opened, prompted and closed, a hundred a second at the most. */
const oneByOne = (open: Open, provider: "test" | "defective") =>
  Effect.flatMap(open(provider), (session) => Effect.flatMap(session.prompt("say"), ({ outcome }) => outcome)).pipe(
    Effect.scoped,
    Effect.andThen(Effect.sleep(10)),
    Effect.forever,
    Effect.forkScoped
  )

const reads = () => Effect.void

/** Each with what does as much and is well, where there is such a thing. */
const troubles: ReadonlyArray<readonly [name: string, trouble: Trouble, well?: Trouble]> = [
  [
    "a store that fails",
    (open, broken) =>
      Effect.flatMap(open(), (session) => {
        broken.add(session.id)
        return session.prompt("chatter")
      }),
    (open) => chattering(open, reads)
  ],
  [
    "an event handler that throws",
    (open) =>
      chattering(open, () =>
        Effect.sync(() => {
          throw new Error("handler")
        })),
    (open) => chattering(open, reads)
  ],
  [
    "an agent that dies in each turn",
    (open) => Effect.flatMap(open(), (session) => again(session, "die")),
    (open) => Effect.flatMap(open(), (session) => again(session, "say"))
  ],
  [
    "sessions that end by a defect",
    (open) => oneByOne(open, "defective"),
    (open) => oneByOne(open, "test")
  ],
  ["100 MB of tool output", (open) => Effect.flatMap(open(), (session) => session.prompt("pour 100"))],
  ["a reader that never reads", (open) => chattering(open, () => Effect.never), (open) => chattering(open, reads)]
]

/** A provider by which the session engine itself comes to a defect with the first prompt. */
const defective = (provider: Provider): Provider => ({
  ...provider,
  make: (id) =>
    Effect.map(provider.make(id), (instance) => ({
      ...instance,
      promptKey: () => {
        throw new Error("defect")
      }
    }))
})

/** A store of which some sessions have nothing but failures. */
const stores = (filename: string, broken: ReadonlySet<string>) => {
  const sqlite = SqliteStores.layer({ filename }).pipe(Layer.provide(NodeServices.layer), Layer.orDie)
  const failing = Layer.effect(
    EventJournal.Current,
    Effect.gen(function*() {
      const journal = yield* EventJournal.Current
      if (journal === undefined) return undefined
      return {
        ...journal,
        append: (batch: EventJournal.JournalBatch) =>
          broken.has(batch.sessionId)
            ? Effect.fail(AgentError.make(new AgentError.StoreFailed({ operation: "write", description: "full" })))
            : journal.append(batch)
      }
    })
  )
  return failing.pipe(Layer.provideMerge(sqlite))
}

/** Milliseconds that each delta of each neighbour took. */
const round = (
  sessions: ReadonlyArray<Session>,
  options: Options
): Effect.Effect<ReadonlyArray<number>, AgentError.AgentError> =>
  Effect.map(
    Effect.forEach(sessions, (session) =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const turn = yield* session.prompt(`tick ${options.events}`)
        yield* turn.events.pipe(Stream.runForEachArray((events) =>
          Effect.sync(() => {
            const now = performance.now()
            for (const event of events) {
              if (event._tag !== "ItemDelta" || event.stream !== "text") continue
              for (let at = 0; at + stampDigits <= event.text.length; at += stampDigits) {
                const said = Number(event.text.slice(at, at + stampDigits))
                if (Number.isFinite(said)) times.push(now - said)
              }
            }
          })
        ))
        const outcome = yield* turn.outcome
        return outcome._tag === "completed" ? times : []
      }), { concurrency: "unbounded" }),
    (all) => all.flat()
  )

/**
 * Measures; fails when a neighbour lost a delta.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.gen(function*() {
    const directory = yield* bench.directory
    const broken = new Set<string>()
    const agent = yield* TestProvider.make({ respond })
    const layer = Sessions.layerWith({ store: "1 second" }).pipe(
      Layer.provide(Providers.layer({ test: agent.provider, defective: defective(agent.provider) })),
      Layer.provide(stores(path.join(directory, "reins.db"), broken)),
      Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.fullAccess))
    )
    return yield* Effect.gen(function*() {
      const sessions = yield* Sessions.Sessions
      const open: Open = (provider = "test") => sessions.openScoped({ provider, cwd: "/repo" })
      const neighbours = yield* Effect.forEach(Array.from({ length: options.neighbours }), () => open())
      const measured = (trouble?: Trouble) =>
        Effect.scoped(Effect.gen(function*() {
          if (trouble !== undefined) yield* trouble(open, broken)
          const times = yield* round(neighbours, options).pipe(Effect.timeout(options.limit))
          const wanted = options.neighbours * options.events
          if (times.length !== wanted) {
            return yield* new bench.BenchFailed({ description: `${times.length} of ${wanted} deltas came.` })
          }
          return { p50: measure.quantile(times, 0.5), p99: measure.quantile(times, 0.99) }
        }))
      const rows: Array<Row> = []
      const quiet: Array<{ readonly p50: number; readonly p99: number }> = []
      for (const [name, trouble, well] of troubles) {
        const own: Array<{ readonly p50: number; readonly p99: number }> = []
        const toWell: Array<number> = []
        const toQuiet: Array<number> = []
        for (let n = 0; n <= options.rounds; n++) {
          const calm = yield* measured()
          const beside = well === undefined ? undefined : yield* measured(well)
          const troubled = yield* measured(trouble)
          if (n === 0) continue
          quiet.push(calm)
          own.push(troubled)
          toQuiet.push(troubled.p99 / calm.p99)
          if (beside !== undefined) toWell.push(troubled.p99 / beside.p99)
          const others = beside === undefined ? "" : `${beside.p99.toFixed(3)} ms beside one that is well, `
          progress(
            `${name}, round ${n}: p99 ${troubled.p99.toFixed(3)} ms, ${others}${calm.p99.toFixed(3)} ms with none`
          )
        }
        rows.push({
          name,
          p50: measure.median(own.map(({ p50 }) => p50)),
          p99: measure.median(own.map(({ p99 }) => p99)),
          toWell: toWell.length === 0 ? undefined : measure.median(toWell),
          toQuiet: measure.median(toQuiet)
        })
      }
      const calm: Row = {
        name: "no other session",
        p50: measure.median(quiet.map(({ p50 }) => p50)),
        p99: measure.median(quiet.map(({ p99 }) => p99)),
        toWell: undefined,
        toQuiet: 1
      }
      return { options, rows: [calm, ...rows] }
    }).pipe(Effect.provide(layer))
  }).pipe(
    Effect.scoped,
    // The trouble is made on purpose: nobody is told of it.
    Effect.provide(Logger.layer([])),
    Effect.mapError((cause) => cause._tag === "BenchFailed" ? cause : bench.unexpected(cause))
  )
