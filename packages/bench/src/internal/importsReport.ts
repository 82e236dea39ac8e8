/** The report of `import`. */
import type { Report } from "../Imports.ts"
import { machine, millis, ratio, table, versionOf } from "./table.ts"

/** The whole report. */
export const render = ({ options, rows }: Report): string =>
  [
    machine([
      `effect ${versionOf("effect")}`,
      `@effect/platform-node ${versionOf("@effect/platform-node")}`,
      `@opencode-ai/sdk ${versionOf("@opencode-ai/sdk")}`
    ]),
    `import() of the built packages in a fresh process each, without a compile cache, files in the system's cache; the ` +
    `start of Node itself is not in the time; medians of ${options.rounds} rounds in which all take turns, after a ` +
    `warm-up; a ratio is the median of the ratios in the same round`,
    "",
    table([
      ["", "time", "CPU", "to effect", "to SDK"],
      ...rows.map((row) => [row.name, millis(row.time), millis(row.cpu), ratio(row.toEffect), ratio(row.toSdk)])
    ])
  ].join("\n")
