/**
 * Writes what one session tells to its journal, a batch at a time, and says when it is there.
 *
 * Everything that waits is one batch: what is open has to agree with the events in every committed state. A write that
 * fails is tried again with growing waits until `patience` is over; then the session cannot keep its promises any more,
 * and is told so. While a session opens nothing is written: one that does not come to stand leaves no trace.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Json } from "effect/Schema"
import * as AgentError from "../AgentError.ts"
import type { EventJournal } from "../EventJournal.ts"
import type { PromptId, SessionId } from "../Ids.ts"
import type { PromptInput } from "../Prompt.ts"
import type { DurableEvent } from "../SessionEvent.ts"
import * as checkpoint from "./engine/checkpoint.ts"
import type { EngineState } from "./engine/state.ts"

/** First wait before a failed write is tried again, in milliseconds; it doubles up to the cap. */
const base = 50
const cap = 2_000
/** Events that wait for a store that does not answer; with more the session ends. */
const maxWaiting = 65_536

export interface JournalWriter {
  /** Takes what was told, in order, after the engine took all of it. */
  readonly take: (events: ReadonlyArray<DurableEvent>) => void
  /** Writes what gathered while the session opened; from then on everything is written as it comes. */
  readonly begin: Effect.Effect<void, AgentError.AgentError>
  /** Whether what is told is being written: not while the session opens, nor after the store has failed. */
  readonly isWriting: () => boolean
  /** The seq up to which everything is there, or nothing can be written any more. */
  readonly committed: () => number
  /** Nothing is written any more, and nobody waits for it. */
  readonly abandon: () => void
  /** Completes when everything up to this seq is there. */
  readonly settled: (seq: number) => Effect.Effect<void>
}

export interface JournalWriterOptions {
  readonly journal: EventJournal
  readonly state: EngineState
  /** What goes on noting after a restoring. */
  readonly noting: checkpoint.Checkpoint
  /** What was kept as open before. */
  readonly names: Iterable<string>
  readonly told: () => ReadonlyArray<string> | undefined
  readonly inputOf: (id: PromptId) => PromptInput | undefined
  /** How long a store may fail, in milliseconds. */
  readonly patience: number
  readonly run: (effect: Effect.Effect<void>) => void
  readonly onCommitted: (seq: number) => void
  /** The store has failed for good: nothing is written any more. */
  readonly onFailed: (error: AgentError.AgentError) => void
}

interface Waiter {
  readonly seq: number
  readonly done: Deferred.Deferred<void>
}

export const make = (options: JournalWriterOptions): JournalWriter => {
  const { journal, state: S } = options
  const sessionId: SessionId = S.options.sessionId
  let events: Array<DurableEvent> = []
  let changes: checkpoint.Changes = new Map()
  const written = new Set<string>(options.names)
  const waiters = new Set<Waiter>()
  let phase: "held" | "writing" | "failed" = "held"
  let busy = false
  let committed = S.seq

  const commit = (seq: number): void => {
    committed = seq
    for (const waiter of waiters) {
      if (waiter.seq > seq) continue
      waiters.delete(waiter)
      Deferred.doneUnsafe(waiter.done, Effect.void)
    }
    options.onCommitted(seq)
  }

  const abandon = (): void => {
    phase = "failed"
    events = []
    changes = new Map()
    commit(Number.POSITIVE_INFINITY)
  }

  const fail = (error: AgentError.AgentError): void => {
    if (phase === "failed") return
    abandon()
    options.onFailed(error)
  }

  const note = (told: ReadonlyArray<DurableEvent>): void => {
    for (const event of told) {
      events.push(event)
      checkpoint.note(S, options.noting, event, changes)
      if (event._tag === "PromptChanged" && event.state._tag === "queued") {
        const name = checkpoint.inputName(event.promptId)
        const prompt = S.prompts.get(event.promptId)
        // One that was settled in the same step needs none.
        if (!(changes.has(name) && changes.get(name) === undefined)) {
          changes.set(name, options.inputOf(event.promptId) ?? prompt?.input)
        }
      }
      if (checkpoint.changesTold(event)) changes.set(checkpoint.toldName, options.told())
    }
  }

  /** What waits, as one batch; what came and went in between is left out. */
  const next = () => {
    const open = new Map<string, Json | undefined>()
    for (const [name, value] of changes) {
      if (value === undefined && !written.has(name)) continue
      if (value === undefined) written.delete(name)
      else written.add(name)
      open.set(name, value as Json | undefined)
    }
    const batch = { sessionId, events, open }
    events = []
    changes = new Map()
    return batch
  }

  const waits = (): boolean => phase === "writing" && events.length > 0

  const write = Effect.gen(function*() {
    while (waits()) {
      const batch = next()
      const since = yield* Clock.currentTimeMillis
      for (let wait = base;; wait = Math.min(cap, wait * 2)) {
        const result = yield* Effect.result(journal.append(batch))
        if (result._tag === "Success") break
        if ((yield* Clock.currentTimeMillis) - since >= options.patience) return fail(result.failure)
        yield* Effect.sleep(wait)
      }
      if (phase === "writing") commit(batch.events.at(-1)?.seq ?? committed)
    }
  }).pipe(
    Effect.catchDefect((defect) => Effect.sync(() => fail(AgentError.fromUnknown(defect)))),
    Effect.ensuring(Effect.sync(() => {
      busy = false
    }))
  )

  const start = (): void => {
    if (busy || !waits()) return
    busy = true
    options.run(write)
  }

  return {
    take: (told) => {
      if (phase === "failed" || told.length === 0) return
      note(told)
      if (events.length > maxWaiting) {
        fail(AgentError.make(
          new AgentError.StoreFailed({
            operation: "write the events of a session",
            description: `${events.length} events wait for it`
          }),
          { sessionId, provider: S.options.provider }
        ))
      }
      start()
    },
    begin: Effect.suspend(() => {
      if (phase !== "held" || busy) return Effect.void
      busy = true
      const batch = next()
      return journal.append(batch).pipe(
        Effect.tap(Effect.sync(() => {
          phase = "writing"
          commit(batch.events.at(-1)?.seq ?? committed)
        })),
        Effect.ensuring(Effect.sync(() => {
          busy = false
          start()
        }))
      )
    }),
    abandon,
    isWriting: () => phase === "writing",
    committed: () => committed,
    settled: (seq) =>
      Effect.suspend(() => {
        // What is told while a session opens is not promised to be kept.
        if (committed >= seq || phase !== "writing") return Effect.void
        const waiter: Waiter = { seq, done: Deferred.makeUnsafe() }
        waiters.add(waiter)
        return Effect.ensuring(
          Deferred.await(waiter.done),
          Effect.sync(() => {
            waiters.delete(waiter)
          })
        )
      })
  }
}
