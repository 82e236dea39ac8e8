/** The report of `rpc`. */
import type { Report } from "../Rpc.ts"
import { machine, micros, ratio, table, thousands, versionOf } from "./table.ts"

const goals: ReadonlyArray<string | undefined> = [undefined, "0.8x", "3.0x"]

/** The whole report. */
export const render = ({ options, rows }: Report): string =>
  [
    machine([`effect ${versionOf("effect")}`, `@agentclientprotocol/sdk ${versionOf("@agentclientprotocol/sdk")}`]),
    `${options.events.toLocaleString("en")} notifications of a child over its standard output, parsed and given to a ` +
    `handler that adds up their text; medians of ${options.rounds} runs that take turns in one process after a warm-up; ` +
    `a ratio is the median of the ratios in the same round; every notification counted`,
    "",
    table([
      ["reader", "rate", "CPU us each", "peer's rate to it", "peer's CPU to it"],
      ...rows.map((row, index) => [
        row.name,
        `${thousands(row.rate)}/s`,
        micros(row.cpu),
        index === 0 ? "" : ratio(row.peerTo, goals[index]),
        index === 0 ? "" : ratio(row.peerCpuTo)
      ])
    ])
  ].join("\n")
