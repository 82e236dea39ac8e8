/**
 * Streams as async iterables, for hosts without Effect.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Stream from "effect/Stream"

/**
 * Gives a stream as an async iterable that never throws because something was stopped.
 *
 * A stream that is interrupted from inside (its queue was shut down, the fiber behind it was interrupted by the disposal
 * of a runtime) completes; a failure or a defect still throws. Calls of `next` that overlap, as in a race against a
 * timer, are answered in their order, each with its own value. `return` completes at once, also while a `next` waits.
 * Each iterator reads the stream anew and holds one batch of it.
 *
 * @category destructors
 * @since 0.1.0
 */
export const toAsyncIterable: {
  <A, E>(stream: Stream.Stream<A, E>): AsyncIterable<A>
  <A, E, R>(stream: Stream.Stream<A, E, R>, context: Context.Context<R>): AsyncIterable<A>
} = <A, E, R>(stream: Stream.Stream<A, E, R>, context?: Context.Context<R>): AsyncIterable<A> => {
  const iterable = Stream.toAsyncIterableWith(
    Stream.catchCause(stream, (cause) => Cause.hasInterruptsOnly(cause) ? Stream.empty : Stream.failCause(cause)),
    // Without a context the stream needs none: the first signature says so.
    context ?? (Context.empty() as Context.Context<R>)
  )
  return {
    [Symbol.asyncIterator]() {
      const iterator = iterable[Symbol.asyncIterator]()
      // The iterator below loses values when its `next` is called while another one waits.
      let last: Promise<unknown> = Promise.resolve()
      const next = (): Promise<IteratorResult<A>> => {
        const result = last.then(() => iterator.next())
        last = result.catch(() => undefined)
        return result
      }
      const close = (): Promise<IteratorResult<A>> =>
        iterator.return?.() ?? Promise.resolve({ done: true, value: undefined })
      return {
        next,
        return: close,
        throw: (error) => close().then(() => Promise.reject(error))
      }
    }
  }
}
