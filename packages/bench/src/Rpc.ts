/**
 * How fast what an agent says over its standard output reaches a handler: `JsonRpcPeer` beside a plain loop of lines and
 * beside the official ACP SDK.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as bench from "./internal/bench.ts"
import type { Sample } from "./internal/measure.ts"
import * as measure from "./internal/measure.ts"
import * as contenders from "./internal/rpcContenders.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Notifications of one run. */
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
export const full: Options = { events: 100_000, rounds: 7, limit: 60_000 }

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { events: 2_000, rounds: 1, limit: 10_000 }

/**
 * One contender: medians, and the peer's rate to its rate, the median of the ratios in one round.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** Notifications in a second. */
  readonly rate: number
  /** Microseconds of processor time for each. */
  readonly cpu: number
  readonly peerTo: number
  readonly peerCpuTo: number
}

/**
 * What was measured; the first row is the peer's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  readonly rows: ReadonlyArray<Row>
}

/**
 * Measures; fails when a notification was lost.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.gen(function*() {
    const all = [
      ["JsonRpcPeer", yield* Effect.mapError(contenders.peer, bench.unexpected)],
      ["readline and JSON.parse", yield* contenders.plain],
      ["ACP SDK client", yield* contenders.sdk]
    ] as const
    const samples = all.map((): Array<Sample> => [])
    let characters: number | undefined
    for (let round = 0; round <= options.rounds; round++) {
      for (const [index, [name, contender]] of all.entries()) {
        yield* Effect.promise(measure.collect)
        const stop = measure.start()
        const got = yield* bench.attempt(() => bench.within(options.limit, `All of ${name}`, contender(options.events)))
        const sample = stop(options.events, got.characters)
        characters ??= got.characters
        if (got.pieces !== options.events || got.characters !== characters) {
          return yield* new bench.BenchFailed({
            description:
              `${name} took ${got.pieces} of ${options.events} notifications with ${got.characters} characters.`
          })
        }
        if (round === 0) continue
        samples[index]?.push(sample)
        progress(`round ${round}: ${name} ${Math.round(sample.rate / 1000)}k/s`)
      }
    }
    const [own = []] = samples
    return {
      options,
      rows: all.map(([name], index): Row => {
        const list = samples[index] ?? []
        return {
          name,
          rate: measure.median(list.map(({ rate }) => rate)),
          cpu: measure.median(list.map(({ cpu }) => cpu)),
          peerTo: measure.pairedRatio(own.map(({ rate }) => rate), list.map(({ rate }) => rate)),
          peerCpuTo: measure.pairedRatio(own.map(({ cpu }) => cpu), list.map(({ cpu }) => cpu))
        }
      })
    }
  }).pipe(Effect.scoped)
