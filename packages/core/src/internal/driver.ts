/**
 * Runs the engine of one session: feeds it, keeps its log, carries out its commands, wakes it when time is due.
 * `dispatch` is synchronous, so that a host's command has taken effect when it returns.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "../AgentError.ts"
import * as EventLog from "../EventLog.ts"
import type { PromptId, TurnId } from "../Ids.ts"
import type { Receipt } from "../Prompt.ts"
import type { Connection } from "../Provider.ts"
import type { SessionState } from "../Session.ts"
import type { DurableEvent } from "../SessionEvent.ts"
import type { PromptOutcome, TurnOutcome } from "../Turn.ts"
import { isFinal } from "./engine/prompts.ts"
import type { EngineCommand, EngineInput, EngineState } from "./engine/state.ts"
import { step } from "./engine/step.ts"
import * as sessionView from "./sessionView.ts"

/** Waits for calls to the agent. */
export interface CallLimits {
  readonly acknowledge: number
  readonly call: number
}

/** Who waits for a prompt. */
export interface PromptWaiter {
  readonly receipt: Deferred.Deferred<Receipt>
  readonly outcome: Deferred.Deferred<PromptOutcome>
}

export interface Driver {
  readonly state: EngineState
  readonly log: EventLog.EventLog
  readonly summary: SubscriptionRef.SubscriptionRef<SessionState>
  /** Takes inputs now. Safe from anywhere, also from inside itself. */
  readonly dispatch: (inputs: ReadonlyArray<EngineInput>) => void
  readonly waiters: Map<PromptId, PromptWaiter>
  readonly quiescent: Effect.Effect<void>
  /** The connection in use; undefined while there is none. */
  connection: Connection | undefined
  /** Ask for the connection to be replaced. */
  readonly reconnect: Latch.Latch
  /** Completes when the engine has closed the session. */
  readonly finished: Deferred.Deferred<string>
}

/** Reasons after which nobody knows whether a call reached the agent. Any other reason is the agent's own refusal. */
const uncertain = new Set([
  "ConnectionLost",
  "UpstreamSilent",
  "ProcessExited",
  "Unavailable",
  "ProtocolError",
  "StartTimeout",
  "Overloaded"
])

const noConnection = (provider: string) =>
  AgentError.make(
    new AgentError.ConnectionLost({ target: provider, description: "There is no connection to the agent." })
  )

