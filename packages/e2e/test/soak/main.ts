/** `npm run soak -- --minutes N --seed S`. Exit code 1 where something was lost, stuck, doubled or leaked, 2 for a wrong option. */
import { Effect } from "effect"
import * as Options from "../fixtures/options.ts"
import { hasFailed, run } from "./soak.ts"
import type { Provider } from "./subjects.ts"
import { subjects } from "./subjects.ts"

const providers = Object.keys(subjects) as ReadonlyArray<Provider>
const { minutes, provider, seed, sessions } = Options.ofProcess(
  `usage: npm run soak -- [--minutes N] [--seed S] [--sessions K] [--provider ${providers.join("|")}]`,
  {
    minutes: Options.number(1, { above: 0 }),
    seed: Options.integer(Date.now() % 1_000_000, { from: 0 }),
    sessions: Options.integer(4, { from: 1 }),
    provider: Options.oneOf("opencode", providers)
  }
)
console.log(`${minutes} minutes of ${provider} from seed ${seed}, ${sessions} sessions`)
const figures = await Effect.runPromise(
  run({ minutes, seed, sessions, provider, progress: (line) => console.log(line) })
)
const { problems, ...rest } = figures
console.log(JSON.stringify(rest, null, 2))
for (const problem of problems) console.error(problem)
console.log(hasFailed(figures) ? `FAILED, seed ${seed}` : "nothing lost, stuck, doubled or leaked")
process.exit(hasFailed(figures) ? 1 : 0)
