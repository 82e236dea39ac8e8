/**
 * A model server for tests: it listens on 127.0.0.1, speaks chat-completions (`/v1/chat/completions`), the Responses API
 * (`/v1/responses`) and the Messages API of Anthropic (`/v1/messages`) to real agents, and says and breaks what a script tells
 * it to.
 *
 * A script comes from code (`respond`) or from the prompt itself, as JSON between triple angle brackets:
 *
 * ```text
 * run it <<<[{"tools":[{"name":"bash","args":{"command":"true"}}]},{"text":"finished"}]>>>
 * ```
 *
 * Each model call since that prompt takes the next step; after the last one the answer is `done`.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as answer from "./internal/answer.ts"
import * as answerPlan from "./internal/answerPlan.ts"
import * as chatCompletions from "./internal/chatCompletions.ts"
import * as gates from "./internal/gates.ts"
import * as loopbackServer from "./internal/loopbackServer.ts"
import * as modelScript from "./internal/modelScript.ts"
import type { ModelWire } from "./internal/modelWire.ts"
import * as requestLog from "./internal/requestLog.ts"
import * as messages from "./internal/messages.ts"
import * as responses from "./internal/responses.ts"
import * as turns from "./internal/turns.ts"

/**
 * One answer of the model. `do` names its kind; in a prompt the short forms `{"text":…}`, `{"tools":[…]}`,
 * `{"status":429}`, `{"hang":true}`, `{"cut":3}`, `{"finish":"length"}` and so on say the same.
 *
 * | `do` | fields | what the client sees |
 * |---|---|---|
 * | `text` | content, `reasoning?` | a text, after an optional chain of thought |
 * | `reasoning` | content, `answer?` | a chain of thought (`reasoning_content`), then an optional text |
 * | `tools` | `tools: [{ name, args? \| rawArgs? \| input?, namespace?, id? }]`, content, `reasoning?` | calls, several are parallel; `input` is the text of a custom tool, `namespace` that of an MCP server on the Responses wire |
 * | `status` | `code`, `headers?`, `body?`, `message?` | an HTTP answer without a model behind it |
 * | `hang` | `headers?` | not a byte, or with `headers: true` nothing but headers |
 * | `stall` | content, `after?` (1) | silence after that many chunks |
 * | `cut` | content, `after?` (1), `before?: "headers"` | a socket closed after that many chunks, or before any byte |
 * | `malformed` | content, `after?` (0) | an event whose JSON breaks off |
 * | `streamError` | content, `after?` (0), `message?`, `code?` | an error object inside the stream, `response.failed` |
 * | `noFinish` | content, `done?` (true) | an end without a finish reason |
 * | `finish` | `reason`, content | an end with any finish reason, known or not |
 *
 * Content is `text`, `words: n` or `chars: n`, in chunks of a word each or of `chunkSize` characters, at `rate` chunks
 * per second or `delayMs` apart (unthrottled by default). `gate` holds the answer until the test opens the gate, before
 * the headers or after `gateAfter` chunks. `usage` sets token counts. A fault with `times: n` happens n times, then the
 * step after it is next; without `times` it happens on every call.
 *
 * A script is found again in the conversation at each call: once an agent has compacted the prompt away, the answer is
 * `done`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Step: Schema.Codec<Step, modelScript.StepEncoded> = modelScript.Step

/**
 * One answer of the model; see the schema of the same name for the kinds and their fields.
 *
 * @category models
 * @since 0.1.0
 */
export type Step = modelScript.Step

/**
 * A single step answers one call; a list is a turn, one step for each model call since the last user message.
 *
 * @category models
 * @since 0.1.0
 */
export type Script = Step | ReadonlyArray<Step>

/**
 * The result of a tool, as the agent reported it to the model.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolResult {
  readonly id: string
  /** The tool's name, if the conversation holds the call. */
  readonly name?: string
  readonly content: string
}

/**
 * A model call, reduced to what a script or an assertion needs.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModelRequest {
  /** Position among calls of its kind, from 0: title calls are counted apart, since agents send them at any time. */
  readonly index: number
  readonly model: string
  /** The conversation's id, if the agent sends one in its headers. */
  readonly sessionId: string | undefined
  readonly messages: ReadonlyArray<chatCompletions.Body["messages"][number]>
  readonly lastUserText: string
  /** Names of the tools on offer. */
  readonly tools: ReadonlyArray<string>
  /** Tools have reported since the last user message. */
  readonly hasToolResults: boolean
  readonly toolResultsAfterLastUser: ReadonlyArray<ToolResult>
  /** No tools are on offer: a call for a title or a summary. Never so with `titles: false`. */
  readonly isTitle: boolean
  /** The body as it was posted. */
  readonly body: unknown
}

/**
 * A model call as it was received.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedRequest {
  readonly request: ModelRequest
  /** Time of arrival, ms since the epoch. */
  readonly at: number
  /** Headers in lower case, without `authorization`. */
  readonly headers: Readonly<Record<string, string>>
  readonly stream: boolean
  /** The body's text, at most 1,000,000 characters of it. */
  readonly text: string
  readonly truncated: boolean
}

