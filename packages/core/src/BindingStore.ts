/**
 * Where it is kept which conversation of which provider a session is bound to.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AgentError from "./AgentError.ts"
import { SessionId } from "./Ids.ts"
import * as keyedLocks from "./internal/keyedLocks.ts"
import * as ownerLock from "./internal/ownerLock.ts"

/** The version of what is written; a file of a newer one is refused. */
const version = 1

/** Largest binding in bytes: bounds what is read of a file that is not ours. */
const maxBytes = 16 * 1024 * 1024

/** A temporary file of this age in milliseconds was left by a crash; a younger one may be another process writing. */
const leftoverAge = 60_000

const optional = Schema.optionalKey

/**
 * What is kept of a session, so that its conversation is found again after a restart of the host.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Binding = Schema.Struct({
  v: Schema.Literal(version),
  sessionId: SessionId,
  provider: Schema.String,
  /** Names the conversation to the provider; opaque and versioned by its adapter. Absent: it was never begun. */
  cursor: optional(Schema.Json),
  cwd: Schema.String,
  model: optional(Schema.String),
  mode: optional(Schema.String),
  /** The model's variant. */
  variant: optional(Schema.String),
  title: optional(Schema.String),
  /** Epoch milliseconds. */
  createdAt: Schema.Int,
  /** Epoch milliseconds. */
  updatedAt: Schema.Int,
  /** The seq of the last durable event that is known. */
  lastSeq: Schema.Int,
  lastOutcome: optional(Schema.String),
  /** The agent's keys of the last turns that were told; what its conversation holds behind them is not known yet. */
  turns: optional(Schema.Array(Schema.String)),
  /** Whether the conversation ever had a turn: an unstarted one reopens as a new one. */
  started: Schema.Boolean
})
/**
 * @category models
 * @since 0.1.0
 */
export type Binding = typeof Binding.Type

/**
 * Keeps the bindings of sessions; every failure is an `AgentError` with the reason `StoreFailed`.
 *
 * `list` gives them most recently updated first, and leaves out what cannot be read, with a warning in the log.
 *
 * @category services
 * @since 0.1.0
 */
export class BindingStore extends Context.Service<BindingStore, {
  readonly get: (sessionId: SessionId) => Effect.Effect<Option.Option<Binding>, AgentError.AgentError>
  readonly set: (binding: Binding) => Effect.Effect<void, AgentError.AgentError>
  readonly remove: (sessionId: SessionId) => Effect.Effect<void, AgentError.AgentError>
  readonly list: Effect.Effect<ReadonlyArray<Binding>, AgentError.AgentError>
  /**
   * Makes the caller the owner of a session until the scope closes; fails with `SessionBusy`, which names the holder,
   * while another one is. What the owner's death left behind is taken over.
   */
  readonly acquire: (sessionId: SessionId) => Effect.Effect<void, AgentError.AgentError, Scope.Scope>
}>()("@reins/core/BindingStore") {}

const failed = (operation: string, path: string | undefined, cause: unknown, description?: string) =>
  AgentError.make(
    new AgentError.StoreFailed({
      operation,
      ...(path === undefined ? {} : { path }),
      ...(cause === undefined ? {} : { cause }),
      ...(description === undefined ? {} : { description })
    })
  )

const newestFirst = (a: Binding, b: Binding): number =>
  b.updatedAt - a.updatedAt || (a.sessionId < b.sessionId ? -1 : 1)

const encodeText = Schema.encodeEffect(Schema.fromJsonString(Binding))
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))
const decodeVersion = Schema.decodeUnknownOption(Schema.Struct({ v: Schema.Int }))
const decodeBinding = Schema.decodeUnknownEffect(Binding)

const corrupt = "it is not a binding; move the file away, its session then begins anew"

/**
 * Reads a binding from its JSON text; `path` names where it lies. For stores.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode: (text: string, path: string | undefined) => Effect.Effect<Binding, AgentError.AgentError> = Effect
  .fnUntraced(function*(
    text: string,
    path: string | undefined
  ): Effect.fn.Return<Binding, AgentError.AgentError> {
    const refuse = (cause: unknown, description: string) => failed("read the binding", path, cause, description)
    const json = yield* Effect.mapError(decodeJson(text), (cause) => refuse(cause, corrupt))
    const found = decodeVersion(json)
    if (Option.isSome(found) && found.value.v > version) {
      return yield* refuse(
        undefined,
        `it has version ${found.value.v} and only ${version} is known; update this program or move the file away`
      )
    }
    return yield* Effect.mapError(decodeBinding(json), (cause) => refuse(cause, corrupt))
  })

/**
 * Writes a binding as JSON text. For stores.
 *
 * @category decoding
 * @since 0.1.0
 */
