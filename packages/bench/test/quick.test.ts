/** Each benchmark runs, finds nothing broken, and reports what it says that it measures. */
import { assert, describe, it } from "@effect/vitest"
import * as CodexStarts from "@reins/bench/CodexStarts"
import * as Imports from "@reins/bench/Imports"
import * as Ingest from "@reins/bench/Ingest"
import * as Isolation from "@reins/bench/Isolation"
import * as Journal from "@reins/bench/Journal"
import * as OpenSessions from "@reins/bench/OpenSessions"
import * as Rpc from "@reins/bench/Rpc"
import * as Times from "@reins/bench/Times"
import * as Effect from "effect/Effect"
import * as bench from "../src/internal/bench.ts"
import * as commands from "../src/internal/commands.ts"
import * as codexReport from "../src/internal/codexReport.ts"
import * as importsReport from "../src/internal/importsReport.ts"
import * as ingestReport from "../src/internal/ingestReport.ts"
import * as isolationReport from "../src/internal/isolationReport.ts"
import * as journalReport from "../src/internal/journalReport.ts"
import * as measure from "../src/internal/measure.ts"
import * as openSessionsReport from "../src/internal/openSessionsReport.ts"
import * as rpcReport from "../src/internal/rpcReport.ts"
import * as timesReport from "../src/internal/timesReport.ts"

const quiet = (): void => {}

const assertTimes = (values: ReadonlyArray<number>): void => {
  for (const value of values) assert.isTrue(Number.isFinite(value) && value > 0, String(value))
}

/** The machine, the versions, the method, and no figure that could not be had. */
const assertReport = (text: string): void => {
  const [machine = "", method = ""] = text.split("\n")
  assert.match(machine, /\d+ cores, load [\d.]+, .*; Node \d+\.\d+\.\d+, effect \d/)
  assert.match(method, /medians of 1 r/)
  assert.notInclude(text, "NaN")
  assert.notInclude(text, "undefined")
}

