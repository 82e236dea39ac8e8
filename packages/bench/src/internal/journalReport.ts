/** The report of `journal`. */
import type { Report } from "../Journal.ts"
import { machine, micros, ratio, table, thousands, versionOf } from "./table.ts"

/** The whole report. */
export const render = ({ durable, options, rows }: Report): string =>
  [
    machine([`effect ${versionOf("effect")}`, "recording of OpenCode 1.18.33"]),
    `${options.events.toLocaleString("en")} deltas a run and ${
      Math.round(durable * 100)
    }% durable events among them, ` +
    `over loopback SSE from another process; medians of ${options.rounds} runs that take turns in one process after a ` +
    `warm-up; a ratio is the median of the ratios in the same round; every text compared`,
    "",
    table([
      ["deltas/s, CPU us/delta", "in memory", "in SQLite", "time", "CPU"],
      ...rows.map((row) => [
        row.name,
        `${thousands(row.memory.rate)} ${micros(row.memory.cpu)}`,
        `${thousands(row.sqlite.rate)} ${micros(row.sqlite.cpu)}`,
        ratio(row.ratio, "1.5x"),
        ratio(row.cpuRatio)
      ])
    ])
  ].join("\n")
