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
    `which no other session, one that does as much and is well, and the one in trouble take turns, after a warm-up; ` +
    `every delta counted`,
    "",
    table([
      ["beside", "p50", "p99", "to one that is well", "to no other"],
      ...rows.map((row) => [
        row.name,
        `${row.p50.toFixed(3)} ms`,
        `${row.p99.toFixed(3)} ms`,
        row.toWell === undefined ? "" : ratio(row.toWell, "2.0x"),
        ratio(row.toQuiet, "2.0x")
      ])
    ])
  ].join("\n")
