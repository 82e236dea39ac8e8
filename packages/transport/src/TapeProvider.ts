/**
 * A recorded session as a provider: a host opens a session on it and sees what the live session told, without the agent.
 *
 * This part knows no protocol. A `TapeReader` of an adapter turns the native frames of a tape into the steps of its
 * conversations, and reads the frames of a step with the adapter's own normaliser; what is played is kept in step with
 * the host here. **Frames wait for what caused them**: what the agent said after a prompt, an answer or an interrupt is
 * told when the host has sent its own, so a tape plays the same however fast the host is.
 *
 * A host that does something else than the host of the recording is told so by a `Notice` with the code `tapeDiverged`;
 * the tape goes on with what it has. A prompt beyond the last one of the tape is refused with `InvalidRequest`. What is
 * not on the wire is not on the tape: the states of a server process are not told.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Capabilities } from "@reins/core/Capabilities"
import type { Provider } from "@reins/core/Provider"
import type { Opened } from "@reins/core/SessionEvent"
import type { Signal, Snapshot, SnapshotRequest } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { Json } from "effect/Schema"
import * as Stream from "effect/Stream"
import * as tapeConnection from "./internal/tapeConnection.ts"
import * as WireTape from "./WireTape.ts"

/**
 * What happened on the tape, in its order; `t` is in milliseconds since the tape began.
 *
 * - `received`: frames of one read of the wire, as the reader itself understands them.
 * - `submitted`: the host sent a prompt under the agent's key for it.
 * - `answered`: the host answered the request with this key. `as` is compared with the kind of the answer.
 * - `interrupted`: the host interrupted the turn.
 * - `returned`: one of these three calls did, with this `call`; `error` where it failed.
 * - `lost`: the connection broke.
 * - `connected`: it was made anew; `known` is what the recording's host read of the agent then.
 *
 * What the host does returns when the tape has passed its `returned`, and at once where the tape has none.
 *
 * @category models
 * @since 0.1.0
 */
export type TapeStep =
  | { readonly _tag: "received"; readonly t: number; readonly frames: ReadonlyArray<unknown> }
  | {
    readonly _tag: "submitted"
    readonly t: number
    readonly call: number
    readonly key: string
    readonly text?: string
  }
  | {
    readonly _tag: "answered"
    readonly t: number
    readonly call: number
    readonly request: string
    readonly as: ReadonlyArray<"accept" | "decline" | "cancel" | "answers" | "content">
  }
  | { readonly _tag: "interrupted"; readonly t: number; readonly call: number }
  | {
    readonly _tag: "returned"
    readonly t: number
    readonly call: number
    readonly error?: AgentError.AgentError
    /** For an answer: the agent did not wait for it any more. */
    readonly gone?: boolean
  }
  | { readonly _tag: "lost"; readonly t: number; readonly error: AgentError.AgentError }
  | { readonly _tag: "connected"; readonly t: number; readonly known?: unknown }

/**
 * One conversation while it is played: the adapter's normaliser, and what it knows of the agent's side.
 *
 * @category models
 * @since 0.1.0
 */
export interface TapePlay {
  /** A connection begins; `known` as in the step. */
  readonly connect: (known: unknown) => void
  readonly receive: (frames: ReadonlyArray<unknown>) => ReadonlyArray<Signal>
  /** The host answers a request: what the agent says of it next is not the doing of another client. */
  readonly answered?: (request: string) => void
  /** The agent's side after the frames received so far, in the keys of the tape. */
  readonly snapshot: (request: SnapshotRequest) => Snapshot
}

/**
 * One conversation of a tape. A session without a cursor gets the next one that was not played yet.
 *
 * @category models
 * @since 0.1.0
 */
export interface TapeConversation {
  readonly how: Opened
  readonly cursor: Json
  /** What the recording's host read of the agent at its first connection. */
  readonly known?: unknown
  readonly steps: ReadonlyArray<TapeStep>
  readonly play: () => TapePlay
}

/**
 * How the tapes of one kind of agent are read. Each adapter exports one.
 *
 * @category models
 * @since 0.1.0
 */
export interface TapeReader {
  readonly kind: string
  readonly capabilities: Capabilities
  /** Fails with `InvalidRequest` where the tape cannot be played, such as one with holes. */
  readonly read: (
    frames: ReadonlyArray<WireTape.Frame>
  ) => Effect.Effect<ReadonlyArray<TapeConversation>, AgentError.AgentError>
}

/**
 * How a tape is played.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * 0 (default) is as fast as can be, 1 as recorded, 2 twice as fast. Time that the host lets pass before it does what
   * the tape waits for is not made up for.
   */
  readonly speed?: number | undefined
}

/**
 * Makes a provider of frames that are at hand.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  reader: TapeReader,
  frames: ReadonlyArray<WireTape.Frame>,
  options: Options = {}
): Effect.fn.Return<Provider, AgentError.AgentError> {
  const speed = options.speed ?? 0
  if (!(speed >= 0)) {
    return yield* AgentError.make(
      new AgentError.InvalidRequest({ field: "speed", description: "the speed of a tape is at least 0" })
    )
  }
  const hole = frames.find((frame) => frame.dir === "mark" && frame.channel === "tape")
  if (hole !== undefined) {
    return yield* AgentError.make(
      new AgentError.InvalidRequest({
        field: "tape",
        description: `the tape has a hole ${hole.t} ms after its start: ${JSON.stringify(hole.frame)}`
      })
    )
  }
  const conversations = yield* reader.read(frames)
  // What needs an agent that thinks: a tape has one past and no other.
  const capabilities = {
    ...reader.capabilities,
    history: false,
    fork: false,
    revert: false,
    compact: false,
    list: false,
    mcpServers: false,
    hostTools: false,
    setTitle: false
  }
  return {
    kind: reader.kind,
    make: (id) =>
      Effect.sync(() => ({
        id,
        kind: reader.kind,
        capabilities,
        probe: Effect.succeed({ installed: true, support: "tested", protocol: "tape", auth: "ok" }),
        models: () => Effect.succeed([]),
        connect: tapeConnection.make(reader, conversations, speed)
      }))
  }
})

/**
 * Makes a provider of a tape in a file.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromFile = (
  reader: TapeReader,
  path: string,
  options: Options = {}
): Effect.Effect<Provider, AgentError.AgentError, FileSystem.FileSystem> =>
  Effect.flatMap(Stream.runCollect(WireTape.read(path)), (frames) => make(reader, frames, options))
