/**
 * What Reins adds to the start of the real Codex: from the spawn to a server that takes requests.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as bench from "./internal/bench.ts"
import * as starts from "./internal/codexStarts.ts"
import * as measure from "./internal/measure.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Starts of each contender, after one that is not counted. */
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
export const full: Options = { rounds: 20, limit: 60_000 }

/**
 * A short run that only finds what is broken.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quick: Options = { rounds: 1, limit: 30_000 }

/**
 * One contender: the median in milliseconds, and the median of the ratios to the bare server in the same round.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  readonly time: number
  readonly toBare: number
}

/**
 * What was measured; the first row is the bare server's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly options: Options
  /** The agent's version, as it told it. */
  readonly version: string
  readonly rows: ReadonlyArray<Row>
}

/**
 * Measures; fails when a server does not answer, or does not end.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.gen(function*() {
    const binary = yield* starts.binary
    const leases = yield* starts.leases
    const all = [
      ["bare", starts.byHand(binary, options.limit)],
      ["CodexServer", starts.byReins(binary, options.limit)],
      // A host has it so, unless it says that it wants no leases.
      ["CodexServer with a lease", starts.byReins(binary, options.limit, leases)]
    ] as const
    const times = all.map((): Array<number> => [])
    let version: string | undefined
    // The first round fills the file cache: the binary is large. Each round begins with another contender.
    for (let round = 0; round <= options.rounds; round++) {
      for (let turn = 0; turn < all.length; turn++) {
        const index = (round + turn) % all.length
        const [name, start] = all[index] ?? all[0]
        const taken = yield* start
        version ??= taken.version
        if (taken.version !== version) {
          return yield* new bench.BenchFailed({
            description: `${name} heard of version ${taken.version}, and another one of ${version}.`
          })
        }
        if (round === 0) continue
        times[index]?.push(taken.ready)
        progress(`round ${round}: ${name} ${taken.ready.toFixed(1)} ms`)
      }
    }
    const [bare = []] = times
    return {
      options,
      version: version ?? "unknown",
      rows: all.map(([name], index): Row => ({
        name,
        time: measure.median(times[index] ?? []),
        toBare: measure.pairedRatio(times[index] ?? [], bare)
      }))
    }
  }).pipe(Effect.scoped)