export const encode = (binding: Binding, path: string | undefined): Effect.Effect<string, AgentError.AgentError> =>
  Effect.mapError(encodeText(binding), (cause) => failed("write the binding", path, cause))

/**
 * Keeps bindings in memory, for tests and for hosts that resume nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<BindingStore> = Layer.sync(BindingStore, () => {
  // Kept as text: what is read is what a file would give, and shared with nobody.
  const texts = new Map<string, string>()
  const held = new Set<string>()
  return BindingStore.of({
    get: (sessionId) =>
      Effect.suspend(() => {
        const text = texts.get(sessionId)
        return text === undefined ? Effect.succeedNone : Effect.asSome(decode(text, undefined))
      }),
    set: (binding) =>
      Effect.map(encode(binding, undefined), (text) => {
        texts.set(binding.sessionId, text)
      }),
    remove: (sessionId) => Effect.sync(() => void texts.delete(sessionId)),
    list: Effect.suspend(() =>
      Effect.map(
        Effect.forEach(Array.from(texts.values()), (text) => decode(text, undefined)),
        (bindings) => bindings.sort(newestFirst)
      )
    ),
    acquire: (sessionId) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.suspend(() => {
          if (held.has(sessionId)) {
            return Effect.fail(AgentError.make(new AgentError.SessionBusy({ holder: "this process" }), { sessionId }))
          }
          held.add(sessionId)
          return Effect.void
        }),
        () =>
          Effect.sync(() => {
            held.delete(sessionId)
          })
      ))
  })
})

/** What is safe in a file name, also where case is not distinguished; all else becomes `%xx` or `%uxxxx`. */
const isSafe = (unit: number): boolean =>
  (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x30 && unit <= 0x39) || unit === 0x2d || unit === 0x5f

/** Different ids have different names. */
const nameOf = (sessionId: string): string => {
  let name = ""
  for (let i = 0; i < sessionId.length; i++) {
    const unit = sessionId.charCodeAt(i)
    if (isSafe(unit)) name += sessionId.charAt(i)
    else name += unit < 0x100 ? `%${unit.toString(16).padStart(2, "0")}` : `%u${unit.toString(16).padStart(4, "0")}`
  }
  return name
}

const fileName = (sessionId: string): string => `${nameOf(sessionId)}.json`

const isNotFound = (error: PlatformError.PlatformError): boolean => error.reason._tag === "NotFound"

const openDirectory = Effect.fnUntraced(function*(
  fs: FileSystem.FileSystem,
  path: Path.Path,
  directory: string
): Effect.fn.Return<void, AgentError.AgentError> {
  const orFail = Effect.mapError((cause: PlatformError.PlatformError) => failed("open the directory", directory, cause))
  yield* orFail(fs.makeDirectory(directory, { recursive: true, mode: 0o700 }))
  const { mode } = yield* orFail(fs.stat(directory))
  if ((mode & 0o1000) !== 0) {
    return yield* failed(
      "open the directory",
      directory,
      undefined,
      "it is shared with other users; choose one of your own"
    )
  }
  if ((mode & 0o077) !== 0) yield* orFail(fs.chmod(directory, 0o700))
  const now = yield* Clock.currentTimeMillis
  for (const name of yield* orFail(fs.readDirectory(directory))) {
    if (!name.endsWith(".tmp")) continue
    const file = path.join(directory, name)
    yield* fs.stat(file).pipe(
      Effect.flatMap((info) =>
        Option.exists(info.mtime, (time) => now - time.getTime() >= leftoverAge) ? fs.remove(file) : Effect.void
      ),
      Effect.catch((cause) => Effect.logDebug("A leftover of a crash could not be removed", cause))
    )
  }
})

