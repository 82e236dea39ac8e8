/** The side of a relay that commands it: it listens, and relays come to it when an adapter spawns them. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdtemp, rm } from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import type { Control, LineRule, RelayExit } from "../FaultInjector.ts"
import { FaultError } from "./faultError.ts"
import * as faultWire from "./faultWire.ts"
import * as waiters from "./waiters.ts"

interface Running {
  readonly socket: Net.Socket
  readonly acks: Set<number>
  readonly frames: Map<faultWire.StreamName, number>
  pid: number | undefined
  childPid: number
}

const ackWithin = "5 seconds"

/** The executable next to the compiled sources; the sources themselves where nothing is compiled. */
const relay = (): ReadonlyArray<string> =>
  import.meta.url.endsWith(".ts")
    ? [
      "--conditions=@reins/source",
      "--disable-warning=ExperimentalWarning",
      fileURLToPath(new URL("../faultRelayMain.ts", import.meta.url))
    ]
    : [fileURLToPath(new URL("../../bin/reins-fault-relay.mjs", import.meta.url))]

export const make = Effect.fnUntraced(function*(options: {
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
}): Effect.fn.Return<
  { readonly command: string; readonly args: ReadonlyArray<string>; readonly control: Control },
  FaultError,
  Scope.Scope
> {
  const waiting = waiters.make()
  const relays = new Set<Running>()
  const early: Array<faultWire.Rule> = []
  let exit: RelayExit | undefined
  let nextId = 1

  // Only its owner may enter, so only they may command.
  const directory = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => mkdtemp(NodePath.join(Os.tmpdir(), "reins-fault-")),
      catch: (cause) => new FaultError({ operation: "make a directory", cause })
    }),
    (path) => Effect.ignore(Effect.tryPromise(() => rm(path, { recursive: true, force: true })))
  )
  const path = NodePath.join(directory, "control")

  const say = (relay: Running, command: faultWire.Command) => void relay.socket.write(`${JSON.stringify(command)}\n`)

  const accept = (socket: Net.Socket) => {
    const relay: Running = { socket, acks: new Set(), frames: new Map(), pid: undefined, childPid: 0 }
    relays.add(relay)
    socket.setEncoding("utf8")
    socket.on(
      "data",
      faultWire.lines((line) => {
        const report = faultWire.reportOf(line)
        switch (report?.type) {
          case "started":
            relay.pid = report.pid
            relay.childPid = report.childPid
            break
          case "frames":
            relay.frames.set(report.stream, report.count)
            break
          case "ack":
            relay.acks.add(report.id)
            break
          case "exited":
            exit = { code: report.code, signal: report.signal }
            break
        }
        waiting.notify()
      })
    )
    socket.on("error", () => undefined)
    socket.on("close", () => {
      relays.delete(relay)
      waiting.notify()
    })
    say(relay, { op: "go", rules: early.splice(0) })
  }

  const listener = Net.createServer(accept)
  yield* Effect.acquireRelease(
    Effect.callback<void, FaultError>((resume) => {
      listener.once("error", (cause) => resume(Effect.fail(new FaultError({ operation: "listen", cause }))))
      listener.listen(path, () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        listener.close(() => resume(Effect.void))
        // A relay ends with its control, and its agent with it; it says so by closing.
        for (const { socket } of relays) socket.end()
      }).pipe(
        Effect.timeoutOption("3 seconds"),
        Effect.ensuring(Effect.sync(() => {
          for (const { socket } of relays) socket.destroy()
        }))
      )
  )

  const command = (build: (id: number) => faultWire.Command): Effect.Effect<void, FaultError> =>
    Effect.suspend(() => {
      const id = nextId++
      const asked = [...relays].filter((relay) => relay.pid !== undefined)
      for (const relay of asked) say(relay, build(id))
      return waiting.until(() => asked.every((relay) => relay.acks.has(id) || !relays.has(relay)) ? true : undefined)
        .pipe(
          Effect.timeout(ackWithin),
          Effect.mapError((cause) => new FaultError({ operation: "command the relay", cause })),
          Effect.ensuring(Effect.sync(() => {
            for (const relay of asked) relay.acks.delete(id)
          }))
        )
    })

  const fault = (stream: faultWire.StreamName, fault: faultWire.Rule["do"]) =>
    command((id) => ({ op: "fault", id, stream, fault }))

  const onFrame = (rule: LineRule): Effect.Effect<void, FaultError> =>
    Effect.suspend(() => {
      const { delimiter, do: fault, n, stream = "stdout" } = rule
      const wire = { stream, n, do: fault, ...(delimiter === undefined ? {} : { delimiter }) }
      if (![...relays].some((relay) => relay.pid !== undefined)) {
        early.push(wire)
        return Effect.void
      }
      return command((id) => ({ op: "rule", id, rule: wire }))
    })

  return {
    command: process.execPath,
    args: [...relay(), "--control", path, "--", options.command, ...(options.args ?? [])],
    control: {
      cut: (stream = "stdout") => fault(stream, "cut"),
      halfClose: (stream = "stdout") => fault(stream, "halfClose"),
      stall: (stream = "stdout") => fault(stream, "stall"),
      resume: (stream = "stdout") => command((id) => ({ op: "resume", id, stream })),
      delay: (ms, stream = "stdout") => fault(stream, { delay: ms ?? 0 }),
      duplicate: (rule) => onFrame({ ...rule, do: "duplicate" }),
      noise: (text, stream = "stdout") => fault(stream, { noise: text }),
      kill: fault("stdout", "kill"),
      onFrame,
      awaitStart: waiting.until(() => {
        const relay = [...relays].find((relay) => relay.pid !== undefined)
        return relay?.pid === undefined ? undefined : { pid: relay.pid, childPid: relay.childPid }
      }),
      awaitFrame: (n, stream = "stdout") =>
        waiting.until(() => [...relays].some((relay) => (relay.frames.get(stream) ?? 0) >= n) ? true : undefined).pipe(
          Effect.asVoid
        ),
      awaitExit: waiting.until(() => exit)
    }
  }
})
