/** The suite itself: a good provider passes it, and each clause can fail. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Conformance from "../src/Conformance.ts"
import { subject } from "./fixtures/conformingSubject.ts"

describe("TestProvider conforms", () => {
  for (const clause of Conformance.clauses(subject())) {
    it.live(
      clause.name,
      () =>
        Effect.catchTag(
          clause.run,
          "NotApplicable",
          ({ message }) => Effect.sync(() => assert.match(message, /^the agent /))
        ),
      120_000
    )
  }
})
