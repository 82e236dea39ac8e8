/**
 * A process that holds open sessions and does what its parent asks. Each number of open sessions has such a process, so
 * that the heap of one is not collected at the cost of another.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { Sessions } from "@reins/core/Sessions"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { setImmediate as turnOfTheLoop } from "node:timers/promises"
import * as bench from "./bench.ts"
import type { Control } from "./bench.ts"
import type { Mode } from "./fakeServer.ts"
import * as host from "./host.ts"
import type { Reader } from "./host.ts"
import * as reins from "./reins.ts"

/** What the parent asks, one at a time. */
export type Ask =
  /** Opens so many sessions more, each with a reader. */
  | { readonly ask: "open"; readonly count: number }
  /** Measures deltas of one session's turn; answers a `Sample`. */
  | { readonly ask: "measure"; readonly mode: Mode; readonly count: number; readonly limit: number }
  /** Gives every session a turn without deltas. */
  | { readonly ask: "turns"; readonly limit: number }
  | { readonly ask: "close" }
  /** Bytes in use on the heap and outside of it, after garbage collection. */
  | { readonly ask: "heap" }

/** The answer to the last question. */
export type Answer = { readonly value: unknown } | { readonly error: string }

const cwd = process.cwd()

/** Objects that others wait for to be finalized go with a later collection, so it is done until nothing goes any more. */
const heap = Effect.promise(async () => {
  const used = (): number => {
    globalThis.gc?.()
    const { external, heapUsed } = process.memoryUsage()
    return heapUsed + external
  }
  let least = used()
  for (let without = 0; without < 3;) {
    await turnOfTheLoop()
    const now = used()
    without = now < least * 0.999 ? 0 : without + 1
    least = Math.min(least, now)
  }
  return least
})

const answering = (control: () => Control) => {
  const readers: Array<Reader> = []
  return (ask: Ask): Effect.Effect<unknown, bench.BenchFailed, Sessions | Scope.Scope> => {
    switch (ask.ask) {
      case "open":
        return Effect.map(host.open(ask.count, cwd), (opened) => {
          readers.push(...opened)
        })
      case "measure":
        return reins.reins(readers.slice(0, 1), {
          control: control(),
          mode: ask.mode,
          count: ask.count,
          limit: ask.limit
        })
      case "turns":
        return host.inTurns(readers, control(), ask.limit, async () => {})
      case "close":
        return Effect.forEach(readers.splice(0), (reader) => reader.session.close, { concurrency: 8, discard: true })
      case "heap":
        return heap
    }
  }
}

const tell = (answer: Answer): void => {
  if (process.connected) process.send?.(answer)
}

const failureOf = (exit: Exit.Failure<unknown, bench.BenchFailed>): string => {
  const error = Cause.squash(exit.cause)
  return error instanceof Error ? error.message : String(error)
}

const program = Effect.scoped(Effect.gen(function*() {
  const asks = yield* Queue.unbounded<Ask, Cause.Done>()
  process.on("message", (ask) => Queue.offerUnsafe(asks, ask as Ask))
  // The parent lets go of it, or is gone.
  process.once("disconnect", () => Queue.endUnsafe(asks))
  const server = yield* bench.executable
  yield* Effect.gen(function*() {
    const answer = answering(() => bench.control(server.info))
    while (true) {
      const ask = yield* Effect.option(Queue.take(asks))
      if (ask._tag === "None") return
      const exit = yield* Effect.exit(answer(ask.value))
      tell(Exit.isSuccess(exit) ? { value: exit.value ?? null } : { error: failureOf(exit) })
    }
  }).pipe(Effect.scoped, Effect.provide(host.layer(server)))
}))

NodeRuntime.runMain(program)
