/** One direction of a carrier: bytes pass through in order, and faults happen at a frame's very end. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as frameScanner from "./frameScanner.ts"

export const Fault = Schema.Union([
  Schema.Literals(["cut", "halfClose", "stall", "duplicate", "kill"]),
  Schema.Struct({ delay: Schema.Number }),
  Schema.Struct({ noise: Schema.String })
])
export type Fault = typeof Fault.Type

/** Where the bytes go. Effects succeed also when the other side has gone. */
export interface Sink {
  readonly write: (bytes: Uint8Array) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  readonly cut: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
}

export interface Rule {
  readonly n: number
  /** Without one, each read of the source is a frame. */
  readonly delimiter: string | undefined
  readonly fault: Fault
  /** Whether frames count now. */
  readonly applies: () => boolean
  /** Takes the one time the rule fires; `false` if it is used up. */
  readonly take: () => boolean
}

export interface Link {
  /** Takes what the source gave; `false` when no more should be read until `onRoom`. */
  readonly push: (bytes: Buffer) => boolean
  /** The source has ended, or was reset. */
  readonly finish: (how: "end" | "cut") => void
  readonly apply: (fault: Fault) => void
  readonly resume: () => void
  readonly delay: (ms: number | undefined) => void
  readonly noise: (bytes: Uint8Array) => void
  readonly addRule: (rule: Rule) => void
  /** A new answer of HTTP begins. */
  readonly restart: () => void
  readonly frames: () => number
  /** Runs until the source has ended and everything is with the sink. */
  readonly run: Effect.Effect<void>
}

type Item =
  | { readonly _tag: "Bytes"; readonly bytes: Buffer; readonly at: number }
  | { readonly _tag: "Insert"; readonly bytes: Buffer }
  | { readonly _tag: "Finish"; readonly how: "end" | "cut" }

/** Bytes that are held before the source is asked to pause. */
const maxHeld = 1_048_576
const maxHead = 65_536
const newline = Buffer.from("\r\n")

interface Tracked {
  readonly rule: Rule
  readonly scanner: frameScanner.Scanner
  chunks: number
  done: boolean
}

