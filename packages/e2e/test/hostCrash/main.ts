/** `npm run soak:host -- --kills N --seed S`: figures of a host that is killed N times. Exit code 1 where it lost something. */
import { Effect } from "effect"
import { parseArgs } from "node:util"
import { run } from "./hostCrash.ts"

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) }
  }
})
const kills = Number(values.kills)
const seed = Number(values.seed)
if (!Number.isInteger(kills) || kills < 1 || !Number.isInteger(seed)) {
  console.error("usage: npm run soak:host -- --kills N --seed S, with N at least 1")
  process.exit(2)
}
console.log(`${kills} kills from seed ${seed}`)
const figures = await Effect.runPromise(run({ kills, seed, progress: (line) => console.log(line) }))
const { problems, ...rest } = figures
console.log(JSON.stringify(rest, null, 2))
for (const problem of problems) console.error(problem)
console.log(problems.length === 0 && figures.orphans === 0 ? "nothing lost, stuck, doubled or left behind" : "FAILED")
process.exitCode = problems.length === 0 && figures.orphans === 0 ? 0 : 1
