/**
 * The event queue of one session: an append-only log in memory with any number of readers.
 *
 * Each reader is a cursor, so a slow one costs the others nothing and the log is bounded by its window alone.
 * Appending is synchronous: no fiber, Effect, schema or clock per event.
 *
 * **What a reader is given**
 *
 * - Durable events, each once, in the order of their `seq`.
 * - The text of `ItemDelta`s: between two durable events the deltas of one `(itemId, stream)` form one growing segment.
 *   A reader that comes late is given what gathered as one `ItemDelta`, a reader that keeps up is given each as it was.
 * - `Lagged { from, to }` where something is missing because it left the window before the reader came.
 *
 * **What leaves the window**
 *
 * - More than `maxDurable` durable events: the oldest leave, with the text that lay before them. A reader that had not
 *   taken them is given `Lagged { from, to }`, the missed seqs inclusive, and goes on with what followed `to`.
 * - More than `maxDeltaChars` of text: the oldest text leaves, also the head of a segment that still grows. Durable
 *   events stay: they are what cannot be recomputed, and the completed item carries the whole text. A reader that had
 *   not taken that text is given a `Lagged` with an empty range, `{ from: n + 1, to: n }`, at the place between the
 *   durable events `n` and `n + 1` where text is missing first: no durable event was missed.
 * - A log with an `earlier` (a journal) has no durable event missing as long as that has it. Text is not kept there: a
 *   reader that had not taken what left with its durable events is given a `Lagged` with an empty range before them.
 * - One `Lagged` stands for everything that had left by then; another follows only when more left since. What had left
 *   before a reader without `after` started is not missed by it.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { AgentError } from "./AgentError.ts"
import * as window from "./internal/eventWindow.ts"
import type { DurableEvent, Lagged, SessionEvent } from "./SessionEvent.ts"

const TypeId = "~@reins/core/EventLog"

/**
 * The event queue of one session.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventLog {
  readonly [TypeId]: typeof TypeId
}

/**
 * Reads durable events that have left the window.
 *
 * @category models
 * @since 0.1.0
 */
export type Earlier = (
  after: number,
  limit: number
) => Effect.Effect<ReadonlyArray<DurableEvent>, AgentError>

/** Events of one page from `earlier`. */
const page = 500

class Log extends window.State implements EventLog {
  readonly [TypeId] = TypeId
  readonly earlier: Earlier | undefined
  constructor(maxDurable: number, maxDeltaChars: number, firstSeq: number, earlier: Earlier | undefined) {
    super(maxDurable, maxDeltaChars, firstSeq)
    this.earlier = earlier
  }
}

const stateOf = (log: EventLog): Log => log as Log

/**
 * Makes an empty log.
 *
 * `maxDurable` durable events (default 4,096, at least 1) and `maxDeltaChars` UTF-16 code units of text (default
 * 4,194,304, each segment charged 64 for its envelope) are kept. `firstSeq` is the seq of the first durable event
 * (default 1): a session that goes on after a restart continues its numbers.
 *
 * With `held` a durable event is given to readers after `release`, and so is the text that follows it. Durable events
 * that wait for that neither count nor leave, and those of the last release stay until the next one: a reader that keeps
 * up has them from the window also where one release is larger than it.
 *
 * `earlier` gives durable events that have left it: with `seq > after`, in order, at most `limit`; none where they are
 * not kept. Where it fails they count as not kept, and the log says so.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: {
  readonly maxDurable?: number | undefined
  readonly maxDeltaChars?: number | undefined
  readonly firstSeq?: number | undefined
  readonly held?: boolean | undefined
  readonly earlier?: Earlier | undefined
}): EventLog => {
  const log = new Log(
    Math.max(1, options?.maxDurable ?? 4096),
    Math.max(0, options?.maxDeltaChars ?? 4_194_304),
    options?.firstSeq ?? 1,
    options?.earlier
  )
  if (options?.held === true) log.visible = log.mayLeave = log.lastSeq
  return log
}

/**
 * Appends events and wakes all waiting readers once; readers run later, never inside this call.
 *
 * A durable event whose `seq` does not follow the last one is a defect: the call throws and nothing of it is appended.
 * After `end` the call is ignored. Deltas without text are ignored.
 *
 * @category combinators
 * @since 0.1.0
 */
export const append = (log: EventLog, events: ReadonlyArray<SessionEvent>): void => {
  const state = stateOf(log)
  if (state.ended || events.length === 0) return
  let seq = state.lastSeq
  for (const event of events) {
    if (event._tag !== "ItemDelta" && event.seq !== ++seq) {
      throw new Error(`EventLog: ${event._tag} has seq ${event.seq}, expected ${seq}`)
    }
  }
  const durable = seq > state.lastSeq
  for (const event of events) {
    if (event._tag === "ItemDelta") window.appendDelta(state, event)
    else window.appendDurable(state, event)
  }
  window.evictDurables(state)
  if (state.chars > state.maxDeltaChars) window.evictText(state)
  window.wake(state, durable)
}