/**
 * What a scripted model may be told.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Scripts calls from code; without an answer the script in the prompt counts. */
  readonly respond?: (request: ModelRequest) => Script | undefined
  /**
   * Answers calls that offer no tools: a fixed title ("Scripted title" by default), a script, or `false` to treat them
   * like any other call.
   */
  readonly titles?: string | false | ((request: ModelRequest) => Script | undefined)
  /** Names listed by `GET /v1/models`, one by default; requests may name any model. */
  readonly models?: ReadonlyArray<string>
  /** Runs before each call is answered, and delays the answer. */
  readonly onRequest?: (recorded: RecordedRequest) => Effect.Effect<void>
}

/**
 * The server could not listen on the port it was given.
 *
 * @category errors
 * @since 0.1.0
 */
export const ListenError = loopbackServer.ListenError

/**
 * The server could not listen on the port it was given.
 *
 * @category errors
 * @since 0.1.0
 */
export type ListenError = loopbackServer.ListenError

/**
 * A running scripted model.
 *
 * @category services
 * @since 0.1.0
 */
export class ScriptedModel extends Context.Service<ScriptedModel, {
  /** Base URL for clients, `http://127.0.0.1:PORT/v1`. */
  readonly url: string
  readonly port: number
  /** The calls so far, the latest 10,000 or 64 MB of them, oldest first. */
  readonly requests: Effect.Effect<ReadonlyArray<RecordedRequest>>
  /**
   * Waits for a call: the one with this index (title calls do not count), or the first, title calls included, that
   * fits. A call already received counts.
   */
  readonly awaitRequest: (target: number | ((request: ModelRequest) => boolean)) => Effect.Effect<ModelRequest>
  /** Opens a gate for good, also for answers yet to come. */
  readonly open: (gate: string) => Effect.Effect<void>
  /** Opens every gate for good, also those not named yet. */
  readonly openAll: Effect.Effect<void>
  /** Waits until an answer has reached the gate; what precedes the gate is on its way to the client then. */
  readonly awaitGate: (gate: string) => Effect.Effect<void>
  /** Client connections open now. */
  readonly connections: Effect.Effect<number>
}>()("@reins/testing/ScriptedModel") {}

/**
 * The model that `GET /v1/models` lists by default.
 *
 * @category models
 * @since 0.1.0
 */
export const defaultModel = "scripted-1"

/** Headers in which agents name the conversation. */
const sessionHeaders = ["x-session-affinity", "x-session-id", "session-id", "x-opencode-session"]

const wires: Readonly<Record<string, ModelWire>> = {
  "/v1/chat/completions": chatCompletions.wire,
  "/v1/responses": responses.wire,
  "/v1/messages": messages.wire
}

const idPrefixes: ReadonlyMap<ModelWire, string> = new Map([
  [chatCompletions.wire, "chatcmpl-"],
  [responses.wire, "resp_"],
  [messages.wire, "msg_"]
])

const defaultTitle = "Scripted title"
const titleStep = (text: string): Step => ({ do: "text", text })

const jsonHeaders = { "content-type": "application/json" }

const isList = (script: Script): script is ReadonlyArray<Step> => Array.isArray(script)

const toRequest = (
  { body, raw }: { readonly body: chatCompletions.Body; readonly raw: unknown },
  sessionId: string | undefined,
  countTitle: () => number | undefined,
  countCall: () => number
): ModelRequest => {
  const lastUser = chatCompletions.lastUserIndex(body)
  const message = body.messages[lastUser]
  const results = chatCompletions.toolResultsAfter(body, lastUser)
  const tools = (body.tools ?? []).map((tool) => tool.function.name)
  const title = tools.length === 0 ? countTitle() : undefined
  return {
    index: title ?? countCall(),
    model: body.model,
    sessionId,
    messages: body.messages,
    lastUserText: message === undefined ? "" : chatCompletions.textOf(message),
    tools,
    hasToolResults: results.length > 0,
    toolResultsAfterLastUser: results,
    isTitle: title !== undefined,
    body: raw
  }
}

