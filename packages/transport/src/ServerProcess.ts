/**
 * One agent server process as a scoped resource: spawned directly and in a process group of its own, watched from its
 * first byte to its exit, and gone, with all that it started, when its scope closes.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as lineReader from "./internal/lineReader.ts"
import * as ProcessTree from "./ProcessTree.ts"

/**
 * How a process ended. `stderrTail` is the last it wrote, redacted: its standard error, or its standard output when it
 * wrote nothing there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exited {
  readonly code?: number
  readonly signal?: string
  readonly stderrTail?: string
}

/**
 * A running server process. `Info` is what its readiness told, such as its address.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerProcess<out Info = void> {
  readonly pid: number
  /** The command as it was started, without its environment, secrets redacted. */
  readonly command: string
  readonly info: Info
  /** Waits for the process to end. */
  readonly exited: Effect.Effect<Exited>
  /** The last it wrote, redacted: at most 200 lines and 16,384 characters. */
  readonly tail: () => string
  /** Ends the process and all that it started. Idempotent, bounded by 5 s, callable from anywhere. */
  readonly stop: Effect.Effect<void>
}

/**
 * Where a starting process is: `spawned` it runs, `line` it printed its ready line, `probing` it is being asked.
 *
 * @category models
 * @since 0.1.0
 */
export type StartStage = "spawned" | "line" | "probing"

/**
 * A report about a starting process: at each change of stage, and for every second of waiting.
 *
 * @category models
 * @since 0.1.0
 */
export interface StartProgress {
  /** Milliseconds since the spawn. */
  readonly elapsed: number
  readonly stage: StartStage
  /** The last line that the process wrote, redacted. */
  readonly lastLine?: string
}

/**
 * The pipes of an agent that is spoken to over its standard input and output.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pipes {
  readonly stdin: ChildProcessHandle["stdin"]
  readonly stdout: ChildProcessHandle["stdout"]
}

/**
 * How readiness is seen: by a line that the process prints, by a probe that succeeds, or by the one and then the other;
 * or by a handshake over its pipes. Without any of them a process is ready when it runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ready<Line, Info, R> {
  /** Reads each line of both outputs; the first defined value wins, and is the `info` when there is no probe. */
  readonly line?: ((line: string) => Line | undefined) | undefined
  /**
   * One attempt, on a fresh connection; interrupted after 250 ms and repeated every 50 ms until it succeeds. Its value
   * is the `info`.
   */
  readonly probe?: ((line: Line) => Effect.Effect<Info, unknown, R>) | undefined
  /**
   * Begins the conversation over the pipes, in one attempt; its value is the `info`. Standard output then belongs to it
   * and has to be read for as long as the process lives; lines and the tail are those of standard error. Without it the
   * standard input is closed.
   */
  readonly handshake?: ((pipes: Pipes) => Effect.Effect<Info, AgentError.AgentError, R>) | undefined
}

/**
 * What to spawn, and how to tell that it is ready.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Line, Info, R, R2> {
  /** Absolute path of the native binary: no shell and no script shim between us and the server. */
  readonly command: string
  /** `Redacted` arguments are passed on but never shown. */
  readonly args: ReadonlyArray<string | Redacted.Redacted<string>>
  readonly cwd?: string | undefined
  /** Added to the inherited environment; `undefined` removes a variable. `Redacted` values never appear in any text. */
  readonly env?: Readonly<Record<string, string | Redacted.Redacted<string> | undefined>> | undefined
  /** Removes secrets from all text that leaves this module; it learns the `Redacted` values of `args` and `env`. */
  readonly redactor?: Redaction.Redactor | undefined
  readonly ready: Ready<Line, Info, R>
  /** From spawn to ready. Default 60 s. */
  readonly startTimeout?: Duration.Input | undefined
  /** Told of the process as soon as it runs, before anything else; waited for at most 250 ms. */
  readonly onSpawn?: ((process: ProcessTree.ProcessRef) => Effect.Effect<void>) | undefined
  /**
   * A word that `env` holds among those of a variable, divided by colons, for this process alone: by it a tool is found
   * that outlives a killed server in a session of its own. On Linux only.
   */
  readonly mark?: { readonly variable: string; readonly value: string } | undefined
  /** Told about the start; waited for at most 250 ms each time. */
  readonly onProgress?: ((progress: StartProgress) => Effect.Effect<void>) | undefined
  /** The agent's own way to close, bounded by 2.5 s; its failure only means that the signals come sooner. */
  readonly politeStop?: ((info: Info) => Effect.Effect<unknown, unknown, R2>) | undefined
  /**
   * How long after `politeStop` to wait for the process to exit by itself. Default: what is left of the 2.5 s.
   * Zero for a server that tidies up but stays.
   */
  readonly voluntaryExit?: Duration.Input | undefined
  readonly grace?: {
    /** From SIGTERM to SIGKILL. Default 1.5 s. */
    readonly term?: Duration.Input | undefined
    /** How long to wait for the death of what was killed. Default 1 s. */
    readonly kill?: Duration.Input | undefined
  } | undefined
}

