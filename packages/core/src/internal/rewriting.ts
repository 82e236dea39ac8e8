/** What rewrites or copies the history of a conversation: fork, revert, unrevert, compact. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Json } from "effect/Schema"
import type * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as AgentError from "../AgentError.ts"
import * as EventLog from "../EventLog.ts"
import { TurnId } from "../Ids.ts"
import type { Connection, ProviderInstance, TurnReference } from "../Provider.ts"
import type { Session } from "../Session.ts"
import type { TurnOutcome } from "../Turn.ts"
import type { CallLimits, Driver } from "./driver.ts"
import * as sessionView from "./sessionView.ts"

export interface Rewriting {
  readonly revert: Session["revert"]
  readonly unrevert: Session["unrevert"]
  readonly compact: Session["compact"]
  /** The cursor of a copy of the conversation. */
  readonly copy: (at: TurnId | undefined) => Effect.Effect<Json, AgentError.AgentError>
}

/** How long a compaction that was carried out may take until its turn is seen. */
const seenLimit = 10_000

export const make = (options: {
  readonly driver: Driver
  readonly provider: ProviderInstance
  readonly calls: CallLimits
  readonly context: { readonly provider: string; readonly sessionId: string }
  /** Holds new prompts back while the history is rewritten. */
  readonly ordering: Semaphore.Semaphore
  readonly closed: Effect.Effect<never, AgentError.AgentError>
}): Rewriting => {
  const { calls, context, driver, ordering, provider } = options
  const S = driver.state

  const keysOf = (id: TurnId): TurnReference => ({
    id,
    keys: [...S.turnByKey].flatMap(([key, turn]) => turn.id === id ? [key] : [])
  })

  const busy = (operation: string) =>
    AgentError.make(
      new AgentError.SessionBusy({ holder: "its own turn", description: `${operation} waits for no turn.` }),
      context
    )

  /** The connection that can do it, when nothing runs that it would disturb. */
  const idleConnection = <K extends "revert" | "unrevert" | "compact">(
    method: K,
    operation: string,
    can: boolean
  ): Effect.Effect<
    { readonly connection: Connection; readonly run: NonNullable<Connection[K]> },
    AgentError.AgentError
  > =>
    Effect.suspend(() => {
      if (!can) {
        return Effect.fail(AgentError.make(new AgentError.Unsupported({ operation, provider: provider.id }), context))
      }
      if (S.phase === "closing" || S.phase === "closed") return options.closed
      if (!sessionView.isQuiescent(S)) return Effect.fail(busy(operation))
      const connection = driver.connection
      if (connection === undefined || !S.live) {
        return Effect.fail(AgentError.make(
          new AgentError.ConnectionLost({ target: provider.id, description: "There is no connection to the agent." }),
          context
        ))
      }
      const run = connection[method]
      return run === undefined
        ? Effect.fail(AgentError.make(new AgentError.Unsupported({ operation, provider: provider.id }), context))
        : Effect.succeed({ connection, run })
    })

  const revert: Rewriting["revert"] = ({ beforeTurn }) =>
    Effect.gen(function*() {
      const { connection, run } = yield* idleConnection("revert", "taking turns back", provider.capabilities.revert)
      const done = yield* driver.callOn(connection, () => run(keysOf(beforeTurn)), calls.call, "a revert")
      driver.dispatch([{ _tag: "reverted", beforeTurn }])
      return done
    }).pipe(ordering.withPermit)

  const unrevert: Rewriting["unrevert"] = Effect.gen(function*() {
    const { connection, run } = yield* idleConnection(
      "unrevert",
      "undoing a revert",
      provider.capabilities.revert
    )
    const undone = yield* driver.callOn(connection, () => run, calls.call, "the undoing of a revert")
    if (!undone) {
      return yield* AgentError.make(
        new AgentError.InvalidRequest({
          field: "unrevert",
          description: "Nothing was taken back, or a prompt came since."
        }),
        context
      )
    }
    driver.dispatch([{ _tag: "reverted" }])
  }).pipe(ordering.withPermit)

  const compact: Rewriting["compact"] = Effect.scoped(Effect.gen(function*() {
    const begun = yield* Deferred.make<TurnId>()
    const settled = yield* Deferred.make<TurnOutcome, AgentError.AgentError>()
    const begin = Effect.gen(function*() {
      const { connection, run } = yield* idleConnection(
        "compact",
        "replacing the conversation by its summary",
        provider.capabilities.compact
      )
      let turn: TurnId | undefined
      yield* EventLog.read(driver.log, { after: S.seq, deltas: false }).pipe(
        Stream.runForEachArray((events) =>
          Effect.sync(() => {
            for (const event of events) {
              if (
                turn === undefined && event._tag === "ItemStarted" && event.item._tag === "compaction" &&
                event.item.automatic !== true && event.turnId !== undefined
              ) {
                turn = event.turnId
                Deferred.doneUnsafe(begun, Effect.succeed(turn))
              }
              if (event._tag === "TurnSettled" && event.turnId === turn) {
                Deferred.doneUnsafe(settled, Effect.succeed(event.outcome))
              }
            }
          })
        ),
        Effect.andThen(Deferred.complete(settled, options.closed)),
        Effect.forkScoped({ startImmediately: true })
      )
      // A summary takes as long as the model does; the turn that it is has limits of its own.
      const call = yield* Effect.forkScoped(
        Effect.exit(driver.callOn(connection, () => run, Number.POSITIVE_INFINITY, "a compaction"))
      )
      const first = yield* Effect.raceFirst(
        Effect.as(Effect.raceFirst(Deferred.await(begun), Deferred.await(settled)), Exit.void),
        Fiber.join(call)
      ).pipe(Effect.timeoutOption(calls.acknowledge))
      if (Option.isNone(first)) return yield* silent(calls.acknowledge)
      yield* first.value
      const seen = yield* Effect.raceFirst(Deferred.await(begun), Deferred.await(settled)).pipe(
        Effect.timeoutOption(seenLimit)
      )
      if (Option.isNone(seen)) return yield* silent(seenLimit)
    })
    const silent = (waited: number) =>
      AgentError.make(
        new AgentError.ConnectionLost({
          target: provider.id,
          description: `Nothing was seen of the compaction within ${waited} ms.`
        }),
        context
      )
    // Prompts are held back only until the turn stands: from then on they wait in the queue.
    yield* begin.pipe(ordering.withPermit)
    return yield* Deferred.await(settled)
  }))

  const copy: Rewriting["copy"] = (at) =>
    Effect.suspend(() => {
      const operation = "copying a conversation"
      if (!provider.capabilities.fork) {
        return Effect.fail(AgentError.make(new AgentError.Unsupported({ operation, provider: provider.id }), context))
      }
      if (S.phase === "closing" || S.phase === "closed") return options.closed
      if (at !== undefined && S.turn?.id === at) return Effect.fail(busy("A copy that ends with the running turn"))
      const connection = driver.connection
      const fork = connection?.fork
      if (connection === undefined || fork === undefined) {
        return Effect.fail(AgentError.make(
          connection === undefined
            ? new AgentError.ConnectionLost({
              target: provider.id,
              description: "There is no connection to the agent."
            })
            : new AgentError.Unsupported({ operation, provider: provider.id }),
          context
        ))
      }
      // What has not settled is no part of the copy.
      const running: TurnReference | undefined = S.turn !== undefined
        ? keysOf(S.turn.id)
        : S.inflight?.key !== undefined
        ? { id: TurnId.make(`trn_${S.inflight.id.replace(/^prm_/, "")}`), keys: [S.inflight.key] }
        : undefined
      return driver.callOn(
        connection,
        () =>
          fork({
            ...(at === undefined ? undefined : { through: keysOf(at) }),
            ...(running === undefined ? undefined : { before: running })
          }),
        calls.call,
        "a fork"
      )
    })

  return { revert, unrevert, compact, copy }
}
