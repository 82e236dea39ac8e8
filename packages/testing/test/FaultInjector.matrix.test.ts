/** Every fault on both carriers, in both directions: at the n-th frame, and on command. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue } from "effect"
import { TestClock } from "effect/testing"
import { spawn } from "node:child_process"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { FaultInjector } from "../src/index.ts"

const agent = fileURLToPath(new URL("fixtures/lineAgent.mjs", import.meta.url))

type Direction = "down" | "up"

/** A wire with an adapter at one end and an agent at the other; both read lines, and `<end>` is the end. */
interface Wire {
  /** The agent says these lines, in one write. */
  readonly say: (...lines: ReadonlyArray<string>) => Effect.Effect<void>
  /** The adapter sends these lines, in one write. */
  readonly send: (...lines: ReadonlyArray<string>) => Effect.Effect<void>
  /** What the adapter has read. */
  readonly read: Effect.Effect<string>
  /** What the agent has read. */
  readonly heard: Effect.Effect<string>
  /** Passes when all that was sent before has had its time to arrive, past the fault. */
  readonly beside: Effect.Effect<void>
  readonly nothing: (direction: Direction) => Effect.Effect<boolean>
  readonly atFrame: (direction: Direction, n: number, fault: FaultInjector.Fault) => Effect.Effect<void>
  readonly now: (fault: FaultInjector.Fault) => Effect.Effect<void>
  readonly resume: (direction: Direction) => Effect.Effect<void>
  /** How the agent ended, where it is a process. */
  readonly exit?: Effect.Effect<FaultInjector.RelayExit>
}

/** Splits what a stream says into lines. */
const linesOf = (stream: NodeJS.ReadableStream) => {
  const lines = Queue.unbounded<string>().pipe(Effect.runSync)
  let pending = ""
  let ended = false
  const end = () => {
    if (!ended) Queue.offerUnsafe(lines, `${pending}<end>`)
    ended = true
  }
  stream.setEncoding("utf8")
  stream.on("data", (text: string) => {
    const all = (pending + text).split("\n")
    pending = all.pop() ?? ""
    for (const line of all) Queue.offerUnsafe(lines, line)
  })
  stream.on("end", end)
  stream.on("error", end)
  return lines
}

const isEmpty = (lines: Queue.Queue<string>) => Effect.map(Queue.size(lines), (size) => size === 0)

const text = (lines: ReadonlyArray<string>) => lines.map((line) => `${line}\n`).join("")

const proxied = Effect.gen(function*() {
  const sockets = yield* Queue.unbounded<Net.Socket>()
  const server = Net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.setNoDelay(true)
    Queue.offerUnsafe(sockets, socket)
  })
  const target = yield* Effect.acquireRelease(
    Effect.callback<FaultInjector.Target>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as Net.AddressInfo
        resume(Effect.succeed({ host: "127.0.0.1", port }))
      })
    }),
    () => Effect.sync(() => server.close())
  )
  const proxy = yield* FaultInjector.proxy({ target, delimiter: "\n" })
  const connect = Effect.fnUntraced(function*(hello: string) {
    const socket = Net.connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true })
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
    const read = linesOf(socket)
    socket.write(`${hello}\n`)
    const peer = yield* Queue.take(sockets)
    const heard = linesOf(peer)
    yield* Queue.take(heard)
    return { socket, read, peer, heard }
  })
  const main = yield* connect("main")
  const other = yield* connect("other")
  const write = (socket: Net.Socket, lines: ReadonlyArray<string>) =>
    Effect.callback<void>((resume) => void socket.write(text(lines), () => resume(Effect.void)))
  yield* write(main.peer, ["ready"])
  yield* Queue.take(main.read)
  const match = "main"
  const wire: Wire = {
    say: (...lines) => write(main.peer, lines),
    send: (...lines) => write(main.socket, lines),
    read: Queue.take(main.read),
    heard: Queue.take(main.heard),
    // A round on another connection: the proxy reads its sockets in turn.
    beside: Effect.gen(function*() {
      for (let round = 0; round < 3; round++) {
        yield* write(other.peer, ["ping"])
        yield* Queue.take(other.read)
        yield* write(other.socket, ["pong"])
        yield* Queue.take(other.heard)
      }
    }),
    nothing: (direction) => isEmpty(direction === "down" ? main.read : main.heard),
    atFrame: (direction, n, fault) => proxy.onFrame({ match, direction, n, do: fault }),
    now: (fault) => {
      if (typeof fault === "object") {
        return "noise" in fault ? proxy.noise(fault.noise, match) : proxy.delay(fault.delay, match)
      }
      switch (fault) {
        case "cut":
          return proxy.cut(match)
        case "halfClose":
          return proxy.halfClose(match)
        case "stall":
          return proxy.stall(match)
        case "duplicate":
          return proxy.duplicate({ match, n: 1 })
        case "kill":
          // A proxy has no agent to kill.
          return proxy.cut(match)
      }
    },
    resume: () => proxy.resume
  }
  return wire
})

