/**
 * What went over the wire between an adapter and its agent, as a file of lines: recorded while it passes, read back, and
 * played at the pace it had.
 *
 * A tape is NDJSON. The first line is a `Header`, each other line a `Frame`; a reader passes over fields it does not
 * know. Secrets are taken out before anything is kept, over the joins of chunks too; `core/Redaction` says what that can
 * and cannot find.
 *
 * **When a tape is full**
 *
 * Recording never waits. A frame is dropped when `maxBuffered` characters wait to be written, or when the tape has
 * reached `maxBytes`. What was dropped is counted in a line of direction `mark` on the channel `tape`,
 * `{ "dropped": n }`: before the next frame that is kept, or at the end.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Redactor } from "@reins/core/Redaction"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as HttpClient from "effect/http/HttpClient"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as tapeHttp from "./internal/tapeHttp.ts"
import * as tapeRecorder from "./internal/tapeRecorder.ts"

/**
 * The version of the format that is written, and the newest that is read.
 *
 * @category constants
 * @since 0.1.0
 */
export const version = 1

/**
 * The first line of a tape; `startedAt` is in milliseconds since the epoch.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Header = Schema.Struct({
  v: Schema.Int,
  kind: Schema.Literal("reins-tape"),
  provider: Schema.optionalKey(Schema.String),
  startedAt: Schema.Int,
  meta: Schema.optionalKey(Schema.Json)
})

/**
 * The first line of a tape.
 *
 * @category models
 * @since 0.1.0
 */
export type Header = typeof Header.Type

/**
 * Which way a frame went, seen from the adapter: `in` from the agent, `out` to it; `mark` is a remark of the recorder.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Direction = Schema.Literals(["in", "out", "mark"])

/**
 * Which way a frame went.
 *
 * @category models
 * @since 0.1.0
 */
export type Direction = typeof Direction.Type

/**
 * One line of a tape: `t` is in whole milliseconds since the start, and never less than in the line before.
 *
 * A frame longer than `maxFrameChars` is cut and has `truncated`, its length in characters; one that was JSON is then a
 * string.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Frame = Schema.Struct({
  t: Schema.Int,
  dir: Direction,
  channel: Schema.String,
  frame: Schema.Json,
  meta: Schema.optionalKey(Schema.Json),
  truncated: Schema.optionalKey(Schema.Int)
})

/**
 * One line of a tape.
 *
 * @category models
 * @since 0.1.0
 */
export type Frame = typeof Frame.Type

/**
 * Records chunks of one stream of text, whose secrets may be split over chunks.
 *
 * @category models
 * @since 0.1.0
 */
export interface TextTrack {
  /** Records a chunk with the time of now; its line waits until its last line ended, or `end` is called. */
  readonly push: (chunk: string) => void
  /** Says that nothing follows. */
  readonly end: () => void
}

/**
 * Writes a tape while frames pass.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorder {
  /** Records a whole frame, at once and without waiting. */
  readonly record: (dir: Direction, channel: string, frame: Schema.Json, meta?: Schema.Json) => void
  /** Begins a stream of text that arrives in chunks; no secret reaches over `delimiter` (default a newline). */
  readonly text: (dir: Direction, channel: string, options?: {
    readonly meta?: Schema.Json | undefined
    readonly delimiter?: string | undefined
  }) => TextTrack
  /** Characters of a frame that are kept at most. */
  readonly maxFrameChars: number
  /** Frames dropped until now. */
  readonly dropped: () => number
  /** Waits until the lines that are ready are written; an unfinished line of text stays back, and what came after it. */
  readonly flush: Effect.Effect<void, AgentError.AgentError>
  /** Writes everything, and records nothing more. Also done when the scope closes. */
  readonly close: Effect.Effect<void, AgentError.AgentError>
}