export const make = (options: {
  readonly state: EngineState
  readonly limits: CallLimits
  /** Hears every durable event after it is in the log. */
  readonly onDurable: (event: DurableEvent) => void
}): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function*() {
    const S = options.state
    const clock = yield* Clock.Clock
    const log = EventLog.make({ firstSeq: S.seq + 1 })
    const summary = yield* SubscriptionRef.make(sessionView.state(S))
    const finished = yield* Deferred.make<string>()
    const run = yield* FiberSet.makeRuntime<never, void, never>()
    const submissions = yield* Semaphore.make(1)
    const wake = Latch.makeUnsafe(false)
    const waiters = new Map<PromptId, PromptWaiter>()
    const byTurn = new Map<TurnId, Array<PromptWaiter>>()
    const outcomes = new Map<TurnId, TurnOutcome>()
    const idle = new Set<() => void>()
    let sleepingUntil: number | undefined
    let pending: Array<EngineInput> | undefined
    let shown = sessionView.state(S)

    const observe = (event: DurableEvent): void => {
      if (event._tag === "PromptChanged" && isFinal(event.state)) {
        const waiter = waiters.get(event.promptId)
        if (waiter !== undefined) {
          waiters.delete(event.promptId)
          const receipt = event.state as Receipt
          Deferred.doneUnsafe(waiter.receipt, Effect.succeed(receipt))
          if (receipt._tag !== "consumed") {
            Deferred.doneUnsafe(waiter.outcome, Effect.succeed({ _tag: "notRun", receipt }))
          } else {
            const outcome = outcomes.get(receipt.turnId)
            if (outcome !== undefined) Deferred.doneUnsafe(waiter.outcome, Effect.succeed(outcome))
            else {
              const list = byTurn.get(receipt.turnId)
              if (list === undefined) byTurn.set(receipt.turnId, [waiter])
              else list.push(waiter)
            }
          }
        }
      } else if (event._tag === "TurnSettled") {
        outcomes.set(event.turnId, event.outcome)
        if (outcomes.size > 256) {
          for (const old of outcomes.keys()) {
            outcomes.delete(old)
            break
          }
        }
        const list = byTurn.get(event.turnId)
        byTurn.delete(event.turnId)
        for (const waiter of list ?? []) Deferred.doneUnsafe(waiter.outcome, Effect.succeed(event.outcome))
      }
      options.onDurable(event)
    }

    const dispatch = (inputs: ReadonlyArray<EngineInput>): void => {
      if (pending !== undefined) {
        for (const input of inputs) pending.push(input)
        return
      }
      pending = []
      try {
        step(S, inputs, clock.currentTimeMillisUnsafe())
        flush()
        while (pending.length > 0) {
          const more: Array<EngineInput> = pending
          pending = []
          step(S, more, clock.currentTimeMillisUnsafe())
          flush()
        }
      } catch (defect) {
        crash(defect)
      } finally {
        pending = undefined
      }
    }

    /** A bug of ours must not become a wait for ever: everybody who waits is told, and the session ends. */
    const crash = (defect: unknown): void => {
      const error = AgentError.toInfo(AgentError.fromUnknown(defect))
      S.phase = "closed"
      S.wakeAt = undefined
      S.events = []
      S.commands = []
      const receipt: Receipt = { _tag: "failed", error }
      for (const waiter of waiters.values()) {
        Deferred.doneUnsafe(waiter.receipt, Effect.succeed(receipt))
        Deferred.doneUnsafe(waiter.outcome, Effect.succeed({ _tag: "notRun", receipt }))
      }
      waiters.clear()
      for (const list of byTurn.values()) {
        for (const waiter of list) Deferred.doneUnsafe(waiter.outcome, Effect.succeed({ _tag: "failed", error }))
      }
      byTurn.clear()
      for (const resume of idle) resume()
      idle.clear()
      EventLog.end(log)
      Deferred.doneUnsafe(finished, Effect.succeed("a defect of the session engine"))
      run(Effect.logError("A session ended by a defect of its engine.", defect))
    }

    const flush = (): void => {
      const events = S.events
      const commands = S.commands
      let durable = false
      if (events.length > 0) {
        S.events = []
        EventLog.append(log, events)
        for (const event of events) {
          if (event._tag === "ItemDelta") continue
          durable = true
          observe(event)
        }
      }
      if (commands.length > 0) {
        S.commands = []
        for (const command of commands) carryOut(command)
      }
      if (durable) {
        const next = sessionView.state(S)
        if (!sessionView.sameState(shown, next)) {
          shown = next
          run(SubscriptionRef.set(summary, next))
        }
        if (idle.size > 0 && sessionView.isQuiescent(S)) {
          const resumes = [...idle]
          idle.clear()
          for (const resume of resumes) resume()
        }
      }
      const wakeAt = S.wakeAt
      if (wakeAt !== undefined && (sleepingUntil === undefined || wakeAt < sleepingUntil)) Latch.openUnsafe(wake)
    }

    /** A call to the agent, bounded; a defect in the adapter is an error like another. */
    const call = <A>(
      effect: (connection: Connection) => Effect.Effect<A, AgentError.AgentError>,
      limit: number,
      what: string
    ): Effect.Effect<A, AgentError.AgentError> =>
      Effect.suspend(() => {
        const connection = driver.connection
        if (connection === undefined) return Effect.fail(noConnection(S.options.provider))
        return effect(connection).pipe(
          Effect.timeoutOrElse({
            duration: limit,
            orElse: () =>
              Effect.fail(AgentError.make(
                new AgentError.ConnectionLost({
                  target: S.options.provider,
                  description: `The agent did not answer ${what} within ${limit} ms.`
                })
              ))
          }),
          Effect.catchDefect((defect) => Effect.fail(AgentError.fromUnknown(defect)))
        )
      })

    const infoOf = (error: AgentError.AgentError) => AgentError.toInfo(error)

    const carryOut = (command: EngineCommand): void => {
      switch (command._tag) {
        case "submit": {
          const { prompt, steer } = command
          const attempt = prompt.attempts
          const submission = { promptId: prompt.id, key: prompt.key ?? prompt.id, input: prompt.input, attempt }
          const generation = S.generation
          run(
            call(
              (connection) =>
                steer && connection.steer !== undefined ? connection.steer(submission) : connection.submit(submission),
              options.limits.acknowledge,
              "a prompt"
            ).pipe(
              submissions.withPermit,
              Effect.match({
                onSuccess: () => dispatch([{ _tag: "submitted", id: prompt.id, attempt, generation }]),
                onFailure: (error) =>
                  dispatch([{
                    _tag: "submitted",
                    id: prompt.id,
                    attempt,
                    generation,
                    error: infoOf(error),
                    refused: !uncertain.has(error.reason._tag)
                  }])
              })
            )
          )
          return
        }
        case "interrupt": {
          const generation = S.generation
          run(
            call((connection) => connection.interrupt, options.limits.call, "an interrupt").pipe(
              Effect.match({
                onSuccess: () => dispatch([{ _tag: "interruptSent", generation }]),
                onFailure: (error) => dispatch([{ _tag: "interruptSent", generation, error: infoOf(error) }])
              })
            )
          )
          return
        }
        case "settle": {
          const { record, answer } = command
          const generation = S.generation
          run(
            call((connection) => connection.settle(record.signal, answer), options.limits.call, "an answer").pipe(
              Effect.match({
                onSuccess: (result) => dispatch([{ _tag: "delivered", id: record.id, generation, result }]),
                onFailure: () => dispatch([{ _tag: "delivered", id: record.id, generation, result: "failed" }])
              })
            )
          )
          return
        }
        case "refuse": {
          run(
            call(
              (connection) => connection.settle(command.signal, { _tag: "cancel" }),
              options.limits.call,
              "a refusal"
            )
              .pipe(Effect.ignore)
          )
          return
        }
        case "snapshot": {
          const { prompts, record, turns } = command
          run(
            call((connection) => connection.snapshot({ prompts, turns }), options.limits.call, "a snapshot").pipe(
              Effect.match({
                onSuccess: (result) => dispatch([{ _tag: "snapshot", id: record.id, result }]),
                onFailure: (error) =>
                  dispatch([{ _tag: "snapshot", id: record.id, result: undefined, error: infoOf(error) }])
              })
            )
          )
          return
        }
        case "reconnect": {
          Latch.openUnsafe(driver.reconnect)
          return
        }
        case "finished": {
          EventLog.end(log)
          Deferred.doneUnsafe(finished, Effect.succeed(S.closing?.why ?? "closed"))
          return
        }
      }
    }

    const driver: Driver = {
      state: S,
      log,
      summary,
      dispatch,
      waiters,
      quiescent: Effect.callback<void>((resume) => {
        if (sessionView.isQuiescent(S)) {
          resume(Effect.void)
          return
        }
        const done = () => resume(Effect.void)
        idle.add(done)
        return Effect.sync(() => {
          idle.delete(done)
        })
      }),
      connection: undefined,
      reconnect: Latch.makeUnsafe(false),
      finished
    }

    // One sleeper per session: it sleeps until the earliest time that is due, and is woken when an earlier one comes up.
    yield* Effect.gen(function*() {
      while (true) {
        const due = S.wakeAt
        Latch.closeUnsafe(wake)
        sleepingUntil = due
        if (due === undefined) {
          yield* wake.await
          continue
        }
        const wait = due - clock.currentTimeMillisUnsafe()
        if (wait > 0) {
          const early = yield* Effect.raceFirst(
            Effect.as(Effect.sleep(wait), false),
            Effect.as(wake.await, true)
          )
          if (early) continue
        }
        sleepingUntil = undefined
        dispatch([{ _tag: "tick" }])
        // A time that stays due after its tick must not spin.
        if (S.wakeAt !== undefined && S.wakeAt <= clock.currentTimeMillisUnsafe()) yield* Effect.sleep(10)
      }
    }).pipe(Effect.forkScoped)

    return driver
  })
