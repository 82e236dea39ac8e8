/** A server that somebody else runs: it is spoken to over a WebSocket, never started, configured or ended. */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { ProcessStatus } from "@reins/core/SessionEvent"
import type { Signal } from "@reins/core/Signal"
import * as JsonRpcWire from "@reins/transport/JsonRpcWire"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Socket from "effect/socket/Socket"
import type { CodexServer, Live } from "../CodexServer.ts"
import * as conversations from "./conversation.ts"

export interface Options {
  readonly url: string
  readonly token?: Redacted.Redacted<string>
}

/** A server that is just starting takes connections which it never answers, so an attempt is short and made again. */
const attempt = "5 seconds"
/** How long one that has answered before is waited for at a time; sessions that wait longer tell so, and wait again. */
const restart = "6 seconds"

const local = new Set(["127.0.0.1", "localhost", "[::1]"])

/** Whether nobody on the way can read what is sent to an address. */
export const isPrivate = (url: string): boolean => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return parsed === undefined || parsed.protocol === "wss:" || local.has(parsed.hostname)
}

/** The address without what does not belong to it; the error says what is wrong, and never what was given. */
export const addressOf = ({ token, url }: Options): Effect.Effect<string, AgentError.AgentError> => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  const issue = parsed === undefined || !/^wss?:$/.test(parsed.protocol)
    ? "the url of the server is one like ws://127.0.0.1:4500"
    : parsed.username !== "" || parsed.password !== ""
    ? "the url of the server holds a user name or password: give a `token`"
    : parsed.search !== "" || parsed.hash !== ""
    ? "the url of the server has no query and no fragment"
    : token !== undefined && !isPrivate(url)
    ? "a `token` goes over wss, or to this host: over ws everybody on the way could read it"
    : undefined
  return parsed === undefined || issue !== undefined
    ? AgentError.fail(new AgentError.InvalidConfig({ issue: issue ?? "it is no address" }), { provider: "codex" })
    : Effect.succeed(`${parsed.protocol}//${parsed.host}${parsed.pathname}`.replace(/\/+$/, ""))
}

/** Begins a conversation when somebody needs one and none stands; ends it with the scope. */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<CodexServer, never, Scope.Scope | Socket.WebSocketConstructor> {
  const scope = yield* Effect.scope
  const socket = yield* Effect.context<Socket.WebSocketConstructor>()
  // Of an address that cannot be used nothing is shown: it may hold a password.
  const target = yield* Effect.orElseSucceed(addressOf(options), () => "the configured url")
  const redactor = Redaction.make({ values: options.token === undefined ? [] : [options.token] })
  const conversation = yield* conversations.make({ target, alone: false, redactor })
  const listeners = new Set<(signal: Signal) => void>()
  const dialling = yield* Semaphore.make(1)
  let talk: Scope.Closeable | undefined
  let ready: ProcessStatus | undefined
  // Whoever has answered once is awaited when it is gone; who never did is not there.
  let answered = false

  const unreachable = (cause: unknown): AgentError.AgentError => {
    const description = redactor.redact(cause instanceof Error ? cause.message : String(cause))
    return AgentError.make(
      answered
        ? new AgentError.ConnectionLost({ target, description })
        : new AgentError.Unavailable({ target, description }),
      { provider: "codex" }
    )
  }

  const dial = Effect.gen(function*() {
    const url = yield* addressOf(options)
    const own = yield* Scope.fork(scope)
    const live = yield* Effect.gen(function*() {
      const connected = yield* Socket.makeWebSocket(url, {
        openTimeout: attempt,
        ...(options.token === undefined
          ? undefined
          : { headers: { authorization: `Bearer ${Redacted.value(options.token)}` } })
      })
      const wire = yield* JsonRpcWire.fromSocket(connected)
      // The ids of its requests begin anew with its process, which nobody can tell from here.
      return yield* conversation.begin(wire, crypto.randomUUID().slice(0, 8))
    }).pipe(
      Effect.timeoutOrElse({
        duration: attempt,
        orElse: () => Effect.fail(unreachable("There was no answer within 5 seconds."))
      }),
      Effect.mapError((error) => AgentError.isAgentError(error) ? error : unreachable(error)),
      Scope.provide(own),
      Effect.provide(socket),
      Effect.onError(() => Scope.close(own, Exit.void))
    )
    answered = true
    talk = own
    yield* live.peer.lost.pipe(
      Effect.tap((error) =>
        Effect.sync(() => {
          conversation.end(live)
          conversation.fail(error)
        })
      ),
      Effect.andThen(Scope.close(own, Exit.void)),
      Effect.forkIn(scope, { startImmediately: true })
    )
    if (ready?._tag !== "ready" || ready.version !== live.version) {
      ready = { _tag: "ready", version: live.version, protocol: "json-rpc" }
      for (const report of listeners) report({ _tag: "process", status: ready })
    }
    return live
  })

  const live: Effect.Effect<Live, AgentError.AgentError> = Effect.suspend(() => {
    const current = conversation.current()
    return current === undefined ? dial : Effect.succeed(current)
  }).pipe(
    dialling.withPermit,
    Effect.retry({
      schedule: Schedule.upTo(Schedule.spaced("250 millis"), { duration: restart }),
      while: ({ reason }) => reason._tag === "ConnectionLost"
    })
  )

  return {
    live,
    // The connection is made anew; the server is not ours to end.
    abandon: (mute) =>
      Effect.suspend(() => {
        if (conversation.current() !== mute) return Effect.void
        conversation.end(mute)
        conversation.fail(unreachable("It does not answer any more."))
        return talk === undefined
          ? Effect.void
          : Effect.asVoid(Effect.forkIn(Scope.close(talk, Exit.void), scope, { startImmediately: true }))
      }),
    attach: conversation.attach,
    forget: conversation.forget,
    hide: conversation.hide,
    // Others may hear it.
    unload: () => Effect.void,
    listen: (report) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          listeners.add(report)
          if (ready !== undefined) report({ _tag: "process", status: ready })
        }),
        () =>
          Effect.sync(() => {
            listeners.delete(report)
          })
      )
  }
})
