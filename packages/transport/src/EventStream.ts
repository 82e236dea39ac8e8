/**
 * A server-sent event stream that is kept open: its events in arrays, and every loss, silence and retry said before it
 * is acted on.
 *
 * An agent's server replays nothing after a break, so a reader that is not told of one believes that it saw everything.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Backoff from "./Backoff.ts"
import * as sseDecoder from "./internal/sseDecoder.ts"

/**
 * What an event stream tells. `generation` counts the connections from 1, and is 0 before the first.
 *
 * `Connected` the server answered; nothing is known of what happened before. `Data` the payloads of one or more events,
 * in order. `Silent` no byte came for `for` milliseconds since `since` (epoch milliseconds), and the connection is
 * dropped. `Lost` the connection ended or could not be made; the next attempt follows in `retryIn` milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type StreamSignal = Data.TaggedEnum<{
  Connected: { readonly generation: number }
  Data: { readonly generation: number; readonly events: ReadonlyArray<string> }
  Silent: { readonly generation: number; readonly since: number; readonly for: number }
  Lost: {
    readonly generation: number
    readonly error: AgentError.AgentError
    /** Failures in a row, from 1; the first byte of a connection starts over. */
    readonly attempt: number
    readonly retryIn: number
  }
}>

/**
 * Matches on the kind of a signal.
 *
 * @category pattern matching
 * @since 0.1.0
 */
export const { $match: match } = Data.taggedEnum<StreamSignal>()

/**
 * Which stream, and when to give a connection up.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R> {
  /** Asked at each connection, because a server that was started again may listen elsewhere. */
  readonly request:
    | HttpClientRequest.HttpClientRequest
    | Effect.Effect<HttpClientRequest.HttpClientRequest, AgentError.AgentError, R>
  /** Name of the server in errors. Default: the address without its query. */
  readonly target?: string | undefined
  /** From request to response head. Default 10 s. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Without a byte for so long the connection counts as dead; heartbeats are bytes. Default 25 s. */
  readonly silence?: Duration.Input | undefined
  /** Default 250 ms doubling up to 10 s, give or take a quarter. */
  readonly backoff?: Backoff.Backoff | undefined
  /** Longest unfinished event in characters; a longer one breaks the connection. Default 32 Mi. */
  readonly maxEventSize?: number | undefined
}

// Signals that wait for a slow reader. Then nothing more is read, and the server is slowed down by the network.
const bufferSize = 16

// A watchdog that wakes later than this after its time was not awake all the while: the machine slept.
const oversleep = 5_000

const longestRetryAfter = 60_000

