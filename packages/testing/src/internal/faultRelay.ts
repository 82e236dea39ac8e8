/**
 * The relay: a process between an adapter and its agent.
 *
 * It speaks to `node:child_process` and to the descriptors themselves: a stream of its own that is closed half way, a
 * signal that is passed on and an exit that repeats another are what an orderly runtime prevents.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, createWriteStream, openSync } from "node:fs"
import * as Net from "node:net"
import type { Writable } from "node:stream"
import * as faultLink from "./faultLink.ts"
import * as faultWire from "./faultWire.ts"

const names = ["stdin", "stdout", "stderr"] as const
const passed = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const

/** How long an agent has after its streams were closed, ms. */
const grace = 1000
/** How long the controller may take to say go, ms. */
const goWithin = 5000

/** One of our own outputs, which can really be closed. */
const output = (fd: 1 | 2): Writable => {
  try {
    const socket = new Net.Socket({ fd, readable: false, writable: true })
    // Standard descriptors stay open when their socket is closed. Another file must not take the place of this one.
    socket.once("close", () => {
      closeSync(fd)
      openSync("/dev/null", "w")
    })
    return socket
  } catch {
    // A file or a terminal.
    return createWriteStream("", { fd })
  }
}

/**
 * Ends the agent's process group when this process is gone, in whatever way: it reads from a pipe that only we hold.
 */
const guard = (pid: number): ChildProcess => {
  const script = "read -r line && exit 0; kill -s KILL -- \"-$1\" 2>/dev/null"
  const child = spawn("/bin/sh", ["-c", script, "sh", String(pid)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  child.on("error", () => undefined)
  child.stdin?.on("error", () => undefined)
  child.unref()
  return child
}

const signalGroup = (pid: number | undefined, signal: NodeJS.Signals) => {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended.
  }
}

const writeTo = (stream: Writable) => (bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (stream.destroyed || stream.writableEnded) return resume(Effect.void)
    stream.write(bytes, () => resume(Effect.void))
  })

