/** A minute of random work, faults and kills over several sessions on the real server; `npm run soak` does more of it. */
import { describe, it } from "@effect/vitest"
import { minute } from "./soak/minute.ts"

describe("a soak of a minute", () => {
  it.live(
    "loses nothing, has nothing stuck or doubled, and leaves no process and no fiber",
    () => minute("opencode", 23, 50),
    300_000
  )
})
