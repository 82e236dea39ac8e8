/** The writing side of a tape: frames are taken at once, lines are written by a fiber. */
import * as AgentError from "@reins/core/AgentError"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Direction, Recorder, RecorderOptions } from "../WireTape.ts"
import * as tapeText from "./tapeText.ts"

/** A place in the order of the tape. Its line is not known while a secret may still grow in it. */
interface Slot {
  line: string | undefined
  size: number
}

/** Characters that the fields around a frame are charged with while they wait. */
const envelope = 128

/** How long closing a scope waits for the last lines. */
const closeWithin = "5 seconds"

export const make = Effect.fnUntraced(function*(
  options: RecorderOptions & { readonly write: (lines: string) => Effect.Effect<void, AgentError.AgentError> }
): Effect.fn.Return<Recorder, never, Scope.Scope> {
  const { redactor } = options
  const maxBytes = options.maxBytes ?? 67_108_864
  const maxFrameChars = options.maxFrameChars ?? 262_144
  const maxBuffered = options.maxBuffered ?? 8_388_608
  const clock = yield* Clock.Clock
  const startedAt = clock.currentTimeMillisUnsafe()

  let slots: Array<Slot> = []
  let buffered = 0
  let written = 0
  let dropped = 0
  let untold = 0
  let full = false
  let closed = false
  let gone = false
  let last = 0
  let failure: AgentError.AgentError | undefined
  const tracks = new Set<() => void>()
  const kicks = yield* Queue.sliding<void>(1)
  let waiters: Array<Deferred.Deferred<void, AgentError.AgentError>> = []

  // A clock that is set back must not make a later frame an earlier one.
  const now = () => last = Math.max(last, Math.trunc(clock.currentTimeMillisUnsafe() - startedAt))

  const mark = (t: number) => {
    if (untold === 0) return
    const line = JSON.stringify({ t, dir: "mark", channel: "tape", frame: { dropped: untold } })
    slots.push({ line, size: 0 })
    untold = 0
  }

  const drop = () => {
    dropped++
    untold++
  }

  /** A slot for a frame of about this size, if there is room. */
  const open = (t: number, size: number): Slot | undefined => {
    if (closed || failure !== undefined || full || buffered + size > maxBuffered) {
      drop()
      return undefined
    }
    mark(t)
    const slot: Slot = { line: undefined, size }
    buffered += size
    slots.push(slot)
    return slot
  }

  const fill = (slot: Slot, t: number, dir: Direction, channel: string, frame: Schema.Json, meta?: Schema.Json) => {
    let kept = frame
    let truncated: number | undefined
    if (typeof frame !== "string" || frame.length > maxFrameChars) {
      const text = typeof frame === "string" ? frame : JSON.stringify(frame)
      if (text.length > maxFrameChars) {
        kept = text.slice(0, maxFrameChars)
        truncated = text.length
      }
    }
    const line = JSON.stringify({
      t,
      dir,
      channel,
      frame: kept,
      ...(meta === undefined ? {} : { meta }),
      ...(truncated === undefined ? {} : { truncated })
    })
    const bytes = Buffer.byteLength(line) + 1
    buffered -= slot.size
    if (full || written + bytes > maxBytes) {
      // The tape ends here: a shorter frame that came later would look as if nothing were missing before it.
      full = true
      drop()
      slot.line = ""
      slot.size = 0
    } else {
      written += bytes
      slot.line = line
      slot.size = line.length
      buffered += line.length
    }
    Queue.offerUnsafe(kicks, undefined)
  }

  const record: Recorder["record"] = (dir, channel, frame, meta) => {
    const t = now()
    const size = envelope + (typeof frame === "string" ? Math.min(frame.length, maxFrameChars) : 0)
    const slot = open(t, size)
    if (slot === undefined) return
    fill(
      slot,
      t,
      dir,
      redactor.redact(channel),
      redactor.redactJson(frame),
      meta === undefined ? undefined : redactor.redactJson(meta)
    )
  }

  const text: Recorder["text"] = (dir, channel, settings) => {
    const name = redactor.redact(channel)
    const meta = settings?.meta === undefined ? undefined : redactor.redactJson(settings.meta)
    const joined = tapeText.make<{ readonly t: number; readonly slot: Slot | undefined }>(
      redactor,
      settings?.delimiter ?? "\n",
      ({ slot, t }, kept) => {
        if (slot !== undefined) fill(slot, t, dir, name, kept, meta)
      }
    )
    const end = () => {
      joined.end()
      tracks.delete(end)
    }
    return {
      push: (chunk) => {
        if (chunk === "") return
        const t = now()
        // Text without a place on the tape still passes here: it may hold the other half of a secret.
        joined.push({ t, slot: open(t, envelope + chunk.length) }, chunk)
        tracks.add(end)
      },
      end
    }
  }

  const drain = Effect.suspend(() => {
    const held = slots.findIndex((slot) => slot.line === undefined)
    const ready = held === -1 ? slots : slots.slice(0, held)
    slots = held === -1 ? [] : slots.slice(held)
    let lines = ""
    let size = 0
    for (const slot of ready) {
      size += slot.size
      if (slot.line !== "") lines += `${slot.line}\n`
    }
    if (failure !== undefined) return Effect.fail(failure)
    if (lines === "") return Effect.void
    return options.write(lines).pipe(
      Effect.tapError((error) => Effect.sync(() => (failure = error))),
      // Lines count as waiting until they are with the file: a slow disk fills the buffer, not the memory.
      Effect.ensuring(Effect.sync(() => (buffered -= size)))
    )
  })

  const writer = Effect.gen(function*() {
    yield* Queue.take(kicks)
    const mine = waiters
    waiters = []
    const exit = yield* Effect.exit(drain)
    for (const waiter of mine) yield* Deferred.done(waiter, exit)
    // A sink that broke an invariant is not asked again.
    if (Exit.isFailure(exit)) failure ??= AgentError.fromUnknown(exit.cause)
  }).pipe(Effect.forever)

  const head = {
    v: 1,
    kind: "reins-tape",
    ...(options.provider === undefined ? {} : { provider: options.provider }),
    startedAt,
    ...(options.meta === undefined ? {} : { meta: redactor.redactJson(options.meta) })
  }
  slots.push({ line: JSON.stringify(head), size: 0 })
  Queue.offerUnsafe(kicks, undefined)

  yield* Effect.forkScoped(writer)

  const flush = Effect.suspend(() => {
    if (gone) return failure === undefined ? Effect.void : Effect.fail(failure)
    const done = Deferred.makeUnsafe<void, AgentError.AgentError>()
    waiters.push(done)
    Queue.offerUnsafe(kicks, undefined)
    return Deferred.await(done)
  })

  const close = Effect.suspend(() => {
    if (!closed) {
      for (const end of [...tracks]) end()
      mark(now())
      closed = true
    }
    return flush
  })

  // Registered last, so it runs first: the writer still lives.
  yield* Effect.addFinalizer(() =>
    close.pipe(
      Effect.timeoutOption(closeWithin),
      Effect.ignore,
      Effect.ensuring(Effect.sync(() => (gone = true)))
    )
  )

  return { record, text, maxFrameChars, dropped: () => dropped, flush, close }
})
