/**
 * Where the durable events of sessions are kept beyond the life of this process.
 *
 * Without a journal events live in memory. With one:
 *
 * - **Commit rule**: a durable event is given to a reader after it was committed, never before; its order and its `seq`
 *   are those of the commit. Text that follows it (`ItemDelta`) waits for it, and is not kept itself.
 * - A prompt, and the answer to a request, are sent to the agent after the journal knows of them: what was sent is known
 *   after a crash, so that nothing is sent twice.
 * - What of a session is open (queued prompts, the running turn, its items and requests) is kept beside the events, in
 *   the same transaction, so that the next host goes on as after a lost connection.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Json } from "effect/Schema"
import * as AgentError from "./AgentError.ts"
import type { SessionId } from "./Ids.ts"
import type { DurableEvent } from "./SessionEvent.ts"

/**
 * What is written at once: all of it, or nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface JournalBatch {
  readonly sessionId: SessionId
  /** In the order of their `seq`, which follow on each other and come after what was written before. May be empty. */
  readonly events: ReadonlyArray<DurableEvent>
  /** What is open of the session, by a name: a value is set, `undefined` removes it. */
  readonly open: ReadonlyMap<string, Json | undefined>
}

/**
 * Which events of a session are kept. `last` is the newest that was ever written, 0 if none was, also when it has left
 * since; `first` the oldest that is kept, `last + 1` when none is.
 *
 * @category models
 * @since 0.1.0
 */
export interface JournalRange {
  readonly first: number
  readonly last: number
}

/**
 * How much is kept. What is beyond leaves oldest first; a reader that asks for it is told by `Lagged`. What is open of a
 * session never leaves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Retention {
  /** Durable events of one session: 100,000 by default. */
  readonly events?: number
  /** Bytes of the events of one session, as JSON text: 64 MiB by default. */
  readonly bytes?: number
  /** Bytes of the events of all sessions: 2 GiB by default. Those of the sessions that were written longest ago leave first. */
  readonly total?: number
}

/**
 * Keeps the durable events of sessions; every failure is an `AgentError` with the reason `StoreFailed`.
 *
 * @category services
 * @since 0.1.0
 */
export interface EventJournal {
  /**
   * Writes a batch in one transaction. One whose events do not come after what was written, or do not follow on each
   * other, fails and writes nothing.
   */
  readonly append: (batch: JournalBatch) => Effect.Effect<void, AgentError.AgentError>
  /** Events with `seq > after` in their order, at most `limit` of them. */
  readonly read: (
    sessionId: SessionId,
    options: { readonly after: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<DurableEvent>, AgentError.AgentError>
  readonly range: (sessionId: SessionId) => Effect.Effect<JournalRange, AgentError.AgentError>
  /** What is open of a session. */
  readonly open: (sessionId: SessionId) => Effect.Effect<ReadonlyMap<string, Json>, AgentError.AgentError>
  /** Forgets a session. */
  readonly remove: (sessionId: SessionId) => Effect.Effect<void, AgentError.AgentError>
}

/**
 * The journal that sessions write to; `undefined`, the default: none.
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<EventJournal | undefined> = Context.Reference<EventJournal | undefined>(
  "@reins/core/EventJournal/Current",
  { defaultValue: () => undefined }
)

/**
 * Default retention.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultRetention: Required<Retention> = {
  events: 100_000,
  bytes: 64 * 1024 * 1024,
  total: 2 * 1024 * 1024 * 1024
}

const outOfOrder = (sessionId: SessionId, last: number, seq: number | undefined) =>
  AgentError.make(
    new AgentError.StoreFailed({
      operation: "write the events of a session",
      description: `event ${seq ?? "without a seq"} does not follow on ${last}; does another host write this session?`
    }),
    { sessionId }
  )

/**
 * Whether the events of a batch follow on `last` and on each other: the check that every journal makes.
 *
 * @category guards
 * @since 0.1.0
 */
export const follows = (batch: JournalBatch, last: number): Effect.Effect<void, AgentError.AgentError> =>
  Effect.suspend(() => {
    let seq = last
    for (const event of batch.events) {
      // The first one may leave numbers out: a session may be older than its journal, or than what a power loss left of it.
      const wrong = event === batch.events[0] ? (event.seq ?? 0) <= last : event.seq !== seq + 1
      if (wrong) {
        return Effect.fail(outOfOrder(batch.sessionId, seq, event.seq))
      }
      seq = event.seq ?? seq
    }
    return Effect.void
  })

interface Kept {
  last: number
  /** Kept as text: what is read is what a file would give, and shared with nobody. */
  texts: Array<string>
  seqs: Array<number>
  readonly open: Map<string, string>
}

/**
 * A journal in memory: for tests of what a host does after a restart.
 *
 * @category constructors
 * @since 0.1.0
 */
export const memory = (retention: Pick<Retention, "events"> = {}): EventJournal => {
  const max = Math.max(1, retention.events ?? defaultRetention.events)
  const sessions = new Map<SessionId, Kept>()
  return {
    append: (batch) =>
      Effect.suspend(() => {
        const kept = sessions.get(batch.sessionId) ?? { last: 0, texts: [], seqs: [], open: new Map<string, string>() }
        return Effect.map(follows(batch, kept.last), () => {
          sessions.set(batch.sessionId, kept)
          for (const event of batch.events) {
            kept.texts.push(JSON.stringify(event))
            kept.seqs.push(event.seq ?? 0)
            kept.last = event.seq ?? kept.last
          }
          if (kept.texts.length > max) {
            kept.texts = kept.texts.slice(-max)
            kept.seqs = kept.seqs.slice(-max)
          }
          for (const [name, value] of batch.open) {
            if (value === undefined) kept.open.delete(name)
            else kept.open.set(name, JSON.stringify(value))
          }
        })
      }),
    read: (sessionId, { after, limit }) =>
      Effect.sync(() => {
        const kept = sessions.get(sessionId)
        if (kept === undefined) return []
        const found: Array<DurableEvent> = []
        for (let at = kept.seqs.findIndex((seq) => seq > after); at >= 0 && at < kept.texts.length; at++) {
          if (found.length >= limit) break
          found.push(JSON.parse(kept.texts[at] ?? "") as DurableEvent)
        }
        return found
      }),
    range: (sessionId) =>
      Effect.sync(() => {
        const kept = sessions.get(sessionId)
        return kept === undefined
          ? { first: 1, last: 0 }
          : { first: kept.seqs[0] ?? kept.last + 1, last: kept.last }
      }),
    open: (sessionId) =>
      Effect.sync(() =>
        new Map([...sessions.get(sessionId)?.open ?? []].map(([name, text]) => [name, JSON.parse(text) as Json]))
      ),
    remove: (sessionId) => Effect.sync(() => void sessions.delete(sessionId))
  }
}

/**
 * A journal in memory, for the sessions of a layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<never> = Layer.sync(Current, () => memory())
