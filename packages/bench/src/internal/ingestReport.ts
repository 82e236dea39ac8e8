/** The report of `ingest`. */
import type { Figures, Latency, Report, Row } from "../Ingest.ts"
import { machine, micros, ratio, table, thousands, versionOf } from "./table.ts"

const figure = (value: Figures): string => `${thousands(value.rate)} ${micros(value.cpu)}`

const cells = (row: Row): ReadonlyArray<string> => [
  row.name,
  figure(row.reins),
  figure(row.sdk),
  figure(row.json),
  figure(row.bytes),
  ratio(row.reins.rate / row.sdk.rate, row.goal === undefined ? undefined : `${row.goal.toFixed(1)}x`),
  ratio(row.reins.cpu / row.sdk.cpu)
]

const times = ({ max, p50, p99 }: Latency): ReadonlyArray<string> =>
  [p50, p99, max].map((value) => `${value.toFixed(3)} ms`)

/** The whole report. */
export const render = ({ latency, options, rows }: Report): string =>
  [
    machine([
      `effect ${versionOf("effect")}`,
      `@opencode-ai/sdk ${versionOf("@opencode-ai/sdk")}`,
      "recording of OpenCode 1.18.33"
    ]),
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
