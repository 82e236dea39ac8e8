/** A TCP proxy on 127.0.0.1 between two sides that both believe in the network. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Connection, Counters, FrameRule, Match, Proxy, Target } from "../FaultInjector.ts"
import { FaultError } from "./faultError.ts"
import * as faultLink from "./faultLink.ts"
import * as waiters from "./waiters.ts"

interface Pair {
  readonly id: number
  readonly client: Net.Socket
  readonly server: Net.Socket
  readonly up: faultLink.Link
  readonly down: faultLink.Link
  line: string
}

/** A line that is not there after so many bytes is none. */
const maxLine = 8192
const maxConnections = 1024

const matches = (match: Match | undefined, line: string): boolean => {
  if (match === undefined) return true
  if (typeof match === "string") return line.includes(match)
  return match instanceof RegExp ? new RegExp(match.source, match.flags.replace(/[gy]/g, "")).test(line) : match(line)
}

/**
 * Resets a connection. `resetAndDestroy` says an orderly end first, and the other side then sees the one or the other;
 * with its mark set, `destroy` sends the reset alone.
 */
const abort = (socket: Net.Socket) => void Object.assign(socket, { resetAndClosing: true }).destroy()

const write = (socket: Net.Socket) => (bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (socket.destroyed || socket.writableEnded) return resume(Effect.void)
    socket.write(bytes, () => resume(Effect.void))
  })

