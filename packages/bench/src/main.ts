/**
 * The entry of `npm run bench`.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as Ingest from "./Ingest.ts"
import * as report from "./internal/report.ts"

const usage = `npm run bench -- <benchmark> [options]

Benchmarks:
  ingest        deltas from the server's bytes to a reader, beside the SDK's raw event loop

Options of ingest:
  --events N    deltas of one run (default 100000)
  --rounds N    counted runs of each contender (default 7)
  --sessions N  open sessions of the larger case (default 1000)
  --quick       a short run that only finds what is broken; fails when a delta is lost`

const count = (value: string | undefined, otherwise: number): number => {
  if (value === undefined) return otherwise
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`"${value}" is not a whole number above 0.`)
  return number
}

const optionsOf = (args: ReadonlyArray<string>): Ingest.Options => {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      events: { type: "string" },
      rounds: { type: "string" },
      sessions: { type: "string" },
      quick: { type: "boolean" }
    }
  })
  const [name, ...others] = positionals
  if (name !== "ingest" || others.length > 0) throw new Error(`There is no benchmark "${positionals.join(" ")}".`)
  const quick = values.quick === true
  return {
    events: count(values.events, quick ? 10_000 : 100_000),
    rounds: count(values.rounds, quick ? 1 : 7),
    sessions: count(values.sessions, quick ? 50 : 1_000),
    rate: 10_000,
    seconds: quick ? 1 : 10,
    limit: quick ? 10_000 : 60_000
  }
}

const program = Effect.suspend(() => {
  let options: Ingest.Options
  try {
    options = optionsOf(process.argv.slice(2))
  } catch (cause) {
    console.error(`${cause instanceof Error ? cause.message : String(cause)}\n\n${usage}`)
    process.exitCode = 2
    return Effect.void
  }
  return Effect.map(Ingest.run(options, (line) => process.stderr.write(`${line}\n`)), (measured) => {
    console.log(report.render(measured))
  })
})

NodeRuntime.runMain(program)
