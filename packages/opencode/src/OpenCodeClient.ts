/**
 * Typed calls to one OpenCode server.
 *
 * A failed call says what is known: the connection broke (`ConnectionLost`: nobody knows whether the call arrived), the
 * server refused (`AuthRequired`, `InvalidRequest`, `InvalidConfig`, `SessionBusy`), the server says that there is no
 * such session (`SessionNotFound`), or it does not speak the protocol (`ProtocolError`).
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type * as Provider from "@reins/core/Provider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as errors from "./internal/errors.ts"
import * as routes from "./internal/routes.ts"
import * as Wire from "./OpenCodeSchema.ts"

/**
 * Where the server is, and how to speak to it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Its base address, for example `http://127.0.0.1:4096`. */
  readonly url: string
  /** Default `opencode`. */
  readonly username?: string
  /** Absent: the server asks for none. */
  readonly password?: Redacted.Redacted<string>
  /** What no answer may show besides the password. */
  readonly secrets?: ReadonlyArray<Redacted.Redacted<string>>
  /** From the start of a call to the end of its answer. Default 30 seconds. */
  readonly timeout?: Duration.Input
}

/**
 * One rule of a session's permissions; the last that matches wins.
 *
 * @category models
 * @since 0.1.0
 */
export interface PermissionRule {
  readonly permission: string
  readonly pattern: string
  readonly action: "ask" | "allow" | "deny"
}

/**
 * What a new session is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface CreateSession {
  readonly title?: string
  readonly agent?: string
  readonly model?: { readonly id: string; readonly providerID: string; readonly variant?: string }
  readonly permission?: ReadonlyArray<PermissionRule>
}

/**
 * One part of a prompt. A repeated part with the same id is taken once.
 *
 * @category models
 * @since 0.1.0
 */
export type PartInput =
  | { readonly id?: string; readonly type: "text"; readonly text: string; readonly synthetic?: boolean }
  | {
    readonly id?: string
    readonly type: "file"
    readonly mime: string
    readonly url: string
    readonly filename?: string
  }
  | { readonly id?: string; readonly type: "agent"; readonly name: string }