/**
 * Connects, and connects again after each loss, for as long as it is read. Fails only with what no retry can mend:
 * refused credentials, another refusal by the server, or an answer that is no event stream.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  options: Options<R>
): Stream.Stream<StreamSignal, AgentError.AgentError, HttpClient.HttpClient | R> =>
  Stream.callback<StreamSignal, AgentError.AgentError, HttpClient.HttpClient | R>(
    (signals) =>
      Effect.gen(function*() {
        const client = HttpClient.withScope(yield* HttpClient.HttpClient)
        const clock = yield* Clock.Clock
        return yield* run(options, { client, clock, signals }).pipe(
          // Our trace headers are no business of a foreign server.
          Effect.provideService(HttpClient.TracerPropagationEnabled, false)
        )
      }),
    { bufferSize }
  )

interface Wiring {
  readonly client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, Scope.Scope>
  readonly clock: Clock.Clock
  readonly signals: Queue.Queue<StreamSignal, AgentError.AgentError | Cause.Done>
}

interface Connection {
  generation: number
  attempt: number
}

// How a connection ended: fatally when no retry can mend it.
interface Loss {
  readonly error: AgentError.AgentError
  readonly fatal: boolean
}

const run = Effect.fnUntraced(function*<R>(
  options: Options<R>,
  wiring: Wiring
): Effect.fn.Return<never, AgentError.AgentError, R> {
  const backoff = options.backoff ?? Backoff.defaults
  const connection: Connection = { generation: 0, attempt: 0 }
  while (true) {
    const { error, fatal } = yield* Effect.flip(Effect.scoped(connect(options, wiring, connection)))
    if (fatal) return yield* error
    const attempt = ++connection.attempt
    const delay = yield* Backoff.delayMillis(attempt - 1, backoff)
    const retryIn = Math.max(delay, error.retryAfter ?? 0)
    yield* Queue.offer(wiring.signals, {
      _tag: "Lost",
      generation: connection.generation,
      error,
      attempt,
      retryIn
    })
    yield* Effect.sleep(retryIn)
  }
})

// One connection, from the request to its loss, which is its error: a stream that ends has lost its connection, too.
const connect = Effect.fnUntraced(function*<R>(
  options: Options<R>,
  { client, clock, signals }: Wiring,
  connection: Connection
): Effect.fn.Return<never, Loss, R | Scope.Scope> {
  const request = yield* requestOf(options)
  const target = options.target ?? addressOf(request)
  const limit = Duration.fromInputUnsafe(options.connectTimeout ?? "10 seconds")
  const response = yield* client.execute(HttpClientRequest.setHeaders(request, headers)).pipe(
    Effect.mapError((error) => lostBy(target, error)),
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => connectionLost(target, `It did not answer within ${Duration.toMillis(limit)} ms.`)
    })
  )
  yield* accept(target, response)
  const generation = ++connection.generation
  yield* Queue.offer(signals, { _tag: "Connected", generation })

  const maxEventSize = options.maxEventSize ?? 32 * 1024 * 1024
  const decoder = sseDecoder.make()
  const watch: Watch = { lastByte: clock.monotonicTimeNanosUnsafe(), held: false }

  const reading = Stream.runForEachArray(response.stream, (chunks) => {
    connection.attempt = 0
    watch.lastByte = clock.monotonicTimeNanosUnsafe()
    const events = chunks.length === 1 ? decoder.push(chunks[0]) : chunks.flatMap(decoder.push)
    if (decoder.pendingSize() > maxEventSize) {
      const description = `${target} sent an event longer than ${maxEventSize} characters.`
      return lose(new AgentError.ProtocolError({ description }))
    }
    if (events.length === 0) return Effect.void
    const signal: StreamSignal = { _tag: "Data", generation, events }
    if (Queue.sizeUnsafe(signals) < bufferSize) return Queue.offer(signals, signal)
    // The silence is ours while the reader does not take: nobody asks the server for bytes.
    watch.held = true
    return Effect.map(Queue.offer(signals, signal), () => {
      watch.held = false
      watch.lastByte = clock.monotonicTimeNanosUnsafe()
    })
  }).pipe(
    Effect.mapError((error) => "fatal" in error ? error : lostBy(target, error)),
    Effect.andThen(connectionLost(target, "The server ended the stream."))
  )
  return yield* Effect.raceFirst(reading, watchdog(options, { clock, signals, target, generation, watch }))
})

interface Watch {
  /** Monotonic nanoseconds. Written for each chunk, so that no chunk pays for a timer. */
  lastByte: bigint
  /** Whether we wait for our reader instead of the server. */
  held: boolean
}

// Sleeps until the silence could be over at the earliest, looks, and sleeps again: one timer, however many bytes come.
const watchdog = Effect.fnUntraced(function*(
  options: { readonly silence?: Duration.Input | undefined },
  { clock, generation, signals, target, watch }: {
    readonly clock: Clock.Clock
    readonly generation: number
    readonly signals: Wiring["signals"]
    readonly target: string
    readonly watch: Watch
  }
): Effect.fn.Return<never, Loss> {
  const silence = Duration.toMillis(options.silence ?? Duration.seconds(25))
  const silentFor = () => Number((clock.monotonicTimeNanosUnsafe() - watch.lastByte) / 1_000_000n)
  let late = 0
  while (true) {
    const quiet = watch.held || late > oversleep ? 0 : silentFor()
    if (quiet === 0) watch.lastByte = clock.monotonicTimeNanosUnsafe()
    if (quiet >= silence) {
      const since = clock.currentTimeMillisUnsafe() - quiet
      yield* Queue.offer(signals, { _tag: "Silent", generation, since, for: quiet })
      return yield* connectionLost(target, `Nothing came from it for ${quiet} ms.`)
    }
    const due = clock.monotonicTimeNanosUnsafe() + BigInt(silence - quiet) * 1_000_000n
    yield* Effect.sleep(silence - quiet)
    late = Number((clock.monotonicTimeNanosUnsafe() - due) / 1_000_000n)
  }
})