export const run = Effect.fnUntraced(function*(options: {
  readonly control: string | undefined
  readonly rules: ReadonlyArray<faultWire.Rule>
  readonly command: string
  readonly args: ReadonlyArray<string>
}): Effect.fn.Return<never> {
  const clock = yield* Clock.Clock
  return yield* Effect.callback<never>(() => {
    const control = options.control === undefined ? undefined : Net.connect(options.control)
    let child: ChildProcess | undefined
    let watch: ChildProcess | undefined
    let links: ReadonlyMap<faultWire.StreamName, faultLink.Link> = new Map()
    let sinks: ReadonlyMap<faultWire.StreamName, faultLink.Sink> = new Map()
    let ended = false

    const report = (report: faultWire.Report) => {
      if (control?.writable === true) control.write(`${JSON.stringify(report)}\n`)
    }

    const leave = (code: number | null, signal: NodeJS.Signals | null) => {
      watch?.stdin?.end("done\n")
      if (signal === null) process.exit(code ?? 1)
      for (const name of passed) process.removeAllListeners(name)
      process.kill(process.pid, signal)
      // A signal that does not end us, such as one that is ignored.
      setTimeout(() => process.exit(1), 100)
    }

    const giveUp = (code: number) => {
      signalGroup(child?.pid, "SIGKILL")
      leave(code, null)
    }

    const addRule = (rule: faultWire.Rule) => {
      let left = 1
      links.get(rule.stream)?.addRule({
        n: rule.n,
        delimiter: rule.delimiter === "chunk" ? undefined : rule.delimiter ?? "\n",
        fault: rule.do,
        applies: () => left > 0,
        take: () => left-- > 0
      })
    }

    const apply = (stream: faultWire.StreamName, fault: faultLink.Fault) => {
      const link = links.get(stream)
      const sink = sinks.get(stream)
      if (link === undefined || sink === undefined) return
      if (fault === "cut") Effect.runFork(sink.cut)
      else if (fault === "kill") Effect.runFork(sink.kill)
      else if (fault === "halfClose") link.finish("end")
      else link.apply(fault)
    }

    const start = (rules: ReadonlyArray<faultWire.Rule>) => {
      const started = spawn(options.command, options.args, { stdio: ["pipe", "pipe", "pipe"], detached: true })
      child = started
      const { stderr, stdin, stdout } = started
      const kill = Effect.sync(() => signalGroup(started.pid, "SIGKILL"))
      const outputs = { stdin, stdout: output(1), stderr: output(2) }
      const inputs = { stdin: process.stdin, stdout, stderr }
      const drained: Array<Promise<void>> = []
      const made = names.map((name) => {
        const to = outputs[name]
        const from = inputs[name]
        const closed = new Promise<void>((resolve) => to.once("close", resolve))
        // Whoever writes there notices it as it would without a relay.
        to.once("close", () => from.destroy())
        to.on("error", () => to.destroy())
        const sink: faultLink.Sink = {
          write: writeTo(to),
          end: Effect.sync(() => {
            if (name === "stdin") to.end()
            // To end a socket does not close its descriptor while others hold it: all was written, so it may go.
            else to.destroy()
          }),
          cut: Effect.sync(() => void to.destroy()),
          kill
        }
        const link = faultLink.make({
          sink,
          clock,
          delimiter: "\n",
          http: false,
          onRoom: () => from.resume(),
          onProgress: () => report({ type: "frames", stream: name, count: link.frames() }),
          onFault: () => undefined
        })
        from.on("data", (bytes: Buffer) => {
          if (!link.push(bytes)) from.pause()
        })
        from.once("end", () => link.finish("end"))
        from.on("error", () => link.finish("end"))
        const done = Effect.runPromise(link.run)
        if (name !== "stdin") drained.push(Promise.race([done, closed]))
        return { name, link, sink }
      })
      links = new Map(made.map(({ link, name }) => [name, link]))
      sinks = new Map(made.map(({ name, sink }) => [name, sink]))
      for (const rule of [...options.rules, ...rules]) addRule(rule)

      started.once("spawn", () => {
        if (started.pid === undefined) return
        watch = guard(started.pid)
        report({ type: "started", pid: process.pid, childPid: started.pid })
      })
      started.once("error", (cause) => {
        process.stderr.write(`cannot start ${options.command}: ${cause.message}\n`)
        leave(127, null)
      })
      started.once("exit", (code, signal) => {
        ended = true
        // What it left in its process group would hold the pipes open.
        setTimeout(() => signalGroup(started.pid, "SIGKILL"), grace).unref()
        void Promise.all(drained).then(() => {
          signalGroup(started.pid, "SIGKILL")
          report({ type: "exited", code, signal })
          if (control === undefined || control.destroyed) return leave(code, signal)
          control.end(() => leave(code, signal))
        })
      })
    }

    for (const name of passed) {
      process.on(name, () => {
        // With its agent gone, nothing but a stalled stream keeps it.
        if (child === undefined || ended) return giveUp(1)
        signalGroup(child.pid, name)
      })
    }

    if (control === undefined) return start([])
    const late = setTimeout(() => giveUp(1), goWithin)
    control.setEncoding("utf8")
    control.on(
      "data",
      faultWire.lines((line) => {
        const command = faultWire.commandOf(line)
        if (command === undefined) return
        if (command.op === "go") {
          clearTimeout(late)
          if (child === undefined) start(command.rules)
          return
        }
        if (command.op === "fault") apply(command.stream, command.fault)
        else if (command.op === "resume") links.get(command.stream)?.resume()
        else addRule(command.rule)
        report({ type: "ack", id: command.id })
      })
    )
    control.on("error", () => giveUp(1))
    // Without its control there is nobody it runs for.
    control.on("end", () => {
      if (!ended) giveUp(1)
      else leave(1, null)
    })
  })
})