const relayed = Effect.gen(function*() {
  const { args, command, control } = yield* FaultInjector.stdio({
    command: process.execPath,
    args: [agent, "--stubborn"]
  })
  const child = spawn(command, args, { stdio: "pipe" })
  yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
  child.stdin.on("error", () => undefined)
  const read = linesOf(child.stdout)
  const errors = linesOf(child.stderr)
  assert.strictEqual(yield* Queue.take(read), "ready")
  const send = (...lines: ReadonlyArray<string>) => Effect.sync(() => void child.stdin.write(text(lines)))
  const streamOf = (direction: Direction) => direction === "down" ? "stdout" : "stdin"
  const wire: Wire = {
    // The agent says what it hears.
    say: send,
    send,
    read: Queue.take(read),
    heard: Queue.take(read),
    beside: Effect.andThen(send("err beside"), Effect.asVoid(Queue.take(errors))),
    nothing: () => isEmpty(read),
    atFrame: (direction, n, fault) => Effect.orDie(control.onFrame({ stream: streamOf(direction), n, do: fault })),
    now: (fault) => {
      const done = typeof fault === "object"
        ? "noise" in fault ? control.noise(fault.noise) : control.delay(fault.delay)
        : fault === "kill"
        ? control.kill
        : fault === "duplicate"
        ? control.duplicate({ n: 1 })
        : control[fault]()
      return Effect.orDie(done)
    },
    resume: (direction) => Effect.orDie(control.resume(streamOf(direction))),
    exit: control.awaitExit
  }
  return wire
})

const carriers = { proxy: proxied, stdio: relayed } as const
type Carrier = keyof typeof carriers

const take = Effect.fnUntraced(function*(read: Effect.Effect<string>, count: number) {
  const lines: Array<string> = []
  for (let index = 0; index < count; index++) lines.push(yield* read)
  return lines
})

const noise = { noise: "{no frame\n" } as const

/** A relay has a clock of its own: what is looked at there is that another stream overtakes a long delay. */
const delay = (carrier: Carrier): number => carrier === "proxy" ? 5_000 : 120_000

/** What is read where a, b, c, d are sent and the fault comes after b; `held` comes only after a resume. */
const expected = (
  carrier: Carrier
): ReadonlyArray<readonly [FaultInjector.Fault, ReadonlyArray<string>, ReadonlyArray<string>?]> => [
  ["cut", ["a", "b", "<end>"]],
  ["halfClose", ["a", "b", "<end>"]],
  ["stall", ["a", "b"], ["c", "d"]],
  ["duplicate", ["a", "b", "b", "c", "d"]],
  [noise, ["a", "b", "{no frame", "c", "d"]],
  ["kill", ["a", "b", "<end>"]],
  [{ delay: delay(carrier) }, ["a", "b"], ["c", "d"]]
]

const nameOf = (fault: FaultInjector.Fault): string => typeof fault === "object" ? Object.keys(fault)[0] ?? "" : fault