export const make = Effect.fnUntraced(function*(options: {
  readonly target: Target | (() => Target)
  readonly delimiter?: string | undefined
}): Effect.fn.Return<Proxy, FaultError, Scope.Scope> {
  const delimiter = options.delimiter ?? "\n\n"
  const clock = yield* Clock.Clock
  // Made before the server, so it is released after it.
  const run = yield* FiberSet.makeRuntime<never>()
  const pairs = new Map<number, Pair>()
  const waiting = waiters.make()
  const counters = { accepted: 0, refused: 0, faults: 0, bytesUp: 0, bytesDown: 0 }
  let standing: Array<{ readonly match: Match | undefined; readonly what: "stall" | { readonly delay: number } }> = []
  let rules: Array<FrameRule & { left: number }> = []
  let refusing = false
  let nextId = 1

  const info = ({ down, id, line }: Pair): Connection => ({ id, requestLine: line, frames: down.frames() })
  const chosen = (match: Match | undefined) => [...pairs.values()].filter((pair) => matches(match, pair.line))
  const reset = ({ client, server }: Pair) => {
    abort(client)
    abort(server)
  }

  const impose = (pair: Pair, what: "stall" | { readonly delay: number }) => {
    if (what !== "stall") pair.up.apply(what)
    else pair.up.apply("stall")
    pair.down.apply(what)
  }

  const addRule = (pair: Pair, rule: FrameRule & { left: number }) =>
    (rule.direction === "up" ? pair.up : pair.down).addRule({
      n: rule.n,
      delimiter: rule.delimiter === "chunk" ? undefined : rule.delimiter ?? delimiter,
      fault: rule.do,
      applies: () => rule.left > 0 && matches(rule.match, pair.line),
      take: () => rule.left > 0 && rule.left-- > 0
    })

  const onLine = (pair: Pair, line: string) => {
    pair.line = line
    pair.down.restart()
    for (const { match, what } of standing) if (match !== undefined && matches(match, line)) impose(pair, what)
    waiting.notify()
  }

  const accept = (client: Net.Socket) => {
    if (refusing || pairs.size >= maxConnections) {
      counters.refused++
      client.on("error", () => undefined)
      abort(client)
      return waiting.notify()
    }
    counters.accepted++
    const id = nextId++
    const target = typeof options.target === "function" ? options.target() : options.target
    const server = Net.connect({ ...target, allowHalfOpen: true })
    client.setNoDelay(true)
    server.setNoDelay(true)
    const link = (from: Net.Socket, to: Net.Socket, down: boolean) =>
      faultLink.make({
        clock,
        delimiter,
        http: down,
        sink: {
          write: write(to),
          end: Effect.sync(() => void to.end()),
          cut: Effect.sync(() => reset(pair)),
          kill: Effect.sync(() => reset(pair))
        },
        onRoom: () => from.resume(),
        onProgress: (written) => {
          counters[down ? "bytesDown" : "bytesUp"] += written
          waiting.notify()
        },
        onFault: () => {
          counters.faults++
        }
      })
    const pair: Pair = {
      id,
      client,
      server,
      line: "",
      up: link(client, server, false),
      down: link(server, client, true)
    }
    pairs.set(id, pair)
    for (const rule of rules) addRule(pair, rule)
    for (const { match, what } of standing) if (match === undefined) impose(pair, what)

    let begun = ""
    client.on("data", (bytes: Buffer) => {
      // A request begins a packet: a client waits for the answer before it uses the connection again.
      const text = bytes.subarray(0, maxLine).toString("latin1")
      const request = /^[A-Z]+ \S+ HTTP\/1\.[01](?=\r?\n)/.exec(text)?.[0]
      if (request !== undefined) onLine(pair, request)
      else if (pair.line === "" && begun.length < maxLine) {
        begun += text
        const line = /^([^\r\n]*)\r?\n/.exec(begun)?.[1]
        if (line !== undefined) onLine(pair, line)
      }
      if (!pair.up.push(bytes)) client.pause()
    })
    server.on("data", (bytes: Buffer) => {
      if (!pair.down.push(bytes)) server.pause()
    })
    client.on("end", () => pair.up.finish("end"))
    server.on("end", () => pair.down.finish("end"))
    client.on("error", () => abort(server))
    // What came before the reset is still delivered.
    server.on("error", () => pair.down.finish("cut"))
    const fibers = [run(pair.up.run), run(pair.down.run)]
    let open = 2
    const onClose = () => {
      open--
      if (open > 0) return
      for (const fiber of fibers) fiber.interruptUnsafe()
      pairs.delete(id)
      waiting.notify()
    }
    client.on("close", onClose)
    server.on("close", onClose)
    waiting.notify()
  }

  const listener = Net.createServer({ allowHalfOpen: true }, accept)
  yield* Effect.acquireRelease(
    Effect.callback<void, FaultError>((resume) => {
      listener.once("error", (cause) => resume(Effect.fail(new FaultError({ operation: "listen", cause }))))
      listener.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        listener.close(() => resume(Effect.void))
        for (const { client, server } of pairs.values()) {
          client.destroy()
          server.destroy()
        }
      }).pipe(Effect.timeoutOption("1 second"))
  )
  const address = listener.address()
  const port = address === null || typeof address === "string" ? 0 : address.port

  const each = (f: (pair: Pair) => void) => (match?: Match) =>
    Effect.sync(() => {
      for (const pair of chosen(match)) f(pair)
    })

  const onFrame = (rule: FrameRule) =>
    Effect.sync(() => {
      const kept = { ...rule, left: rule.times ?? 1 }
      rules = [...rules.filter((rule) => rule.left > 0), kept]
      for (const pair of pairs.values()) addRule(pair, kept)
    })

  return {
    port,
    url: `http://127.0.0.1:${port}`,
    connections: Effect.sync(() => [...pairs.values()].map(info)),
    counters: Effect.sync((): Counters => ({ ...counters, open: pairs.size })),
    cut: each((pair) => {
      counters.faults++
      reset(pair)
    }),
    halfClose: each((pair) => {
      counters.faults++
      pair.client.end()
    }),
    stall: (match) =>
      Effect.sync(() => {
        standing.push({ match, what: "stall" })
        for (const pair of chosen(match)) impose(pair, "stall")
      }),
    resume: Effect.sync(() => {
      standing = standing.filter(({ what }) => what !== "stall")
      for (const { down, up } of pairs.values()) {
        up.resume()
        down.resume()
      }
    }),
    delay: (ms, match) =>
      Effect.sync(() => {
        standing = standing.filter(({ what }) => what === "stall" || ms !== undefined)
        if (ms !== undefined) standing.push({ match, what: { delay: ms } })
        for (const { down, up } of chosen(match)) {
          up.delay(ms)
          down.delay(ms)
        }
      }),
    duplicate: (rule) => onFrame({ ...rule, do: "duplicate" }),
    noise: (bytes, match) => each((pair) => pair.down.noise(Buffer.from(bytes)))(match),
    refuse: (on) =>
      Effect.sync(() => {
        refusing = on
      }),
    onFrame,
    awaitConnection: (match) =>
      waiting.until(() => {
        // Without a match a connection is one as soon as it is accepted.
        const pair = [...pairs.values()].find((pair) =>
          match === undefined || (pair.line !== "" && matches(match, pair.line))
        )
        return pair === undefined ? undefined : info(pair)
      }),
    awaitFrame: (n, match) =>
      waiting.until(() => {
        const pair = chosen(match).find((pair) => pair.down.frames() >= n)
        return pair === undefined ? undefined : info(pair)
      }),
    awaitClosed: (match) => waiting.until(() => chosen(match).length === 0 ? true : undefined).pipe(Effect.asVoid)
  }
})
