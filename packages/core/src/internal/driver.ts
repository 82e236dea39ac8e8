/**
 * Runs the engine of one session: feeds it, keeps its log, carries out its commands, wakes it when time is due.
 * `dispatch` is synchronous, so that a host's command has taken effect when it returns.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as AgentError from "../AgentError.ts"
import type { EventJournal } from "../EventJournal.ts"
import * as EventLog from "../EventLog.ts"
import type { PromptId, TurnId } from "../Ids.ts"
import type { PromptInput, Receipt } from "../Prompt.ts"
import type { Connection } from "../Provider.ts"
import type { SessionState } from "../Session.ts"
import type { DurableEvent } from "../SessionEvent.ts"
import type { Snapshot } from "../Signal.ts"
import type { PromptOutcome, TurnOutcome } from "../Turn.ts"
import * as agentCalls from "./agentCalls.ts"
import { dropOldest } from "./dropOldest.ts"
import type { Checkpoint } from "./engine/checkpoint.ts"
import { isFinal } from "./engine/prompts.ts"
import type { EngineCommand, EngineInput, EngineState } from "./engine/state.ts"
import { remembered } from "./engine/state.ts"
import { step } from "./engine/step.ts"
import * as journalWriter from "./journalWriter.ts"
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
  /** With the bytes of its images and files, which the engine does not hold. */
  readonly input: PromptInput
  /** Bytes of its images and files. */
  readonly attached: number
  /** The seq of the event that told the outcome. */
  toldAt: number | undefined
}

export interface Driver {
  readonly state: EngineState
  readonly log: EventLog.EventLog
  readonly summary: SubscriptionRef.SubscriptionRef<SessionState>
  /** Takes inputs now. Safe from anywhere, also from inside itself. */
  readonly dispatch: (inputs: ReadonlyArray<EngineInput>) => void
  readonly waiters: Map<PromptId, PromptWaiter>
  readonly quiescent: Effect.Effect<void>
  /** A call to the agent, bounded; a defect in the adapter is an error like another. */
  readonly callOn: <A>(
    connection: Connection,
    effect: (connection: Connection) => Effect.Effect<A, AgentError.AgentError>,
    limit: number,
    what: string
  ) => Effect.Effect<A, AgentError.AgentError>
  /** The connection in use; undefined while there is none. */
  connection: Connection | undefined
  /** Ask for the connection to be replaced. */
  readonly reconnect: Latch.Latch
  /** Completes when the engine has closed the session. */
  readonly finished: Deferred.Deferred<string>
  /** Writes to the journal what was told so far, and from now on what is told. */
  readonly keep: Effect.Effect<void, AgentError.AgentError>
  /** Completes when the journal has what was told so far. */
  readonly kept: Effect.Effect<void>
  /** The seq up to which the journal has all; what was told last where there is none. */
  readonly keptSeq: () => number
}

/** Where a session is kept. */
export interface Keeping {
  readonly journal: EventJournal
  readonly noting: Checkpoint
  /** What was open when the session was restored. */
  readonly names: Iterable<string>
  /** How long the store may fail until the session ends, in milliseconds. */
  readonly patience: number
}