const reportEvery = Duration.seconds(1)
const listenerLimit = Duration.millis(250)
const probeTimeout = Duration.millis(250)
const probeEvery = Duration.millis(50)
const politeLimit = 2_500
// The exit of a process may be seen before the last bytes of its pipes, and a grandchild may hold a pipe open for ever.
const drainLimit = Duration.millis(200)
/** How long after a handshake has failed the process may still be seen to have ended. */
const exitLimit = Duration.millis(500)

/**
 * Spawns a server and waits until it is ready. Closing the scope runs its `stop`; so does interrupting the start, a
 * start that takes too long and a failing one. A process that exits while starting fails the start at once. When it
 * exits by itself at any time, what it had started and left behind is ended: its group, and what carries its `mark`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const spawn = <Line = void, Info = Line, R = never, R2 = never>(
  options: Options<Line, Info, R, R2>
): Effect.Effect<ServerProcess<Info>, AgentError.AgentError, ChildProcessSpawner | Scope.Scope | R | R2> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const context = yield* Effect.context<R2>()
      const child = yield* launch(options)
      let polite: Effect.Effect<void> | undefined
      const stop = makeStop(options, child, () => polite)
      // Before the stop is registered: what it leaves in the scope is released when the process is gone.
      if (options.onSpawn !== undefined) {
        yield* options.onSpawn(child.root).pipe(Effect.timeoutOption(listenerLimit), Effect.ignoreCause)
      }
      yield* Scope.addFinalizer(scope, stop)
      // What a dead server left behind is ended now, while its ids cannot have been given to anybody else.
      yield* Effect.forkIn(Effect.andThen(Deferred.await(child.exited), stop), child.scope, { startImmediately: true })
      const info = yield* restore(awaitReady(options, child)).pipe(
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : stop)
      )
      child.ignoreLines()
      polite = options.politeStop === undefined
        ? undefined
        // Whatever it fails with, the signals follow.
        // @effect-diagnostics-next-line anyUnknownInErrorContext:off
        : Effect.provide(Effect.ignoreCause(options.politeStop(info)), context)
      return {
        pid: child.root.pid,
        command: child.command,
        info,
        exited: Deferred.await(child.exited),
        tail: child.tail,
        stop
      }
    })
  ).pipe(Effect.withSpan("ServerProcess.spawn", { attributes: { command: options.command } }))

interface Child<Line> {
  readonly pipes: Pipes
  readonly root: ProcessTree.ProcessRef
  readonly command: string
  readonly spawnedAt: number
  /** The process itself has ended; its pipes may not have. */
  readonly gone: Deferred.Deferred<void>
  readonly exited: Deferred.Deferred<Exited>
  readonly tail: () => string
  /** Waits for the ready line. */
  readonly line: Effect.Effect<Line>
  readonly lastLine: () => string | undefined
  /** Nobody waits for a line any more. */
  readonly ignoreLines: () => void
  /** The spawner need not end it any more. */
  readonly release: Effect.Effect<void>
  readonly scope: Scope.Closeable
}

