/** Random prompts, answers, interrupts, faults and kills over several sessions on the real server, and what came of it. */
import { NodeServices } from "@effect/platform-node"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import { Clock, Effect, FileSystem, Layer, Metric, Random, Stream } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Processes from "../fixtures/processes.ts"
import * as faults from "./faults.ts"
import * as ledger from "./ledger.ts"
import { kinds } from "./prompts.ts"
import type { Provider } from "./subjects.ts"
import { subjects } from "./subjects.ts"

/** A prompt without its outcome for so long is stuck. */
const stuckAfter = 120_000
const sampleEvery = "5 seconds"
/** Turns before the heap is looked at: code is compiled and caches fill. In a shorter run it is half of its turns. */
const warmUp = 200
/** Turns between the first and the last look at the heap, of which something can be said. */
const fewest = 10

export interface Figures {
  readonly seed: number
  readonly minutes: number
  readonly prompts: number
  readonly turns: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly faults: Readonly<Record<string, number>>
  readonly lost: number
  readonly stuck: number
  readonly doubled: number
  readonly otherLaws: number
  readonly leakedProcesses: number
  readonly leakedFibers: number
  /** MB per 100 turns after the warm-up, by a line through samples after GC; absent: too few turns to say. */
  readonly heapGrowth?: number
  /** More is a leak: 1 after the whole warm-up. Before, a sound heap grows by 2 to 3, and only a gross leak is told. */
  readonly heapLimit: number
  readonly problems: ReadonlyArray<string>
}

/** Whether a run shows anything that must not be; of a heap that could not be looked at nothing is known. */
export const hasFailed = (figures: Figures): boolean =>
  figures.problems.length > 0 || figures.leakedProcesses + figures.leakedFibers > 0 ||
  figures.heapGrowth === undefined || figures.heapGrowth >= figures.heapLimit

/** The slope of a line through points, by least squares. */
const slope = (points: ReadonlyArray<readonly [x: number, y: number]>): number => {
  const n = points.length
  const mx = points.reduce((sum, [x]) => sum + x, 0) / n
  const my = points.reduce((sum, [, y]) => sum + y, 0) / n
  const xy = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0)
  const xx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0)
  return xx === 0 ? 0 : xy / xx
}

/** The collection of garbage, also where Node was started without `--expose-gc`: a test cannot choose its flags. */
const collect = ((): () => void => {
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc") as () => void
})()

const countLines = (file: string): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const line of existsSync(file) ? readFileSync(file, "utf8").split("\n") : []) {
    if (line !== "") counts.set(line, (counts.get(line) ?? 0) + 1)
  }
  return counts
}

const activeFibers = Effect.map(Metric.snapshot, (all) => {
  const found = all.find(({ id }) => id === "child_fibers_active")
  return found?.type === "Gauge" ? Number(found.state.value) : 0
})

