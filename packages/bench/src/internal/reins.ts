/** The whole path of Reins over the same events. */
import * as Effect from "effect/Effect"
import type { Control } from "./bench.ts"
import * as bench from "./bench.ts"
import { within } from "./bench.ts"
import type { Load } from "./contenders.ts"
import type { Reader } from "./host.ts"
import * as host from "./host.ts"
import type { Sample } from "./measure.ts"
import * as measure from "./measure.ts"
import * as recording from "./recording.ts"

/** A turn of each reader's session takes its share of the load; fails when its text is not what was sent. */
export const reins = (
  readers: ReadonlyArray<Reader>,
  load: Omit<Load, "sessions">
): Effect.Effect<Sample, bench.BenchFailed> =>
  Effect.gen(function*() {
    const { control, count, limit, mode, tools } = load
    const texts = readers.map((_, index) => recording.textOf(count, index, readers.length))
    const sample = yield* host.inTurns(readers, control, limit, async (sessions) => {
      const { bytes } = await control.prepare({
        feed: "global",
        mode,
        count,
        sessions,
        ...(tools === undefined ? undefined : { tools })
      })
      await measure.collect()
      const stop = measure.start()
      const reading = new Promise<Sample>((resolve) => {
        let missing = readers.length
        for (const [index, reader] of readers.entries()) {
          const whole = texts[index]?.length ?? 0
          reader.onText = (length) => {
            if (length < whole) return
            reader.onText = () => {}
            if (--missing === 0) resolve(stop(count, bytes))
          }
        }
      })
      const going = control.go()
      const sample = await within(limit, "The last delta", reading).catch((cause: Error) => {
        const laid = readers.reduce((length, reader) => length + reader.text.length, 0)
        throw new Error(`${cause.message} ${laid} of ${texts.join("").length} characters came.`, { cause })
      })
      await going
      return sample
    })
    for (const [index, reader] of readers.entries()) {
      const wrong = reader.verify(texts[index] ?? "")
      if (wrong !== undefined) return yield* new bench.BenchFailed({ description: wrong })
    }
    return sample
  })

/** Times of `count` deltas at a steady rate, in milliseconds. */
export interface Latency {
  /** From the arrival of the frame's bytes in this process to the reader. */
  readonly added: ReadonlyArray<number>
  /** From the server's write to the reader. */
  readonly whole: ReadonlyArray<number>
}

const stampDigits = 16

/** Counts the frames of the chunks that it hears, and remembers when each came. */
export class Arrivals {
  private times: Array<number> = []
  private after = 0

  reset(): void {
    this.times = []
  }

  at(index: number): number | undefined {
    return this.times[index]
  }

  readonly hear = (chunk: Uint8Array): void => {
    const now = performance.now()
    // A frame ends with two line feeds, and holds none itself.
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) {
      if (++this.after % 2 === 0) this.times.push(now)
    }
  }
}

/** Each delta's text is the time of its writing; the reader sees by the length of the text which ones it has. */
export const latency = (
  reader: Reader,
  arrivals: Arrivals,
  options: { readonly control: Control; readonly count: number; readonly rate: number; readonly limit: number }
): Effect.Effect<Latency, bench.BenchFailed> => {
  const { control, count, limit, rate } = options
  return host.inTurns([reader], control, limit, async ([session = ""]) => {
    const reached: Array<number> = []
    arrivals.reset()
    await measure.collect()
    const reading = new Promise<void>((resolve) => {
      reader.onText = (length) => {
        const now = performance.now()
        while (reached.length < length / stampDigits) reached.push(now)
        if (reached.length < count) return
        reader.onText = () => {}
        resolve()
      }
    })
    await control.paced({ session, count, rate })
    await within(limit, "The last delta", reading)
    const text = reader.text
    const added: Array<number> = []
    const whole: Array<number> = []
    for (const [index, time] of reached.entries()) {
      const arrived = arrivals.at(index)
      if (arrived === undefined) throw new Error("A delta was read that never arrived.")
      added.push(time - arrived)
      whole.push(
        performance.timeOrigin + time - Number(text.slice(index * stampDigits, (index + 1) * stampDigits)) / 1000
      )
    }
    return { added, whole }
  })
}
