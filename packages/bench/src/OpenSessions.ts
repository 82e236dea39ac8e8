/**
 * What open sessions cost: an event's price with many of them open while one speaks, and the memory of one that is idle.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BenchFailed } from "./internal/bench.ts"
import type { Mode } from "./internal/fakeServer.ts"
import type { Sample } from "./internal/measure.ts"
import * as measure from "./internal/measure.ts"
import * as openSessions from "./internal/openSessions.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Deltas of one run. */
  readonly events: number
  /** Runs of each number of open sessions, after one that is not counted. */
  readonly rounds: number
  /** Numbers of open sessions while one speaks, least first. */
  readonly open: ReadonlyArray<number>
  /** Numbers of idle sessions whose memory is measured, least first. */
  readonly idle: ReadonlyArray<number>
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
  rounds: 15,
  open: [1, 10, 100, 1_000],
  idle: [0, 100, 1_000],
  limit: 60_000
}

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { events: 10_000, rounds: 1, open: [1, 10], idle: [0, 20, 40], limit: 20_000 }

/**
 * Medians with so many sessions open, in one way to send. A ratio is the median of the ratios to the run with the least
 * number of open sessions in the same round.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly mode: Mode
  readonly open: number
  /** Events in a second. */
  readonly rate: number
  /** Microseconds of processor time for each event. */
  readonly cpu: number
  readonly rateRatio: number
  readonly cpuRatio: number
}

/**
 * Bytes in use after garbage collection, on the heap and outside of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Memory {
  readonly idle: ReadonlyArray<{ readonly sessions: number; readonly bytes: number }>
  /** Bytes of one session more, by least squares. */
  readonly slope: number
  /** Bytes of one session more after each had a turn, over what there was without sessions. */
  readonly afterTurn: number
  /** What is left of each session after all were closed. */
  readonly afterClose: number
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
  readonly memory: Memory
}

const modes: ReadonlyArray<Mode> = ["burst", "frame"]
/** Opening a thousand sessions is many waits, not one. */
const openingFactor = 5

const costs = (
  options: Options,
  progress: (line: string) => void
): Effect.Effect<ReadonlyArray<Row>, BenchFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const { limit } = options
    const holders = yield* Effect.forEach(options.open, (open) =>
      Effect.gen(function*() {
        progress(`opening ${open.toLocaleString("en")}`)
        const holder = yield* openSessions.make(limit * openingFactor)
        yield* holder.ask({ ask: "open", count: open })
        return { open, holder }
      }))
    const rows: Array<Row> = []
    for (const mode of modes) {
      const samples = new Map<number, Array<Sample>>(options.open.map((open) => [open, []]))
      // One round to warm up. Each round begins with another, so that none always follows the same neighbour.
      for (let round = 0; round <= options.rounds; round++) {
        const first = round % holders.length
        for (const { holder, open } of [...holders.slice(first), ...holders.slice(0, first)]) {
          const sample = yield* holder.ask<Sample>({ ask: "measure", mode, count: options.events, limit })
          if (round > 0) samples.get(open)?.push(sample)
        }
        if (round > 0) progress(`${mode}, round ${round}`)
      }
      const base = samples.get(options.open[0] ?? 0) ?? []
      for (const [open, taken] of samples) {
        const ratio = (of: (sample: Sample) => number): number => measure.pairedRatio(taken.map(of), base.map(of))
        rows.push({
          mode,
          open,
          rate: measure.median(taken.map(({ rate }) => rate)),
          cpu: measure.median(taken.map(({ cpu }) => cpu)),
          rateRatio: ratio(({ rate }) => rate),
          cpuRatio: ratio(({ cpu }) => cpu)
        })
      }
    }
    return rows
  })

const memory = (
  options: Options,
  progress: (line: string) => void
): Effect.Effect<Memory, BenchFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const { limit } = options
    const holder = yield* openSessions.make(limit * openingFactor)
    const heap = holder.ask<number>({ ask: "heap" })
    // What the first session and its turn leave behind (code, the server's client) is there for every other one too.
    yield* holder.ask({ ask: "open", count: 1 })
    yield* holder.ask({ ask: "turns", limit })
    yield* holder.ask({ ask: "close" })
    const idle: Array<Memory["idle"][number]> = []
    let open = 0
    for (const sessions of options.idle) {
      progress(`memory with ${sessions.toLocaleString("en")} idle`)
      if (sessions > open) yield* holder.ask({ ask: "open", count: sessions - open })
      open = sessions
      idle.push({ sessions, bytes: yield* heap })
    }
    const empty = idle[0]?.bytes ?? 0
    yield* holder.ask({ ask: "turns", limit })
    const turned = yield* heap
    yield* holder.ask({ ask: "close" })
    const closed = yield* heap
    return {
      idle,
      slope: measure.slope(idle.map(({ bytes, sessions }) => [sessions, bytes])),
      afterTurn: (turned - empty) / open,
      afterClose: (closed - empty) / open
    }
  })

/**
 * Measures; fails when a delta was lost or came twice, or a turn did not end.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, BenchFailed> =>
  Effect.gen(function*() {
    const measured = yield* Effect.scoped(memory(options, progress))
    const rows = yield* Effect.scoped(costs(options, progress))
    return { options, rows, memory: measured }
  })