/**
 * Lets readers of a `held` log have the durable events up to this seq.
 *
 * @category combinators
 * @since 0.1.0
 */
export const release = (log: EventLog, seq: number): void => {
  const state = stateOf(log)
  window.release(state, seq)
  window.evictDurables(state)
}

/**
 * Ends the log: readers deliver what they have not given yet and then complete, also those that start later. What is
 * held back is waited for.
 *
 * @category combinators
 * @since 0.1.0
 */
export const end = (log: EventLog): void => {
  const state = stateOf(log)
  if (state.ended) return
  state.ended = true
  window.wake(state, true)
}

/**
 * Whether the log was ended.
 *
 * @category getters
 * @since 0.1.0
 */
export const isEnded = (log: EventLog): boolean => stateOf(log).ended

/**
 * The seq of the newest durable event; `firstSeq - 1` while there is none.
 *
 * @category getters
 * @since 0.1.0
 */
export const lastSeq = (log: EventLog): number => stateOf(log).lastSeq

/**
 * The seq of the oldest durable event that is kept; `lastSeq + 1` while there is none.
 *
 * @category getters
 * @since 0.1.0
 */
export const oldestSeq = (log: EventLog): number => stateOf(log).floor + 1

/**
 * The number of durable events that are kept.
 *
 * @category getters
 * @since 0.1.0
 */
export const size = (log: EventLog): number => stateOf(log).slots.length - 1

/**
 * The UTF-16 code units of text that are kept, with 64 for each segment.
 *
 * @category getters
 * @since 0.1.0
 */
export const deltaChars = (log: EventLog): number => stateOf(log).chars

/**
 * The number of readers that wait for something to read: 0 once every reader is gone.
 *
 * @category getters
 * @since 0.1.0
 */
export const waiting = (log: EventLog): number => stateOf(log).waiters.size

/**
 * How many of the `ItemDelta`s given to readers joined several appended ones.
 *
 * @category getters
 * @since 0.1.0
 */
export const coalesced = (log: EventLog): number => stateOf(log).coalesced

/**
 * How many `Lagged` were given to readers.
 *
 * @category getters
 * @since 0.1.0
 */
export const lagged = (log: EventLog): number => stateOf(log).lagged

/**
 * Reads the log, live: what is kept, then what is appended, until `end`.
 *
 * Without `after` from the oldest event that is kept; with `after: n` the durable events with `seq > n` and the deltas
 * that follow `n`, each segment from its start (laying deltas by offset makes that idempotent). `deltas: false` leaves
 * the deltas out. The position is resolved when the stream starts. Joined deltas carry no `native`.
 *
 * @category destructors
 * @since 0.1.0
 */
export const read = (log: EventLog, options?: {
  readonly after?: number | undefined
  readonly deltas?: boolean | undefined
}): Stream.Stream<SessionEvent | Lagged> =>
  Stream.fromPull(Effect.sync(() => {
    const state = stateOf(log)
    const after = options?.after
    const reader: window.Reader = {
      deltas: options?.deltas !== false,
      seq: after === undefined ? state.floor : Math.max(0, after),
      touched: 0,
      told: after === undefined ? state.losses : 0,
      taken: new Map()
    }
    const pull: Pull.Pull<readonly [SessionEvent | Lagged, ...Array<SessionEvent | Lagged>]> = Effect.suspend(() => {
      const { earlier } = state
      if (earlier !== undefined && reader.seq < state.floor) {
        return Effect.flatMap(readEarlier(state, reader, earlier), (batch) =>
          isNonEmpty(batch) ? Effect.succeed(batch) : pull)
      }
      const batch = window.take(state, reader)
      if (isNonEmpty(batch))
        return Effect.succeed(batch)
      if (state.ended && state.lastSeq <= state.visible)
        return Cause.done()
      return Effect.flatMap(window.wait(state, reader, state.changes), () =>
        pull)
    })
    return pull
  }))

/** What has left the window, from where it is kept; what is not there is told as missing. */
const readEarlier = (
  state: Log,
  reader: window.Reader,
  earlier: Earlier
): Effect.Effect<Array<SessionEvent | Lagged>> =>
  earlier(reader.seq, Math.min(page, state.floor - reader.seq)).pipe(
    Effect.catch((error) => Effect.as(Effect.logWarning("Events that were kept could not be read.", error), [])),
    Effect.map((found) => {
      const out: Array<SessionEvent | Lagged> = []
      for (const event of found) {
        const seq = event.seq ?? 0
        if (seq <= reader.seq || seq > state.floor) continue
        if (seq > reader.seq + 1) out.push(window.lag(state, reader, seq - 1))
        else window.missedText(state, reader, out)
        out.push(event)
        window.enter(reader, seq)
      }
      if (out.length === 0) {
        out.push(window.lag(state, reader, state.floor))
        window.enter(reader, state.floor)
      }
      return out
    })
  )

const isNonEmpty = <A>(items: Array<A>): items is [A, ...Array<A>] => items.length > 0
