/** `npm run soak -- --minutes N --seed S`. Exit code 1 where something was lost, stuck, doubled or leaked. */
import { Effect } from "effect"
import { parseArgs } from "node:util"
import { run } from "./soak.ts"
import type { Provider } from "./subjects.ts"
import { subjects } from "./subjects.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    sessions: { type: "string", default: "4" },
    provider: { type: "string", default: "opencode" }
  }
})
const minutes = Number(values.minutes)
const seed = Number(values.seed)
const sessions = Number(values.sessions)
const provider = values.provider
if (!Object.hasOwn(subjects, provider)) {
  console.error(`There is no provider "${provider}" to soak: ${Object.keys(subjects).join(", ")}.`)
  process.exit(2)
}
if (!(minutes > 0) || !Number.isInteger(seed) || !Number.isInteger(sessions) || sessions < 1) {
  console.error(
    "usage: npm run soak -- --minutes N --seed S --sessions K --provider P, with N above 0 and K at least 1"
  )
  process.exit(2)
}
console.log(`${minutes} minutes of ${provider} from seed ${seed}, ${sessions} sessions`)
const { problems, ...figures } = await Effect.runPromise(run({
  minutes,
  seed,
  sessions,
  provider: provider as Provider,
  progress: (line) => console.log(line)
}))
console.log(JSON.stringify(figures, null, 2))
for (const problem of problems) console.error(problem)
const failed = figures.lost + figures.stuck + figures.doubled + figures.otherLaws + figures.leakedProcesses +
        figures.leakedFibers > 0 || (figures.heapGrowth ?? 0) >= 1
console.log(failed ? `FAILED, seed ${seed}` : "nothing lost, stuck, doubled or leaked")
process.exit(failed ? 1 : 0)
