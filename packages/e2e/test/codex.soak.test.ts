/** A minute of random work, faults and kills over several sessions on the real Codex; `npm run soak -- --provider codex`. */
import { describe, it } from "@effect/vitest"
import { minute } from "./soak/minute.ts"

describe("a soak of Codex for a minute", () => {
  it.live(
    "loses nothing, has nothing stuck or doubled, and leaves no process and no fiber",
    () => minute("codex", 5, 10),
    300_000
  )
})
