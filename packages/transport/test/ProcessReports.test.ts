import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import { Effect } from "effect"
import type { ServerProcess } from "../src/index.ts"
import { ProcessReports, Supervisor } from "../src/index.ts"

const broken = AgentError.make(
  new AgentError.ProcessExited({ command: "agent serve", code: 1, stderrTail: "database is locked" })
)

const told = Effect.fnUntraced(function*(start: Effect.Effect<never, AgentError.AgentError>) {
  const reports = ProcessReports.make()
  const supervisor = yield* Supervisor.make<ServerProcess.ServerProcess<{ readonly version: string }>["info"], never>({
    start,
    target: "agent",
    restart: "onDemand",
    intensity: { max: 0, window: "1 minute" }
  })
  yield* reports.follow(supervisor, "http")
  const statuses: Array<string> = []
  const error = yield* Effect.scoped(
    Effect.andThen(
      reports.listen((signal) => {
        if (signal._tag === "process") statuses.push(signal.status._tag)
      }),
      supervisor.current
    )
  ).pipe(Effect.flip)
  return { statuses, error }
})

describe("ProcessReports", () => {
  it.effect("tells that a server is unavailable to a session whose connection goes with it", () =>
    Effect.gen(function*() {
      const { error, statuses } = yield* told(Effect.andThen(Effect.yieldNow, Effect.fail(broken)))
      assert.strictEqual(error.reason._tag, "Unavailable")
      assert.deepStrictEqual(statuses, ["starting", "unavailable"])
    }))
})
