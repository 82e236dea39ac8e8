/**
 * A provider with a wire that can be broken: faults between any adapter and the session engine, at the arrays of signals
 * that the adapter gives. For adapters whose own wire cannot be reached, and for agents in memory.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Connection, Provider, ProviderInstance } from "@reins/core/Provider"
import type { Signal } from "@reins/core/Signal"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { Wire } from "./Conformance.ts"

/**
 * A provider and the controls of its wire.
 *
 * @category models
 * @since 0.1.0
 */
export interface Faulty<R> {
  readonly provider: Provider<R>
  readonly wire: Required<Pick<Wire, "cut" | "cutAfter" | "end" | "stall" | "repeat" | "reorder" | "unknown">>
}

interface Line {
  readonly broken: Deferred.Deferred<"cut" | "end">
  /** What nobody knows. */
  readonly strange: Queue.Queue<Signal, Cause.Done>
}

/** What an adapter may tell twice: a delta that says where it belongs, and everything that is a state and no sum. */
const mayRepeat = (signal: Signal): boolean =>
  signal._tag === "delta" ? signal.offset !== undefined : signal._tag !== "usage" && signal._tag !== "unrecognised" &&
    signal._tag !== "notice"

const unknown: Signal = {
  _tag: "unrecognised",
  method: "nobody/knows",
  reason: "the test made it up",
  raw: { strange: true }
}

/** Two signals that may come in either order: of two items. */
const mayTurn = (first: Signal, second: Signal): boolean =>
  first._tag === "item" && second._tag === "item" && first.key !== second.key &&
  first.item._tag !== "userMessage" && second.item._tag !== "userMessage"

/**
 * Puts a breakable wire behind a provider.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R>(inner: Provider<R>): Faulty<R> => {
  const lines = new Set<Line>()
  const flowing = Latch.makeUnsafe(true)
  let strange = 0
  let cutAt: number | undefined
  let repeating = false
  let reordering = false

  const breakAll = (how: "cut" | "end") =>
    Effect.sync(() => {
      for (const line of lines) Deferred.doneUnsafe(line.broken, Effect.succeed(how))
    })

  const lost = AgentError.make(
    new AgentError.ConnectionLost({ target: inner.kind, description: "The wire was cut." })
  )

  const over = (connection: Connection): Connection => ({
    ...connection,
    signals: Stream.unwrap(Effect.gen(function*() {
      const line: Line = { broken: Deferred.makeUnsafe(), strange: yield* Queue.unbounded<Signal, Cause.Done>() }
      lines.add(line)
      for (; strange > 0; strange--) Queue.offerUnsafe(line.strange, unknown)
      let held: Signal | undefined
      const passed = (signal: Signal): ReadonlyArray<Signal> => {
        const before = held
        held = undefined
        if (before === undefined && reordering && signal._tag === "item") {
          held = signal
          return []
        }
        const now = before === undefined ? [signal] : mayTurn(before, signal) ? [signal, before] : [before, signal]
        return repeating ? now.flatMap((one) => mayRepeat(one) ? [one, one] : [one]) : now
      }
      return connection.signals.pipe(
        Stream.mapArrayEffect((some) => Effect.as(flowing.await, some)),
        Stream.flatMap((signal) => {
          if (cutAt !== undefined && --cutAt <= 0) {
            cutAt = undefined
            Deferred.doneUnsafe(line.broken, Effect.succeed("cut"))
          }
          return Stream.fromIterable(passed(signal))
        }),
        Stream.merge(Stream.fromQueue(line.strange), { haltStrategy: "left" }),
        Stream.interruptWhen(Effect.asVoid(Deferred.await(line.broken))),
        Stream.concat(Stream.unwrap(Effect.sync(() => {
          if (!Deferred.isDoneUnsafe(line.broken)) return Stream.empty
          return Stream.unwrap(
            Effect.map(Deferred.await(line.broken), (how) => how === "end" ? Stream.empty : Stream.fail(lost))
          )
        }))),
        Stream.ensuring(Effect.sync(() => {
          lines.delete(line)
        }))
      )
    }))
  })

  const wrap = (instance: ProviderInstance): ProviderInstance => ({
    ...instance,
    connect: (options) => Effect.map(instance.connect(options), over)
  })

  const setting = (set: (on: boolean) => void) =>
    Effect.acquireRelease(Effect.sync(() => set(true)), () => Effect.sync(() => set(false)))

  return {
    provider: { ...inner, make: (id) => Effect.map(inner.make(id), wrap) },
    wire: {
      cut: breakAll("cut"),
      end: breakAll("end"),
      cutAfter: (n) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            cutAt = n
          }),
          () =>
            Effect.sync(() => {
              cutAt = undefined
            })
        ),
      stall: Effect.sync(() => {
        Latch.closeUnsafe(flowing)
        return Effect.sync(() => {
          Latch.openUnsafe(flowing)
        })
      }),
      repeat: setting((on) => {
        repeating = on
      }),
      reorder: setting((on) => {
        reordering = on
      }),
      unknown: Effect.sync(() => {
        // Without a connection it is what the next one begins with.
        if (lines.size === 0) strange++
        for (const line of lines) Queue.offerUnsafe(line.strange, unknown)
      })
    }
  }
}