for (const carrier of ["proxy", "stdio"] as const) {
  // Only the proxy runs on the clock of the test.
  const test = carrier === "proxy" ? it.effect : it.live
  const wire = carriers[carrier]

  describe(`${carrier}, after the second frame`, () => {
    for (const [fault, lines, held] of expected(carrier)) {
      test(`towards the adapter: ${nameOf(fault)}`, () =>
        Effect.gen(function*() {
          const { atFrame, beside, exit, nothing, read, resume, say } = yield* wire
          yield* atFrame("down", 2, fault)
          yield* say("a", "b", "c", "d")
          assert.deepStrictEqual(yield* take(read, lines.length), lines)
          if (fault === "kill" && exit !== undefined) {
            assert.deepStrictEqual(yield* exit, { code: null, signal: "SIGKILL" })
          }
          if (held === undefined) return
          if (fault === "stall") assert.isTrue(yield* nothing("down"))
          if (fault === "stall") yield* resume("down")
          const rest = yield* Effect.forkScoped(take(read, held.length))
          if (fault !== "stall") {
            yield* beside
            assert.isUndefined(rest.pollUnsafe())
            if (carrier === "stdio") return
            yield* TestClock.adjust("4 seconds")
            yield* beside
            assert.isUndefined(rest.pollUnsafe())
            yield* TestClock.adjust("2 seconds")
          }
          assert.deepStrictEqual(yield* Fiber.join(rest), held)
        }).pipe(Effect.scoped))

      test(`towards the agent: ${nameOf(fault)}`, () =>
        Effect.gen(function*() {
          const { atFrame, beside, exit, heard, nothing, resume, send } = yield* wire
          yield* atFrame("up", 2, fault)
          yield* send("a", "b", "c", "d")
          if (fault === "kill" && exit !== undefined) {
            // Whether it had time to say what it heard is its own affair.
            assert.deepStrictEqual(yield* exit, { code: null, signal: "SIGKILL" })
            return
          }
          // The line agent says that its input has ended.
          const end = carrier === "stdio" ? "bye" : "<end>"
          const all = lines.map((line) => line === "<end>" ? end : line)
          assert.deepStrictEqual(yield* take(heard, all.length), all)
          if (held === undefined) return
          if (fault === "stall") {
            if (carrier === "proxy") yield* beside
            assert.isTrue(yield* nothing("up"))
            yield* resume("up")
          }
          const rest = yield* Effect.forkScoped(take(heard, held.length))
          if (fault !== "stall") {
            // On the relay it takes the same way as what is held, so nothing can overtake.
            if (carrier === "proxy") yield* beside
            assert.isUndefined(rest.pollUnsafe())
            if (carrier === "stdio") return
            yield* TestClock.adjust("6 seconds")
          }
          assert.deepStrictEqual(yield* Fiber.join(rest), held)
        }).pipe(Effect.scoped))
    }
  })

  describe(`${carrier}, on command`, () => {
    for (const [fault] of expected(carrier)) {
      test(nameOf(fault), () =>
        Effect.gen(function*() {
          const { beside, exit, nothing, now, read, resume, say } = yield* wire
          yield* say("a")
          assert.strictEqual(yield* read, "a")
          yield* now(fault)
          switch (fault) {
            case "cut":
            case "halfClose":
              assert.strictEqual(yield* read, "<end>")
              return
            case "kill":
              assert.strictEqual(yield* read, "<end>")
              if (exit !== undefined) assert.deepStrictEqual(yield* exit, { code: null, signal: "SIGKILL" })
              return
            case "stall":
              yield* say("b")
              yield* beside
              assert.isTrue(yield* nothing("down"))
              yield* resume("down")
              assert.strictEqual(yield* read, "b")
              return
            case "duplicate":
              yield* say("b", "c")
              assert.deepStrictEqual(yield* take(read, 3), ["b", "b", "c"])
              return
            default: {
              yield* say("b")
              if ("noise" in fault) {
                assert.deepStrictEqual(yield* take(read, 2), ["{no frame", "b"])
                return
              }
              const rest = yield* Effect.forkScoped(read)
              yield* beside
              assert.isUndefined(rest.pollUnsafe())
              if (carrier === "stdio") return
              yield* TestClock.adjust("6 seconds")
              assert.strictEqual(yield* Fiber.join(rest), "b")
            }
          }
        }).pipe(Effect.scoped))
    }
  })
}
