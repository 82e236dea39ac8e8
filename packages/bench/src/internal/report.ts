/** The report as a table. */
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as os from "node:os"
import type { Figures, Latency, Report, Row } from "../Ingest.ts"

const require = createRequire(import.meta.url)

/** The version in the manifest of a package, found from its entry. */
const versionOf = (name: string): string => {
  let directory = new URL(".", import.meta.resolve(name))
  for (;;) {
    const file = new URL("package.json", directory)
    if (fs.existsSync(file)) {
      const manifest = require(file.pathname) as { readonly name?: string; readonly version?: string }
      if (manifest.name === name) return manifest.version ?? "unknown"
    }
    const parent = new URL("..", directory)
    if (parent.href === directory.href) return "unknown"
    directory = parent
  }
}

const thousands = (rate: number): string => `${Math.round(rate / 1000).toLocaleString("en")}k`
const micros = (value: number): string => value.toFixed(2)
const figure = (value: Figures): string => `${thousands(value.rate)} ${micros(value.cpu)}`

const cells = (row: Row): ReadonlyArray<string> => {
  const ratio = row.reins.rate / row.sdk.rate
  const cpu = row.reins.cpu / row.sdk.cpu
  return [
    row.name,
    figure(row.reins),
    figure(row.sdk),
    figure(row.json),
    figure(row.bytes),
    `${ratio.toFixed(2)}x${row.goal === undefined ? "" : ` (goal ${row.goal.toFixed(1)}x)`}`,
    `${cpu.toFixed(2)}x`
  ]
}

const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))
      .join("  ").trimEnd()
  ).join("\n")
}

const times = ({ max, p50, p99 }: Latency): ReadonlyArray<string> =>
  [p50, p99, max].map((value) => `${value.toFixed(3)} ms`)

/** The whole report. */
export const render = ({ latency, options, rows }: Report): string =>
  [
    `${
      os.cpus()[0]?.model ?? "unknown processor"
    }, ${os.availableParallelism()} cores, ${os.type()} ${os.release()}; ` +
    `Node ${process.versions.node}, effect ${versionOf("effect")}, @opencode-ai/sdk ${
      versionOf("@opencode-ai/sdk")
    }, ` +
    `recording of OpenCode 1.18.33`,
    `${options.events.toLocaleString("en")} deltas a run over loopback SSE from another process; medians of ` +
    `${options.rounds} runs that take turns in one process after a warm-up; writes of 64 KiB, a chunk is an HTTP chunk; every text compared`,
    "",
    table([
      ["events/s, CPU us/event", "Reins", "SDK", "floor: JSON", "floor: bytes", "rate to SDK", "CPU to SDK"],
      ...rows.map(cells)
    ]),
    "",
    `latency at ${
      options.rate.toLocaleString("en")
    } events/s, medians of ${options.seconds} seconds: from the arrival of ` +
    `a frame's bytes in this process (goal p99 < 1 ms), and from the server's write`,
    table([
      ["", "arrival: p50", "p99", "worst", "write: p50", "p99", "worst"],
      ...latency.map(({ added, sessions, whole }) => [
        `${sessions.toLocaleString("en")} open`,
        ...times(added),
        ...times(whole)
      ])
    ])
  ].join("\n")
