/**
 * Hands the events of one server to the sessions that they belong to. The cost of an event does not grow with the
 * number of sessions: one look-up by session id, one array per session and chunk.
 */
import type * as AgentError from "@reins/core/AgentError"
import type { Signal } from "@reins/core/Signal"
import * as Cause from "effect/Cause"
import * as Queue from "effect/Queue"
import * as deltaFrame from "./deltaFrame.ts"
import * as normalise from "./normalise.ts"

/** Signals that may wait for a session; beyond it the connection counts as lost and is read again from the agent. */
export const routeLimit = 65_536

export interface Route {
  readonly root: string
  readonly state: normalise.NormaliserState
  readonly queue: Queue.Queue<Signal, AgentError.AgentError | Cause.Done>
  /**
   * Told once of a session, the root or a subagent, whose model ends answer after answer without a finish reason: only
   * an abort ends that paid loop.
   */
  readonly onLoop: (session: string) => void
  /** The sessions that it was told of. */
  readonly looping: Set<string>
}

export interface Router {
  readonly add: (route: Route) => void
  readonly remove: (route: Route) => void
  /** A child session that was there before the route. */
  readonly adopt: (route: Route, child: string) => void
  /** Takes the `data:` payloads of one chunk. */
  readonly push: (events: ReadonlyArray<string>) => void
  /** Tells every session the same. */
  readonly broadcast: (signal: Signal) => void
  /** Ends every route: the stream that fed them is gone. */
  readonly fail: (error: AgentError.AgentError) => void
  readonly size: () => number
  /** Sessions that are routed, children included. */
  readonly owned: () => number
}

const syncPayload = "\"payload\":{\"type\":\"sync\""

/** Durable rows repeat what other events say; they are told apart without parsing them. */
const isSync = (data: string): boolean => {
  const at = data.indexOf("\"payload\":{")
  return at >= 0 && data.startsWith(syncPayload, at)
}

export const make = (options: {
  readonly onOverflow: (route: Route) => AgentError.AgentError
  readonly onMalformed: (data: string) => void
}): Router => {
  const routes = new Map<string, Route>()
  const owners = new Map<string, Route>()

  const remove = (route: Route): void => {
    if (routes.get(route.root) === route) routes.delete(route.root)
    for (const [session, owner] of owners) if (owner === route) owners.delete(session)
  }

  const deliver = (route: Route, events: ReadonlyArray<normalise.OpenCodeEvent>): void => {
    const signals = normalise.applyAll(route.state, events)
    const looping = normalise.looping(route.state)
    if (looping.length > 0 || route.looping.size > 0) {
      for (const session of route.looping) if (!looping.includes(session)) route.looping.delete(session)
      for (const session of looping) {
        if (route.looping.has(session)) continue
        route.looping.add(session)
        route.onLoop(session)
      }
    }
    if (signals.length === 0) return
    const left = Queue.offerAllUnsafe(route.queue, signals)
    if (left.length > 0) {
      remove(route)
      Queue.failCauseUnsafe(route.queue, Cause.fail(options.onOverflow(route)))
    }
  }

  return {
    add: (route) => {
      routes.set(route.root, route)
      owners.set(route.root, route)
    },
    remove,
    adopt: (route, child) => {
      owners.set(child, route)
    },
    push: (events) => {
      // Runs of events of one session are handed over as one array, in order.
      let current: Route | undefined
      let batch: Array<normalise.OpenCodeEvent> = []
      for (const data of events) {
        let event = deltaFrame.read(data)
        if (event === undefined) {
          if (isSync(data)) continue
          try {
            event = normalise.fromEnvelope(JSON.parse(data))
          } catch {
            options.onMalformed(data)
            continue
          }
          if (event === undefined) {
            options.onMalformed(data)
            continue
          }
        }
        const session = normalise.sessionOf(event)
        if (session === undefined) continue
        let owner = owners.get(session)
        if (owner === undefined) {
          const family = normalise.childOf(event)
          if (family === undefined) continue
          owner = owners.get(family.parent)
          if (owner === undefined) continue
          owners.set(family.child, owner)
        }
        if (owner !== current) {
          if (current !== undefined) deliver(current, batch)
          current = owner
          batch = []
        }
        batch.push(event)
      }
      if (current !== undefined) deliver(current, batch)
    },
    broadcast: (signal) => {
      for (const route of routes.values()) Queue.offerUnsafe(route.queue, signal)
    },
    fail: (error) => {
      const all = [...routes.values()]
      routes.clear()
      owners.clear()
      for (const route of all) Queue.failCauseUnsafe(route.queue, Cause.fail(error))
    },
    size: () => routes.size,
    owned: () => owners.size
  }
}
