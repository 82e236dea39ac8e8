/** The layers of a host, owned by one runtime. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import type { AgentError } from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Catalogue from "@reins/core/Catalogue"
import type { SessionId } from "@reins/core/Ids"
import type { Place as CorePlace, ProviderInstance } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import type * as Core from "@reins/core/Session"
import type * as CoreEvent from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import * as SqliteStores from "@reins/sqlite/SqliteStores"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { AdoptOptions, OpenOptions, Place, Reins, ReinsOptions } from "../Reins.ts"
import type { ReinsSession } from "../ReinsSession.ts"
import * as errors from "./errors.ts"
import * as log from "./log.ts"
import { make as makeRunning, unwrap } from "./running.ts"
import * as session from "./session.ts"
import * as settings from "./settings.ts"

const store = (options: ReinsOptions) => {
  const given = options.store ?? "memory"
  if (given === "memory") return BindingStore.layerMemory
  if (typeof given === "object" && "directory" in given && typeof given.directory === "string") {
    return BindingStore.layerFileSystem(given.directory)
  }
  if (typeof given === "object" && "file" in given && typeof given.file === "string") {
    const { file, retention } = given
    settings.figures("store.retention", retention ?? {})
    return SqliteStores.layer({ filename: file, ...(retention === undefined ? undefined : { retention }) })
  }
  throw errors.invalidConfig(`"store" is "memory", { directory } or { file }`)
}

const layer = (options: ReinsOptions, say: log.Log | undefined) => {
  const limits = options.limits ?? {}
  settings.figures("limits", limits)
  const providers = Object.fromEntries(
    Object.entries(options.providers).map(([name, given]) => [name, settings.provider(name, given)])
  )
  return Sessions.layerWith(limits).pipe(
    Layer.provideMerge(Providers.layer(providers)),
    Layer.provide(store(options)),
    Layer.provide(ApprovalPolicy.layer(settings.policy(options.approvals ?? "ask"))),
    Layer.provide(NodeHttpClient.layerUndici),
    Layer.provide(NodeSocket.layerWebSocketConstructor),
    Layer.provide(NodeServices.layer),
    Layer.provideMerge(log.layer(say))
  )
}

const isJson = Schema.is(Schema.Json)

/** Throws what is wrong with the options as a `ReinsError`. */
const checked = <A>(make: () => A): A => {
  try {
    return make()
  } catch (thrown) {
    throw errors.fromUnknown(thrown)
  }
}

export const create = async (options: ReinsOptions): Promise<Reins> => {
  const [say, layers] = checked(() => {
    const say = log.make(options.logger)
    return [say, layer(options, options.logger === undefined ? undefined : say)] as const
  })
  const runtime = ManagedRuntime.make(layers)
  const built = await runtime.runPromiseExit(Effect.context<Sessions.Sessions | Providers.Providers>())
  if (built._tag === "Failure") {
    await runtime.dispose().catch(() => undefined)
    throw errors.fromCause(built.cause)
  }
  const context = built.value
  const sessions = Context.get(context, Sessions.Sessions)
  const providers = Context.get(context, Providers.Providers)
  const running = makeRunning(context, say)
  const known = new WeakMap<Core.Session, ReinsSession>()
  let closing: Promise<void> | undefined

  const facade = (core: Core.Session): ReinsSession => {
    const before = known.get(core)
    if (before !== undefined) return before
    const made = session.make(core, running, facade)
    known.set(core, made)
    return made
  }

  /** Rejects from the moment on in which the host is asked to close. */
  const whileOpen = async <A>(effect: () => Effect.Effect<A, AgentError>): Promise<A> => {
    if (closing !== undefined) throw errors.closed()
    return running.promise(Effect.suspend(effect))
  }

  const settled = (wanted: Omit<OpenOptions, "id">) => {
    const { approvals, mcpServers, onProgress, tools, ...rest } = wanted
    const policy = approvals === undefined ? undefined : settings.policy(approvals)
    return {
      ...rest,
      ...(policy === undefined ? undefined : { policy }),
      ...(mcpServers === undefined ? undefined : { mcpServers: settings.mcpServers(mcpServers) }),
      ...(tools === undefined ? undefined : { tools: settings.tools(tools) }),
      ...(onProgress === undefined ? undefined : {
        onProgress: (event: CoreEvent.DurableEvent) =>
          running.guard("A listener to the progress", { sessionId: event.sessionId }, () => onProgress(event))
      })
    }
  }

  const open = async ({ id, ...wanted }: OpenOptions): Promise<ReinsSession> => {
    if (closing !== undefined) throw errors.closed()
    const options = { ...settled(wanted), ...(id === undefined ? undefined : { id: id as SessionId }) }
    // A fiber of the runtime: its disposal takes a half-open session back.
    return facade(unwrap(await runtime.runPromiseExit(sessions.open(options))))
  }

  const adopt = async ({ cursor, provider, ...wanted }: AdoptOptions): Promise<ReinsSession> => {
    if (closing !== undefined) throw errors.closed()
    if (!isJson(cursor)) throw errors.invalidRequest("cursor", "A cursor is a JSON value.")
    return facade(unwrap(await runtime.runPromiseExit(sessions.adopt({ ...settled(wanted), provider, cursor }))))
  }

  const offered = async <A>(
    provider: string,
    place: Place,
    ask: (instance: ProviderInstance, place: CorePlace) => Effect.Effect<A, AgentError>
  ): Promise<A> => {
    const where = checked(() => settings.place(place))
    return whileOpen(() => Effect.flatMap(providers.get(provider), (instance) => ask(instance, where)))
  }

  const close = (): Promise<void> =>
    closing ??= runtime.dispose().catch((error: unknown) => {
      say("error", "Something failed while Reins closed.", { error })
    })

  return {
    open: (wanted) => open(wanted).catch((thrown: unknown) => Promise.reject(errors.fromUnknown(thrown))),
    get: (id) => whileOpen(() => Effect.map(sessions.get(id as SessionId), facade)),
    sessions: () => whileOpen(() => Effect.map(sessions.opened, (all) => all.map(facade))),
    list: (filter) => whileOpen(() => sessions.list(filter)),
    events: (id, options) =>
      running.iterable(
        Stream.suspend(() =>
          closing === undefined ? sessions.events(id as SessionId, options) : Stream.fail(errors.closedError)
        )
      ),
    history: (id, request) => whileOpen(() => sessions.history(id as SessionId, request)),
    conversations: (options) => whileOpen(() => sessions.conversations(options)),
    adopt: (wanted) => adopt(wanted).catch((thrown: unknown) => Promise.reject(errors.fromUnknown(thrown))),
    remove: (id, options) => whileOpen(() => sessions.remove(id as SessionId, options)),
    probe: (provider) => whileOpen(() => Effect.flatMap(providers.get(provider), ({ probe }) => probe)),
    models: (provider, place) => offered(provider, place, Catalogue.models),
    modes: (provider, place) => offered(provider, place, Catalogue.modes),
    commands: (provider, place) => offered(provider, place, Catalogue.commands),
    quiescent: () => running.promise(sessions.quiescent),
    close,
    [Symbol.asyncDispose]: close
  }
}