export const make = (options: {
  readonly state: EngineState
  readonly limits: CallLimits
  readonly keeping?: Keeping
  /** Hears every durable event after it is in the log. */
  readonly onDurable: (event: DurableEvent) => void
  /** The keys of the turns that the host was told of, if that is known; a resync tells what came after them. */
  readonly told?: () => ReadonlyArray<string> | undefined
  /** Hears each snapshot at a resync before the engine does. */
  readonly onResync?: (snapshot: Snapshot) => void
}): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function*() {
    const S = options.state
    const clock = yield* Clock.Clock
    const { keeping } = options
    const log = EventLog.make({
      firstSeq: S.seq + 1,
      held: keeping !== undefined,
      ...(keeping === undefined ? undefined : {
        earlier: (after: number, limit: number) => keeping.journal.read(S.options.sessionId, { after, limit })
      })
    })
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
    /** Those who wait are told when all inputs were taken: they may run, and dispatch, in the very call that tells. */
    const told: Array<() => void> = []
    /** Who waits for what is not in the journal yet. */
    const untold: Array<{ readonly seq: number; readonly tell: () => void }> = []
    let telling = false

    const tell = (): void => {
      if (telling) return
      telling = true
      try {
        for (let next = told.shift(); next !== undefined; next = told.shift()) next()
      } finally {
        telling = false
      }
    }

    const writer = keeping === undefined ? undefined : journalWriter.make({
      ...keeping,
      state: S,
      told: () => options.told?.(),
      inputOf: (id) => waiters.get(id)?.input,
      run,
      onCommitted: (seq) => {
        EventLog.release(log, seq)
        while (untold[0] !== undefined && untold[0].seq <= seq) told.push(untold.shift()?.tell ?? (() => {}))
        if (idle.size > 0 && isAtRest()) resumeIdle()
        tell()
      },
      onFailed: (error) => {
        run(Effect.logError("A session ends because its events cannot be stored.", error))
        dispatch([{ _tag: "close", why: `the store failed: ${error.message}` }])
      }
    })

    /** What somebody waits for is told when it is kept. */
    const tellKept = (fn: () => void): void => {
      if (writer === undefined || writer.committed() >= S.seq || !writer.isWriting()) told.push(fn)
      else untold.push({ seq: S.seq, tell: fn })
    }

    const isAtRest = (): boolean =>
      sessionView.isQuiescent(S) && (writer === undefined || !writer.isWriting() || writer.committed() >= S.seq)

    const settleReceipt = (waiter: PromptWaiter, receipt: Receipt): void => {
      tellKept(() => Deferred.doneUnsafe(waiter.receipt, Effect.succeed(receipt)))
    }

    const settleOutcome = (waiter: PromptWaiter, outcome: PromptOutcome, seq: number): void => {
      waiter.toldAt = seq
      tellKept(() => Deferred.doneUnsafe(waiter.outcome, Effect.succeed(outcome)))
    }

    const show = (): void => {
      const next = sessionView.state(S)
      if (sessionView.sameState(shown, next)) return
      shown = next
      told.push(() => Effect.runFork(SubscriptionRef.set(summary, next)))
    }

    const resumeIdle = (): void => {
      for (const resume of idle) told.push(resume)
      idle.clear()
    }

    /** Nothing comes after this: whoever still waits for a prompt is told, and every stream ends. */
    const end = (why: string, receipt: Receipt, outcome: PromptOutcome): void => {
      for (const waiter of waiters.values()) {
        settleReceipt(waiter, receipt)
        settleOutcome(waiter, { _tag: "notRun", receipt }, S.seq)
      }
      waiters.clear()
      for (const list of byTurn.values()) {
        for (const waiter of list) settleOutcome(waiter, outcome, S.seq)
      }
      byTurn.clear()
      EventLog.end(log)
      show()
      tellKept(resumeIdle)
      tellKept(() => Effect.runFork(PubSub.shutdown(summary.pubsub)))
      tellKept(() => Deferred.doneUnsafe(finished, Effect.succeed(why)))
    }

    const observe = (event: DurableEvent): void => {
      if (event._tag === "PromptChanged" && isFinal(event.state)) {
        const waiter = waiters.get(event.promptId)
        if (waiter !== undefined) {
          waiters.delete(event.promptId)
          const receipt = event.state as Receipt
          settleReceipt(waiter, receipt)
          if (receipt._tag !== "consumed") settleOutcome(waiter, { _tag: "notRun", receipt }, event.seq ?? S.seq)
          else {
            const outcome = outcomes.get(receipt.turnId)
            if (outcome !== undefined) settleOutcome(waiter, outcome, event.seq ?? S.seq)
            else {
              const list = byTurn.get(receipt.turnId)
              if (list === undefined) byTurn.set(receipt.turnId, [waiter])
              else list.push(waiter)
            }
          }
        }
      } else if (event._tag === "TurnSettled") {
        outcomes.set(event.turnId, event.outcome)
        dropOldest(outcomes, remembered)
        const list = byTurn.get(event.turnId)
        byTurn.delete(event.turnId)
        for (const waiter of list ?? []) settleOutcome(waiter, event.outcome, event.seq ?? S.seq)
      }
      options.onDurable(event)
    }

    /** `due`: a time that has certainly come, whatever the wall clock says. */
    const take = (inputs: ReadonlyArray<EngineInput>, due: number): void => {
      if (pending !== undefined) {
        for (const input of inputs) pending.push(input)
        return
      }
      pending = []
      try {
        step(S, inputs, Math.max(due, clock.currentTimeMillisUnsafe()))
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
      tell()
    }

    const dispatch = (inputs: ReadonlyArray<EngineInput>): void => take(inputs, 0)

    /** A bug of ours must not become a wait for ever: everybody who waits is told, and the session ends. */
    const crash = (defect: unknown): void => {
      const error = AgentError.toInfo(AgentError.fromUnknown(defect))
      S.phase = "closed"
      S.wakeAt = undefined
      S.events = []
      S.commands = []
      run(Effect.logError("A session ended by a defect of its engine.", defect))
      writer?.abandon()
      end("a defect of the session engine", { _tag: "failed", error }, { _tag: "failed", error })
    }

    const flush = (): void => {
      const events = S.events
      const commands = S.commands
      let durable = false
      if (events.length > 0) {
        S.events = []
        EventLog.append(log, events)
        const kept: Array<DurableEvent> = []
        for (const event of events) {
          if (event._tag === "ItemDelta") continue
          durable = true
          if (writer !== undefined) kept.push(event)
          observe(event)
        }
        writer?.take(kept)
      }
      if (commands.length > 0) {
        S.commands = []
        for (const command of commands) carryOut(command)
      }
      if (durable) {
        show()
        if (idle.size > 0 && isAtRest()) resumeIdle()
      }
      const wakeAt = S.wakeAt
      if (wakeAt !== undefined && (sleepingUntil === undefined || wakeAt < sleepingUntil)) Latch.openUnsafe(wake)
    }

    const callOn: Driver["callOn"] = (connection, effect, limit, what) =>
      agentCalls.bounded(S.options.provider, Effect.suspend(() => effect(connection)), limit, what)

    const call = <A>(
      effect: (connection: Connection) => Effect.Effect<A, AgentError.AgentError>,
      limit: number,
      what: string
    ): Effect.Effect<A, AgentError.AgentError> =>
      Effect.suspend(() => {
        const connection = driver.connection
        return connection === undefined
          ? Effect.fail(agentCalls.noConnection(S.options.provider))
          : callOn(connection, effect, limit, what)
      })

    /** What is sent to the agent is known to the journal before. */
    const ahead = (): Effect.Effect<void> => writer === undefined ? Effect.void : writer.settled(S.seq)

    const carryOut = (command: EngineCommand): void => {
      switch (command._tag) {
        case "submit": {
          const { prompt, steer } = command
          const attempt = prompt.attempts
          const submission = {
            promptId: prompt.id,
            key: prompt.key ?? prompt.id,
            input: waiters.get(prompt.id)?.input ?? prompt.input,
            attempt
          }
          run(
            Effect.andThen(
              ahead(),
              call(
                (connection) =>
                  steer && connection.steer !== undefined
                    ? connection.steer(submission)
                    : connection.submit(submission),
                options.limits.acknowledge,
                "a prompt"
              )
            ).pipe(
              submissions.withPermit,
              Effect.match({
                onSuccess: () => dispatch([{ _tag: "submitted", id: prompt.id, attempt }]),
                onFailure: (error) =>
                  dispatch([{
                    _tag: "submitted",
                    id: prompt.id,
                    attempt,
                    error: AgentError.toInfo(error),
                    refused: agentCalls.isRefusal(error)
                  }])
              })
            )
          )
          return
        }
        case "interrupt": {
          run(
            call((connection) => connection.interrupt, options.limits.call, "an interrupt").pipe(
              Effect.match({
                onSuccess: () => dispatch([{ _tag: "interruptSent" }]),
                onFailure: (error) => dispatch([{ _tag: "interruptSent", error: AgentError.toInfo(error) }])
              })
            )
          )
          return
        }
        case "settle": {
          const { record, answer } = command
          run(
            Effect.andThen(
              ahead(),
              call((connection) => connection.settle(record.signal, answer), options.limits.call, "an answer")
            ).pipe(
              Effect.match({
                onSuccess: (result) => dispatch([{ _tag: "delivered", id: record.id, result }]),
                onFailure: () => dispatch([{ _tag: "delivered", id: record.id, result: "failed" }])
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
          const after = options.told === undefined || !record.resync ? undefined : options.told() ?? null
          const request = { prompts, turns, ...(after === undefined ? undefined : { after }) }
          run(
            call((connection) => connection.snapshot(request), options.limits.call, "a snapshot").pipe(
              Effect.match({
                onSuccess: (result) => {
                  if (record.resync) options.onResync?.(result)
                  dispatch([{ _tag: "snapshot", id: record.id, result }])
                },
                onFailure: (error) =>
                  dispatch([{ _tag: "snapshot", id: record.id, result: undefined, error: AgentError.toInfo(error) }])
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
          end(
            S.closing?.why ?? "closed",
            { _tag: "returned", reason: "The session was closed." },
            { _tag: "interrupted", by: "host" }
          )
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
        if (isAtRest()) {
          resume(Effect.void)
          return
        }
        const done = () => resume(Effect.void)
        idle.add(done)
        return Effect.sync(() => {
          idle.delete(done)
        })
      }),
      callOn,
      keep: writer === undefined ? Effect.void : writer.begin,
      kept: Effect.suspend(ahead),
      keptSeq: () => writer === undefined ? S.seq : Math.min(writer.committed(), S.seq),
      connection: undefined,
      reconnect: Latch.makeUnsafe(false),
      finished
    }

    // What a store does not take in time must not keep readers for ever.
    if (writer !== undefined) yield* Effect.addFinalizer(() => Effect.sync(writer.abandon))

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
        // Waits are measured from the engine's own time, which a clock that is set back does not turn back.
        const wait = due - Math.max(S.now, clock.currentTimeMillisUnsafe())
        if (wait > 0) {
          const early = yield* Effect.raceFirst(
            Effect.as(Effect.sleep(wait), false),
            Effect.as(wake.await, true)
          )
          if (early) continue
        }
        sleepingUntil = undefined
        take([{ _tag: "tick" }], due)
        // A time that stays due after its tick must not spin.
        if (S.wakeAt !== undefined && S.wakeAt <= S.now) yield* Effect.sleep(10)
      }
    }).pipe(Effect.forkScoped)

    return driver
  })
