/**
 * What Reins adds to the times of the real OpenCode: to stop a turn, to open a session, to go on after a crash.
 *
 * @since 0.1.0
 */
import type { Sessions } from "@reins/core/Sessions"
import * as Effect from "effect/Effect"
import type { Access } from "./internal/bareClient.ts"
import { BareClient } from "./internal/bareClient.ts"
import * as bench from "./internal/bench.ts"
import * as interrupts from "./internal/interrupts.ts"
import * as measure from "./internal/measure.ts"
import type { Place } from "./internal/realHost.ts"
import * as realHost from "./internal/realHost.ts"
import * as starts from "./internal/starts.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Measurements of each contender, after one that is not counted. */
  readonly rounds: number
  /** Milliseconds after which what has not come is broken. */
  readonly limit: number
}

/**
 * The figures of docs/benchmarks.md.
 *
 * @category constructors
 * @since 0.1.0
 */
export const full: Options = { rounds: 15, limit: 60_000 }

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { rounds: 1, limit: 30_000 }

/**
 * Medians in milliseconds. A ratio is the median of the ratios of two measurements that followed each other.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  readonly reins: number
  /** What the bare server takes, and the ratio to it. */
  readonly bare: { readonly time: number; readonly ratio: number }
  /** What a client by hand takes for the same result, and the ratio to it. */
  readonly same: { readonly time: number; readonly ratio: number }
}

/**
 * What was measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  /** The agent's version, as it told it. */
  readonly version: string
  readonly interrupts: ReadonlyArray<Row>
  readonly starts: ReadonlyArray<Row>
}

interface Sample {
  readonly reins: number
  readonly bare: number
  readonly same: number
}

const row = (name: string, samples: ReadonlyArray<Sample>): Row => {
  const of = (key: keyof Sample): ReadonlyArray<number> => samples.map((sample) => sample[key])
  const beside = (key: keyof Sample) => ({
    time: measure.median(of(key)),
    ratio: measure.pairedRatio(of("reins"), of(key))
  })
  return { name, reins: measure.median(of("reins")), bare: beside("bare"), same: beside("same") }
}

/** Runs both, in an order that changes with the round: what disturbs the machine disturbs both. */
const inAlternation = <A, B, R>(
  round: number,
  reins: Effect.Effect<A, bench.BenchFailed, R>,
  bare: Effect.Effect<B, bench.BenchFailed>
): Effect.Effect<{ readonly reins: A; readonly bare: B }, bench.BenchFailed, R> =>
  round % 2 === 0
    ? Effect.gen(function*() {
      const first = yield* reins
      return { reins: first, bare: yield* bare }
    })
    : Effect.gen(function*() {
      const first = yield* bare
      return { reins: yield* reins, bare: first }
    })

const names: { readonly [K in interrupts.Moment]: string } = {
  text: "interrupt in text",
  tool: "interrupt in a running tool",
  approval: "interrupt with an approval open"
}

/** Both on one server: the one that Reins started. */
const stopping = (
  place: Place,
  access: () => Access,
  options: Options,
  progress: (line: string) => void
): Effect.Effect<Pick<Report, "interrupts" | "version">, bench.BenchFailed, Sessions> =>
  Effect.scoped(Effect.gen(function*() {
    // Keeps the server for the whole run; what is measured has sessions of its own.
    const keeper = yield* realHost.open(place, options.limit)
    const bare = yield* Effect.acquireRelease(
      Effect.sync(() => new BareClient(access(), place.cwd, options.limit)),
      (client) => Effect.sync(() => client.stop())
    )
    yield* bench.attempt(() => bare.listen())
    const rows: Array<Row> = []
    for (const moment of interrupts.moments) {
      const samples: Array<Sample> = []
      for (let round = 0; round <= options.rounds; round++) {
        const taken = yield* inAlternation(
          round,
          Effect.scoped(Effect.flatMap(
            realHost.open(place, options.limit),
            (watched) => bench.attempt(() => interrupts.byReins(watched, moment))
          )),
          bench.attempt(() => interrupts.byHand(bare, moment))
        )
        if (round === 0) continue
        samples.push({ reins: taken.reins, bare: taken.bare.idle, same: taken.bare.read })
        progress(
          `${names[moment]}, round ${round}: ${taken.reins.toFixed(1)} ms, bare ${taken.bare.idle.toFixed(1)} ms`
        )
      }
      rows.push(row(names[moment], samples))
    }
    return { interrupts: rows, version: keeper.server?.version ?? "unknown" }
  }))

const starting = (
  place: Place,
  options: Options,
  progress: (line: string) => void
): Effect.Effect<ReadonlyArray<Row>, bench.BenchFailed> =>
  Effect.gen(function*() {
    const opens: Array<Sample> = []
    const recoveries: Array<Sample> = []
    for (let round = 0; round <= options.rounds; round++) {
      const { bare: { again, first }, reins } = yield* inAlternation(
        round,
        starts.byReins(place, options.limit),
        starts.byHand(place, options.limit)
      )
      // The first start on new directories migrates the agent's database.
      if (round === 0) continue
      opens.push({ reins: reins.open, bare: first.ready, same: first.session })
      recoveries.push({ reins: reins.recovery, bare: again.ready, same: again.prompt })
      progress(
        `starts, round ${round}: open ${reins.open.toFixed(0)} ms, recovery ${reins.recovery.toFixed(0)} ms, ` +
          `bare ${first.ready.toFixed(0)} and ${again.ready.toFixed(0)} ms`
      )
    }
    return [
      row("open to ready", opens),
      row("kill -9 to the next prompt accepted", recoveries)
    ]
  })

/**
 * Measures; fails when a turn does not end, or not as it should.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const place = yield* realHost.place
    // First, because it begins with directories that no server has seen.
    const startRows = yield* starting(place, options, progress)
    let access: Access = { url: "", authorization: undefined }
    const stopped = yield* Effect.provide(
      stopping(place, () => access, options, progress),
      realHost.layer(place, (heard) => {
        access = heard
      })
    )
    return { options, ...stopped, starts: startRows }
  }))
