/** Loads `node:sqlite` when it is needed, without its warning on people's stderr. */
import * as Effect from "effect/Effect"
import type * as sqlite from "node:sqlite"

type Module = typeof sqlite

let loaded: Promise<Module> | undefined

/** Other warnings are told as ever: only the one about this module, and only while it loads, is left out. */
const quietly = async (): Promise<Module> => {
  const { emitWarning } = process
  const filtered = (warning: string | Error, ...rest: ReadonlyArray<unknown>): void => {
    const text = typeof warning === "string" ? warning : warning.message
    if (text.startsWith("SQLite is an experimental feature")) return
    Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  process.emitWarning = filtered
  try {
    return await import("node:sqlite")
  } finally {
    if (process.emitWarning === filtered) process.emitWarning = emitWarning
  }
}

export const load: Effect.Effect<Module> = Effect.promise(() => loaded ??= quietly())
