/**
 * One side of a JSON-RPC 2.0 conversation with an agent, over the pipes of a child process or a WebSocket.
 *
 * - **Order.** What the agent says is handed on in the order of the wire, a chunk at a time; the answer to a call comes
 *   after everything that was said before it has been taken.
 * - **Answers.** A request of the agent is answered exactly once: a second answer does nothing, and a handler that fails
 *   or dies becomes a JSON-RPC error without anything of Effect in it.
 * - **Ends.** When the agent is gone, every call that waits fails, and every handler that runs is stopped.
 * - **Noise.** What is no message is logged and passed over. Ids of the two sides are apart; 0 and strings are valid.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Redactor } from "@reins/core/Redaction"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Backoff from "./Backoff.ts"
import * as rpcReader from "./internal/rpcReader.ts"
import * as rpcWriter from "./internal/rpcWriter.ts"
import type { JsonRpcWire } from "./JsonRpcWire.ts"
import type { Recorder } from "./WireTape.ts"

/**
 * The id of a request. Those of the agent are given back as they came, a number as a number.
 *
 * @category models
 * @since 0.1.0
 */
export type Id = number | string

/**
 * A notification, or with an `id` a request, as it was parsed: `params` are not checked yet, and fields that the protocol
 * does not know are still there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  readonly method: string
  readonly params?: unknown
  readonly id?: Id
}

/**
 * A request of the agent, which waits for an answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request extends Message {
  readonly id: Id
}

/**
 * Whether a message is a request.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRequest = (message: Message): message is Request => message.id !== undefined

/**
 * The codes of the specification, and those that agents have in common.
 *
 * @category constants
 * @since 0.1.0
 */
export const codes = {
  parseError: -32_700,
  invalidRequest: -32_600,
  methodNotFound: -32_601,
  invalidParams: -32_602,
  internalError: -32_603,
  /** Codex: the server has more to do than it can take; the request was not begun. */
  overloaded: -32_001
} as const

/**
 * A request that was refused, by the agent or by us. `message` is said by the one who refused.
 *
 * @category errors
 * @since 0.1.0
 */
export class JsonRpcError extends Schema.TaggedError<JsonRpcError>()("JsonRpcError", {
  method: Schema.String,
  code: Schema.Number,
  message: Schema.String,
  data: Schema.optionalKey(Schema.Unknown)
}) {}

/**
 * How a peer is made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly wire: JsonRpcWire
  /** Names the agent in errors, for example the command without its environment. */
  readonly target: string
  /**
   * Takes what the agent says of itself, in order: all of one chunk at once. Nothing more is read until it is done, which
   * is the back-pressure of the wire; so it must not wait for an answer to a call. Work that takes time goes to `serve`.
   */
  readonly receive: (messages: ReadonlyArray<Message>) => Effect.Effect<void>
  /** How long an answer is waited for. Default 30 s; a call can have its own. */
  readonly timeout?: Duration.Input | undefined
  /** Longest message in characters, until the agent counts as broken. Default 67,108,864. */
  readonly maxMessage?: number | undefined
  /** Characters that may wait to be written, until calls wait for them. Default 16,777,216. */
  readonly maxBuffered?: number | undefined
  /** A refusal with this code means that the agent was too busy to begin: asked again up to five times, with back-off. */
  readonly overloadCode?: number | undefined
  /** What is sent when nobody waits for a call any more. */
  readonly onCancel?: ((call: { readonly id: number; readonly method: string }) => Message | undefined) | undefined
  /** Takes secrets out of what the agent says, before anybody reads it; must leave JSON. Asked for each message. */
  readonly clean?: ((text: string) => string) | undefined
  /** Removes secrets from what is logged. */
  readonly redactor?: Redactor | undefined
  /** Records each message both ways. */
  readonly tape?: Recorder | undefined
}

/**
 * One side of a conversation.
 *
 * @category models
 * @since 0.1.0
 */
