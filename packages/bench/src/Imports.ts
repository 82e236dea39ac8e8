/**
 * How long the packages take to load in a fresh Node process, beside `effect` alone and the official SDK.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as bench from "./internal/bench.ts"
import * as measure from "./internal/measure.ts"

/**
 * How much is measured.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Processes of each contender, after one that is not counted. */
  readonly rounds: number
  /** Milliseconds after which a process has hung. */
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
export const quick: Options = { rounds: 1, limit: 60_000 }

/**
 * Medians of one contender. A ratio is the median of the ratios in the same round.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** Milliseconds from the first import until the last module has run. */
  readonly time: number
  /** Milliseconds of processor time between the two. */
  readonly cpu: number
  readonly toEffect: number
  readonly toSdk: number
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
}

interface Sample {
  readonly time: number
  readonly cpu: number
}

interface Contender {
  readonly name: string
  readonly modules: ReadonlyArray<string>
  /** What is done with the modules inside of the time; `modules` is the list of what was imported. */
  readonly then?: string
  /** What is done after it. */
  readonly finally?: string
}

const effect: Contender = { name: "effect", modules: ["effect"] }
const sdk: Contender = { name: "@opencode-ai/sdk", modules: ["@opencode-ai/sdk"] }

const contenders: ReadonlyArray<Contender> = [
  effect,
  sdk,
  { name: "@reins/core + @reins/opencode", modules: ["@reins/core", "@reins/opencode"] },
  // What a host on Node chooses in any case, and what `reins` chooses for it.
  {
    name: "the same + HTTP and services of @effect/platform-node",
    modules: [
      "@reins/core",
      "@reins/opencode",
      "@effect/platform-node/NodeHttpClient",
      "@effect/platform-node/NodeServices"
    ]
  },
  { name: "reins", modules: ["reins"] },
  // The facade loads what is behind it when it is first used.
  {
    name: "reins + Reins.create",
    modules: ["reins"],
    then: "const reins = await modules[0].Reins.create({ providers: { opencode: modules[0].Reins.openCode() } });",
    finally: "await reins.close();"
  }
]

const execute = promisify(execFile)
/** Where names of packages are resolved. */
const cwd = fileURLToPath(new URL("../", import.meta.url))

/** Imports in the order of the names, as a program would that has them one below the other. */
const program = (contender: Contender): string =>
  `const modules = [], cpu = process.cpuUsage(), begin = performance.now();
${contender.modules.map((name) => `modules.push(await import(${JSON.stringify(name)}));`).join("\n")}
${contender.then ?? ""}
const time = performance.now() - begin, used = process.cpuUsage(cpu);
${contender.finally ?? ""}
console.log(JSON.stringify({ time, cpu: (used.user + used.system) / 1000 }));`

const load = (contender: Contender, limit: number): Effect.Effect<Sample, bench.BenchFailed> =>
  bench.attempt(async () => {
    const { NODE_OPTIONS: _, NODE_COMPILE_CACHE: __, ...env } = process.env
    const args = ["--input-type=module", "--eval", program(contender)]
    const { stdout } = await execute(process.execPath, args, { cwd, env, timeout: limit })
    return JSON.parse(stdout) as Sample
  })

/**
 * Measures what is built in `dist`; fails when something cannot be imported.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = (options: Options, progress: (line: string) => void): Effect.Effect<Report, bench.BenchFailed> =>
  Effect.gen(function*() {
    const samples = new Map<Contender, Array<Sample>>(contenders.map((contender) => [contender, []]))
    // The first round fills the file cache. Each round begins with another contender.
    for (let round = 0; round <= options.rounds; round++) {
      const first = round % contenders.length
      for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
        const sample = yield* load(contender, options.limit)
        if (round > 0) samples.get(contender)?.push(sample)
      }
      if (round > 0) progress(`round ${round}`)
    }
    const times = (contender: Contender): ReadonlyArray<number> =>
      (samples.get(contender) ?? []).map(({ time }) => time)
    const rows = contenders.map((contender): Row => ({
      name: contender.name,
      time: measure.median(times(contender)),
      cpu: measure.median((samples.get(contender) ?? []).map(({ cpu }) => cpu)),
      toEffect: measure.pairedRatio(times(contender), times(effect)),
      toSdk: measure.pairedRatio(times(contender), times(sdk))
    }))
    return { options, rows }
  })
