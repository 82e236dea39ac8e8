/** The start of a session, and its recovery from a killed server: by Reins, and the start of the bare server. */
import type { PromptHandle } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as Effect from "effect/Effect"
import { BareClient, isIdle } from "./bareClient.ts"
import * as bareServer from "./bareServer.ts"
import * as bench from "./bench.ts"
import type { Place } from "./realHost.ts"
import * as realHost from "./realHost.ts"

/** Milliseconds of Reins. */
export interface Start {
  /** From `open`, without a server, until the session is ready. */
  readonly open: number
  /** From the kill of its idle server until the agent has the next prompt, which is sent right behind the kill. */
  readonly recovery: number
}

/** Milliseconds of the bare server, from its spawn. */
export interface BareStart {
  readonly ready: number
  /** Until it had a session: a new one, or the one that it was to go on with. */
  readonly session: number
  /** Until a prompt to that session was accepted. */
  readonly prompt: number
}

const answer = ScriptedModel.prompt("go", [{ do: "text", text: "an answer" }])

/** Opens a session with a server of its own, gives it a turn, kills the server, and gives it another turn. */
export const byReins = (place: Place, limit: number): Effect.Effect<Start, bench.BenchFailed> =>
  Effect.gen(function*() {
    const begin = performance.now()
    const watched = yield* realHost.open(place, limit)
    const open = performance.now() - begin
    const { session } = watched
    const ended = (prompt: PromptHandle) =>
      Effect.flatMap(
        Effect.timeout(prompt.outcome, limit),
        (outcome) => bench.attempt(async () => realHost.expectOutcome(outcome, "completed"))
      )
    yield* ended(yield* session.prompt(answer))
    const pid = watched.server?.pid
    if (pid === undefined) return yield* new bench.BenchFailed({ description: "No process was told of." })
    const killed = performance.now()
    process.kill(pid, "SIGKILL")
    const accepted = watched.next(
      // It may be taken before its own acknowledgement is heard.
      realHost.isTag("PromptChanged", ({ state }) => state._tag === "acknowledged" || state._tag === "consumed"),
      "The next prompt's acknowledgement"
    )
    const prompt = yield* session.prompt(answer)
    yield* bench.attempt(() => accepted)
    const recovery = performance.now() - killed
    yield* ended(prompt)
    return { open, recovery }
  }).pipe(
    Effect.mapError((cause) => cause._tag === "BenchFailed" ? cause : bench.unexpected(cause)),
    Effect.scoped,
    Effect.provide(realHost.layer(place))
  )

/** Starts a bare server and gives a turn to the session with this id, or to a new one. */
const bare = (
  place: Place,
  known: string | undefined,
  limit: number
): Effect.Effect<BareStart & { readonly id: string }, bench.BenchFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const server = yield* bareServer.make({ ...place, limit })
    const since = (): number => performance.now() - server.spawnedAt
    return yield* bench.attempt(async () => {
      const client = new BareClient({ url: server.url, authorization: undefined }, place.cwd, limit)
      const listening = client.listen()
      const id = known ?? await client.create()
      if (known !== undefined) await client.call("GET", `/session/${known}`)
      const session = since()
      await listening
      const idle = client.next(isIdle(id), "The end of a turn")
      await client.prompt(id, answer)
      const prompt = since()
      await idle
      client.stop()
      return { ready: server.readyAt - server.spawnedAt, session, prompt, id }
    })
  }))

/** Starts a bare server with a new session, kills it, and starts another one that goes on with the session. */
export const byHand = (
  place: Place,
  limit: number
): Effect.Effect<{ readonly first: BareStart; readonly again: BareStart }, bench.BenchFailed> =>
  Effect.gen(function*() {
    const first = yield* bare(place, undefined, limit)
    const again = yield* bare(place, first.id, limit)
    return { first, again }
  })
