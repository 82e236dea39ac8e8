/** Signals from outside: the first Ctrl-C goes to whoever waits for it, everything else ends the program in order. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"

export class Interrupts extends Context.Service<Interrupts, {
  /** Waits for a Ctrl-C. As long as somebody waits, it does not end the program. */
  readonly next: Effect.Effect<void>
}>()("@reins/cli/Interrupts") {}

let waiting: (() => void) | undefined

/** The signals of this process. */
export const live: Interrupts["Service"] = Interrupts.of({
  next: Effect.callback<void>((resume) => {
    waiting = () => {
      waiting = undefined
      resume(Effect.void)
    }
    return Effect.sync(() => {
      waiting = undefined
    })
  })
})

/**
 * Runs the program of the process; what it succeeds with is the exit code. Scopes are closed before the process ends,
 * also after a signal: an agent's server never outlives it.
 */
export const runMain: (program: Effect.Effect<number>) => void = Runtime.makeRunMain(({ fiber, teardown }) => {
  const end = () => fiber.interruptUnsafe(fiber.id)
  const onInterrupt = () => {
    if (waiting === undefined) end()
    else waiting()
  }
  process.on("SIGINT", onInterrupt)
  process.on("SIGTERM", end)
  process.on("SIGHUP", end)
  fiber.addObserver((exit) => {
    teardown(exit, (code) => process.exit(code === 0 && exit._tag === "Success" ? Number(exit.value) : code))
  })
})
