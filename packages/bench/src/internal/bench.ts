/** The server of a benchmark run, as the benchmark and the SDK reach it. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { Info, Paced, Prepare } from "./fakeServer.ts"

/** The benchmark found something broken: a delta that was lost, a turn that did not end. */
export class BenchFailed extends Data.TaggedError("BenchFailed")<{
  readonly description: string
  readonly cause?: unknown
}> {
  override get message() {
    return this.description
  }
}

/** An error of Reins that the benchmark did not expect. */
export const unexpected = (cause: Error): BenchFailed => new BenchFailed({ description: cause.message, cause })

/** What fails in promises. */
export const attempt = <A>(body: () => Promise<A>): Effect.Effect<A, BenchFailed> =>
  Effect.tryPromise({
    try: body,
    catch: (cause) => new BenchFailed({ description: cause instanceof Error ? cause.message : String(cause), cause })
  })

/** A directory of its own, removed with the scope. */
export const directory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "reins-bench-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** A directory with an executable named `opencode`, removed with the scope. */
export const executable = Effect.map(directory, (directory) => {
  const binary = path.join(directory, "opencode")
  const script = fileURLToPath(
    new URL(`./fakeServer${path.extname(fileURLToPath(import.meta.url))}`, import.meta.url)
  )
  const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`
  fs.writeFileSync(binary, `#!/bin/sh\nexec ${quote(process.execPath)} ${quote(script)} "$@"\n`, { mode: 0o755 })
  return { directory, binary, info: path.join(directory, "server.json") }
})

/** The benchmark's own requests. */
export interface Control extends Info {
  readonly prepare: (options: Prepare) => Promise<{ readonly bytes: number }>
  readonly go: () => Promise<void>
  readonly paced: (options: Paced) => Promise<void>
  readonly finish: (sessions: ReadonlyArray<string>) => Promise<void>
}

/** Reads where the server is. */
export const control = (file: string): Control => {
  const info = JSON.parse(fs.readFileSync(file, "utf8")) as Info
  const post = async (what: string, body: unknown): Promise<unknown> => {
    const response = await fetch(`${info.url}/bench/${what}`, {
      method: "POST",
      headers: { authorization: info.authorization },
      body: JSON.stringify(body)
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`The server of the benchmark refused ${what}: ${text}`)
    return text === "" ? undefined : JSON.parse(text)
  }
  return {
    ...info,
    prepare: (options) => post("prepare", options) as Promise<{ readonly bytes: number }>,
    go: () => post("go", {}) as Promise<void>,
    paced: (options) => post("paced", options) as Promise<void>,
    finish: (sessions) => post("finish", sessions) as Promise<void>
  }
}

/** A wait that does not last for ever: what is lost never comes. */
export const within = async <A>(limit: number, what: string, promise: Promise<A>): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${limit} ms.`)), limit)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
