/** The other readers of the same events: the official SDK, and the floors. */
import * as Undici from "@effect/platform-node/Undici"
import { createOpencodeClient } from "@opencode-ai/sdk"
import type { Control } from "./bench.ts"
import { within } from "./bench.ts"
import type { Mode } from "./fakeServer.ts"
import type { Sample } from "./measure.ts"
import * as measure from "./measure.ts"
import * as recording from "./recording.ts"

/** What one run sends, and to what turn it belongs. */
export interface Load {
  readonly control: Control
  readonly mode: Mode
  readonly count: number
  readonly sessions: ReadonlyArray<string>
  /** After so many deltas comes a command of the agent. */
  readonly tools?: number
  /** Milliseconds after which what has not come is lost. */
  readonly limit: number
}

interface Loose {
  readonly type?: unknown
  readonly properties?: { readonly delta?: unknown }
}

/** `event.subscribe` in a loop that counts deltas and their characters, and does nothing else. */
export const sdk = async (load: Load): Promise<Sample> => {
  const { control, count, limit } = load
  const client = createOpencodeClient({
    baseUrl: control.url,
    headers: { authorization: control.authorization }
  })
  const abort = new AbortController()
  const { stream } = await client.event.subscribe({ signal: abort.signal })
  try {
    await within(limit, "The SDK's first event", stream.next())
    const { bytes } = await control.prepare({ feed: "event", mode: load.mode, count, sessions: load.sessions })
    const expected = recording.textOf(count).length
    await measure.collect()
    const stop = measure.start()
    const reading = (async () => {
      let deltas = 0
      let characters = 0
      for await (const value of stream) {
        const event = value as Loose
        if (event.type !== "message.part.delta") continue
        const text = event.properties?.delta
        if (typeof text === "string") characters += text.length
        if (++deltas === count) break
      }
      const sample = stop(count, bytes)
      if (characters !== expected) throw new Error(`The SDK gave ${characters} of ${expected} characters.`)
      return sample
    })()
    const going = control.go()
    const sample = await within(limit, "The SDK's last event", reading)
    await going
    return sample
  } finally {
    abort.abort()
  }
}

/** The bytes of the stream that Reins reads, with nothing done to them or with each payload parsed as JSON. */
export const floor = async (load: Load, what: "bytes" | "json"): Promise<Sample> => {
  const { control, count, limit, mode, sessions } = load
  const { body } = await Undici.request(`${control.url}/bench/event`, {
    headers: { authorization: control.authorization },
    bodyTimeout: 0
  })
  // It ends by being destroyed; that is not an error here.
  body.on("error", () => {})
  try {
    const first = new Promise<void>((resolve) => body.once("data", () => resolve()))
    await within(limit, "The first bytes", first)
    const { bytes } = await control.prepare({ feed: "floor", mode, count, sessions })
    await measure.collect()
    const stop = measure.start()
    const reading = new Promise<Sample>((resolve) => {
      let seen = 0
      let deltas = 0
      let rest = ""
      const decoder = new TextDecoder()
      body.on("data", (chunk: Buffer) => {
        seen += chunk.length
        if (what === "json") {
          const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n\n")
          rest = parts.pop() ?? ""
          for (const part of parts) {
            const value = JSON.parse(part.slice(6)) as { readonly payload: Loose }
            if (value.payload.type === "message.part.delta") deltas++
          }
        }
        if (what === "json" ? deltas >= count : seen >= bytes) resolve(stop(count, bytes))
      })
    })
    const going = control.go()
    const sample = await within(limit, "The last bytes", reading)
    await going
    return sample
  } finally {
    body.destroy()
  }
}
