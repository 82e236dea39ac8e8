/** Plays histories and checks them; makes what failed as short as it can be. */
import type { History, Step } from "./history.ts"
import * as HistoryModule from "./history.ts"
import * as laws from "./laws.ts"
import type { Engine } from "./world.ts"
import { realEngine, Violation, World } from "./world.ts"

export interface Failure {
  readonly law: number
  readonly message: string
  readonly history: History
}

export interface VerifyOptions {
  readonly engine?: Engine
  /** Check only these laws. */
  readonly only?: ReadonlyArray<number>
  readonly trace?: boolean
}

/** The worlds of failed histories are worth looking at. */
export const play = (
  history: History,
  options: VerifyOptions = {}
): { readonly world: World; readonly failure?: Failure } => {
  const wanted = (law: number) => options.only === undefined || options.only.includes(law)
  const keepJson = history.seed % 4 === 0 || options.only?.includes(7) === true
  const world = new World(history.config, options.engine ?? realEngine, keepJson, options.trace === true)
  try {
    HistoryModule.run(history, world)
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    return wanted(error.law) || error.law === 0
      ? { world, failure: { law: error.law, message: error.message, history } }
      : { world }
  }
  for (const [law, check] of laws.all) {
    if (!wanted(law)) continue
    const message = check(world)
    if (message !== undefined) return { world, failure: { law, message, history } }
  }
  return { world }
}

/** Leaves out what is not needed for the same law to fail, then makes the numbers small. Bounded. */
export const shrink = (failure: Failure, options: VerifyOptions = {}): Failure => {
  let best = failure
  let budget = 3_000
  const attempt = (history: History): boolean => {
    if (budget-- <= 0) return false
    const found = play(history, options).failure
    if (found?.law !== failure.law) return false
    best = found
    return true
  }
  const withSteps = (steps: ReadonlyArray<Step>): History => ({ ...best.history, steps })
  for (let size = Math.ceil(best.history.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < best.history.steps.length;) {
      const steps = best.history.steps
      if (!attempt(withSteps([...steps.slice(0, from), ...steps.slice(from + size)]))) from += size
    }
  }
  for (let from = best.history.steps.length - 1; from >= 0; from--) {
    const steps = best.history.steps
    if (steps.length > 1) attempt(withSteps([...steps.slice(0, from), ...steps.slice(from + 1)]))
  }
  for (let index = 0; index < best.history.steps.length; index++) {
    for (const field of ["a", "b"] as const) {
      for (const value of [0, 1, 2, 3]) {
        const step = best.history.steps[index]
        if (step === undefined || step[field] <= value) break
        const steps = best.history.steps.with(index, { ...step, [field]: value })
        if (attempt(withSteps(steps))) break
      }
    }
  }
  if (best.history.closes) attempt({ ...best.history, closes: false })
  return best
}

/** A failed history as a person reads it: what the engine was fed, and what it wrote. */
export const describe = (failure: Failure, options: VerifyOptions = {}): string => {
  const { world } = play(failure.history, { ...options, trace: true })
  const lines: Array<string> = []
  const inputs = [...world.inputs ?? []]
  const told = (index: number) => {
    for (let input = inputs[0]; input !== undefined && input.at <= index; input = inputs[0]) {
      lines.push(`  < ${input.text.slice(0, 700)}`)
      inputs.shift()
    }
  }
  for (const [index, { event }] of world.log.entries()) {
    told(index)
    const { at: _at, evidence, native: _native, origin, sessionId: _sessionId, v: _v, ...rest } = event as
      & typeof event
      & {
        readonly evidence?: ReadonlyArray<{ readonly fact: string }>
      }
    const facts = evidence === undefined ? "" : ` [${evidence.map((one) => one.fact).join("; ")}]`
    lines.push(`    > ${origin} ${JSON.stringify(rest)}${facts}`)
  }
  told(Number.POSITIVE_INFINITY)
  if (lines.length > 200) lines.splice(150, lines.length - 200, "    …")
  return [`law ${failure.law}: ${failure.message}`, HistoryModule.print(failure.history), ...lines].join("\n")
}
