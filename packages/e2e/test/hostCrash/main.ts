/** `npm run soak:host -- --kills N --seed S`: figures of a host that is killed N times. Exit code 1 where it lost something, 2 for a wrong option. */
import { Effect } from "effect"
import * as Options from "../fixtures/options.ts"
import { run } from "./hostCrash.ts"

const { kills, seed } = Options.ofProcess("usage: npm run soak:host -- [--kills N] [--seed S]", {
  kills: Options.integer(200, { from: 1 }),
  seed: Options.integer(Date.now() % 1_000_000, { from: 0 })
})
console.log(`${kills} kills from seed ${seed}`)
const figures = await Effect.runPromise(run({ kills, seed, progress: (line) => console.log(line) }))
const { problems, ...rest } = figures
console.log(JSON.stringify(rest, null, 2))
for (const problem of problems) console.error(problem)
const failed = problems.length > 0 || figures.orphans > 0
console.log(failed ? "FAILED" : "nothing lost, stuck, doubled or left behind")
process.exitCode = failed ? 1 : 0