export const run = (options: {
  readonly minutes: number
  readonly seed: number
  readonly sessions?: number
  readonly provider?: Provider
  readonly progress?: (line: string) => void
}) =>
  Effect.gen(function*() {
    const counts = { lost: 0, stuck: 0, doubled: 0, law: 0 }
    const problems: Array<string> = []
    const problem = (kind: keyof typeof counts, text: string) => {
      counts[kind]++
      // Told at once as well: what is stuck can be looked at while it is.
      options.progress?.(`${kind}: ${text}`)
      if (problems.length < 50) problems.push(`${kind}: ${text}`)
    }
    const happened: Record<string, number> = {}
    const ledgers: Array<ledger.Ledger> = []
    const samples: Array<readonly [number, number]> = []
    let prompts = 0
    const turns = () => ledgers.reduce((sum, one) => sum + one.turns(), 0)
    const deadline = (yield* Clock.currentTimeMillis) + options.minutes * 60_000
    const isOver = Effect.map(Clock.currentTimeMillis, (now) => now >= deadline)
    let root = ""
    const provider = options.provider ?? "opencode"

    const work = Effect.fnUntraced(function*(session: Session, index: number) {
      const book = ledger.make(`session ${index}`, problem)
      ledgers.push(book)
      yield* session.attach()
      yield* session.events().pipe(
        Stream.runForEachArray((events) => Effect.sync(() => events.forEach(book.take))),
        Effect.forkScoped
      )
      yield* Effect.forever(Effect.gen(function*() {
        for (const request of yield* session.requests) {
          const answer = ["accept", "accept", "accept", "decline", "cancel"][yield* Random.nextIntBetween(0, 5)]
          yield* Effect.ignore(session.answer(request.id, { _tag: answer as "accept" | "decline" | "cancel" }))
        }
        yield* Effect.sleep(yield* Random.nextIntBetween(20, 400))
      })).pipe(Effect.forkScoped)
      while (!(yield* isOver)) {
        const batch = 1 + (yield* Random.nextIntBetween(0, 3))
        const sent = yield* Effect.forEach(Array.from({ length: batch }), () =>
          Effect.gen(function*() {
            const kind = kinds[yield* Random.nextIntBetween(0, kinds.length)] ?? "text"
            const name = `S-${++prompts}`
            const turn = yield* session.prompt(`${kind} ${name}`)
            book.expect(turn.id, name)
            return { name, turn }
          }))
        if ((yield* Random.nextIntBetween(0, 6)) === 0) {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 1_500))
          yield* session.interrupt
        }
        for (const { name, turn } of sent) {
          const outcome = yield* Effect.timeoutOption(turn.outcome, stuckAfter)
          if (outcome._tag === "None") {
            const view = yield* session.view
            problem(
              "stuck",
              `session ${index}: ${name} has no outcome after ${stuckAfter / 1000} s: ${
                JSON.stringify({ turn: view.turn, queue: view.queue, requests: view.requests.length })
              }, after\n  ${book.recent().join("\n  ")}`
            )
          }
        }
      }
      yield* session.quiescent.pipe(Effect.timeoutOption(stuckAfter))
      // The last event may be on its way to the reader.
      const { seq } = yield* session.view
      yield* Effect.gen(function*() {
        while (book.seq() < seq) yield* Effect.sleep(20)
      }).pipe(Effect.timeoutOption("10 seconds"))
      if (book.seq() < seq) problem("lost", `session ${index}: the reader was told up to ${book.seq()} of ${seq}`)
      for (const what of book.open()) problem("stuck", `session ${index}: ${what} is open`)
    })

    const before = yield* activeFibers
    yield* Effect.scoped(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const asked = `${yield* fs.makeTempDirectoryScoped({ prefix: "reins-soak-" })}/asked.txt`
      const model = yield* Processes.program(new URL("./soakModel.ts", import.meta.url), [asked, provider])
      const subject = yield* subjects[provider](yield* model.line)
      const { cwd } = subject
      root = subject.root
      const layer = Sessions.layer.pipe(
        Layer.provide(subject.providers),
        Layer.provide(SqliteStores.layer({ filename: `${root}/host/reins.db` })),
        Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
        Layer.provide(NodeServices.layer)
      )
      yield* Effect.gen(function*() {
        const sessions = yield* Sessions.Sessions
        const all = yield* Effect.forEach(
          Array.from({ length: options.sessions ?? 4 }),
          () => sessions.open({ provider, cwd, title: "soak" }),
          { concurrency: "unbounded" }
        )
        yield* Effect.gen(function*() {
          for (let count = 1; !(yield* isOver); count++) {
            yield* Effect.sleep(yield* Random.nextIntBetween(1_000, 6_000))
            const drawn = faults.kinds[yield* Random.nextIntBetween(0, faults.kinds.length)] ?? "cut"
            // The luck of a short run does not spare it a kill.
            const kind = count === 3 && happened["kill"] === undefined ? "kill" : drawn
            yield* faults.happen(kind, subject)
            happened[kind] = (happened[kind] ?? 0) + 1
          }
        }).pipe(Effect.forkScoped)
        yield* Effect.forever(Effect.gen(function*() {
          yield* Effect.sleep(sampleEvery)
          collect()
          samples.push([turns(), process.memoryUsage().heapUsed / 1e6])
        })).pipe(Effect.forkScoped)
        yield* Effect.forever(Effect.gen(function*() {
          yield* Effect.sleep("10 seconds")
          const total = Object.values(happened).reduce((sum, n) => sum + n, 0)
          options.progress?.(
            `${turns()} turns, ${total} faults, lost ${counts.lost}, stuck ${counts.stuck}, doubled ${counts.doubled}, ` +
              `other ${counts.law}, fibers ${yield* activeFibers}, heap ${
                Math.round(process.memoryUsage().heapUsed / 1e6)
              } MB`
          )
        })).pipe(Effect.forkScoped)
        yield* Effect.forEach(all, (session, index) => Effect.scoped(work(session, index)), {
          concurrency: "unbounded"
        })
      }).pipe(Effect.scoped, Effect.provide(layer))
      for (const [name, times] of countLines(`${cwd}/ran.txt`)) {
        if (times > 1) problem("doubled", `the tool of ${name} ran ${times} times`)
      }
      for (const [name, times] of countLines(asked)) {
        if (times > 1) problem("doubled", `the model was asked ${times} times about ${name}`)
      }
      yield* Effect.sleep(1_000)
      yield* model.kill
    })).pipe(Effect.provide(NodeServices.layer))
    yield* Effect.sleep(500)
    const leakedFibers = Math.max(0, (yield* activeFibers) - before)
    const outcomes: Record<string, number> = {}
    for (const book of ledgers) {
      for (const [name, count] of book.outcomes) outcomes[name] = (outcomes[name] ?? 0) + count
    }
    const warm = samples.filter(([at]) => at >= Math.min(warmUp, turns() / 2))
    const seen = (warm.at(-1)?.[0] ?? 0) - (warm[0]?.[0] ?? 0)
    const figures: Figures = {
      seed: options.seed,
      minutes: options.minutes,
      prompts,
      turns: turns(),
      outcomes,
      faults: happened,
      lost: counts.lost,
      stuck: counts.stuck,
      doubled: counts.doubled,
      otherLaws: counts.law,
      leakedProcesses: Processes.withEnvironment(root).length,
      leakedFibers,
      ...(seen < fewest ? undefined : { heapGrowth: Math.round(slope(warm) * 100 * 1000) / 1000 }),
      heapLimit: turns() >= 2 * warmUp ? 1 : 10,
      problems
    }
    return figures
  }).pipe(Metric.enableRuntimeMetrics, Random.withSeed(options.seed))
