/** The benchmarks by name, with the options of each. */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as CodexStarts from "../CodexStarts.ts"
import * as Imports from "../Imports.ts"
import * as Ingest from "../Ingest.ts"
import * as Isolation from "../Isolation.ts"
import * as Journal from "../Journal.ts"
import * as OpenSessions from "../OpenSessions.ts"
import * as Rpc from "../Rpc.ts"
import * as Times from "../Times.ts"
import type { BenchFailed } from "./bench.ts"
import * as codexReport from "./codexReport.ts"
import * as importsReport from "./importsReport.ts"
import * as ingestReport from "./ingestReport.ts"
import * as isolationReport from "./isolationReport.ts"
import * as journalReport from "./journalReport.ts"
import * as openSessionsReport from "./openSessionsReport.ts"
import * as rpcReport from "./rpcReport.ts"
import * as timesReport from "./timesReport.ts"

export const usage = `npm run bench -- <benchmark> [options]

Benchmarks:
  ingest        deltas from the server's bytes to a reader, beside the SDK's raw event loop
  journal       events that are kept in SQLite, beside the same in memory
  isolation     deltas of sessions beside one in trouble, beside the same with nobody in trouble
  rpc           what an agent says over JSON-RPC, beside a plain loop of lines and the ACP SDK
  sessions      an event's price with up to 1,000 sessions open, and the memory of an idle one
  times         interrupt, open and recovery with the real OpenCode, beside the bare server
  codex         the start of the real Codex until it is ready, beside the bare server
  import        loading the packages in a fresh process, beside effect alone and the SDK

Options:
  --rounds N    counted runs of each contender (default 7 in ingest, isolation and rpc, 20 in codex, 15 in
                the others)
  --events N    deltas of one run (default 100000 in ingest, rpc and sessions, 50000 in journal, 1000 in isolation)
  --sessions N  of ingest: open sessions of the larger case (default 1000)
  --quick       a short run that only finds what is broken

A benchmark fails when something is broken, such as a delta that is lost or a turn that does not end, and never because
of a time.`

/** Runs a benchmark and gives its report as text. */
export type Chosen = (progress: (line: string) => void) => Effect.Effect<string, BenchFailed>

const count = (value: string | undefined, otherwise: number): number => {
  if (value === undefined) return otherwise
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`"${value}" is not a whole number above 0.`)
  return number
}

/** Reads the options that a benchmark takes; any other one is refused. */
const read = <K extends string>(args: ReadonlyArray<string>, names: ReadonlyArray<K>) => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(names.map((name) => [name, { type: "string" as const }])),
      quick: { type: "boolean" as const }
    }
  })
  const given: { readonly [key: string]: string | boolean | undefined } = values
  return {
    quick: given["quick"] === true,
    count: (name: K, otherwise: number): number => {
      const value = given[name]
      return count(typeof value === "string" ? value : undefined, otherwise)
    }
  }
}

/** The options of a benchmark that takes `--events` and `--rounds`. */
const sized = <Options extends { readonly events: number; readonly rounds: number }>(
  args: ReadonlyArray<string>,
  sizes: { readonly full: Options; readonly quick: Options }
): Options => {
  const given = read(args, ["events", "rounds"])
  const base = given.quick ? sizes.quick : sizes.full
  return { ...base, events: given.count("events", base.events), rounds: given.count("rounds", base.rounds) }
}

const benchmarks: { readonly [name: string]: (args: ReadonlyArray<string>) => Chosen } = {
  ingest: (args) => {
    const given = read(args, ["events", "rounds", "sessions"])
    const base = given.quick ? Ingest.quick : Ingest.full
    const options: Ingest.Options = {
      ...base,
      events: given.count("events", base.events),
      rounds: given.count("rounds", base.rounds),
      sessions: given.count("sessions", base.sessions)
    }
    return (progress) => Effect.map(Ingest.run(options, progress), ingestReport.render)
  },
  journal: (args) => {
    const options = sized(args, Journal)
    return (progress) => Effect.map(Journal.run(options, progress), journalReport.render)
  },
  isolation: (args) => {
    const options = sized(args, Isolation)
    return (progress) => Effect.map(Isolation.run(options, progress), isolationReport.render)
  },
  rpc: (args) => {
    const options = sized(args, Rpc)
    return (progress) => Effect.map(Rpc.run(options, progress), rpcReport.render)
  },
  sessions: (args) => {
    const options = sized(args, OpenSessions)
    return (progress) => Effect.map(OpenSessions.run(options, progress), openSessionsReport.render)
  },
  times: (args) => {
    const given = read(args, ["rounds"])
    const base = given.quick ? Times.quick : Times.full
    const options: Times.Options = { ...base, rounds: given.count("rounds", base.rounds) }
    return (progress) => Effect.map(Times.run(options, progress), timesReport.render)
  },
  codex: (args) => {
    const given = read(args, ["rounds"])
    const base = given.quick ? CodexStarts.quick : CodexStarts.full
    const options: CodexStarts.Options = { ...base, rounds: given.count("rounds", base.rounds) }
    return (progress) => Effect.map(CodexStarts.run(options, progress), codexReport.render)
  },
  import: (args) => {
    const given = read(args, ["rounds"])
    const base = given.quick ? Imports.quick : Imports.full
    const options: Imports.Options = { ...base, rounds: given.count("rounds", base.rounds) }
    return (progress) => Effect.map(Imports.run(options, progress), importsReport.render)
  }
}

/** The benchmark that the arguments name; throws what is wrong with them. */
export const choose = (args: ReadonlyArray<string>): Chosen => {
  const [name = "", ...options] = args
  const benchmark = Object.hasOwn(benchmarks, name) ? benchmarks[name] : undefined
  if (benchmark === undefined) throw new Error(`There is no benchmark "${name}".`)
  return benchmark(options)
}
