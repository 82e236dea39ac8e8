/** The parent's side of a process that holds open sessions. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { fork } from "node:child_process"
import { once } from "node:events"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as bench from "./bench.ts"
import type { Answer, Ask } from "./openSessionsMain.ts"

/** A process that holds open sessions. */
export interface Holder {
  /** One question at a time; fails where the process does. */
  readonly ask: <A>(ask: Ask) => Effect.Effect<A, bench.BenchFailed>
}

const stopLimit = 15_000

const answerOf = (child: ChildProcess, ask: Ask): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const settled = (): void => {
      child.off("message", answered)
      child.off("exit", exited)
    }
    const answered = (answer: unknown): void => {
      settled()
      resolve(answer as Answer)
    }
    const exited = (code: number | null, signal: string | null): void => {
      settled()
      reject(new Error(`A process of the benchmark ended (${signal ?? code}) while it was asked to "${ask.ask}".`))
    }
    child.on("message", answered)
    child.on("exit", exited)
    child.send(ask, (cause) => {
      if (cause === null) return
      settled()
      reject(cause)
    })
  })

/** Starts one; it ends with the scope, and with this process. `limit` is how many milliseconds an answer may take. */
export const make = (limit: number): Effect.Effect<Holder, bench.BenchFailed, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const extension = path.extname(fileURLToPath(import.meta.url))
        const script = fileURLToPath(new URL(`./openSessionsMain${extension}`, import.meta.url))
        return fork(script, [], {
          execArgv: ["--expose-gc", ...(extension === ".ts" ? ["--conditions=@reins/source"] : [])],
          stdio: ["ignore", 2, 2, "ipc"]
        })
      }),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode !== null || child.signalCode !== null) return
          const exited = once(child, "exit")
          if (child.connected) child.disconnect()
          await bench.within(stopLimit, "The end of a process of the benchmark", exited).catch(() => {
            child.kill("SIGKILL")
          })
        })
    ),
    (child) => ({
      ask: <A>(ask: Ask) =>
        bench.attempt(async () => {
          const answer = await bench.within(limit, `The answer to "${ask.ask}"`, answerOf(child, ask))
          if ("error" in answer) throw new Error(answer.error)
          return answer.value as A
        })
    })
  )
