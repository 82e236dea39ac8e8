/** Random prompts, answers, interrupts, faults and kills over several sessions on the real server, and what came of it. */
import { NodeServices } from "@effect/platform-node"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Session } from "@reins/core/Session"
import * as Sessions from "@reins/core/Sessions"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import { Clock, Effect, Layer, Metric, Random, Stream } from "effect"
import { existsSync, readFileSync } from "node:fs"
import * as Processes from "../fixtures/processes.ts"
import * as faults from "./faults.ts"
import * as ledger from "./ledger.ts"
import { kinds } from "./prompts.ts"
import type { Provider } from "./subjects.ts"
import { subjects } from "./subjects.ts"

/** A prompt without its outcome for so long is stuck. */
const stuckAfter = 120_000
const sampleEvery = 50
/** Turns before the heap is looked at: code is compiled and caches fill. */
const warmUp = 200

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
  readonly problems: ReadonlyArray<string>
}

/** The slope of a line through points, by least squares. */
const slope = (points: ReadonlyArray<readonly [x: number, y: number]>): number => {
  const n = points.length
  const mx = points.reduce((sum, [x]) => sum + x, 0) / n
  const my = points.reduce((sum, [, y]) => sum + y, 0) / n
  const xy = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0)
  const xx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0)
  return xx === 0 ? 0 : xy / xx
}

const collect = (globalThis as { readonly gc?: () => void }).gc

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
    let sampled = 0
    const turns = () => ledgers.reduce((sum, one) => sum + one.turns(), 0)
    const deadline = (yield* Clock.currentTimeMillis) + options.minutes * 60_000
    const isOver = Effect.map(Clock.currentTimeMillis, (now) => now >= deadline)
    let root = ""
    const provider = options.provider ?? "opencode"
    let files = { asked: "", ran: "" }

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
      for (const what of book.open())
        if (!what.startsWith("item "))
          problem("stuck", `session ${index}: ${what} is open`)
    })

    const before = yield* activeFibers
    yield* Effect.scoped(Effect.gen(function*() {
      const model = yield* Processes.program(
        new URL("./soakModel.ts", import.meta.url),
        [`${process.env["TMPDIR"] ?? "/tmp"}/reins-soak-${process.pid}.txt`, provider]
      )
      const subject = yield* subjects[provider](yield* model.line)
      const { cwd } = subject
      root = subject.root
      files = {
        asked: `${process.env["TMPDIR"] ?? "/tmp"}/reins-soak-${process.pid}.txt`,
        ran: `${cwd}/ran.txt`
      }
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
          while (!(yield* isOver)) {
            yield* Effect.sleep(yield* Random.nextIntBetween(1_000, 6_000))
            const kind = faults.kinds[yield* Random.nextIntBetween(0, faults.kinds.length)] ?? "cut"
            yield* faults.happen(kind, subject)
            happened[kind] = (happened[kind] ?? 0) + 1
          }
        }).pipe(Effect.forkScoped)
        yield* Effect.forever(Effect.gen(function*() {
          yield* Effect.sleep("10 seconds")
          if (turns() - sampled >= sampleEvery && collect !== undefined) {
            sampled = turns()
            collect()
            samples.push([sampled, process.memoryUsage().heapUsed / 1e6])
          }
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
      for (const [name, times] of countLines(files.ran)) {
        if (times > 1) problem("doubled", `the tool of ${name} ran ${times} times`)
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
    const warm = samples.filter(([at]) => at >= warmUp)
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
      ...(warm.length < 3 ? undefined : { heapGrowth: Math.round(slope(warm) * 100 * 1000) / 1000 }),
      problems
    }
    return figures
  }).pipe(Metric.enableRuntimeMetrics, Random.withSeed(options.seed))