const launch = Effect.fnUntraced(function*<Line, Info, R, R2>(
  options: Options<Line, Info, R, R2>
): Effect.fn.Return<Child<Line>, AgentError.AgentError, ChildProcessSpawner> {
  const spawner = yield* ChildProcessSpawner
  const redactor = options.redactor ?? Redaction.make({ values: [] })
  for (const value of [...options.args, ...Object.values(options.env ?? {})]) {
    if (Redacted.isRedacted(value)) redactor.add(value)
  }
  const shown = options.args.map((arg) => Redacted.isRedacted(arg) ? Redaction.replacement : arg)
  const command = redactor.redact([options.command, ...shown].join(" "))
  const scope = yield* Scope.make()
  const spawnedAt = yield* Clock.currentTimeMillis
  const handle = yield* spawner.spawn(ChildProcess.make(options.command, options.args, {
    cwd: options.cwd,
    env: options.env ?? {},
    extendEnv: true,
    // An open pipe that never ends is what some agents wait for before they do anything.
    stdin: options.ready.handshake === undefined ? "ignore" : "pipe",
    // `detached` makes it the leader of a session and group of its own, on Windows it would open a console.
    killSignal: "SIGTERM",
    forceKillAfter: "200 millis"
  })).pipe(
    Scope.provide(scope),
    Effect.mapError((error) => spawnError(options, command, error)),
    // Some errors of the operating system (argument list too long) are thrown instead of reported.
    Effect.catchDefect((cause) => failWith(new AgentError.SpawnFailed({ command, cause }))),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit))
  )
  // A process that ended already has no start time: -1 matches none.
  const root = { pid: Number(handle.pid), startTime: (yield* ProcessTree.startTime(handle.pid)) ?? -1 }

  const line = Deferred.makeUnsafe<Line>()
  let lastLine: string | undefined
  const read = options.ready.line
  const onLine = (text: string) => {
    lastLine = text
    if (read === undefined || Deferred.isDoneUnsafe(line)) return
    try {
      const value = read(text)
      if (value !== undefined) Deferred.doneUnsafe(line, Exit.succeed(value as Line))
    } catch (defect) {
      // Thrown here it would end the drain, and the process would block on a full pipe.
      Deferred.doneUnsafe(line, Exit.die(defect))
    }
  }
  let starting = true
  const drain = Effect.fnUntraced(function*(stream: ChildProcessHandle["stdout"]) {
    const tail = Redaction.makeTail({ redactor })
    const decoder = new TextDecoder()
    const readLines = lineReader.make(onLine)
    const fiber = yield* Stream.runForEachArray(stream, (chunks) =>
      Effect.sync(() => {
        for (const chunk of chunks) {
          const text = decoder.decode(chunk, { stream: true })
          tail.push(text)
          if (starting) readLines(text)
        }
      })).pipe(Effect.ignore, Effect.forkIn(scope, { startImmediately: true }))
    return { tail, fiber }
  })
  const stdout = options.ready.handshake === undefined ? yield* drain(handle.stdout) : undefined
  const stderr = yield* drain(handle.stderr)
  const tail = () => {
    const text = stderr.tail.text()
    return text.trim() === "" ? stdout?.tail.text() ?? "" : text
  }

  const gone = Deferred.makeUnsafe<void>()
  const exited = Deferred.makeUnsafe<Exited>()
  yield* Effect.match(handle.exitCode, { onSuccess: (code): Exited => ({ code }), onFailure: exitedBySignal }).pipe(
    Effect.tap(() => Deferred.succeed(gone, undefined)),
    Effect.tap(() =>
      Fiber.awaitAll([...(stdout === undefined ? [] : [stdout.fiber]), stderr.fiber]).pipe(
        Effect.timeoutOption(drainLimit)
      )
    ),
    Effect.flatMap((exit) => Deferred.sync(exited, () => withTail(exit, tail()))),
    Effect.forkIn(scope, { startImmediately: true })
  )

  return {
    pipes: { stdin: handle.stdin, stdout: handle.stdout },
    root,
    command,
    spawnedAt,
    gone,
    exited,
    tail,
    line: Deferred.await(line),
    lastLine: () => lastLine === undefined ? undefined : redactor.redact(lastLine),
    ignoreLines() {
      starting = false
    },
    release: Effect.ignore(handle.unref),
    scope
  }
})

const failWith = (reason: AgentError.AgentErrorReason) => Effect.fail(AgentError.make(reason))

const spawnError = (
  options: { readonly command: string },
  command: string,
  cause: PlatformError.PlatformError
): AgentError.AgentError =>
  // A missing working directory is reported by the file system, not by the spawn.
  cause.reason._tag === "NotFound" && cause.reason.module === "ChildProcess"
    ? AgentError.make(new AgentError.NotInstalled({ binary: options.command, tried: [options.command] }))
    : AgentError.make(new AgentError.SpawnFailed({ command, cause }))

// The spawner reports a death by signal as a failure that names the signal only in its text.
const exitedBySignal = (error: PlatformError.PlatformError): Exited => {
  const signal = /signal: '(\w+)'/.exec(String(error.reason.cause))?.[1]
  return signal === undefined ? {} : { signal }
}

const withTail = (exited: Exited, tail: string): Exited => tail === "" ? exited : { ...exited, stderrTail: tail }

