/**
 * How fast events go from the server's bytes to a reader when they are kept in SQLite, beside the same in memory.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import type { Sessions } from "@reins/core/Sessions"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fs from "node:fs"
import * as path from "node:path"
import * as bench from "./internal/bench.ts"
import * as host from "./internal/host.ts"
import type { Sample } from "./internal/measure.ts"
import * as measure from "./internal/measure.ts"
import * as reins from "./internal/reins.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Deltas of one run. */
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
export const full: Options = { events: 50_000, rounds: 15, limit: 60_000 }

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { events: 5_000, rounds: 1, limit: 10_000 }

/** Deltas between two commands of the agent: each command is two durable events, so that a tenth and more are durable. */
const between = 17

/**
 * One way to keep events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Figures {
  /** Events in a second, deltas and durable ones. */
  readonly rate: number
  /** Microseconds of processor time for each. */
  readonly cpu: number
}

/**
 * One way to send.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  readonly memory: Figures
  readonly sqlite: Figures
  /** Time with SQLite to time without, median of the ratios in one round. */
  readonly ratio: number
  readonly cpuRatio: number
}

/**
 * What was measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  /** Share of durable events. */
  readonly durable: number
  readonly rows: ReadonlyArray<Row>
}

interface Contender {
  readonly control: bench.Control
  readonly reader: host.Reader
}

const contender = (kept: boolean) =>
  Effect.gen(function*() {
    const server = yield* bench.executable
    const stores = kept
      ? SqliteStores.layer({ filename: path.join(server.directory, "reins.db") }).pipe(
        Layer.provide(NodeServices.layer),
        Layer.orDie
      )
      : undefined
    const context: Context.Context<Sessions> = yield* Layer.build(host.layer(server, undefined, stores))
    const [reader] = yield* Effect.provideContext(host.open(1, process.cwd()), context)
    if (reader === undefined) return yield* new bench.BenchFailed({ description: "No session was opened." })
    return { control: bench.control(server.info), reader, directory: server.directory }
  })

/**
 * Measures; fails when a delta was lost or came twice, or when nothing was kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const memory = yield* contender(false)
    const sqlite = yield* contender(true)
    let durable = 0
    const once = ({ control, reader }: Contender, mode: "burst" | "frame") =>
      Effect.map(
        reins.reins([reader], { control, mode, count: options.events, limit: options.limit, tools: between }),
        (sample) => {
          durable = reader.durable / (reader.durable + options.events)
          return sample
        }
      )
    const rows: Array<Row> = []
    for (const [name, mode] of [["bursts", "burst"], ["one frame per chunk", "frame"]] as const) {
      const samples: Record<"memory" | "sqlite", Array<Sample>> = { memory: [], sqlite: [] }
      for (let round = 0; round <= options.rounds; round++) {
        const taken = { memory: yield* once(memory, mode), sqlite: yield* once(sqlite, mode) }
        if (round === 0) continue
        samples.memory.push(taken.memory)
        samples.sqlite.push(taken.sqlite)
        progress(
          `${name}, round ${round}: in memory ${Math.round(taken.memory.rate / 1000)}k/s, kept ${
            Math.round(taken.sqlite.rate / 1000)
          }k/s`
        )
      }
      const figures = (list: ReadonlyArray<Sample>): Figures => ({
        rate: measure.median(list.map(({ rate }) => rate)),
        cpu: measure.median(list.map(({ cpu }) => cpu))
      })
      rows.push({
        name,
        memory: figures(samples.memory),
        sqlite: figures(samples.sqlite),
        ratio: measure.pairedRatio(samples.memory.map(({ rate }) => rate), samples.sqlite.map(({ rate }) => rate)),
        cpuRatio: measure.pairedRatio(samples.sqlite.map(({ cpu }) => cpu), samples.memory.map(({ cpu }) => cpu))
      })
    }
    // What was committed last is in the log of the file until it is moved over.
    const kept = ["reins.db", "reins.db-wal"].map((name) => path.join(sqlite.directory, name))
    if (kept.reduce((size, file) => size + (fs.existsSync(file) ? fs.statSync(file).size : 0), 0) < options.events) {
      return yield* new bench.BenchFailed({ description: "The store holds less than what it was given." })
    }
    return { options, durable, rows }
  }))