/**
 * A prompt. With a `messageID` and ids of the parts a repetition runs once.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromptBody {
  readonly messageID?: string
  readonly model?: { readonly providerID: string; readonly modelID: string }
  readonly agent?: string
  readonly variant?: string
  readonly system?: string
  readonly parts: ReadonlyArray<PartInput>
}

/**
 * The calls of one server. `directory` is the project that a call is about.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenCodeClient extends routes.Routes {
  readonly url: string
  /** Ask it only after the server wrote its ready line: a socket opened before is never answered. */
  readonly health: Effect.Effect<Wire.Health, AgentError.AgentError>
  /** The health of OpenCode 2.x, at an address of its own; 1.x answers it too. */
  readonly secondHealth: Effect.Effect<void, AgentError.AgentError>
  /** The effective configuration; fails with `InvalidConfig` where the server runs but cannot read it. */
  readonly config: (directory?: string) => Effect.Effect<Wire.Config, AgentError.AgentError>
  /** The agents of a directory with the rules that hold for each. */
  readonly agentRules: (directory?: string) => Effect.Effect<ReadonlyArray<Wire.Agent>, AgentError.AgentError>
  /**
   * Conversations that are no subagents', most recently updated first, of one directory or of all. With `before` (epoch
   * ms) those that were updated earlier than that.
   */
  readonly sessions: (options: {
    readonly directory?: string
    readonly limit: number
    readonly before?: number
  }) => Effect.Effect<{ readonly sessions: ReadonlyArray<Wire.Session>; readonly more: boolean }, AgentError.AgentError>
  readonly createSession: (
    options: CreateSession,
    directory?: string
  ) => Effect.Effect<Wire.Session, AgentError.AgentError>
  /** `None` only where the server itself says that it has no such session. */
  readonly getSession: (sessionID: string) => Effect.Effect<Option.Option<Wire.Session>, AgentError.AgentError>
  readonly updateSession: (
    sessionID: string,
    change: { readonly title?: string; readonly permission?: ReadonlyArray<PermissionRule> }
  ) => Effect.Effect<Wire.Session, AgentError.AgentError>
  /** `gone`: there was none. */
  readonly deleteSession: (sessionID: string) => Effect.Effect<"deleted" | "gone", AgentError.AgentError>
  readonly children: (sessionID: string) => Effect.Effect<ReadonlyArray<Wire.Session>, AgentError.AgentError>
  /** The sessions that are not idle. */
  readonly sessionStatus: (
    directory?: string
  ) => Effect.Effect<Readonly<Record<string, Wire.SessionStatus>>, AgentError.AgentError>
  /** Oldest first; `limit` takes the newest ones. */
  readonly messages: (
    sessionID: string,
    options?: { readonly limit?: number }
  ) => Effect.Effect<ReadonlyArray<Wire.MessageWithParts>, AgentError.AgentError>
  /** The newest messages, or those before a page, oldest first; `next` asks for the page before this one. */
  readonly messagePage: (
    sessionID: string,
    options: { readonly limit: number; readonly before?: string }
  ) => Effect.Effect<MessagePage, AgentError.AgentError>
  readonly message: (
    sessionID: string,
    messageID: string
  ) => Effect.Effect<Option.Option<Wire.MessageWithParts>, AgentError.AgentError>
  /** Returns when the server has the prompt; that is no promise that a turn begins. */
  readonly promptAsync: (sessionID: string, body: PromptBody) => Effect.Effect<void, AgentError.AgentError>
  /** Succeeds for idle and unknown sessions too. */
  readonly abort: (sessionID: string) => Effect.Effect<void, AgentError.AgentError>
  /**
   * The open asks of a directory. `unreadable`: one of them, of whatever session, holds a value that the server cannot
   * write as JSON (an absent argument of `grep` or `webfetch` does), and until it is answered none can be listed.
   */
  readonly permissions: (
    directory?: string
  ) => Effect.Effect<ReadonlyArray<Wire.Permission> | "unreadable", AgentError.AgentError>
  /** `gone`: nobody waits for it any more. A `reject` with a message lets the model go on, without one ends the turn. */
  readonly replyPermission: (
    requestID: string,
    reply: { readonly reply: "once" | "always" | "reject"; readonly message?: string },
    /** The session's: asks are found only below the directory that they belong to. */
    directory: string
  ) => Effect.Effect<"delivered" | "gone", AgentError.AgentError>
  readonly questions: (directory?: string) => Effect.Effect<ReadonlyArray<Wire.Question>, AgentError.AgentError>
  /** One list of answers for each question. */
  readonly replyQuestion: (
    requestID: string,
    reply: { readonly answers: ReadonlyArray<ReadonlyArray<string>> },
    directory: string
  ) => Effect.Effect<"delivered" | "gone", AgentError.AgentError>
  readonly rejectQuestion: (
    requestID: string,
    directory: string
  ) => Effect.Effect<"delivered" | "gone", AgentError.AgentError>
  readonly providers: (directory?: string) => Effect.Effect<Wire.ModelProviders, AgentError.AgentError>
  /** The models of all providers, named `provider/model`. Prices are US dollars for a million tokens. */
  readonly models: (directory?: string) => Effect.Effect<ReadonlyArray<Provider.Model>, AgentError.AgentError>
  /** Aborts all turns and ends what their tools started; ask it before the server is ended. */
  readonly globalDispose: Effect.Effect<void, AgentError.AgentError>
  /** The request of the event stream; its `Authorization` header holds the password. */
  readonly eventRequest: HttpClientRequest.HttpClientRequest
}

/**
 * A page of a conversation.
 *
 * @category models
 * @since 0.1.0
 */
export interface MessagePage {
  readonly messages: ReadonlyArray<Wire.MessageWithParts>
  readonly next?: string
}

interface Call {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE"
  readonly path: string
  readonly directory?: string | undefined
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** Milliseconds, where the call may take longer, or shorter, than others. */
  readonly timeout?: number
  /** The value where the server fails to write its own answer. */
  readonly unwritable?: unknown
}

