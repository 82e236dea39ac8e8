/** Reins over the real OpenCode, as a host builds it, in directories that the bare server uses as well. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import type { Session } from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import type { PromptOutcome } from "@reins/core/Turn"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as OpenCodeBinary from "@reins/opencode/OpenCodeBinary"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { Access } from "./bareClient.ts"
import * as bench from "./bench.ts"

/** What both contenders work in. */
export interface Place {
  readonly binary: string
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

/** A scripted model, directories, and the binary; all of it goes with the scope. */
export const place: Effect.Effect<Place, bench.BenchFailed, Scope.Scope> = Effect.gen(function*() {
  const model = yield* ScriptedModel.make()
  const { cwd, env } = yield* OpenCodeSandbox.make({ url: model.url })
  const { path } = yield* OpenCodeBinary.find({ from: [fileURLToPath(new URL(".", import.meta.url))] })
  return { binary: path, cwd, env }
}).pipe(Effect.provide(NodeServices.layer), Effect.mapError(bench.unexpected))

/** `hear` is told where the server is and what it wants to see, with each request. */
export const layer = (place: Place, hear: (access: Access) => void = () => {}): Layer.Layer<Sessions.Sessions> =>
  Sessions.layer.pipe(
    Layer.provide(Providers.layer({ opencode: OpenCode.make({ binary: place.binary, env: place.env }) })),
    Layer.provide(BindingStore.layerMemory),
    Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
    Layer.provide(Layer.effect(
      HttpClient.HttpClient,
      Effect.map(
        HttpClient.HttpClient,
        (client) =>
          HttpClient.tapRequest(
            client,
            (request) =>
              Effect.sync(() =>
                hear({ url: new URL(request.url).origin, authorization: request.headers["authorization"] })
              )
          )
      )
    )),
    Layer.provide(NodeHttpClient.layerUndici),
    Layer.provide(NodeServices.layer)
  )

type Event = SessionEvent | Lagged

interface Waiter {
  readonly select: (event: Event) => boolean
  readonly resolve: (event: never) => void
}

/** A session whose events are heard as they come. */
export class Watched {
  readonly session: Session
  private readonly limit: number
  private readonly waiters = new Set<Waiter>()
  /** The server's process, once its session has one. */
  server: { readonly pid: number | undefined; readonly version: string | undefined } | undefined

  constructor(session: Session, limit: number) {
    this.session = session
    this.limit = limit
  }

  take(event: Event): void {
    if (event._tag === "ProcessChanged" && event.status._tag === "ready") {
      this.server = { pid: event.status.pid, version: event.status.version }
    }
    for (const waiter of this.waiters) {
      if (!waiter.select(event)) continue
      this.waiters.delete(waiter)
      waiter.resolve(event as never)
    }
  }

  /** The first event from now on that fits. */
  next<A extends Event>(select: (event: Event) => event is A, what: string): Promise<A> {
    const event = new Promise<A>((resolve) => this.waiters.add({ select, resolve }))
    return bench.within(this.limit, what, event)
  }
}

/** An event with this tag. */
export const isTag = <T extends Event["_tag"]>(
  tag: T,
  where: (event: Extract<Event, { readonly _tag: T }>) => boolean = () => true
) =>
(event: Event): event is Extract<Event, { readonly _tag: T }> =>
  event._tag === tag && where(event as Extract<Event, { readonly _tag: T }>)

/** Opens a session; it closes with the scope. */
export const open = (
  place: Place,
  limit: number
): Effect.Effect<Watched, bench.BenchFailed, Sessions.Sessions | Scope.Scope> =>
  Effect.gen(function*() {
    const sessions = yield* Sessions.Sessions
    const session = yield* sessions.openScoped({ provider: "opencode", cwd: place.cwd, title: "bench" })
    // Somebody is there to answer, as a host would say.
    yield* session.attach()
    const watched = new Watched(session, limit)
    yield* session.events().pipe(
      Stream.runForEachArray((events) =>
        Effect.sync(() => {
          for (const event of events) watched.take(event)
        })
      ),
      Effect.forkScoped
    )
    return watched
  }).pipe(Effect.mapError(bench.unexpected))

/** Fails unless the turn ended as it should. */
export const expectOutcome = (outcome: PromptOutcome, tag: PromptOutcome["_tag"]): void => {
  if (outcome._tag !== tag) throw new Error(`A turn should have ended ${tag} and ended ${JSON.stringify(outcome)}.`)
}