const awaitReady = Effect.fnUntraced(function*<Info, Line, R, R2>(
  options: Options<Line, Info, R, R2>,
  child: Child<Line>
): Effect.fn.Return<Info, AgentError.AgentError, R> {
  const limit = Duration.fromInputUnsafe(options.startTimeout ?? "60 seconds")
  const { handshake, line, probe } = options.ready
  let stage: StartStage = "spawned"

  const report = Effect.gen(function*() {
    if (options.onProgress === undefined) return
    const lastLine = child.lastLine()
    const elapsed = (yield* Clock.currentTimeMillis) - child.spawnedAt
    // A slow listener must not hold up the start.
    yield* options.onProgress({ elapsed, stage, ...(lastLine === undefined ? {} : { lastLine }) }).pipe(
      Effect.timeoutOption(listenerLimit)
    )
  })
  const reach = (next: StartStage) =>
    Effect.suspend(() => {
      stage = next
      return report
    })

  const ready = Effect.gen(function*() {
    yield* report
    const value = line === undefined ? undefined : yield* child.line
    if (line !== undefined) yield* reach("line")
    if (handshake !== undefined) {
      yield* reach("probing")
      return yield* Effect.catch(handshake(child.pipes), (error) =>
        // An agent that ends is first seen to close its output; why it ended says more.
        Effect.andThen(Effect.timeoutOption(Deferred.await(child.exited), exitLimit), Effect.fail(error)))
    }
    // Without a probe the line's value is the info, and without a line the probe's argument is of no meaning: the two
    // type parameters are then one, or unused.
    if (probe === undefined) return value as unknown as Info
    yield* reach("probing")
    while (true) {
      // @effect-diagnostics-next-line anyUnknownInErrorContext:off
      const answer = yield* Effect.option(probe(value as unknown as Line)).pipe(Effect.timeoutOption(probeTimeout))
      const info = Option.flatten(answer)
      if (Option.isSome(info)) return info.value
      yield* Effect.sleep(probeEvery)
    }
  })
  const waiting = Effect.forever(Effect.andThen(Effect.sleep(reportEvery), report))
  const ended = Effect.flatMap(
    Deferred.await(child.exited),
    (exit) => failWith(new AgentError.ProcessExited({ command: child.command, starting: true, ...exit }))
  )

  return yield* Effect.raceAllFirst([ready, ended, waiting]).pipe(
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () =>
        Effect.suspend(() =>
          failWith(
            new AgentError.StartTimeout({
              command: child.command,
              waited: Duration.toMillis(limit),
              stderrTail: child.tail()
            })
          )
        )
    })
  )
})

/** The stop of a child: done once, by a fiber of its own, for all who ask. */
const makeStop = (
  options: Pick<Options<unknown, unknown, never, never>, "voluntaryExit" | "grace" | "mark">,
  child: Child<unknown>,
  polite: () => Effect.Effect<void> | undefined
): Effect.Effect<void> => {
  const term = Duration.toMillis(options.grace?.term ?? Duration.millis(1_500))
  const kill = Duration.toMillis(options.grace?.kill ?? Duration.seconds(1))
  const stopped = Deferred.makeUnsafe<void>()
  const { mark } = options
  const marked = mark === undefined ? Effect.succeed([]) : ProcessTree.marked(mark.variable, mark.value)
  let asked = false

  const sequence = Effect.gen(function*() {
    const close = polite()
    const limit = Effect.timeoutOption(Duration.millis(term + kill + (close === undefined ? 0 : politeLimit)))
    yield* Effect.gen(function*() {
      // Collected while their parents live: a tool in a session of its own is found by its parent only.
      const collected = yield* ProcessTree.descendants(child.root)
      if (close !== undefined && !Deferred.isDoneUnsafe(child.gone)) yield* closePolitely(options, child, close)
      yield* ProcessTree.killTree(child.root, [...collected, ...(yield* marked)], { term, kill })
      // Its exit is announced before the drains are cut, so that the tail is whole.
      yield* Deferred.await(child.exited)
    }).pipe(limit)
    // The spawner's release would wait over a second for zombies of the group, which in a container nobody reaps. All is
    // dead by now, so it is told to leave them, and not waited for.
    if (Deferred.isDoneUnsafe(child.gone)) yield* child.release
    yield* Scope.close(child.scope, Exit.void).pipe(Effect.forkDetach({ startImmediately: true }))
  }).pipe(Effect.ensuring(Deferred.succeed(stopped, undefined)))

  return Effect.suspend(() => {
    if (asked) return Deferred.await(stopped)
    asked = true
    // Detached: whoever asked may be interrupted, or be one of the fibers that end with the process.
    return Effect.andThen(Effect.forkDetach(sequence, { startImmediately: true }), Deferred.await(stopped))
  })
}

const closePolitely = Effect.fnUntraced(function*(
  options: { readonly voluntaryExit?: Duration.Input | undefined },
  child: Child<unknown>,
  close: Effect.Effect<void>
) {
  const begun = yield* Clock.currentTimeMillis
  // Detached and not joined after the limit: a close that cannot be interrupted must not hold up the kill.
  const closing = yield* Effect.forkDetach(close, { startImmediately: true })
  const answered = yield* Fiber.await(closing).pipe(
    Effect.raceFirst(Deferred.await(child.gone)),
    Effect.timeoutOption(politeLimit)
  )
  if (Option.isNone(answered)) {
    yield* Effect.forkDetach(Fiber.interrupt(closing))
    return
  }
  const left = Math.max(0, politeLimit - ((yield* Clock.currentTimeMillis) - begun))
  const wait = options.voluntaryExit === undefined ? left : Math.min(left, Duration.toMillis(options.voluntaryExit))
  if (wait > 0) yield* Deferred.await(child.gone).pipe(Effect.timeoutOption(wait))
})