describe("a quick run", () => {
  it.live("of ingest has a row for each way to send, and latencies", () =>
    Effect.gen(function*() {
      const report = yield* Ingest.run(Ingest.quick, quiet)
      assert.lengthOf(report.rows, 5)
      for (const row of report.rows) {
        assertTimes([row.reins, row.sdk, row.json, row.bytes].flatMap(({ cpu, rate }) => [cpu, rate]))
      }
      assert.deepStrictEqual(report.latency.map(({ sessions }) => sessions), [1, Ingest.quick.sessions])
      assertReport(ingestReport.render(report))
    }))

  it.live("of the journal has both ways to send, with a tenth of the events durable", () =>
    Effect.gen(function*() {
      const report = yield* Journal.run(Journal.quick, quiet)
      assert.deepStrictEqual(report.rows.map(({ name }) => name), ["bursts", "one frame per chunk"])
      assertTimes(report.rows.flatMap(({ cpuRatio, memory, ratio, sqlite }) => [
        cpuRatio,
        ratio,
        memory.rate,
        sqlite.rate
      ]))
      assert.isAbove(report.durable, 0.1)
      assertReport(journalReport.render(report))
    }))

  it.live("of isolation loses nothing of the neighbours in any trouble", () =>
    Effect.gen(function*() {
      const report = yield* Isolation.run(Isolation.quick, quiet)
      assert.lengthOf(report.rows, 7)
      assertTimes(report.rows.flatMap(({ p50, p99, toQuiet }) => [p50, p99, toQuiet]))
      assertReport(isolationReport.render(report))
    }), 60_000)

  it.live("of rpc loses no notification in any reader", () =>
    Effect.gen(function*() {
      const report = yield* Rpc.run(Rpc.quick, quiet)
      assert.lengthOf(report.rows, 3)
      assertTimes(report.rows.flatMap(({ cpu, peerCpuTo, peerTo, rate }) => [rate, cpu, peerTo, peerCpuTo]))
      assertReport(rpcReport.render(report))
    }), 60_000)

  it.live("of sessions has a row for each number of open ones, and the memory of the idle ones", () =>
    Effect.gen(function*() {
      const report = yield* OpenSessions.run(OpenSessions.quick, quiet)
      assert.deepStrictEqual(
        report.rows.map(({ mode, open }) => `${mode} ${open}`),
        ["burst 1", "burst 10", "frame 1", "frame 10"]
      )
      assertTimes(report.rows.flatMap(({ cpu, cpuRatio, rate, rateRatio }) => [cpu, cpuRatio, rate, rateRatio]))
      assert.deepStrictEqual(report.rows.filter(({ open }) => open === 1).map(({ cpuRatio }) => cpuRatio), [1, 1])
      assert.deepStrictEqual(report.memory.idle.map(({ sessions }) => sessions), OpenSessions.quick.idle)
      assertTimes(report.memory.idle.map(({ bytes }) => bytes))
      const text = openSessionsReport.render(report)
      assertReport(text)
      assert.include(text, "goal < 50 kB")
    }))

  it.live("of times has every interrupt and both starts beside the bare server", () =>
    Effect.gen(function*() {
      const report = yield* Times.run(Times.quick, quiet)
      assert.deepStrictEqual(report.interrupts.map(({ name }) => name), [
        "interrupt in text",
        "interrupt in a running tool",
        "interrupt with an approval open"
      ])
      assert.deepStrictEqual(report.starts.map(({ name }) => name), [
        "open to ready",
        "kill -9 to the next prompt accepted"
      ])
      for (const { bare, reins, same } of [...report.interrupts, ...report.starts]) {
        assertTimes([reins, bare.time, bare.ratio, same.time, same.ratio])
        // By hand the same run goes on after what is measured of the bare server.
        assert.isAbove(same.time, bare.time)
      }
      assert.match(report.version, /^\d+\.\d+\.\d+$/)
      assertReport(timesReport.render(report))
    }), 180_000)

  it.live("of codex has the start of Reins beside the bare server's", () =>
    Effect.gen(function*() {
      const report = yield* CodexStarts.run(CodexStarts.quick, quiet)
      assert.deepStrictEqual(report.rows.map(({ name }) => name), ["bare", "CodexServer", "CodexServer with a lease"])
      assertTimes(report.rows.flatMap(({ time, toBare }) => [time, toBare]))
      assert.strictEqual(report.rows[0]?.toBare, 1)
      assert.match(report.version, /^\d+\.\d+\.\d+$/)
      assertReport(codexReport.render(report))
    }), 60_000)

  it.live("of import has every package beside effect and the SDK", () =>
    Effect.gen(function*() {
      const report = yield* Imports.run(Imports.quick, quiet)
      assert.deepStrictEqual(report.rows.map(({ name }) => name).slice(0, 3), [
        "effect",
        "@opencode-ai/sdk",
        "@reins/core + @reins/opencode"
      ])
      assert.deepStrictEqual(report.rows.at(-1)?.name, "reins + Reins.create")
      assertTimes(report.rows.flatMap(({ cpu, time, toEffect, toSdk }) => [cpu, time, toEffect, toSdk]))
      assert.deepStrictEqual([report.rows[0]?.toEffect, report.rows[1]?.toSdk], [1, 1])
      assertReport(importsReport.render(report))
    }))
})

describe("a benchmark", () => {
  it.live("fails when what was sent does not come", () =>
    Effect.gen(function*() {
      const options = { ...OpenSessions.quick, limit: 1 }
      const error = yield* Effect.flip(OpenSessions.run(options, quiet))
      assert.instanceOf(error, bench.BenchFailed)
      assert.include(error.message, "did not come within")
    }))

  it("takes the options that it has, and refuses others", () => {
    for (const name of ["ingest", "journal", "isolation", "rpc", "sessions", "times", "codex", "import"]) {
      assert.isFunction(commands.choose([name, "--quick", "--rounds", "2"]))
      assert.include(commands.usage, `\n  ${name} `)
    }
    assert.throws(() => commands.choose(["import", "--events", "2"]), /--events/)
    assert.throws(() => commands.choose(["times", "--rounds", "0"]), /whole number above 0/)
    assert.throws(() => commands.choose(["nothing"]), /no benchmark "nothing"/)
  })

  it("takes ratios round by round, and the growth by least squares", () => {
    assert.strictEqual(measure.pairedRatio([2, 40, 9], [1, 10, 3]), 3)
    assert.strictEqual(measure.slope([[0, 5], [10, 25], [20, 45]]), 2)
  })
})