const headers = { accept: "text/event-stream", "cache-control": "no-store" }

const requestOf = <R>(
  { request }: Options<R>
): Effect.Effect<HttpClientRequest.HttpClientRequest, Loss, R> =>
  HttpClientRequest.isHttpClientRequest(request)
    ? Effect.succeed(request)
    : Effect.mapError(request, (error) => ({ error, fatal: !error.retryable }))

const accept = (
  target: string,
  { headers, status }: HttpClientResponse.HttpClientResponse
): Effect.Effect<void, Loss> => {
  const answered = `It answered ${status}.`
  if (status === 401 || status === 403) {
    return refuse(new AgentError.AuthRequired({ statusCode: status, description: `${target}: ${answered}` }))
  }
  if (status >= 500) {
    const seconds = Number(headers["retry-after"])
    return lose(
      new AgentError.ConnectionLost({
        target,
        statusCode: status,
        description: answered,
        ...(seconds > 0 ? { retryAfter: Math.min(seconds * 1_000, longestRetryAfter) } : {})
      })
    )
  }
  const contentType = headers["content-type"] ?? "nothing"
  const isEvents = /^text\/event-stream\s*(;|$)/i.test(contentType)
  if (status === 200 && isEvents) return Effect.void
  return refuse(
    new AgentError.ProtocolError({
      statusCode: status,
      description: status === 200
        ? `${target} answered ${contentType} instead of an event stream: this is another server, or another version.`
        : `${target}: ${answered}`
    })
  )
}

const lose = (reason: AgentError.AgentErrorReason): Effect.Effect<never, Loss> =>
  Effect.suspend(() => Effect.fail({ error: AgentError.make(reason), fatal: false }))

const refuse = (reason: AgentError.AgentErrorReason): Effect.Effect<never, Loss> =>
  Effect.suspend(() => Effect.fail({ error: AgentError.make(reason), fatal: true }))

const connectionLost = (target: string, description: string) =>
  Effect.suspend(() => lose(new AgentError.ConnectionLost({ target, description })))

// The request is left out of the error: its headers and its query may hold credentials.
const lostBy = (target: string, { reason }: HttpClientError.HttpClientError): Loss => {
  if (reason._tag === "InvalidUrlError" || reason._tag === "EncodeError") {
    const issue = `The address of ${target} cannot be used.`
    return { error: AgentError.make(new AgentError.InvalidConfig({ issue })), fatal: true }
  }
  const cause = "cause" in reason ? reason.cause : undefined
  const lost = { target, description: describe(cause), ...(cause === undefined ? {} : { cause }) }
  return { error: AgentError.make(new AgentError.ConnectionLost(lost)), fatal: false }
}

const describe = (cause: unknown): string => {
  // `fetch` wraps the error of the socket once more.
  const inner = Predicate.hasProperty(cause, "cause") && cause.cause instanceof Error ? cause.cause : cause
  if (!(inner instanceof Error)) return "The network failed."
  const code = Predicate.hasProperty(inner, "code") && Predicate.isString(inner.code) ? `${inner.code}: ` : ""
  return `${code}${inner.message}`
}

const addressOf = (request: HttpClientRequest.HttpClientRequest): string => {
  const url = request.url.split(/[?#]/, 1)[0] ?? request.url
  return url.replace(/\/\/[^/@]*@/, "//")
}
