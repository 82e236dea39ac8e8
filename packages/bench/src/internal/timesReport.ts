/** The report of `times`. */
import type { Report, Row } from "../Times.ts"
import { machine, millis, ratio, table, versionOf } from "./table.ts"

const cells = (row: Row): ReadonlyArray<string> => [
  row.name,
  millis(row.reins),
  millis(row.bare.time),
  ratio(row.bare.ratio),
  millis(row.same.time),
  ratio(row.same.ratio)
]

/** The whole report. */
export const render = ({ interrupts, options, starts, version }: Report): string =>
  [
    machine([`effect ${versionOf("effect")}`, `OpenCode ${version}`]),
    `the real server and a scripted model on loopback; medians of ${options.rounds} rounds in which Reins and the bare ` +
    `server take turns, after a warm-up; a ratio is the median of the ratios in the same round; every turn's outcome is checked`,
    "",
    `from interrupt to the reader's TurnSettled; bare: from the abort's request to the first idle frame, by plain HTTP ` +
    `and SSE on the same server; by hand: until the conversation was read, which tells what became of the turn`,
    table([
      ["", "Reins", "bare", "ratio", "by hand", "ratio"],
      ...interrupts.map(cells)
    ]),
    "",
    `from open without a server to the ready session, and from the kill of the idle server to the next prompt's ` +
    `acknowledgement; bare: from the server's spawn to its ready line; by hand: until a session was made, and until a ` +
    `prompt to a known session was accepted`,
    table([
      ["", "Reins", "bare", "ratio", "by hand", "ratio"],
      ...starts.map(cells)
    ])
  ].join("\n")
