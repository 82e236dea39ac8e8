/**
 * Faults of the wire between an adapter and its agent, on command or at the n-th frame: a TCP proxy for agents that are
 * servers, and a relay process for agents that speak over stdio.
 *
 * Bytes pass as they are. A frame is what its delimiter ends, counted over the joins of reads, and a fault at a frame
 * comes after exactly its last byte. The proxy does not decode HTTP: a chunk header within a delimiter hides it. What is
 * inserted into a body with `transfer-encoding: chunked` becomes a chunk of its own, when the frame before it ends its
 * chunk; otherwise it goes in raw, and the client sees a broken body.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as faultError from "./internal/faultError.ts"
import * as faultLink from "./internal/faultLink.ts"
import * as faultProxy from "./internal/faultProxy.ts"
import * as faultStdio from "./internal/faultStdio.ts"

/**
 * A carrier could not be set up, or a relay did not answer.
 *
 * @category errors
 * @since 0.1.0
 */
export const FaultError = faultError.FaultError

/**
 * A carrier could not be set up, or a relay did not answer.
 *
 * @category errors
 * @since 0.1.0
 */
export type FaultError = faultError.FaultError

/**
 * What can happen at a frame: `cut` resets the connection (a relay closes the stream), `halfClose` says that nothing
 * follows, `stall` holds what comes after, `duplicate` sends the frame once more, `kill` ends the agent (the proxy, which
 * has none, resets), `delay` holds each byte that follows for so many milliseconds, `noise` inserts text.
 *
 * A reset that reaches a client together with bytes may be shown as an early end; libuv does that.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Fault = faultLink.Fault

/**
 * What can happen at a frame.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = faultLink.Fault

/**
 * Where a proxy connects to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  readonly host: string
  readonly port: number
}

/**
 * Chooses connections by their request line, such as `GET /event HTTP/1.1`: the one of the current request, where a
 * connection carries several; of other protocols, the first line that the client sent. A string is looked for anywhere.
 *
 * @category models
 * @since 0.1.0
 */
export type Match = string | RegExp | ((requestLine: string) => boolean)

/**
 * An open connection; `frames` were sent to the client on it, and `requestLine` is empty before there is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  readonly id: number
  readonly requestLine: string
  readonly frames: number
}

/**
 * What a proxy has seen since it was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counters {
  readonly accepted: number
  readonly refused: number
  readonly open: number
  /** Faults that happened, by command or by rule. */
  readonly faults: number
  readonly bytesUp: number
  readonly bytesDown: number
}

/**
 * A fault after the n-th frame (from 1) of one connection, counted while its request line matches and from when the rule
 * was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface FrameRule {
  readonly match?: Match | undefined
  readonly n: number
  /** Default is the one of the proxy; with `chunk`, each read from the other side is a frame. */
  readonly delimiter?: string | undefined
  /** Default is `down`, towards the client. */
  readonly direction?: "up" | "down" | undefined
  readonly do: Fault
  /** How often it happens over all connections (default 1). */
  readonly times?: number | undefined
}

/**
 * A TCP proxy on 127.0.0.1. Without a match, a control means every connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Proxy {
  readonly port: number
  readonly url: string
  /** The connections that are open now. */
  readonly connections: Effect.Effect<ReadonlyArray<Connection>>
  readonly counters: Effect.Effect<Counters>
  /** Resets connections that are open. */
  readonly cut: (match?: Match) => Effect.Effect<void>
  /** Says to the client that nothing follows, and still reads from it. */
  readonly halfClose: (match?: Match) => Effect.Effect<void>
  /** Holds both directions, of connections that come later too; at most 1 MiB each, then the sender has to wait. */
  readonly stall: (match?: Match) => Effect.Effect<void>
  /** Lets everything flow that was stalled. */
  readonly resume: Effect.Effect<void>
  /** Holds each byte for so many milliseconds in each direction, on connections that come later too. */
  readonly delay: (ms: number | undefined, match?: Match) => Effect.Effect<void>
  /** Sends the n-th frame once more. */
  readonly duplicate: (rule: Omit<FrameRule, "do">) => Effect.Effect<void>
  /** Inserts bytes towards the client: now if no frame is under way, otherwise where it ends. */
  readonly noise: (bytes: string | Uint8Array, match?: Match) => Effect.Effect<void>
  /** Resets each new connection. */
  readonly refuse: (on: boolean) => Effect.Effect<void>
  readonly onFrame: (rule: FrameRule) => Effect.Effect<void>
  /** Waits until a connection is open that matches. */
  readonly awaitConnection: (match?: Match) => Effect.Effect<Connection>
  /** Waits until n frames were sent to the client on one open connection that matches. */
  readonly awaitFrame: (n: number, match?: Match) => Effect.Effect<Connection>
  /** Waits until no connection is open that matches. */
  readonly awaitClosed: (match?: Match) => Effect.Effect<void>
}

