/** The report of `codex`. */
import type { Report } from "../CodexStarts.ts"
import { machine, millis, ratio, table, versionOf } from "./table.ts"

/** The whole report. */
export const render = ({ options, rows, version }: Report): string =>
  [
    machine([`effect ${versionOf("effect")}`, `Codex ${version}`]),
    `the real codex app-server, each start with a home of its own, the same environment and the same arguments; medians ` +
    `of ${options.rounds} rounds in which all take turns in one process, after a warm-up; a ratio is the median of the ` +
    `ratios in the same round; the end of each process is waited for, and is not in the time`,
    "",
    `bare: from the spawn to the line that answers initialize; CodexServer: from its construction until it is live`,
    table([
      ["spawn to ready", "time", "to bare"],
      ...rows.map((row, index) => [row.name, millis(row.time), index === 0 ? "" : ratio(row.toBare, "1.5x")])
    ])
  ].join("\n")
