/** What all reports share: the machine, the versions, and columns that stand below each other. */
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as os from "node:os"

const require = createRequire(import.meta.url)

/** The version in the manifest of a package, found from its entry. */
export const versionOf = (name: string): string => {
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

/** The first line of each report: on what, and with which versions. */
export const machine = (versions: ReadonlyArray<string>): string => {
  const processor = os.cpus()[0]?.model ?? "unknown processor"
  const load = os.loadavg()[0]?.toFixed(1) ?? "unknown"
  return `${processor}, ${os.availableParallelism()} cores, load ${load}, ${os.type()} ${os.release()}; ` +
    [`Node ${process.versions.node}`, ...versions].join(", ")
}

/** The first row names the columns. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))
      .join("  ").trimEnd()
  ).join("\n")
}

export const thousands = (rate: number): string => `${Math.round(rate / 1000).toLocaleString("en")}k`
export const micros = (value: number): string => value.toFixed(2)
export const millis = (value: number): string => `${value < 100 ? value.toFixed(1) : value.toFixed(0)} ms`

/** A ratio, with the goal beside it where there is one. */
export const ratio = (value: number, goal?: string): string =>
  `${value.toFixed(2)}x${goal === undefined ? "" : ` (goal ${goal})`}`