/**
 * What every recorder is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecorderOptions {
  /** Takes the secrets out; values that are added to it later are known from then on. */
  readonly redactor: Redactor
  readonly provider?: string | undefined
  /** Anything worth knowing about the tape, such as the version of the agent. */
  readonly meta?: Schema.Json | undefined
  /** Length of the tape at most, in bytes (default 67,108,864); marks and the header are not counted. */
  readonly maxBytes?: number | undefined
  /** Characters of one frame that are kept (default 262,144). */
  readonly maxFrameChars?: number | undefined
  /** Characters that may wait to be written (default 8,388,608). */
  readonly maxBuffered?: number | undefined
}

/**
 * Makes a recorder that hands whole lines to `write`, one call after the other. After a failed write nothing more is
 * written, frames count as dropped, and `flush` and `close` fail with it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const recorder: (
  options: RecorderOptions & { readonly write: (lines: string) => Effect.Effect<void, AgentError.AgentError> }
) => Effect.Effect<Recorder, never, Scope.Scope> = tapeRecorder.make

/**
 * Makes a recorder to a file that only its owner may read; a file that exists is replaced.
 *
 * @category constructors
 * @since 0.1.0
 */
export const recorderFile = Effect.fnUntraced(function*(
  options: RecorderOptions & { readonly path: string }
): Effect.fn.Return<Recorder, AgentError.AgentError, FileSystem.FileSystem | Scope.Scope> {
  const fs = yield* FileSystem.FileSystem
  const failed = Effect.mapError((cause: unknown) => storeFailed("write the tape", options.path, cause))
  const file = yield* fs.open(options.path, { flag: "w", mode: 0o600 }).pipe(failed)
  // The mode above is for a new file only.
  yield* fs.chmod(options.path, 0o600).pipe(failed)
  const encoder = new TextEncoder()
  return yield* recorder({ ...options, write: (lines) => failed(file.writeAll(encoder.encode(lines))) })
})

/**
 * Makes a recorder to memory; `lines` flushes and gives the lines until now.
 *
 * @category constructors
 * @since 0.1.0
 */
export const recorderMemory = Effect.fnUntraced(function*(
  options: RecorderOptions
): Effect.fn.Return<
  Recorder & { readonly lines: Effect.Effect<ReadonlyArray<string>, AgentError.AgentError> },
  never,
  Scope.Scope
> {
  const written: Array<string> = []
  const made = yield* recorder({
    ...options,
    write: (lines) => Effect.sync(() => void written.push(...lines.trimEnd().split("\n")))
  })
  return { ...made, lines: Effect.map(made.flush, () => [...written]) }
})

const storeFailed = (operation: string, path: string | undefined, cause?: unknown): AgentError.AgentError =>
  AgentError.make(
    new AgentError.StoreFailed({
      operation,
      ...(path === undefined ? {} : { path }),
      ...(cause === undefined ? {} : { cause })
    })
  )

const invalid = (field: string, description: string): AgentError.AgentError =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }))

const decodeHeader = Schema.decodeUnknownEffect(Schema.fromJsonString(Header))
const decodeVersion = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Struct({ v: Schema.Int })))
const decodeFrame = Schema.decodeUnknownEffect(Schema.fromJsonString(Frame))

const readHeader = Effect.fnUntraced(function*(line: string): Effect.fn.Return<Header, AgentError.AgentError> {
  const { v } = yield* decodeVersion(line).pipe(Effect.mapError(() => invalid("kind", "this is not a wire tape")))
  if (v > version) return yield* Effect.fail(invalid("v", `version ${v} of the tape is newer than ${version}`))
  return yield* decodeHeader(line).pipe(Effect.mapError(() => invalid("kind", "this is not a wire tape")))
})

