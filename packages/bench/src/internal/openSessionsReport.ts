/** The report of `sessions`. */
import type { Report, Row } from "../OpenSessions.ts"
import { machine, micros, ratio, table, thousands, versionOf } from "./table.ts"

const sending: { readonly [K in Row["mode"]]: string } = { burst: "bursts", frame: "one frame per chunk" }
/** A goal for the largest number of open sessions. */
const goal = "at most 1.3x"
const goalAt = 1_000

const cells = (row: Row): ReadonlyArray<string> => [
  `${sending[row.mode]}, ${row.open.toLocaleString("en")} open`,
  thousands(row.rate),
  micros(row.cpu),
  ratio(1 / row.rateRatio, row.open === goalAt ? goal : undefined),
  ratio(row.cpuRatio, row.open === goalAt ? goal : undefined)
]

const kilobytes = (bytes: number): string => `${(bytes / 1_000).toFixed(1)} kB`
const megabytes = (bytes: number): string => `${(bytes / 1_000_000).toFixed(1)} MB`

/** The whole report. */
export const render = ({ memory, options, rows }: Report): string => {
  const least = (options.open[0] ?? 0).toLocaleString("en")
  return [
    machine([`effect ${versionOf("effect")}`, "recording of OpenCode 1.18.33"]),
    `${
      options.events.toLocaleString("en")
    } deltas of one session a run while the others are idle; each number of open ` +
    `sessions in a process of its own, with a server of its own; medians of ${options.rounds} runs that take turns ` +
    `after a warm-up; a ratio is the median of the ratios to ${least} open in the same round; every text compared`,
    "",
    table([
      ["one speaks", "events/s", "CPU us/event", `time/event to ${least}`, `CPU/event to ${least}`],
      ...rows.map(cells)
    ]),
    "",
    "heap and external memory after garbage collection; each session has a reader of its events",
    table([
      ["idle sessions", "in use", "each more than none"],
      ...memory.idle.map(({ bytes, sessions }) => [
        sessions.toLocaleString("en"),
        megabytes(bytes),
        sessions === 0 ? "" : kilobytes((bytes - (memory.idle[0]?.bytes ?? 0)) / sessions)
      ]),
      ["slope", "", `${kilobytes(memory.slope)} (goal < 50 kB)`],
      ["after a turn of each", "", kilobytes(memory.afterTurn)],
      ["after all are closed", "", kilobytes(memory.afterClose)]
    ])
  ].join("\n")
}
