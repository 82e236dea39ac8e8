/** A million histories, or as many as the first argument says, from the seed in the second. */
import * as HistoryModule from "./history.ts"
import { describe, play, shrink } from "./verify.ts"

const count = Number(process.argv[2] ?? 1_000_000)
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000_000)
const started = performance.now()
let events = 0
for (let n = 0; n < count; n++) {
  const { failure, world } = play(HistoryModule.generate(seed + n))
  if (failure !== undefined) {
    console.error(describe(shrink(failure)))
    console.error(`after ${n} histories, seed ${seed + n}`)
    process.exit(1)
  }
  events += world.log.length
  if ((n + 1) % 10_000 === 0) {
    const seconds = (performance.now() - started) / 1000
    console.log(`${n + 1} histories, ${Math.round((n + 1) / seconds)} a second, ${events} events`)
  }
}
console.log(`${count} histories from seed ${seed}: every law held (${events} events)`)
