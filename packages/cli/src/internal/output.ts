/** Standard output and standard error of the process, with a spinner between the writes. */
import * as CliOutput from "effect/cli/CliOutput"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"

export class Output extends Context.Service<Output, {
  /** Somebody can read a question on standard error and type the answer. */
  readonly canAsk: boolean
  /** Answer and notes stand on the same screen. */
  readonly screen: boolean
  /** The answer goes to no terminal. */
  readonly raw: boolean
  readonly color: boolean
  /** Writes to standard output and waits until it was taken. */
  readonly answer: (text: string) => Effect.Effect<void>
  /** Writes to standard error and waits until it was taken. */
  readonly note: (text: string) => Effect.Effect<void>
  /** The same without waiting, for a log. */
  readonly noteUnsafe: (text: string) => void
  /** A person ended the line on the screen by pressing Enter. */
  readonly lineTyped: Effect.Effect<void>
  /** Shows what is being waited for, between the writes, for as long as the scope lives. */
  readonly spin: (status: (now: number) => string | undefined) => Effect.Effect<void, never, Scope.Scope>
  /** Waits until nobody reads standard output any more. */
  readonly readerGone: Effect.Effect<void>
}>()("@reins/cli/Output") {}

const frames = ["\u280b", "\u2819", "\u2839", "\u2838", "\u283c", "\u2834", "\u2826", "\u2827", "\u2807", "\u280f"]
const frameEvery = 100
const erase = "\r\u001b[2K"

/** The environment and the streams that decide what can be shown. */
export interface Streams {
  readonly env: { readonly [name: string]: string | undefined }
  readonly stdin: { readonly isTTY?: boolean }
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

const make = (streams: Streams) =>
  Effect.gen(function*() {
    const { env, stderr, stdout } = streams
    const dumb = env["TERM"] === "dumb"
    const outIsScreen = stdout.isTTY === true
    const errIsScreen = stderr.isTTY === true
    const color = outIsScreen && !dumb && (env["NO_COLOR"] ?? "") === ""
    const gone = yield* Deferred.make<void>()
    let drawn = false
    let midLine = false
    let reader = true

    // Without a listener a closed pipe would end the process with a stack trace, also after this scope.
    stdout.on("error", () => {
      reader = false
      Deferred.doneUnsafe(gone, Effect.void)
    })
    stderr.on("error", () => {})

    const clear = () => {
      if (!drawn) return
      drawn = false
      stderr.write(erase)
    }

    const writeUnsafe = (stream: NodeJS.WriteStream, text: string, taken: () => void): void => {
      clear()
      // A question that waits, or a line of the answer, is not continued by a note.
      const breaks = stream === stderr && midLine ? "\n" : ""
      if (stream === stderr || (outIsScreen && errIsScreen)) midLine = !text.endsWith("\n")
      stream.write(breaks + text, taken)
    }

    const write = (stream: NodeJS.WriteStream, text: string): Effect.Effect<void> =>
      text.length === 0
        ? Effect.void
        : Effect.callback((resume) => writeUnsafe(stream, text, () => resume(Effect.void)))

    return Output.of({
      canAsk: streams.stdin.isTTY === true && errIsScreen,
      screen: outIsScreen && errIsScreen,
      raw: !outIsScreen,
      color,
      answer: (text) => Effect.suspend(() => reader ? write(stdout, text) : Effect.void),
      note: (text) => write(stderr, text),
      noteUnsafe: (text) => writeUnsafe(stderr, text, () => {}),
      lineTyped: Effect.sync(() => {
        midLine = false
      }),
      spin: (status) =>
        !errIsScreen || dumb ? Effect.void : Effect.gen(function*() {
          for (let frame = 0;; frame++) {
            yield* Effect.sleep(frameEvery)
            const text = midLine ? undefined : status(yield* Clock.currentTimeMillis)
            if (text === undefined) {
              clear()
              continue
            }
            let shown = text
            const room = (stderr.columns || 80) - 3
            while (shown.length > 0 && CliOutput.displayWidth(shown) > room) shown = shown.slice(0, -1)
            stderr.write(`${erase}${frames[frame % frames.length] ?? ""} ${shown}`)
            drawn = true
          }
        }).pipe(Effect.ensuring(Effect.sync(clear)), Effect.forkScoped, Effect.asVoid),
      readerGone: Deferred.await(gone)
    })
  })

export const layer = (streams: Streams): Layer.Layer<Output> => Layer.effect(Output, make(streams))
