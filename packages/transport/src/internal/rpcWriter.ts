/** What waits to be written to an agent: bounded by characters, written in order, all that waits at once. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"

export interface RpcWriter {
  /** Waits while there is no room. What `end` came before is not written. */
  readonly write: (text: string) => Effect.Effect<void>
  /** Nothing follows. */
  readonly end: () => void
  /** Read once: the texts, and its end after the last one. */
  readonly texts: Stream.Stream<string>
}

export const make = (maxBuffered: number, joined: boolean): RpcWriter => {
  const some = Latch.makeUnsafe(false)
  const room = Latch.makeUnsafe(true)
  let waiting: Array<string> = []
  /** Characters that wait, and those that the agent is being given. */
  let buffered = 0
  let given = 0
  let ended = false

  const write = (text: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (ended) return Effect.void
      if (buffered >= maxBuffered) {
        Latch.closeUnsafe(room)
        return Effect.andThen(room.await, write(text))
      }
      waiting.push(text)
      buffered += text.length
      Latch.openUnsafe(some)
      return Effect.void
    })

  // Whoever asks for more has written what it was given.
  const pull: Pull.Pull<readonly [string, ...Array<string>]> = Effect.suspend(() => {
    buffered -= given
    given = 0
    if (buffered < maxBuffered) Latch.openUnsafe(room)
    const [first, ...rest] = joined && waiting.length > 1 ? [waiting.join("")] : waiting
    if (first === undefined) {
      if (ended) return Cause.done()
      Latch.closeUnsafe(some)
      return Effect.andThen(some.await, pull)
    }
    given = buffered
    waiting = []
    return Effect.succeed([first, ...rest] as const)
  })

  return {
    write,
    end: () => {
      ended = true
      Latch.openUnsafe(some)
      Latch.openUnsafe(room)
    },
    texts: Stream.fromPull(Effect.succeed(pull))
  }
}
