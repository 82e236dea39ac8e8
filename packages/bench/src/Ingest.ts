/**
 * How fast deltas go from the server's bytes to a reader, beside the official SDK's raw event loop.
 *
 * @since 0.1.0
 */
import type * as Scope from "effect/Scope"
import * as Effect from "effect/Effect"
import type { Sessions } from "@reins/core/Sessions"
import type { Control } from "./internal/bench.ts"
import * as bench from "./internal/bench.ts"
import type { Load } from "./internal/contenders.ts"
import * as contenders from "./internal/contenders.ts"
import type { Mode } from "./internal/fakeServer.ts"
import type { Reader } from "./internal/host.ts"
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
  /** Runs of each contender, after one that is not counted. */
  readonly rounds: number
  /** Open sessions besides the one that speaks. */
  readonly sessions: number
  /** Events in a second while latency is measured. */
  readonly rate: number
  /** Seconds for which latency is measured. */
  readonly seconds: number
  /** Milliseconds after which what has not come counts as lost. */
  readonly limit: number
}

/**
 * The figures of docs/benchmarks.md.
 *
 * @category constructors
 * @since 0.1.0
 */
export const full: Options = {
  events: 100_000,
  rounds: 7,
  sessions: 1_000,
  rate: 10_000,
  seconds: 10,
  limit: 60_000
}

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { ...full, events: 10_000, rounds: 1, sessions: 50, seconds: 1, limit: 10_000 }

/**
 * Medians of one way to send.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** Least ratio of the rates that is wanted; absent where none is. */
  readonly goal?: number
  readonly reins: Figures
  readonly sdk: Figures
  /** Events in a second with the bytes read and nothing done to them. */
  readonly bytes: Figures
  /** The same with each payload parsed as JSON. */
  readonly json: Figures
}

/**
 * Medians of one contender.
 *
 * @category models
 * @since 0.1.0
 */
export interface Figures {
  readonly rate: number
  /** Microseconds of processor time for each event. */
  readonly cpu: number
}

/**
 * Milliseconds: medians over the seconds in which it was measured, and the worst of all.
 *
 * @category models
 * @since 0.1.0
 */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/**
 * What was measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  readonly rows: ReadonlyArray<Row>
  /** From a frame's arrival to the reader, for each number of open sessions. */
  readonly latency: ReadonlyArray<{ readonly sessions: number; readonly added: Latency; readonly whole: Latency }>
}

const cwd = process.cwd()

interface Kind {
  readonly name: string
  readonly mode: Mode
  readonly goal?: number
  readonly spread?: boolean
}

const figures = (samples: ReadonlyArray<Sample>): Figures => ({
  rate: measure.median(samples.map((sample) => sample.rate)),
  cpu: measure.median(samples.map((sample) => sample.cpu))
})

const row = (
  readers: ReadonlyArray<Reader>,
  control: Control,
  options: Options,
  kind: Kind,
  progress: (line: string) => void
): Effect.Effect<Row, bench.BenchFailed> =>
  Effect.gen(function*() {
    const load: Omit<Load, "sessions"> = { control, mode: kind.mode, count: options.events, limit: options.limit }
    const speaking = kind.spread === true ? readers : readers.slice(0, 1)
    const samples: Record<"reins" | "sdk" | "bytes" | "json", Array<Sample>> = {
      reins: [],
      sdk: [],
      bytes: [],
      json: []
    }
    const sessions = yield* host.inTurns(speaking, control, options.limit, async (ids) => ids)
    // One round to warm up; then the contenders take turns, so that what disturbs the machine disturbs both.
    for (let round = 0; round <= options.rounds; round++) {
      const taken = {
        reins: yield* reins.reins(speaking, load),
        sdk: yield* bench.attempt(() => contenders.sdk({ ...load, sessions })),
        bytes: yield* bench.attempt(() => contenders.floor({ ...load, sessions }, "bytes")),
        json: yield* bench.attempt(() => contenders.floor({ ...load, sessions }, "json"))
      }
      if (round === 0) continue
      for (const name of ["reins", "sdk", "bytes", "json"] as const) samples[name].push(taken[name])
      progress(
        `${kind.name}, round ${round}: Reins ${Math.round(taken.reins.rate / 1000)}k/s, SDK ${
          Math.round(taken.sdk.rate / 1000)
        }k/s`
      )
    }
    return {
      name: kind.name,
      ...(kind.goal === undefined ? undefined : { goal: kind.goal }),
      reins: figures(samples.reins),
      sdk: figures(samples.sdk),
      bytes: figures(samples.bytes),
      json: figures(samples.json)
    }
  })

