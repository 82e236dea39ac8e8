/**
 * What carries JSON-RPC messages to an agent and back: the pipes of a child process, one message in a line, or a
 * WebSocket, one message in a frame.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"

/**
 * How a wire breaks.
 *
 * @category errors
 * @since 0.1.0
 */
export type WireError = PlatformError | Socket.SocketError

/**
 * Where messages come from and go to.
 *
 * @category models
 * @since 0.1.0
 */
export interface JsonRpcWire {
  /** Bytes are pieces of a stream of lines; a text is one whole message. Its end is the end of the agent's output. */
  readonly input: Stream.Stream<Uint8Array | string, WireError>
  /** Takes whole messages. It is ended when the conversation is over. */
  readonly output: Sink.Sink<void, string, unknown, WireError>
  /** Whether a message that is sent needs the end of a line, and several of them can go out as one text. */
  readonly lines: boolean
}

/**
 * The pipes of a process. Ending the conversation ends its standard input, by which agents know that they are to exit.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromStdio = (pipes: {
  readonly stdin: Sink.Sink<void, Uint8Array, unknown, PlatformError>
  readonly stdout: Stream.Stream<Uint8Array, PlatformError>
}): JsonRpcWire => {
  const encoder = new TextEncoder()
  return {
    input: pipes.stdout,
    output: Sink.mapInput(pipes.stdin, (text: string) => encoder.encode(text)),
    lines: true
  }
}

/**
 * A WebSocket; it is opened with the scope. Binary frames are read as UTF-8.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSocket = (
  socket: Socket.Socket
): Effect.Effect<JsonRpcWire, Socket.SocketError, Scope.Scope> =>
  Effect.gen(function*() {
    const writer = yield* socket.writer
    const reader = yield* Socket.readerString(socket)
    return {
      input: Stream.fromPull(Effect.succeed(reader)),
      output: Sink.forEachArray((texts) => writer.writeAll(texts)),
      lines: false
    }
  })