const Permissions = Schema.Union([Schema.Literal("unreadable"), Schema.Array(Wire.Permission)])

/** An answer that says that there is no such thing, or the value. */
type Answer =
  | { readonly _tag: "gone"; readonly reason: AgentError.AgentErrorReason }
  | { readonly _tag: "value"; readonly value: unknown; readonly next?: string }

const parse = (text: string): Option.Option<unknown> => {
  try {
    return Option.some(JSON.parse(text))
  } catch {
    return Option.none()
  }
}

const segment = (id: string): string => encodeURIComponent(id)

/**
 * Makes the calls of one server.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<OpenCodeClient, never, HttpClient.HttpClient> {
  const http = yield* HttpClient.HttpClient
  const usual = Duration.fromInputUnsafe(options.timeout ?? Duration.seconds(30))
  const url = options.url.replace(/\/+$/, "")

  const authorise = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest =>
    options.password === undefined
      ? request
      : HttpClientRequest.basicAuth(request, options.username ?? "opencode", options.password)

  // Tools inherit the password from the server, and may print it.
  const withoutSecret = Redaction.jsonFilter([
    ...(options.password === undefined ? [] : [options.password]),
    ...(options.secrets ?? [])
  ])

  const requestOf = (call: Call): HttpClientRequest.HttpClientRequest => {
    let request = authorise(HttpClientRequest.acceptJson(HttpClientRequest.make(call.method)(`${url}${call.path}`)))
    if (call.query !== undefined) request = HttpClientRequest.setUrlParams(request, call.query)
    if (call.directory !== undefined) {
      request = call.method === "GET"
        ? HttpClientRequest.setUrlParam(request, "directory", call.directory)
        // A header holds ASCII only; the server decodes it.
        : HttpClientRequest.setHeader(request, "x-opencode-directory", encodeURIComponent(call.directory))
    }
    return call.body === undefined ? request : HttpClientRequest.bodyJsonUnsafe(request, call.body)
  }

  // Causes are left out on purpose: an error of the client holds its request, and the request the password.
  const lost = (call: Call, description: string): AgentError.AgentError =>
    AgentError.make(
      new AgentError.ConnectionLost({ target: url, description: `${call.method} ${call.path}: ${description}` }),
      { provider: "opencode" }
    )

  const protocol = (call: Call, description: string, excerpt?: string): AgentError.AgentError =>
    AgentError.make(
      new AgentError.ProtocolError({
        method: `${call.method} ${call.path}`,
        description,
        ...(excerpt === undefined || excerpt.length === 0 ? undefined : { excerpt: errors.excerptOf(excerpt) })
      }),
      { provider: "opencode" }
    )

  const exchange = Effect.fnUntraced(function*(call: Call): Effect.fn.Return<Answer, AgentError.AgentError> {
    const timeout = call.timeout === undefined ? usual : Duration.millis(call.timeout)
    const { body, next, status, type } = yield* http.execute(requestOf(call)).pipe(
      Effect.flatMap((response) =>
        Effect.map(response.text, (body) => ({
          body: withoutSecret(body),
          status: response.status,
          next: response.headers["x-next-cursor"],
          type: response.headers["content-type"] ?? ""
        }))
      ),
      Effect.mapError((error) =>
        lost(call, error.reason._tag === "TransportError" ? "the server could not be reached" : "the answer broke off")
      ),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(lost(call, `no answer within ${Duration.toMillis(timeout)} ms`))
      })
    )
    const json = type.includes("json") ? parse(body) : Option.none()
    if (status >= 200 && status < 300) {
      if (status === 204 || body.length === 0) return { _tag: "value", value: undefined }
      if (type.includes("text/html")) {
        return yield* protocol(
          call,
          "The server answers with a web page: it is no OpenCode server, or one of a version without this route."
        )
      }
      if (Option.isNone(json))
        return yield* protocol(call, `The answer is no JSON (${type || "no content type"}).`, body)
      return { _tag: "value", value: json.value, ...(next === undefined ? undefined : { next }) }
    }
    const error = Option.isSome(json) ? errors.bodyOf(json.value) : undefined
    const reason = errors.ofResponse(`${call.method} ${call.path}`, status, body, error)
    if (errors.isNotFound(status, error)) return { _tag: "gone", reason }
    if (call.unwritable !== undefined && errors.isUnwritable(status, error)) {
      return { _tag: "value", value: call.unwritable }
    }
    return yield* AgentError.make(reason, { provider: "opencode" })
  })

  const decoded = <A>(call: Call, schema: Schema.ConstraintDecoder<A>) => {
    const decode = Schema.decodeUnknownEffect(schema)
    return (value: unknown): Effect.Effect<A, AgentError.AgentError> =>
      Effect.mapError(decode(value), (issue) => protocol(call, `The answer has another shape: ${issue.message}`))
  }

  /** The value; `None` where the server says that there is none. */
  const optional = <A>(
    call: Call,
    schema: Schema.ConstraintDecoder<A>
  ): Effect.Effect<Option.Option<A>, AgentError.AgentError> => {
    const decode = decoded(call, schema)
    return Effect.flatMap(
      exchange(call),
      (answer) => answer._tag === "gone" ? Effect.succeedNone : Effect.asSome(decode(answer.value))
    )
  }

  /** The value of a route that is always there. */
  const get = <A>(call: Call, schema: Schema.ConstraintDecoder<A>): Effect.Effect<A, AgentError.AgentError> => {
    const decode = decoded(call, schema)
    return Effect.flatMap(
      exchange(call),
      (answer) =>
        answer._tag === "gone"
          ? Effect.fail(AgentError.make(answer.reason, { provider: "opencode" }))
          : decode(answer.value)
    )
  }

  /** The value of a route of a session. */
  const ofSession = <A>(
    sessionID: string,
    call: Call,
    schema: Schema.ConstraintDecoder<A>
  ): Effect.Effect<A, AgentError.AgentError> =>
    Effect.flatMap(
      optional(call, schema),
      Option.match({
        onNone: () =>
          Effect.fail(
            AgentError.make(new AgentError.SessionNotFound({ sessionId: sessionID }), { provider: "opencode" })
          ),
        onSome: (value) => Effect.succeed(value)
      })
    )

  /** A page of a list, and what asks for the next one. */
  const page = <A>(sessionID: string | undefined, call: Call, schema: Schema.ConstraintDecoder<A>) => {
    const decode = decoded(call, schema)
    return Effect.flatMap(exchange(call), (answer) =>
      answer._tag === "value"
        ? Effect.map(decode(answer.value), (value) => ({ value, next: answer.next }))
        : Effect.fail(AgentError.make(
          sessionID === undefined ? answer.reason : new AgentError.SessionNotFound({ sessionId: sessionID }),
          { provider: "opencode" }
        )))
  }

  const settle = (call: Call) =>
    Effect.map(exchange(call), (answer): "delivered" | "gone" => answer._tag === "gone" ? "gone" : "delivered")

  const session = (sessionID: string, rest = ""): string => `/session/${segment(sessionID)}${rest}`

  const providers = (directory?: string) =>
    get({ method: "GET", path: "/config/providers", directory }, Wire.ModelProviders)
  const config = (directory?: string) => get({ method: "GET", path: "/config", directory }, Wire.Config)

  return {
    ...routes.make({ get, ofSession }),
    url,
    health: get({ method: "GET", path: "/global/health" }, Wire.Health),
    secondHealth: Effect.asVoid(
      get({ method: "GET", path: "/api/health" }, Schema.Struct({ healthy: Schema.Literal(true) }))
    ),
    config,
    sessions: ({ before, directory, limit }) =>
      page(
        undefined,
        {
          method: "GET",
          // `/session` itself has no pages.
          path: "/experimental/session",
          directory,
          query: {
            roots: "true",
            limit: String(limit),
            ...(before === undefined ? undefined : { cursor: String(before) })
          }
        },
        Schema.Array(Wire.Session)
      ).pipe(Effect.map(({ next, value }) => ({ sessions: value, more: next !== undefined }))),
    createSession: (body, directory) => get({ method: "POST", path: "/session", directory, body }, Wire.Session),
    getSession: (id) => optional({ method: "GET", path: session(id) }, Wire.Session),
    updateSession: (id, body) => ofSession(id, { method: "PATCH", path: session(id), body }, Wire.Session),
    deleteSession: (id) =>
      Effect.map(
        exchange({ method: "DELETE", path: session(id) }),
        (answer): "deleted" | "gone" => answer._tag === "gone" ? "gone" : "deleted"
      ),
    children: (id) => ofSession(id, { method: "GET", path: session(id, "/children") }, Schema.Array(Wire.Session)),
    agentRules: (directory) => get({ method: "GET", path: "/agent", directory }, Schema.Array(Wire.Agent)),
    sessionStatus: (directory) =>
      get(
        { method: "GET", path: "/session/status", directory },
        Schema.Record(Schema.String, Wire.SessionStatus)
      ),
    messages: (id, options) =>
      ofSession(
        id,
        {
          method: "GET",
          path: session(id, "/message"),
          ...(options?.limit === undefined ? undefined : { query: { limit: String(options.limit) } })
        },
        Schema.Array(Wire.MessageWithParts)
      ),
    messagePage: (id, { before, limit }) =>
      page(
        id,
        {
          method: "GET",
          path: session(id, "/message"),
          query: { limit: String(limit), ...(before === undefined ? undefined : { before }) }
        },
        Schema.Array(Wire.MessageWithParts)
      ).pipe(Effect.map(({ next, value }) => ({ messages: value, ...(next === undefined ? undefined : { next }) }))),
    message: (id, messageID) =>
      optional({ method: "GET", path: session(id, `/message/${segment(messageID)}`) }, Wire.MessageWithParts),
    promptAsync: (id, body) =>
      Effect.asVoid(ofSession(id, { method: "POST", path: session(id, "/prompt_async"), body }, Schema.Unknown)),
    abort: (id) => Effect.asVoid(exchange({ method: "POST", path: session(id, "/abort") })),
    permissions: (directory) =>
      get({ method: "GET", path: "/permission", directory, unwritable: "unreadable" }, Permissions),
    replyPermission: (id, body, directory) =>
      settle({ method: "POST", path: `/permission/${segment(id)}/reply`, directory, body }),
    questions: (directory) => get({ method: "GET", path: "/question", directory }, Schema.Array(Wire.Question)),
    replyQuestion: (id, body, directory) =>
      settle({ method: "POST", path: `/question/${segment(id)}/reply`, directory, body }),
    rejectQuestion: (id, directory) => settle({ method: "POST", path: `/question/${segment(id)}/reject`, directory }),
    providers,
    models: (directory) =>
      Effect.map(
        Effect.all([providers(directory), config(directory)], { concurrency: 2 }),
        ([offer, { model }]) =>
          offer.providers.flatMap((provider) =>
            Object.values(provider.models).map((entry) => modelOf(provider.id, entry, model))
          )
      ),
    globalDispose: Effect.asVoid(exchange({ method: "POST", path: "/global/dispose" })),
    eventRequest: authorise(HttpClientRequest.accept(HttpClientRequest.get(`${url}/global/event`), "text/event-stream"))
  }
})

const modelOf = (provider: string, model: Wire.Model, chosen: string | undefined): Provider.Model => {
  const id = `${provider}/${model.id}`
  const contextWindow = model.limit?.context
  const images = model.capabilities?.input?.image
  const documents = model.capabilities?.input?.pdf
  const variants = Object.keys(model.variants ?? {})
  const { input, output } = model.cost ?? {}
  return {
    id,
    name: model.name ?? model.id,
    // The server writes 0 for what it does not know.
    ...(contextWindow === undefined || contextWindow === 0 ? undefined : { contextWindow }),
    ...(images === undefined ? undefined : { images }),
    ...(documents === undefined ? undefined : { documents }),
    ...(variants.length === 0 ? undefined : { variants }),
    ...(input === undefined || output === undefined || (input === 0 && output === 0)
      ? undefined
      : { price: { input, output, currency: "USD" } }),
    ...(id === chosen ? { isDefault: true } : undefined),
    // Only what a configured, signed-in provider offers is listed.
    usable: true
  }
}