export interface JsonRpcPeer {
  /**
   * Asks the agent and waits for its answer, at most for `timeout` (then: `ConnectionLost`; the connection stays). An
   * interrupt stops the waiting.
   */
  readonly call: (
    method: string,
    params?: unknown,
    options?: { readonly timeout?: Duration.Input | undefined }
  ) => Effect.Effect<unknown, JsonRpcError | AgentError.AgentError>
  readonly notify: (method: string, params?: unknown) => Effect.Effect<void, AgentError.AgentError>
  /** Answers a request; false when it is not open: it was answered or taken back, or never asked. */
  readonly answer: (id: Id, result: unknown) => Effect.Effect<boolean, AgentError.AgentError>
  /** Refuses a request; false when it is not open. */
  readonly refuse: (
    id: Id,
    error: { readonly code: number; readonly message: string; readonly data?: unknown }
  ) => Effect.Effect<boolean, AgentError.AgentError>
  /**
   * Answers a request with what an effect comes to, beside everything else. A `JsonRpcError` refuses with its code, an
   * `AgentError` with its sentence, a defect with an internal error that says nothing of itself and is logged here.
   */
  readonly serve: (
    request: Request,
    effect: Effect.Effect<unknown, JsonRpcError | AgentError.AgentError>
  ) => Effect.Effect<void>
  /** The agent does not wait for an answer any more: its handler is stopped, and nothing is sent. */
  readonly withdraw: (id: Id) => Effect.Effect<void>
  /** The requests of the agent that are open. */
  readonly open: () => ReadonlyArray<Id>
  /** Why the conversation is over; waits until it is. */
  readonly lost: Effect.Effect<AgentError.AgentError>
}

/** How long the last messages and the end of the reading are waited for. */
const closeLimit = "1 second"
const overloadAttempts = 5
const overloadBackoff: Backoff.Backoff = { base: "100 millis", cap: "2 seconds", jitter: 0.5 }
/** Lines that are no message and are shown in the log; the rest is counted. */
const maxNoise = 10
const noiseShown = 200
/** The name of the conversation on a tape. */
const channel = "rpc"

interface Pending {
  readonly method: string
  readonly done: Deferred.Deferred<unknown, JsonRpcError | AgentError.AgentError>
}