/**
 * Starts a scripted model; `port` 0, the default, takes a free one. Closing the scope destroys its sockets.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options & { readonly port?: number } = {}
): Effect.fn.Return<ScriptedModel["Service"], ListenError, Scope.Scope> {
  const titles = options.titles ?? defaultTitle
  const doors = gates.make()
  const log = requestLog.make<ModelRequest, RecordedRequest>()
  const progress = turns.make()
  let calls = 0
  let titleCalls = 0
  let serial = 0

  const fromScript = (
    script: Script,
    origin: string,
    request: ModelRequest,
    body: chatCompletions.Body,
    anchor: number
  ): Step => {
    const answers = chatCompletions.answersAfter(body, anchor)
    const message = body.messages[anchor]
    const text = message === undefined ? "" : chatCompletions.textOf(message)
    // The same prompt may be sent twice in one conversation; each time is a turn of its own.
    const repeats = body.messages.slice(0, Math.max(anchor, 0))
      .filter((other) => other.role === "user" && chatCompletions.textOf(other) === text).length
    const key = [origin, request.sessionId ?? "", text, String(repeats)]
    return isList(script)
      ? progress.next(key, script, answers)
      : progress.next([...key, String(answers)], [script], 0)
  }

  const fromPrompt = (request: ModelRequest, body: chatCompletions.Body): Step => {
    const anchor = chatCompletions.lastUserIndex(body, (text) => modelScript.find(text)._tag !== "None")
    const message = body.messages[anchor]
    const found = modelScript.find(message === undefined ? "" : chatCompletions.textOf(message))
    switch (found._tag) {
      case "None":
        return turns.exhausted
      case "Steps":
        return fromScript(found.steps, "prompt", request, body, anchor)
      case "Broken":
        return { do: "status", code: 400, message: `broken script in the prompt: ${found.message}` }
    }
  }

  const choose = (request: ModelRequest, body: chatCompletions.Body): Step => {
    const anchor = chatCompletions.lastUserIndex(body)
    if (request.isTitle && titles !== false) {
      const script = Predicate.isString(titles) ? titleStep(titles) : titles(request) ?? titleStep(defaultTitle)
      return fromScript(script, "title", request, body, anchor)
    }
    const script = options.respond?.(request)
    return script === undefined ? fromPrompt(request, body) : fromScript(script, "code", request, body, anchor)
  }

  const converse = Effect.fnUntraced(function*(
    exchange: loopbackServer.Exchange,
    wire: ModelWire
  ): Effect.fn.Return<void> {
    const { reply } = exchange
    const decoded = wire.decode(exchange.body)
    if (Result.isFailure(decoded)) {
      return yield* reply.send(400, jsonHeaders, wire.errorBody(400, decoded.failure.message))
    }
    const { body } = decoded.success
    const name = sessionHeaders.find((header) => exchange.headers[header] !== undefined)
    const sessionId = name === undefined ? undefined : exchange.headers[name]
    const request = toRequest(
      decoded.success,
      sessionId,
      () => titles === false ? undefined : titleCalls++,
      () => calls++
    )
    const number = serial++
    const at = yield* Clock.currentTimeMillis
    const { authorization: _, "x-api-key": __, ...headers } = exchange.headers
    const text = exchange.body.slice(0, requestLog.maxText)
    const recorded: RecordedRequest = {
      request,
      at,
      headers,
      stream: body.stream === true,
      text,
      truncated: text.length < exchange.body.length
    }
    log.add(recorded, exchange.body.length)
    if (options.onRequest !== undefined) {
      yield* options.onRequest(recorded)
    }
    const step = choose(request, body)
    const gate = answerPlan.gateBefore(step)
    if (gate !== undefined) {
      yield* doors.pass(gate)
    }
    yield* answer.perform(answerPlan.make(step, { serial: number, promptChars: exchange.body.length }), {
      reply,
      gates: doors,
      wire,
      envelope: {
        id: `${idPrefixes.get(wire) ?? ""}${number}`,
        model: body.model,
        created: Math.floor(at / 1000)
      },
      stream: recorded.stream,
      includeUsage: body.stream_options?.include_usage === true
    })
  })

  const server = yield* loopbackServer.make({
    port: options.port ?? 0,
    handler: (exchange) => {
      if (exchange.path === "/v1/models" && exchange.method === "GET") {
        return exchange.reply.send(200, jsonHeaders, chatCompletions.modelList(options.models ?? [defaultModel]))
      }
      const wire = exchange.method === "POST" ? wires[exchange.path] : undefined
      if (wire !== undefined) return converse(exchange, wire)
      return exchange.reply.send(
        404,
        jsonHeaders,
        chatCompletions.errorBody(404, `no route ${exchange.method} ${exchange.path}`)
      )
    }
  })

  return ScriptedModel.of({
    url: `http://127.0.0.1:${server.port}/v1`,
    port: server.port,
    requests: log.all,
    awaitRequest: (target) =>
      log.awaitFirst(
        Predicate.isFunction(target) ? target : (request) => request.index === target && !request.isTitle
      ),
    open: doors.open,
    openAll: doors.openAll,
    awaitGate: doors.awaitReached,
    connections: server.connections
  })
})

/**
 * A scripted model on a free port. Closing the layer takes at most a second and leaves no socket behind.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<ScriptedModel> =>
  // Only a port of the caller's choice can be taken.
  Layer.effect(ScriptedModel, Effect.orDie(make({ ...options, port: 0 })))

/**
 * A prompt that carries a script, safe to nest: a script for a sub-agent may stand inside the arguments of a call.
 *
 * @category constructors
 * @since 0.1.0
 */
export const prompt = (text: string, script: Script): string =>
  `${text} ${modelScript.render(isList(script) ? script : [script])}`