const makeFileSystem = Effect.fnUntraced(function*(
  directory: string
): Effect.fn.Return<BindingStore["Service"], AgentError.AgentError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* openDirectory(fs, path, directory)
  const locked = keyedLocks.make()
  const fileOf = (sessionId: string) => path.join(directory, fileName(sessionId))
  const hold = ownerLock.make(fs, path, directory)

  const read = Effect.fnUntraced(
    function*(file: string): Effect.fn.Return<Option.Option<Binding>, AgentError.AgentError> {
      const text = yield* Effect.flatMap(
        fs.stat(file),
        (info) => BigInt(info.size) > BigInt(maxBytes) ? Effect.undefined : fs.readFileString(file)
      ).pipe(
        Effect.asSome,
        Effect.catchIf(isNotFound, () => Effect.succeedNone),
        Effect.mapError((cause) => failed("read the binding", file, cause))
      )
      if (Option.isNone(text)) return Option.none()
      if (text.value === undefined) return yield* failed("read the binding", file, undefined, corrupt)
      return Option.some(yield* decode(text.value, file))
    }
  )

  const write = Effect.fnUntraced(function*(file: string, text: string) {
    const temporary = `${file}.${(yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)}.tmp`
    yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* fs.open(temporary, { flag: "wx", mode: 0o600 })
      yield* handle.writeAll(new TextEncoder().encode(text))
      // The name must not reach the disk before the contents.
      yield* handle.sync
    })).pipe(
      Effect.andThen(fs.rename(temporary, file)),
      Effect.onError(() => Effect.ignore(fs.remove(temporary, { force: true })))
    )
    // Makes the new name itself durable; not every system can do that to a directory.
    yield* Effect.ignore(Effect.scoped(Effect.flatMap(fs.open(directory, { flag: "r" }), (handle) => handle.sync)))
  })

  const entry = (name: string) =>
    Effect.flatMap(
      read(path.join(directory, name)),
      (found) =>
        Option.isSome(found) && fileName(found.value.sessionId) !== name
          ? Effect.fail(failed("read the binding", path.join(directory, name), undefined, corrupt))
          : Effect.succeed(found)
    )

  return BindingStore.of({
    get: (sessionId) => entry(fileName(sessionId)),
    set: (binding) =>
      Effect.gen(function*() {
        const file = fileOf(binding.sessionId)
        const text = yield* encode(binding, file)
        if (text.length > maxBytes / 4) return yield* failed("write the binding", file, undefined, "it is too large")
        // A write that was given up could still land, after the one that follows it.
        yield* Effect.mapError(
          Effect.uninterruptible(write(file, text)),
          (cause) => failed("write the binding", file, cause)
        )
      }).pipe(locked(binding.sessionId)),
    remove: (sessionId) =>
      Effect.suspend(() => {
        const file = fileOf(sessionId)
        return Effect.mapError(
          fs.remove(file, { force: true }),
          (cause) => failed("remove the binding", file, cause)
        )
      }).pipe(locked(sessionId)),
    list: fs.readDirectory(directory).pipe(
      Effect.mapError((cause) => failed("list the bindings", directory, cause)),
      Effect.flatMap((names) =>
        Effect.forEach(
          names.filter((name) => name.endsWith(".json")),
          (name) =>
            Effect.catch(entry(name), (error) =>
              Effect.as(Effect.logWarning(`A binding is left out: ${error.message}`), Option.none<Binding>())),
          { concurrency: 8 }
        )
      ),
      Effect.map((found) => found.flatMap((binding) => Option.isSome(binding) ? [binding.value] : []).sort(newestFirst))
    ),
    acquire: (sessionId) =>
      Effect.mapError(
        hold(path.join(directory, `${nameOf(sessionId)}.lock`)),
        (error) => AgentError.withContext(error, { sessionId })
      )
  })
})

/**
 * Keeps each binding as a JSON file of its own in `directory`, which is made if needed and closed to other users (0700).
 *
 * A file (0600) is replaced as a whole: after a crash it is the old one or the new one. A file that is damaged, or was
 * written by a newer version, is an error that names it; it is never overwritten by reading.
 *
 * Who owns a session is a lock file beside its binding: pid, start time and boot of the process. It goes with the owner's
 * scope; that of a process which died is taken over. The directory needs hard links, and belongs to one machine: a lock
 * of another machine, or of another pid namespace, counts as held.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFileSystem = (
  directory: string
): Layer.Layer<BindingStore, AgentError.AgentError, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(BindingStore, makeFileSystem(directory))
