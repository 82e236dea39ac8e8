/**
 * A million histories, or as many as the first argument says, from the seed in the second, and a script of cuts for each
 * tenth of them. Each that fails is printed as short as it can be made; the run goes on, and ends with the list of their
 * seeds.
 */
import * as HistoryModule from "./history.ts"
import * as invariance from "./invariance.ts"
import { describe, play, shrink } from "./verify.ts"

/** Failures that are printed; more are only counted. */
const printed = 5

const usage = "usage: npm run laws -- [histories] [seed], two whole numbers, the first at least 1"
const args = process.argv.slice(2)
if (args.length === 1 && /^(-h|--help)$/.test(args[0] ?? "")) {
  console.log(usage)
  process.exit(0)
}
const [count = 1_000_000, seed = Date.now() % 1_000_000_000] = args.map((arg) => /^\d+$/.test(arg) ? Number(arg) : NaN)
if (args.length > 2 || !Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed + count)) {
  console.error(usage)
  process.exit(2)
}
const started = performance.now()
const failed: Array<string> = []
let events = 0
for (let n = 0; n < count; n++) {
  const { failure, world } = play(HistoryModule.generate(seed + n))
  if (failure !== undefined) {
    failed.push(`law ${failure.law}: seed ${seed + n}`)
    if (failed.length <= printed) console.error(describe(shrink(failure)))
    console.error(`law ${failure.law} failed after ${n} histories, seed ${seed + n}`)
  }
  events += world.log.length
  if (n % 10 === 0) {
    const script = invariance.generate(seed + n)
    if (invariance.check(script) !== undefined) {
      failed.push(`law 10: seed ${seed + n}`)
      if (failed.length <= printed) console.error(invariance.describe(invariance.shrink(script)))
    }
  }
  if ((n + 1) % 10_000 === 0) {
    const seconds = (performance.now() - started) / 1000
    console.log(`${n + 1} histories, ${Math.round((n + 1) / seconds)} a second, ${events} events`)
  }
}
if (failed.length === 0) console.log(`${count} histories from seed ${seed}: every law held (${events} events)`)
else {
  console.error(`${failed.length} of ${count} histories from seed ${seed} failed:\n${failed.join("\n")}`)
  process.exitCode = 1
}
