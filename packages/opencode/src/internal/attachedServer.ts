/** A server that somebody else runs: it is listened to and asked, never started, disposed or ended. */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { ProcessStatus } from "@reins/core/SessionEvent"
import type { Signal } from "@reins/core/Signal"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as OpenCodeClient from "../OpenCodeClient.ts"
import type { OpenCodeServer } from "../OpenCodeServer.ts"
import * as identify from "./identify.ts"
import * as serverLink from "./serverLink.ts"

export interface Options {
  readonly url: string
  readonly username?: string
  readonly password?: Redacted.Redacted<string>
}

/** A server that is just starting takes connections which it never answers, so an attempt is short and made again. */
const attempt = Duration.seconds(3)
/** How long its start is waited for at a time; sessions that wait longer tell so, and wait again. */
const restart = Duration.seconds(6)
/** For the stream, once the server has answered. */
const patience = Duration.seconds(30)

/** The address without what does not belong to it; the error says what is wrong, and never what was given. */
export const addressOf = (url: string): Effect.Effect<string, AgentError.AgentError> => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  const issue = parsed === undefined || !/^https?:$/.test(parsed.protocol)
    ? "the url of the server is one like http://127.0.0.1:4096"
    : parsed.username !== "" || parsed.password !== ""
    ? "the url of the server holds a user name or password: give them as `username` and `password`"
    : parsed.search !== "" || parsed.hash !== ""
    ? "the url of the server has no query and no fragment"
    : undefined
  return parsed === undefined || issue !== undefined
    ? AgentError.fail(new AgentError.InvalidConfig({ issue: issue ?? "it is no address" }), { provider: "opencode" })
    : Effect.succeed(`${parsed.origin}${parsed.pathname}`.replace(/\/+$/, ""))
}

/** Events without the password, which tools inherit from their server and may print. */
const cleaner = (password: Redacted.Redacted<string> | undefined) => {
  const clean = Redaction.jsonFilter(password === undefined ? [] : [password])
  return (events: ReadonlyArray<string>) => events.map(clean)
}

/** Listens to the server for as long as the scope lives, as often as it is run. */
export const at = (options: Options): Effect.Effect<OpenCodeServer, never, Scope.Scope | HttpClient.HttpClient> => {
  // Whoever has answered once is awaited when it is gone; who never did is not there.
  let answered = false
  return Effect.suspend(() =>
    listen(options, {
      has: () => answered,
      note: () => {
        answered = true
      }
    })
  )
}

interface Answered {
  readonly has: () => boolean
  readonly note: () => void
}

const listen = Effect.fnUntraced(function*(
  options: Options,
  answered: Answered
): Effect.fn.Return<OpenCodeServer, never, Scope.Scope | HttpClient.HttpClient> {
  const http = yield* Effect.context<HttpClient.HttpClient>()
  // Of an address that cannot be used nothing is shown: it may hold a password.
  const target = yield* Effect.orElseSucceed(addressOf(options.url), () => "the configured url")
  let ready: ProcessStatus | undefined
  const listeners = new Set<(signal: Signal) => void>()

  const unreachable = (error: AgentError.AgentError): AgentError.AgentError => {
    if (error.reason._tag !== "ConnectionLost" || answered.has()) return error
    const { description = "nothing answers there" } = error.reason
    return AgentError.make(new AgentError.Unavailable({ target, description }), { provider: "opencode" })
  }

  /** One that is just starting, and one that has answered before, which is being started again. */
  const isAwaited = ({ reason }: AgentError.AgentError): boolean =>
    reason._tag === "ConnectionLost" && (answered.has() || /no answer within/.test(reason.description ?? ""))

  const reach = Effect.gen(function*() {
    const url = yield* addressOf(options.url)
    const credentials = {
      ...(options.username === undefined ? undefined : { username: options.username }),
      ...(options.password === undefined ? undefined : { password: options.password })
    }
    const probe = yield* OpenCodeClient.make({ url, timeout: attempt, ...credentials })
    const client = yield* OpenCodeClient.make({ url, ...credentials })
    const version = yield* identify.identify(probe).pipe(
      Effect.retry({ schedule: Schedule.upTo(Schedule.spaced("250 millis"), { duration: restart }), while: isAwaited })
    )
    answered.note()
    return { client, version }
  }).pipe(Effect.mapError(unreachable), Effect.provide(http))

  const link = yield* serverLink.make({
    target,
    reach,
    patience,
    clean: cleaner(options.password),
    onConnected: ({ version }) => {
      if (ready?._tag === "ready" && ready.version === version) return
      ready = { _tag: "ready", version, protocol: "http" }
      for (const report of listeners) report({ _tag: "process", status: ready })
    }
  })

  return {
    ...link,
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