/**
 * Starts a proxy on a free port of 127.0.0.1. A target that is a function is asked at each connection. With the scope
 * every socket goes, within a second. `delimiter` (default an empty line, as of server-sent events) ends a frame.
 *
 * @category constructors
 * @since 0.1.0
 */
export const proxy: (options: {
  readonly target: Target | (() => Target)
  readonly delimiter?: string | undefined
}) => Effect.Effect<Proxy, FaultError, Scope.Scope> = faultProxy.make

/**
 * A stream of a process, seen from the agent.
 *
 * @category models
 * @since 0.1.0
 */
export type StdioStream = "stdin" | "stdout" | "stderr"

/**
 * A fault after the n-th line (from 1) of a stream, counted from the start of the agent if made before it.
 *
 * @category models
 * @since 0.1.0
 */
export interface LineRule {
  /** Default is `stdout`. */
  readonly stream?: StdioStream | undefined
  readonly n: number
  /** Default is a newline. */
  readonly delimiter?: string | undefined
  readonly do: Fault
}

/**
 * A relay that runs, with its agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Relay {
  readonly pid: number
  /** The agent, which leads its own process group. */
  readonly childPid: number
}

/**
 * How an agent ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface RelayExit {
  readonly code: number | null
  readonly signal: string | null
}

/**
 * The faults of a relay; a stream that is not named is `stdout`. A control waits until the relay has done it, at most
 * 5 seconds, and does nothing where no relay runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Control {
  /** Closes a stream at once, and drops what was under way. */
  readonly cut: (stream?: StdioStream) => Effect.Effect<void, FaultError>
  /** Ends a stream after what was under way. */
  readonly halfClose: (stream?: StdioStream) => Effect.Effect<void, FaultError>
  readonly stall: (stream?: StdioStream) => Effect.Effect<void, FaultError>
  readonly resume: (stream?: StdioStream) => Effect.Effect<void, FaultError>
  readonly delay: (ms: number | undefined, stream?: StdioStream) => Effect.Effect<void, FaultError>
  /** Sends the n-th line once more. */
  readonly duplicate: (rule: Omit<LineRule, "do">) => Effect.Effect<void, FaultError>
  /** Inserts text: now if no line is under way, otherwise after it. */
  readonly noise: (text: string, stream?: StdioStream) => Effect.Effect<void, FaultError>
  /** Ends the agent and its process group with SIGKILL. */
  readonly kill: Effect.Effect<void, FaultError>
  /** Adds a rule: to the relay that runs, or to the next one. */
  readonly onFrame: (rule: LineRule) => Effect.Effect<void, FaultError>
  /** Waits until a relay has started its agent. */
  readonly awaitStart: Effect.Effect<Relay>
  /** Waits until n lines have passed since the agent started. */
  readonly awaitFrame: (n: number, stream?: StdioStream) => Effect.Effect<void>
  /** Waits for the end of an agent; after a restart, of the last that has ended. */
  readonly awaitExit: Effect.Effect<RelayExit>
}

/**
 * Prepares a relay: an adapter spawns `command` with `args` in place of the agent, as often as it likes. With the scope
 * the relays that still run end, and their agents with them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stdio: (options: {
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
}) => Effect.Effect<
  { readonly command: string; readonly args: ReadonlyArray<string>; readonly control: Control },
  FaultError,
  Scope.Scope
> = faultStdio.make
