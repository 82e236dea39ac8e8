/**
 * An HTTP server on 127.0.0.1 whose sockets can be abused.
 *
 * It uses `node:http` itself: the faults it exists for (no byte at all, headers without a body, a socket that goes away
 * half way) are what an orderly HTTP server prevents.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import type * as Net from "node:net"

/** The server could not listen on its port. */
export class ListenError extends Schema.TaggedError<ListenError>()("ListenError", {
  port: Schema.Int,
  cause: Schema.Defect()
}) {
  override get message() {
    return `cannot listen on 127.0.0.1:${this.port}`
  }
}

/** The answering side of one exchange. Writing waits while the client does not read. */
export interface Reply {
  readonly send: (status: number, headers: Readonly<Record<string, string>>, body: string) => Effect.Effect<void>
  /** Puts the headers on the wire at once. */
  readonly head: (status: number, headers: Readonly<Record<string, string>>) => Effect.Effect<void>
  readonly write: (text: string) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  /** Sends what was written, then closes the socket, whatever was promised. */
  readonly cut: Effect.Effect<void>
}

/** One request with its whole body. */
export interface Exchange {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly reply: Reply
}

/** A listening server. */
export interface LoopbackServer {
  readonly port: number
  /** Sockets open now. */
  readonly connections: Effect.Effect<number>
}

/** Longest request body, bytes. */
const maxRequestBytes = 64 * 1024 * 1024
const maxConnections = 20_000
/** An idle connection stays this long, ms: one closed under a client's hand would look like a fault of the script. */
const keepAliveTimeout = 600_000

const makeReply = (response: Http.ServerResponse): Reply => {
  const write = (text: string): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      if (response.write(text)) {
        return resume(Effect.void)
      }
      const onDrain = () => resume(Effect.void)
      response.once("drain", onDrain)
      return Effect.sync(() => response.off("drain", onDrain))
    })
  const head = (status: number, headers: Readonly<Record<string, string>>) =>
    Effect.sync(() => {
      response.writeHead(status, headers)
      response.flushHeaders()
    })
  return {
    send: (status, headers, body) =>
      Effect.sync(() => {
        response.writeHead(status, { "content-length": String(Buffer.byteLength(body)), ...headers })
        response.end(body)
      }),
    head,
    write,
    end: Effect.sync(() => response.end()),
    cut: Effect.sync(() => response.socket?.destroySoon())
  }
}

/** The body as text, or nothing if it is longer than the limit. */
const readBody = (request: Http.IncomingMessage): Effect.Effect<string | undefined> =>
  Effect.callback<string | undefined>((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size > maxRequestBytes) {
        chunks.length = 0
        cleanup()
        request.resume()
        return resume(Effect.succeed(undefined))
      }
      chunks.push(chunk)
    }
    const onEnd = () => {
      cleanup()
      resume(Effect.succeed(Buffer.concat(chunks).toString("utf8")))
    }
    const cleanup = () => {
      request.off("data", onData)
      request.off("end", onEnd)
    }
    request.on("data", onData)
    request.on("end", onEnd)
    return Effect.sync(cleanup)
  })

const flatHeaders = (headers: Http.IncomingHttpHeaders): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]]
    )
  )

/** Starts a server; requests are handled in fibers that end with the client or with the scope. */
export const make = Effect.fnUntraced(function*(options: {
  /** 0 takes a free port. */
  readonly port: number
  readonly handler: (exchange: Exchange) => Effect.Effect<void>
}): Effect.fn.Return<LoopbackServer, ListenError, Scope.Scope> {
  // Made before the server, so it is released after it: no request can arrive in a closed set.
  const run = yield* FiberSet.makeRuntime<never>()
  const sockets = new Set<Net.Socket>()
  const server = Http.createServer({ keepAliveTimeout })
  server.maxConnections = maxConnections
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })

  const exchange = (request: Http.IncomingMessage, response: Http.ServerResponse): Effect.Effect<void> =>
    Effect.gen(function*() {
      const reply = makeReply(response)
      const body = yield* readBody(request)
      if (body === undefined) {
        return yield* reply.send(413, { connection: "close" }, "")
      }
      yield* options.handler({
        method: request.method ?? "GET",
        path: new URL(request.url ?? "/", "http://127.0.0.1").pathname,
        headers: flatHeaders(request.headers),
        body,
        reply
      })
    }).pipe(Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logError("a scripted answer failed", cause).pipe(
          Effect.andThen(Effect.sync(() => {
            if (response.headersSent) {
              response.destroy()
            } else {
              response.writeHead(500).end()
            }
          }))
        )
    ))

  server.on("request", (request, response) => {
    const fiber = run(exchange(request, response))
    // A write after the client left is no error of ours; the close that follows ends the fiber.
    response.on("error", () => undefined)
    response.once("close", () => {
      if (!response.writableFinished) {
        fiber.interruptUnsafe()
      }
    })
  })

  yield* Effect.acquireRelease(
    Effect.callback<void, ListenError>((resume) => {
      const onError = (cause: Error) => resume(Effect.fail(new ListenError({ port: options.port, cause })))
      server.once("error", onError)
      server.listen(options.port, "127.0.0.1", () => {
        server.off("error", onError)
        resume(Effect.void)
      })
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) {
          socket.destroy()
        }
      }).pipe(Effect.timeoutOption("1 second"))
  )

  const address = server.address()
  return {
    port: address === null || typeof address === "string" ? options.port : address.port,
    connections: Effect.sync(() => sockets.size)
  }
})