const fromLines = <R>(
  lines: Stream.Stream<string, AgentError.AgentError, R>,
  path: string | undefined
): Stream.Stream<Frame, AgentError.AgentError, R> =>
  Stream.suspend(() => {
    let started = false
    // A line that cannot be read is only forgiven to the last.
    let torn: AgentError.AgentError | undefined
    const next = Effect.fnUntraced(function*(line: string) {
      if (line.trim() === "") return []
      if (torn !== undefined) return yield* Effect.fail(torn)
      if (!started) {
        yield* readHeader(line)
        started = true
        return []
      }
      return yield* decodeFrame(line).pipe(
        Effect.map((frame) => [frame]),
        Effect.catch((cause) => {
          torn = storeFailed("read the tape", path, cause)
          return Effect.succeed([])
        })
      )
    })
    return lines.pipe(
      Stream.mapEffect(next),
      Stream.flattenIterable,
      Stream.concat(Stream.suspend(() => started ? Stream.empty : Stream.fail(invalid("kind", "the tape is empty"))))
    )
  })

const fileLines = (path: string): Stream.Stream<string, AgentError.AgentError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (fs) => fs.stream(path))).pipe(
    Stream.mapError((cause) => storeFailed("read the tape", path, cause)),
    Stream.decodeText(),
    Stream.splitLines
  )

/**
 * Reads the frames of a tape. A last line that was not finished is passed over; a broken line before others fails with
 * `StoreFailed`, a newer version or something that is no tape with `InvalidRequest`.
 *
 * @category reading
 * @since 0.1.0
 */
export const read = (path: string): Stream.Stream<Frame, AgentError.AgentError, FileSystem.FileSystem> =>
  fromLines(fileLines(path), path)

/**
 * As `read`, of lines that are at hand.
 *
 * @category reading
 * @since 0.1.0
 */
export const readLines = (lines: Iterable<string>): Stream.Stream<Frame, AgentError.AgentError> =>
  fromLines(Stream.fromIterable(lines), undefined)

/**
 * Reads the header of a tape.
 *
 * @category reading
 * @since 0.1.0
 */
export const header = (path: string): Effect.Effect<Header, AgentError.AgentError, FileSystem.FileSystem> =>
  fileLines(path).pipe(
    Stream.take(1),
    Stream.runCollect,
    Effect.flatMap((lines) => readHeader(lines[0] ?? ""))
  )

/**
 * Gives frames when they are due, counted from when the stream is run. `speed` is a factor: 1 (default) is as recorded,
 * 2 twice as fast, 0 or `Infinity` at once. With `dir`, the other frames are left out and their time still passes.
 *
 * @category reading
 * @since 0.1.0
 */
export const play = <E = never, R = never>(
  frames: Stream.Stream<Frame, E, R> | Iterable<Frame>,
  options: { readonly speed?: number | undefined; readonly dir?: Direction | undefined } = {}
): Stream.Stream<Frame, E | AgentError.AgentError, R> => {
  const { dir, speed = 1 } = options
  if (!(speed >= 0)) return Stream.fail(invalid("speed", "the speed of a tape is at least 0"))
  const all = Stream.isStream(frames) ? frames as Stream.Stream<Frame, E, R> : Stream.fromIterable(frames)
  const chosen = dir === undefined ? all : Stream.filter(all, (frame) => frame.dir === dir)
  if (speed === 0 || speed === Infinity) return chosen
  return Stream.unwrap(
    Effect.map(
      Clock.currentTimeMillis,
      (start) =>
        Stream.tap(chosen, (frame) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const wait = start + frame.t / speed - now
            return wait > 0 ? Effect.sleep(wait) : Effect.void
          }))
    )
  )
}

/**
 * A client that records what passes through `client`, and changes nothing of it.
 *
 * The channel `http` has requests, answers and whole bodies, which belong together by `id`; the channel `sse` has the
 * body of an event stream, a frame for each chunk, with `{ id }` as `meta`. Headers that carry credentials or cookies are
 * left out. Bodies that are bytes are counted, streamed requests are not read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const httpClient: <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  recorder: Recorder
) => HttpClient.HttpClient.With<E, R> = tapeHttp.make