export const make = (options: {
  readonly sink: Sink
  readonly clock: Clock.Clock
  /** What ends a frame for counters and noise. */
  readonly delimiter: string
  /** Whether insertions have to fit into chunked bodies. */
  readonly http: boolean
  readonly onRoom: () => void
  readonly onProgress: (written: number) => void
  readonly onFault: () => void
}): Link => {
  const { clock, sink } = options
  const items = Effect.runSync(Queue.unbounded<Item>())
  const gate = Latch.makeUnsafe(true)
  const counter = frameScanner.make(options.delimiter, false)
  let rules: Array<Tracked> = []
  let held = 0
  let delay = 0
  let inserts: Array<Buffer> = []
  let head = ""
  let chunked = false
  let headDone = !options.http
  let lastTwo = ""
  /** What a killed agent had still written is not told: the fault comes after exactly its frame. */
  const agent = { killed: false }

  const readHead = (bytes: Buffer) => {
    if (headDone) return
    head += bytes.toString("latin1")
    const end = head.indexOf("\r\n\r\n")
    if (end === -1 && head.length < maxHead) return
    headDone = true
    chunked = /\r\ntransfer-encoding:[^\r]*chunked/i.test(head.slice(0, Math.max(end, 0)))
    head = ""
  }

  const write = (bytes: Buffer): Effect.Effect<void> => {
    if (bytes.length === 0) return Effect.void
    return Effect.andThen(
      sink.write(bytes),
      Effect.sync(() => {
        readHead(bytes)
        lastTwo = (lastTwo + bytes.subarray(-2).toString("latin1")).slice(-2)
        counter.advance(bytes)
        for (const tracked of rules) {
          if (tracked.rule.delimiter !== undefined && tracked.rule.applies()) tracked.scanner.advance(bytes)
        }
        options.onProgress(bytes.length)
      })
    )
  }

  /** Writes what is inserted where it fits; what is left of `bytes` follows it. */
  const flushInserts = Effect.fnUntraced(function*(bytes: Buffer | undefined) {
    let rest = bytes
    while (inserts.length > 0) {
      const chunkBody = chunked && headDone
      if (chunkBody && lastTwo !== "\r\n") {
        if (rest === undefined) return rest
        if (rest.subarray(0, 2).equals(newline)) {
          yield* write(rest.subarray(0, 2))
          rest = rest.subarray(2)
        }
      }
      const insert = inserts.shift()
      if (insert === undefined) break
      // Inserted bytes count for nothing: a rule is about what the source said.
      yield* sink.write(
        chunkBody && lastTwo === "\r\n"
          ? Buffer.concat([Buffer.from(`${insert.length.toString(16)}\r\n`), insert, newline])
          : insert
      )
      options.onProgress(0)
    }
    return rest
  })

  const body = (frame: Buffer): Buffer => {
    if (!options.http) return frame
    const text = frame.toString("latin1")
    const from = text.startsWith("HTTP/") ? text.indexOf("\r\n\r\n") + 4 : 0
    const prefix = chunked ? /^(?:\r\n)?[0-9a-fA-F]+\r\n/.exec(text.slice(from))?.[0].length ?? 0 : 0
    return frame.subarray(from + prefix)
  }

  const fire = (fault: Fault, frame: Buffer | undefined): Effect.Effect<void> => {
    options.onFault()
    switch (fault) {
      case "cut":
        return sink.cut
      case "halfClose":
        return sink.end
      case "kill":
        agent.killed = true
        return sink.kill
      case "stall":
        return Effect.sync(() => void gate.closeUnsafe())
      case "duplicate":
        return Effect.sync(() => {
          if (frame !== undefined && frame.length > 0) inserts.push(body(frame))
        })
      default:
        return Effect.sync(() => {
          if ("delay" in fault) delay = fault.delay
          else inserts.push(Buffer.from(fault.noise))
        })
    }
  }

  /** The rule that fires first in these bytes, and after how many of them. */
  const nextRule = (bytes: Buffer): { readonly tracked: Tracked; readonly at: number } | undefined => {
    let found: { readonly tracked: Tracked; readonly at: number } | undefined
    for (const tracked of rules) {
      if (tracked.done || tracked.rule.delimiter === undefined || !tracked.rule.applies()) continue
      const at = tracked.scanner.endOf(tracked.rule.n, bytes)
      if (at !== undefined && (found === undefined || at < found.at)) found = { tracked, at }
    }
    return found
  }

  /** Holds bytes that came at this time for as long as is asked now. */
  const hold = (at: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const wait = delay > 0 ? at + delay - clock.currentTimeMillisUnsafe() : 0
      return wait > 0 ? Effect.sleep(wait) : Effect.void
    })

  const pass = Effect.fnUntraced(function*(whole: Buffer, at: number) {
    let rest: Buffer = whole
    while (rest.length > 0 && !agent.killed) {
      yield* hold(at)
      yield* gate.await
      rest = (yield* flushInserts(rest)) ?? rest
      const next = nextRule(rest)
      if (next === undefined) {
        yield* write(rest)
        break
      }
      yield* write(rest.subarray(0, next.at))
      rest = rest.subarray(next.at)
      next.tracked.done = true
      if (next.tracked.rule.take()) yield* fire(next.tracked.rule.fault, next.tracked.scanner.frame())
    }
    for (const tracked of rules) {
      if (tracked.done || tracked.rule.delimiter !== undefined || !tracked.rule.applies()) continue
      tracked.chunks++
      if (tracked.chunks < tracked.rule.n) continue
      tracked.done = true
      if (tracked.rule.take()) yield* fire(tracked.rule.fault, whole)
    }
    rules = rules.filter((tracked) => !tracked.done)
    yield* gate.await
    yield* flushInserts(undefined)
  })

  const run = Effect.gen(function*() {
    while (true) {
      const item = yield* Queue.take(items)
      yield* gate.await
      if (item._tag === "Finish") return yield* item.how === "end" ? sink.end : sink.cut
      if (item._tag === "Insert") {
        inserts.push(item.bytes)
        yield* flushInserts(undefined)
        continue
      }
      yield* pass(item.bytes, item.at)
      const full = held >= maxHeld
      held -= item.bytes.length
      if (full && held < maxHeld) options.onRoom()
    }
  })

  const addRule = (rule: Rule) => {
    rules.push({
      rule,
      scanner: frameScanner.make(rule.delimiter ?? "\n", rule.fault === "duplicate"),
      chunks: 0,
      done: false
    })
  }

  const noise = (bytes: Uint8Array) => {
    const insert = Buffer.from(bytes)
    const since = counter.open()
    if (since === 0 || (chunked && lastTwo === "\r\n")) {
      options.onFault()
      Queue.offerUnsafe(items, { _tag: "Insert", bytes: insert })
    } else {
      let left = 1
      // Within a frame: at its end.
      addRule({
        n: 1,
        delimiter: options.delimiter,
        fault: { noise: insert.toString("utf8") },
        applies: () => true,
        take: () => left-- > 0
      })
    }
  }

  return {
    push: (bytes) => {
      held += bytes.length
      Queue.offerUnsafe(items, { _tag: "Bytes", bytes, at: clock.currentTimeMillisUnsafe() })
      return held < maxHeld
    },
    finish: (how) => void Queue.offerUnsafe(items, { _tag: "Finish", how }),
    apply: (fault) => {
      if (fault === "stall") {
        options.onFault()
        gate.closeUnsafe()
      } else if (typeof fault === "object" && "delay" in fault) {
        options.onFault()
        delay = fault.delay
      } else if (typeof fault === "object") noise(Buffer.from(fault.noise))
    },
    resume: () => void gate.openUnsafe(),
    delay: (ms) => {
      delay = ms ?? 0
    },
    noise,
    addRule,
    restart: () => {
      if (!options.http) return
      headDone = false
      chunked = false
      head = ""
    },
    frames: counter.count,
    run
  }
}
