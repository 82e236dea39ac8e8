/** The report of `isolation`. */
import type { Report } from "../Isolation.ts"
import { machine, ratio, table, versionOf } from "./table.ts"

/** The whole report. */
export const render = ({ options, rows }: Report): string =>
  [
    machine([`effect ${versionOf("effect")}`]),
    `${options.neighbours} sessions over an agent in memory and one SQLite file, ${
      options.events.toLocaleString("en")
    } deltas each, a millisecond apart; from the agent's word to the reader; medians of ${options.rounds} rounds in ` +
    `which the undisturbed run and the disturbed one take turns, after a warm-up; every delta counted`,
    "",
    table([
      ["beside", "p50", "p99", "p99 to undisturbed"],
      ...rows.map((row) => [
        row.name,
        `${row.p50.toFixed(3)} ms`,
        `${row.p99.toFixed(3)} ms`,
        ratio(row.ratio, "2.0x")
      ])
    ])
  ].join("\n")