/**
 * Begins a conversation; it ends with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Effect.Effect<JsonRpcPeer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const run = Effect.runForkWith(context)
    const { tape, target, wire } = options
    const maxMessage = options.maxMessage ?? 64 * 1024 * 1024
    const lineEnd = wire.lines ? "\n" : ""
    const writer = rpcWriter.make(options.maxBuffered ?? 16 * 1024 * 1024, wire.lines)
    const pending = new Map<number, Pending>()
    /** Requests of the agent, with what works on them. */
    const open = new Map<Id, Fiber.Fiber<unknown> | undefined>()
    const over = Deferred.makeUnsafe<AgentError.AgentError>()
    let nextId = 0
    let lost: AgentError.AgentError | undefined

    const settle = (id: number, exit: Exit.Exit<unknown, JsonRpcError | AgentError.AgentError>): boolean => {
      const call = pending.get(id)
      if (call === undefined) return false
      pending.delete(id)
      Deferred.doneUnsafe(call.done, exit)
      return true
    }

    const lose = (reason: AgentError.AgentErrorReason): void => {
      if (lost !== undefined) return
      lost = AgentError.make(reason)
      Deferred.doneUnsafe(over, Exit.succeed(lost))
      const exit = Exit.fail(lost)
      for (const id of [...pending.keys()]) settle(id, exit)
      // Not joined: a handler that cannot be interrupted must not hold up who finds the agent gone.
      for (const fiber of open.values()) fiber?.interruptUnsafe()
      open.clear()
      writer.end()
    }
    const gone = (description: string, cause?: unknown): void =>
      lose(new AgentError.ConnectionLost({ target, description, ...(cause === undefined ? undefined : { cause }) }))

    const send = (message: object): Effect.Effect<void, AgentError.AgentError> =>
      Effect.suspend(() => {
        if (lost !== undefined) return Effect.fail(lost)
        const text = JSON.stringify(message) + lineEnd
        return Effect.flatMap(writer.write(text), () => {
          if (lost !== undefined) return Effect.fail(lost)
          tape?.record("out", channel, message as Schema.Json)
          return Effect.void
        })
      })

    // -- what the agent says ----------------------------------------------------------------------------------------

    let noise = 0
    const noisy: Array<string> = []
    const reader = rpcReader.make({
      clean: options.clean,
      maxMessage,
      onMessage: tape === undefined ? undefined : (message) => tape.record("in", channel, message as Schema.Json),
      onNoise: (text) => {
        if (noise++ < maxNoise) noisy.push(text.slice(0, noiseShown))
      }
    })
    const logNoise = Effect.suspend(() =>
      Effect.forEach(noisy.splice(0), (text) =>
        Effect.logDebug(`${target} sent what is no message: ${options.redactor?.redact(text) ?? text}`), {
        discard: true
      })
    )

    const onAnswer = ({ error, id, result }: rpcReader.Answer): void => {
      if (error === undefined || error === null) {
        if (typeof id === "number")
          settle(id, Exit.succeed(result))
        return
      }
      if (typeof id === "number") {
        const method = pending.get(id)?.method
        if (method !== undefined)
          settle(id, Exit.fail(refusal(method, error)))
        return
      }
      if (id !== undefined && id !== null)
        return
      // It belongs to one of the calls, and nobody can say to which: none of them can be trusted to be answered.
      const { message } = refusal("", error)
      const broken = Exit.fail(AgentError.make(
        new AgentError.ProtocolError({
          description: `${target} answered with an error that names no request: ${message}`
        })
      ))
      for (const waiting of [...pending.keys()])
        settle(waiting, broken)
    }

    const onMessages = (messages: ReadonlyArray<Message>): Effect.Effect<void> => {
      const repeated: Array<Message> = []
      for (const message of messages) {
        if (message.id === undefined)
          continue
        if (open.has(message.id))
          repeated.push(message)
        else open.set(message.id, undefined)
      }
      if (repeated.length === 0)
        return options.receive(messages)
      // A second one under an open id could not be told apart in our answer.
      return Effect.andThen(
        options.receive(messages.filter((message) =>
          !repeated.includes(message)
        )),
        Effect.logWarning(`${target} asked again under an id that is open; the repetition is passed over.`)
      )
    }

    const step = (one: rpcReader.Step): Effect.Effect<void> =>
      one._tag === "messages" ? onMessages(one.messages) : Effect.sync(() => onAnswer(one.answer))

    const take = (steps: ReadonlyArray<rpcReader.Step>): Effect.Effect<void> => {
      const [first] = steps
      const taken = first === undefined
        ? Effect.void
        : steps.length === 1
        ? step(first)
        : Effect.forEach(steps, step, { discard: true })
      return noisy.length === 0 ? taken : Effect.andThen(taken, logNoise)
    }

    const tooLong = Effect.suspend(() => {
      lose(
        new AgentError.ProtocolError({ description: `${target} sent a message of more than ${maxMessage} characters.` })
      )
      return Effect.interrupt
    })

    const reading = Stream.runForEachArray(wire.input, (chunks) => {
      const taken = take(reader.push(chunks))
      return reader.isBroken() ? Effect.andThen(taken, tooLong) : taken
    }).pipe(
      Effect.andThen(Effect.suspend(() => take(reader.end()))),
      Effect.matchCause({
        onSuccess: () => gone("It closed its output."),
        onFailure: (cause) => {
          const thrown = Cause.squash(cause)
          gone(Cause.hasInterruptsOnly(cause) ? "The conversation was closed." : describe(thrown), thrown)
        }
      })
    )

    const writing = Stream.run(writer.texts, wire.output).pipe(
      Effect.matchCause({
        onSuccess: () => undefined,
        onFailure: (cause) => {
          if (!Cause.hasInterruptsOnly(cause)) gone(describe(Cause.squash(cause)), Cause.squash(cause))
        }
      })
    )

    yield* Effect.acquireRelease(
      Effect.sync(() => [run(writing), run(reading)] as const),
      ([writes, reads]) =>
        Effect.gen(function*() {
          gone("The conversation was closed.")
          // What was said last is still written; then the agent's input ends.
          yield* Effect.timeoutOption(Fiber.await(writes), closeLimit)
          yield* Effect.forkDetach(Fiber.interruptAll([writes, reads]), { startImmediately: true })
        })
    )

    // -- calls ------------------------------------------------------------------------------------------------------

    const once = (
      method: string,
      params: unknown,
      timeout: Duration.Input
    ): Effect.Effect<unknown, JsonRpcError | AgentError.AgentError> =>
      Effect.suspend(() => {
        const id = nextId++
        const done = Deferred.makeUnsafe<unknown, JsonRpcError | AgentError.AgentError>()
        pending.set(id, { method, done })
        let sent = false
        const forget = Effect.suspend(() => {
          if (!pending.delete(id) || !sent) return Effect.void
          const cancel = options.onCancel?.({ id, method })
          return cancel === undefined ? Effect.void : Effect.ignore(send(cancel))
        })
        return send({ id, method, ...(params === undefined ? undefined : { params }) }).pipe(
          Effect.andThen(Effect.suspend(() => {
            sent = true
            return Deferred.await(done)
          })),
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () =>
              Effect.fail(AgentError.make(
                new AgentError.ConnectionLost({
                  target,
                  description: `It did not answer "${method}" within ${Duration.toMillis(timeout)} ms.`
                })
              ))
          }),
          Effect.onExit(() => forget)
        )
      })

    const call: JsonRpcPeer["call"] = (method, params, { timeout = options.timeout ?? "30 seconds" } = {}) => {
      const { overloadCode } = options
      if (overloadCode === undefined) return once(method, params, timeout)
      const attempt = (n: number): Effect.Effect<unknown, JsonRpcError | AgentError.AgentError> =>
        Effect.catch(once(method, params, timeout), (error) =>
          error._tag === "JsonRpcError" && error.code === overloadCode && n < overloadAttempts
            ? Effect.flatMap(Backoff.delayMillis(n, overloadBackoff), (wait) =>
              Effect.andThen(Effect.sleep(wait), attempt(n + 1)))
            : Effect.fail(error))
      return attempt(0)
    }

    // -- the agent's requests ---------------------------------------------------------------------------------------

    const reply = (id: Id, body: object): Effect.Effect<boolean, AgentError.AgentError> =>
      Effect.suspend(() =>
        open.delete(id) ? Effect.as(send({ id, ...body }), true) : Effect.succeed(false)
      )

    const answer: JsonRpcPeer["answer"] = (id, result) =>
      reply(id, { result: result === undefined ? null : result })
    const refuse: JsonRpcPeer["refuse"] = (id, { code, data, message }) =>
      reply(id, { error: { code, message, ...(data === undefined ? undefined : { data }) } })

    const serve: JsonRpcPeer["serve"] = ({ id, method }, effect) =>
      Effect.sync(() => {
        if (!open.has(id))
          return
        const fiber = run(
          Effect.flatMap(Effect.exit(effect), (exit) => {
            if (Exit.isSuccess(exit))
              return answer(id, exit.value)
            // Whoever interrupted it has taken the request back or is the end of all of them.
            if (Cause.hasInterruptsOnly(exit.cause))
              return refuse(id, { code: codes.internalError, message: "Cancelled" })
            const error = Cause.findErrorOption(exit.cause)
            if (Option.isNone(error)) {
              return Effect.andThen(
                Effect.logError(`A handler of "${method}" failed.`, exit.cause),
                refuse(id, { code: codes.internalError, message: "Internal error" })
              )
            }
            if (error.value._tag === "JsonRpcError")
              return refuse(id, error.value)
            return refuse(id, { code: codes.internalError, message: error.value.message })
          }).pipe(Effect.ignore)
        )
        if (open.has(id))
          open.set(id, fiber)
      })

    return {
      call,
      notify: (method, params) =>
        send({ method, ...(params === undefined ? undefined : { params }) }),
      answer,
      refuse,
      serve,
      withdraw: (id) =>
        Effect.sync(() => {
          const fiber = open.get(id)
          open.delete(id)
          fiber?.interruptUnsafe()
        }),
      open: () => [...open.keys()],
      lost: Deferred.await(over)
    }
  })

const refusal = (method: string, error: unknown): JsonRpcError => {
  const { code, data, message } = typeof error === "object" && error !== null ? error as Record<string, unknown> : {}
  return new JsonRpcError({
    method,
    code: typeof code === "number" ? code : codes.internalError,
    message: typeof message === "string" ? message : "It did not say why.",
    ...(data === undefined ? undefined : { data })
  })
}

const describe = (thrown: unknown): string => thrown instanceof Error ? thrown.message : String(thrown)
