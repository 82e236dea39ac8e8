/**
 * One conversation of JSON-RPC for all threads of a server, and what of it belongs to each. Synchronous: a slow session
 * holds up neither the reader nor the others; one that falls behind too far is cut off and read again.
 */
import type { AgentError } from "@reins/core/AgentError"
import type { Signal } from "@reins/core/Signal"
import type { Message } from "@reins/transport/JsonRpcPeer"
import * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import * as normalise from "./normalise.ts"
import * as requests from "./requests.ts"

/** Signals that may wait for one session. */
export const queueLimit = 65_536
/** Messages that are kept of threads which nobody listens to yet: what follows on the start of a thread at once. */
const early = 512
/** Threads that are remembered as heard a moment ago. */
const maxParked = 1_024
/** Warnings of the server that a session hears of which comes later. */
const maxWarnings = 32

export interface Thread {
  readonly state: normalise.ThreadState
  readonly queue: Queue.Queue<Signal, AgentError | Cause.Done>
}

export interface Threads {
  readonly add: (thread: Thread) => void
  readonly remove: (thread: Thread) => void
  /** Drops what was said of a thread that nobody listens to. */
  readonly forget: (threadId: string) => void
  /** Gives what was said to those whom it concerns; answers the requests that nobody here can answer. */
  readonly push: (messages: ReadonlyArray<Message>) => void
  /** Tells every session. */
  readonly broadcast: (signal: Signal) => void
  /** The connection is over, for every session. */
  readonly fail: (error: AgentError) => void
}

/** The thread that a message is about. */
const threadOf = (params: unknown): string | undefined => {
  const direct = requests.threadOf(params)
  if (direct !== undefined) return direct
  if (!Predicate.isObject(params)) return undefined
  const { thread } = params as { readonly thread?: unknown }
  if (!Predicate.isObject(thread)) return undefined
  // A subagent's own thread is announced to its parent.
  const { id, parentThreadId } = thread as { readonly id?: unknown; readonly parentThreadId?: unknown }
  return typeof parentThreadId === "string" ? parentThreadId : typeof id === "string" ? id : undefined
}

export const make = (options: {
  /**
   * Of a request that is unknown, or of a thread that nobody listens to. Absent: others may answer it, and it is treated
   * like a notification.
   */
  readonly onUnanswerable: ((message: Message & { readonly id: number | string }) => void) | undefined
  /** A request of a thread that was heard a moment ago is kept for who hears it next; `expire` gives that up. */
  readonly onHeld: (expire: () => void) => void
  readonly onOverflow: () => AgentError
}): Threads => {
  const threads = new Map<string, Thread>()
  let waiting: Array<Message> = []
  /** Threads that were heard a moment ago: a session that is read again comes back. */
  const parked = new Set<string>()
  const warnings: Array<Message> = []

  const remove = (thread: Thread): void => {
    const id = thread.state.threadId
    if (threads.get(id) !== thread) return
    threads.delete(id)
    parked.add(id)
    for (const child of thread.state.children.keys()) parked.add(child)
    for (const oldest of parked) {
      if (parked.size <= maxParked) break
      parked.delete(oldest)
    }
  }

  /** Keeps what is said of a thread that nobody hears yet; a request that has to leave is refused. */
  const wait = (message: Message): void => {
    waiting.push(message)
    if (waiting.length <= early) return
    const oldest = waiting.shift()
    if (oldest?.id !== undefined) options.onUnanswerable?.({ ...oldest, id: oldest.id })
  }

  const hold = (message: Message & { readonly id: number | string }): void => {
    wait(message)
    options.onHeld(() => {
      const index = waiting.indexOf(message)
      if (index === -1) return
      waiting.splice(index, 1)
      options.onUnanswerable?.(message)
    })
  }

  const give = (thread: Thread, messages: ReadonlyArray<Message>): void => {
    const signals = normalise.read(thread.state, messages)
    if (signals.length === 0) return
    if (Queue.offerAllUnsafe(thread.queue, signals).length === 0) return
    remove(thread)
    Queue.failCauseUnsafe(thread.queue, Cause.fail(options.onOverflow()))
  }

  const ownerOf = (id: string): Thread | undefined => {
    const own = threads.get(id)
    if (own !== undefined) return own
    // The thread of a subagent is known to the one that began it.
    for (const thread of threads.values()) if (normalise.owns(thread.state, id)) return thread
    return undefined
  }

  return {
    add: (thread) => {
      threads.set(thread.state.threadId, thread)
      parked.delete(thread.state.threadId)
      const own = waiting.filter(({ params }) => normalise.owns(thread.state, threadOf(params) ?? ""))
      if (own.length > 0) waiting = waiting.filter((message) => !own.includes(message))
      if (warnings.length + own.length > 0) give(thread, [...warnings, ...own])
    },
    remove,
    forget: (threadId) => {
      // What is asked still waits for its answer.
      waiting = waiting.filter(({ id, params }) => id !== undefined || threadOf(params) !== threadId)
    },
    push: (messages) => {
      // Runs of messages of one thread are handed over as one array, in order.
      let current: Thread | undefined
      let batch: Array<Message> = []
      const flush = () => {
        if (current !== undefined && batch.length > 0) give(current, batch)
        batch = []
      }
      for (const message of messages) {
        const { id, method, params } = message
        const thread = threadOf(params)
        if (
          id !== undefined && options.onUnanswerable !== undefined &&
          (!requests.isKnown(method) || thread === undefined || ownerOf(thread) === undefined)
        ) {
          if (thread !== undefined && requests.isKnown(method) && parked.has(thread)) hold({ ...message, id })
          else options.onUnanswerable({ ...message, id })
          continue
        }
        if (thread === undefined) {
          flush()
          if (method === "configWarning") {
            warnings.push(message)
            if (warnings.length > maxWarnings) warnings.shift()
          }
          for (const one of [...threads.values()]) give(one, [message])
          continue
        }
        const owner = current !== undefined && normalise.owns(current.state, thread) ? current : ownerOf(thread)
        if (owner === undefined) {
          wait(message)
          continue
        }
        if (owner !== current) {
          flush()
          current = owner
        }
        batch.push(message)
        // A message may announce a subagent whose first words follow in the same chunk.
        if (method === "item/started" || method === "thread/started") flush()
      }
      flush()
    },
    broadcast: (signal) => {
      for (const { queue } of threads.values()) Queue.offerUnsafe(queue, signal)
    },
    fail: (error) => {
      const all = [...threads.values()]
      threads.clear()
      parked.clear()
      waiting = []
      // The next server says its own.
      warnings.length = 0
      for (const { queue } of all) Queue.failCauseUnsafe(queue, Cause.fail(error))
    }
  }
}