const throughput = (
  options: Options,
  server: { readonly info: string },
  progress: (line: string) => void
): Effect.Effect<ReadonlyArray<Row>, bench.BenchFailed, Sessions | Scope.Scope> =>
  Effect.gen(function*() {
    const one = yield* host.open(1, cwd)
    const control = bench.control(server.info)
    const rows: Array<Row> = []
    const measured = (readers: ReadonlyArray<Reader>, kind: Kind) =>
      Effect.map(row(readers, control, options, kind, progress), (row) => {
        rows.push(row)
      })
    yield* measured(one, { name: "bursts, 1 session", mode: "burst", goal: 1 })
    yield* measured(one, { name: "one frame per chunk, 1 session", mode: "frame", goal: 0.8 })
    progress(`opening ${options.sessions - 1} sessions more`)
    const all = [...one, ...(yield* host.open(options.sessions - 1, cwd))]
    const many = `${options.sessions.toLocaleString("en")} sessions`
    yield* measured(all, { name: `bursts, ${many}, one speaks`, mode: "burst", goal: 1 })
    yield* measured(all, { name: `one frame per chunk, ${many}, one speaks`, mode: "frame", goal: 0.8 })
    yield* measured(all, { name: `bursts, ${many}, all speak`, mode: "burst", spread: true })
    return rows
  })

const latencyOf = (seconds: ReadonlyArray<ReadonlyArray<number>>): Latency => ({
  p50: measure.median(seconds.map((values) => measure.quantile(values, 0.5))),
  p99: measure.median(seconds.map((values) => measure.quantile(values, 0.99))),
  max: Math.max(...seconds.map((values) => measure.quantile(values, 1)))
})

const latencies = (
  options: Options,
  server: { readonly info: string },
  arrivals: reins.Arrivals,
  progress: (line: string) => void
): Effect.Effect<Report["latency"], bench.BenchFailed, Sessions | Scope.Scope> =>
  Effect.gen(function*() {
    const [reader] = yield* host.open(1, cwd)
    if (reader === undefined) return []
    const control = bench.control(server.info)
    const pace = { control, rate: options.rate, count: options.rate, limit: options.limit }
    const out: Array<Report["latency"][number]> = []
    for (const sessions of [1, options.sessions]) {
      if (sessions > 1) yield* host.open(sessions - 1, cwd)
      progress(`latency at ${options.rate} events/s, ${sessions} open`)
      const seconds: Array<reins.Latency> = []
      for (let second = 0; second <= options.seconds; second++) {
        const measured = yield* reins.latency(reader, arrivals, pace)
        if (second > 0) seconds.push(measured)
      }
      out.push({
        sessions,
        added: latencyOf(seconds.map(({ added }) => added)),
        whole: latencyOf(seconds.map(({ whole }) => whole))
      })
    }
    return out
  })

/**
 * Measures; fails when a delta was lost or came twice.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.gen(function*() {
    const rows = yield* Effect.scoped(Effect.gen(function*() {
      const server = yield* bench.executable
      return yield* Effect.provide(Effect.scoped(throughput(options, server, progress)), host.layer(server))
    }))
    const latency = yield* Effect.scoped(Effect.gen(function*() {
      const server = yield* bench.executable
      const arrivals = new reins.Arrivals()
      return yield* Effect.provide(
        Effect.scoped(latencies(options, server, arrivals, progress)),
        host.layer(server, arrivals.hear)
      )
    }))
    return { options, rows, latency }
  })
