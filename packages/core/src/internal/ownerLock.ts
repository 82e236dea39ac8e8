/**
 * One owner at a time among processes, by a lock file that names it.
 *
 * A lock is made by a hard link, so that it appears at once with its contents and for one process only. That of an
 * owner which died is not removed by those who want it, because two of them could remove each other's: who follows an
 * owner links a file under the dead owner's nonce, which one process can do only. The last in this chain is the owner;
 * it renames its own file to the first, which ends the chain again. A claim counts only if the chain that it was made
 * for still stands afterwards.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AgentError from "../AgentError.ts"
import * as processIdentity from "./processIdentity.ts"

const Owner = Schema.Struct({
  v: Schema.Literal(1),
  /** Names this holding; no other one ever has it. */
  nonce: Schema.NonEmptyString,
  process: processIdentity.ProcessIdentity
})
type Owner = typeof Owner.Type

const encode = Schema.encodeEffect(Schema.fromJsonString(Owner))
const decode = Schema.decodeEffect(Schema.fromJsonString(Owner))

/** Owners in a row that died before they could shorten the chain. */
const maxChain = 64
/** Lost races in a row; then the lock counts as held by those who race for it. */
const maxAttempts = 32

let count = 0

const isNotFound = (error: PlatformError.PlatformError): boolean => error.reason._tag === "NotFound"
const isTaken = (error: PlatformError.PlatformError): boolean => error.reason._tag === "AlreadyExists"

export const make = (fs: FileSystem.FileSystem, path: Path.Path, directory: string) => {
  const failed = (file: string, description?: string) => (cause: unknown) =>
    AgentError.make(
      new AgentError.StoreFailed({
        operation: "lock the session",
        path: file,
        ...(cause === undefined ? undefined : { cause }),
        ...(description === undefined ? undefined : { description })
      })
    )

  const read = Effect.fnUntraced(
    function*(file: string): Effect.fn.Return<Option.Option<Owner>, AgentError.AgentError> {
      const text = yield* fs.readFileString(file).pipe(
        Effect.catchIf(isNotFound, () => Effect.undefined),
        Effect.mapError(failed(file))
      )
      if (text === undefined) return Option.none()
      const damaged = failed(file, "it is not a lock that is known; remove it when no other program uses the session")
      return Option.some(yield* Effect.mapError(decode(text), damaged))
    }
  )

  /** `false`: there is one already. */
  const link = (from: string, to: string): Effect.Effect<boolean, AgentError.AgentError> =>
    fs.link(from, to).pipe(
      Effect.as(true),
      Effect.catchIf(isTaken, () => Effect.succeed(false)),
      Effect.mapError(failed(to))
    )

  /** The owners from the first lock on, each taking over from the one before; the last one counts. */
  const chainOf = Effect.fnUntraced(
    function*(root: string): Effect.fn.Return<ReadonlyArray<Owner>, AgentError.AgentError> {
      const chain: Array<Owner> = []
      let file = root
      while (chain.length < maxChain) {
        const owner = yield* read(file)
        if (Option.isNone(owner)) break
        chain.push(owner.value)
        file = `${root}.${owner.value.nonce}`
      }
      return chain
    }
  )

  /** What earlier owners and lost races left; those who still race make their files anew. */
  const sweep = (root: string): Effect.Effect<void> =>
    fs.readDirectory(directory).pipe(
      Effect.flatMap((names) =>
        Effect.forEach(
          names.filter((name) => name.startsWith(`${path.basename(root)}.`) && !name.endsWith(".tmp")),
          (name) => fs.remove(path.join(directory, name), { force: true }),
          { discard: true }
        )
      ),
      Effect.ignore
    )

  const busy = (
    owner: Owner,
    self: processIdentity.ProcessIdentity,
    fate: "alive" | "unknown"
  ): AgentError.AgentError => {
    const { machine, pid } = owner.process
    const elsewhere = machine === undefined || machine === self.machine ? "" : ` on ${machine}`
    return AgentError.make(
      new AgentError.SessionBusy({
        holder: pid === self.pid && fate === "alive" ? `this process (${pid})` : `process ${pid}${elsewhere}`,
        pid,
        ...(fate === "alive" ? undefined : {
          description: "it cannot be told from here whether it still runs; if it does not, remove the lock file"
        })
      })
    )
  }

  /** Takes the lock with the file `own`, which says who takes it. */
  const take = Effect.fnUntraced(
    function*(root: string, own: string, owner: Owner): Effect.fn.Return<void, AgentError.AgentError> {
      for (let attempt = 0; attempt < maxAttempts; attempt++) {
        const chain = yield* chainOf(root)
        const last = chain.at(-1)
        if (last === undefined) {
          if (yield* link(own, root)) return yield* sweep(root)
          continue
        }
        const fate = yield* processIdentity.fate(fs, owner.process, last.process)
        if (fate !== "dead") return yield* busy(last, owner.process, fate)
        const claim = `${root}.${last.nonce}`
        if (!(yield* link(own, claim))) continue
        // Between the look and the claim another one may have taken the lock, and even given it back.
        if ((yield* chainOf(root)).at(-1)?.nonce === owner.nonce) {
          yield* Effect.mapError(fs.rename(claim, root), failed(root))
          return yield* sweep(root)
        }
        yield* Effect.ignore(fs.remove(claim, { force: true }))
      }
      return yield* AgentError.make(new AgentError.SessionBusy({ holder: "other processes that open it now" }))
    }
  )

  /** Holds the lock `root` (a path in the directory) until the scope closes. */
  return (root: string): Effect.Effect<void, AgentError.AgentError, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.gen(function*() {
        const self = yield* processIdentity.current(fs)
        const random = (yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)
        const nonce = [self.pid, self.start ?? 0, ++count].map((part) => part.toString(36)).join("-") + `-${random}`
        const owner: Owner = { v: 1, nonce, process: self }
        const own = `${root}.${nonce}.tmp`
        const text = yield* Effect.orDie(encode(owner))
        yield* fs.writeFileString(own, text, { flag: "wx", mode: 0o600 }).pipe(
          Effect.mapError(failed(own)),
          Effect.andThen(take(root, own, owner)),
          Effect.ensuring(Effect.ignore(fs.remove(own, { force: true })))
        )
        return owner
      }),
      (owner) =>
        read(root).pipe(
          Effect.flatMap((now) =>
            Option.isSome(now) && now.value.nonce === owner.nonce ? fs.remove(root, { force: true }) : Effect.void
          ),
          Effect.timeoutOption("2 seconds"),
          Effect.catchCause((cause) => Effect.logWarning("The lock of a session could not be removed.", cause))
        )
    )
}
