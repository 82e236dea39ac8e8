/**
 * How tapes of OpenCode are played: record them with `WireTape.httpClient` around the `HttpClient` that `OpenCode.make`
 * gets, and give them to `TapeProvider`.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import * as HttpTape from "@reins/transport/HttpTape"
import type * as TapeProvider from "@reins/transport/TapeProvider"
import type * as WireTape from "@reins/transport/WireTape"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as catalogue from "./internal/catalogue.ts"
import * as errors from "./internal/errors.ts"
import * as normalise from "./internal/normalise.ts"
import type { Known } from "./internal/serverModel.ts"
import { ServerModel } from "./internal/serverModel.ts"
import * as snapshot from "./internal/snapshot.ts"
import { limits, remember } from "./internal/state.ts"
import * as telling from "./internal/telling.ts"
import * as OpenCode from "./OpenCode.ts"

type Answered = Extract<TapeProvider.TapeStep, { readonly _tag: "answered" }>

/** A conversation while its tape is read. */
interface Reading {
  readonly sessionID: string
  readonly how: TapeProvider.TapeConversation["how"]
  readonly steps: Array<TapeProvider.TapeStep>
  readonly state: normalise.NormaliserState
  readonly known: Known
  /** Where what is read of the agent goes, until the reading is complete. */
  reading: Known | undefined
  /** The server that serves it. */
  origin: string
  /** Where it works, as far as the tape tells. */
  directory: string | undefined
  /** The commands that it was told of last. */
  commands: string
  lost: boolean
}

const Created = Schema.Struct({ id: Schema.String, directory: Schema.optionalKey(Schema.String) })
const PromptBody = Schema.Struct({
  messageID: Schema.String,
  parts: Schema.optionalKey(
    Schema.Array(Schema.Struct({ type: Schema.String, text: Schema.optionalKey(Schema.String) }))
  )
})
const Reply = Schema.Struct({ reply: Schema.String, message: Schema.optionalKey(Schema.String) })
const Asks = Schema.Array(Schema.Struct({ id: Schema.String, sessionID: Schema.String }))

const decodeCreated = Schema.decodeUnknownOption(Created)
const decodePrompt = Schema.decodeUnknownOption(PromptBody)
const decodeReply = Schema.decodeUnknownOption(Reply)
const decodeAsks = Schema.decodeUnknownOption(Asks)

const isEvents = (call: HttpTape.Call): boolean => call.method === "GET" && call.path === "/global/event"

const lostError = (description: string): AgentError.AgentError =>
  AgentError.make(new AgentError.ConnectionLost({ target: "opencode serve", description }), { provider: "opencode" })

const errorOf = (call: HttpTape.Call, status: number, body: Schema.Json | undefined): AgentError.AgentError =>
  AgentError.make(
    errors.ofResponse(
      `${call.method} ${call.path}`,
      status,
      typeof body === "string" ? body : body === undefined ? "" : JSON.stringify(body),
      errors.bodyOf(body)
    ),
    { provider: "opencode" }
  )

const parse = (data: string): normalise.OpenCodeEvent | undefined => {
  try {
    return normalise.fromEnvelope(JSON.parse(data))
  } catch {
    // The live session passed over it, too.
    return undefined
  }
}

/** An answer among the frames of a step: the commands on offer. */
interface Commands {
  readonly commands: ReturnType<typeof telling.shown>
}

const isCommands = (frame: unknown): frame is Commands => Predicate.hasProperty(frame, "commands")

class Reader {
  readonly all = new Map<string, Reading>()
  /** The root of the tree that a session belongs to. */
  readonly #roots = new Map<string, string>()
  /** The session of a request. */
  readonly #asks = new Map<string, string>()
  /** Calls that are steps and have not returned yet. */
  readonly #open = new Map<number, Reading>()
  /** Calls that run a command. */
  readonly #commands = new Map<number, Reading>()

  take(entry: HttpTape.Entry): void {
    switch (entry._tag) {
      case "called":
        return this.#called(entry.t, entry.call)
      case "answered":
        return this.#answered(entry)
      case "events":
        return this.#events(entry.t, entry.events)
      case "ended":
        return this.#ended(entry)
    }
  }

  #of(session: string | undefined): Reading | undefined {
    return session === undefined ? undefined : this.all.get(this.#roots.get(session) ?? "")
  }

  #begin(sessionID: string, how: Reading["how"], origin: string, directory: string | undefined): void {
    const known: Known = { messages: new Map() }
    const reading: Reading = {
      sessionID,
      how,
      origin,
      directory,
      commands: "",
      steps: [],
      state: normalise.make({ sessionId: sessionID }),
      known,
      reading: how._tag === "new" ? undefined : known,
      lost: false
    }
    this.all.set(sessionID, reading)
    this.#roots.set(sessionID, sessionID)
  }

  #lose(reading: Reading, t: number, description: string): void {
    if (reading.lost) return
    reading.lost = true
    reading.steps.push({ _tag: "lost", t, error: lostError(description) })
  }

  #called(t: number, call: HttpTape.Call): void {
    const [, route, session = "", action] = call.path.split("/")
    if (call.method !== "POST") return
    const reading = route === "session"
      ? this.all.get(session)
      : route === "permission" || route === "question"
      ? this.#of(this.#asks.get(session))
      : undefined
    if (reading === undefined) return
    const step = stepOf(t, call, reading, { route, session, action })
    if (step === undefined) return
    reading.steps.push(step)
    // Running a command returns at the end of its turn, and the host does not wait for that.
    if (action === "command") this.#commands.set(call.id, reading)
    else this.#open.set(call.id, reading)
  }

  #answered({ body, call, status, t }: Extract<HttpTape.Entry, { readonly _tag: "answered" }>): void {
    const refused = status < 200 || status >= 300
    // A refusal says why in its body, which comes next.
    if (!refused || body !== undefined) this.#returned(t, call, refused ? { status, body } : undefined)
    if (body === undefined || status !== 200) return
    if (call.method === "POST" && call.path === "/session") {
      const created = decodeCreated(body)
      if (created._tag === "Some") {
        this.#begin(created.value.id, { _tag: "new" }, call.origin, created.value.directory)
      }
      return
    }
    if (call.method === "GET") this.#read(t, call, body)
  }

  #read(t: number, call: HttpTape.Call, body: Schema.Json): void {
    const [, route, session = "", action] = call.path.split("/")
    if (route === "command") return this.#offered(t, call, body)
    if (route === "permission" || route === "question") {
      const asks = decodeAsks(body)
      for (const ask of asks._tag === "Some" ? asks.value : []) this.#asks.set(ask.id, ask.sessionID)
    }
    if (route === "session" && session !== "status" && session !== "" && action === undefined) {
      return this.#found(t, session, call.origin, body)
    }
    for (const reading of this.all.values()) {
      const { reading: known } = reading
      if (known === undefined || reading.origin !== call.origin) continue
      if (route === "permission") known.permissions ??= body
      else if (route === "question") known.questions ??= body
      else if (session === "status") known.status ??= body
      else if (this.#of(session) === reading && action === "message" && !known.messages.has(session)) {
        known.messages.set(session, body)
      } else if (session === reading.sessionID && action === "children") {
        known.children = body
        if (Array.isArray(body)) this.#adopt(reading, body)
      }
      if (
        known.messages.has(reading.sessionID) && known.permissions !== undefined && known.questions !== undefined &&
        known.status !== undefined
      ) reading.reading = undefined
    }
  }

  /** The conversations of a directory hear of its commands when these were read, if they have changed. */
  #offered(t: number, call: HttpTape.Call, body: Schema.Json): void {
    const { directory } = call.query
    const commands = telling.shown(catalogue.readCommands(Array.isArray(body) ? body : []))
    const content = JSON.stringify(commands)
    for (const reading of this.all.values()) {
      if (reading.lost || reading.origin !== call.origin || reading.commands === content) continue
      if (directory !== undefined && reading.directory !== undefined && reading.directory !== directory) continue
      reading.commands = content
      reading.steps.push({ _tag: "received", t, frames: [{ commands } satisfies Commands] })
    }
  }

  #adopt(reading: Reading, children: ReadonlyArray<unknown>): void {
    for (const child of children) {
      const created = decodeCreated(child)
      if (created._tag === "Some") this.#roots.set(created.value.id, reading.sessionID)
    }
  }

  /** The host looked for the conversation: it connects. */
  #found(t: number, session: string, origin: string, body: Schema.Json): void {
    const reading = this.all.get(session)
    if (reading === undefined) {
      const found = decodeCreated(body)
      const directory = found._tag === "Some" ? found.value.directory : undefined
      if (!this.#roots.has(session)) this.#begin(session, { _tag: "resumed" }, origin, directory)
      return
    }
    // It is also looked for when its rules change.
    if (!reading.lost && reading.origin === origin) return
    this.#lose(reading, t, "The host of the recording connected anew.")
    const known: Known = { messages: new Map() }
    reading.steps.push({ _tag: "connected", t, known })
    reading.reading = known
    reading.origin = origin
    reading.lost = false
  }

  #events(t: number, events: ReadonlyArray<string>): void {
    const batches = new Map<Reading, Array<normalise.OpenCodeEvent>>()
    for (const data of events) {
      const event = parse(data)
      const session = event === undefined ? undefined : normalise.sessionOf(event)
      if (event === undefined || session === undefined) continue
      const family = this.#roots.has(session) ? undefined : normalise.childOf(event)
      const root = family === undefined ? undefined : this.#roots.get(family.parent)
      if (family !== undefined && root !== undefined) this.#roots.set(family.child, root)
      const reading = this.#of(session)
      if (reading === undefined || reading.lost) continue
      const batch = batches.get(reading)
      if (batch === undefined) batches.set(reading, [event])
      else batch.push(event)
      if (event.type === "permission.asked" || event.type === "question.asked") {
        const ask = decodeCreated(event.properties)
        if (ask._tag === "Some") this.#asks.set(ask.value.id, session)
      }
    }
    for (const [reading, frames] of batches) {
      normalise.applyAll(reading.state, frames)
      reading.steps.push({ _tag: "received", t, frames })
    }
  }

  #ended({ call, how, status, t }: Extract<HttpTape.Entry, { readonly _tag: "ended" }>): void {
    if (isEvents(call)) {
      // An end that the host itself made is one of its session, unless it connects again.
      if (status === undefined || how === "interrupted") return
      for (const reading of this.all.values()) {
        if (reading.origin === call.origin) this.#lose(reading, t, "The event stream ended.")
      }
      return
    }
    this.#returned(t, call, lostError(`${call.method} ${call.path}: the answer did not arrive (${how})`))
  }

  #returned(
    t: number,
    call: HttpTape.Call,
    failure: AgentError.AgentError | { readonly status: number; readonly body: Schema.Json | undefined } | undefined
  ): void {
    const reading = this.#open.get(call.id) ?? (failure === undefined ? undefined : this.#commands.get(call.id))
    this.#commands.delete(call.id)
    if (reading === undefined) return
    this.#open.delete(call.id)
    const step = { _tag: "returned", t, call: call.id } as const
    if (failure === undefined) reading.steps.push(step)
    else if (!("status" in failure)) reading.steps.push({ ...step, error: failure })
    else if (errors.isNotFound(failure.status, errors.bodyOf(failure.body))) reading.steps.push({ ...step, gone: true })
    else reading.steps.push({ ...step, error: errorOf(call, failure.status, failure.body) })
  }
}

/** The step that a call of the host is, if it is one. */
const stepOf = (
  t: number,
  call: HttpTape.Call,
  reading: Reading,
  { action, route, session }: {
    readonly route: string | undefined
    readonly session: string
    readonly action: string | undefined
  }
): TapeProvider.TapeStep | undefined => {
  if (route !== "session") {
    return { _tag: "answered", t, call: call.id, request: session, as: asOf(route, action, call) }
  }
  if (action === "abort") {
    // The adapter itself ends the endless loop of a model that names no finish reason.
    return normalise.looping(reading.state).includes(session) ? undefined : { _tag: "interrupted", t, call: call.id }
  }
  // Other calls name messages, too: a revert, a fork.
  if (action !== "prompt_async" && action !== "command") return undefined
  const body = decodePrompt(call.body)
  if (body._tag === "None") return undefined
  const parts = body.value.parts ?? []
  const text = parts.flatMap((part) => part.type === "text" ? [part.text ?? ""] : []).join("\n")
  const step = { _tag: "submitted", t, call: call.id, key: body.value.messageID } as const
  return action === "command" ? step : { ...step, text }
}

const asOf = (route: string | undefined, action: string | undefined, call: HttpTape.Call): Answered["as"] => {
  if (route === "question") return action === "reply" ? ["answers", "decline"] : ["cancel"]
  const reply = decodeReply(call.body)
  if (reply._tag === "None") return []
  if (reply.value.reply !== "reject") return ["accept"]
  return reply.value.message === undefined ? ["cancel"] : ["decline"]
}

/** A conversation in the hands of the normaliser, beside a model of its server. */
const play = (sessionID: string): TapeProvider.TapePlay => {
  const model = new ServerModel()
  let state = normalise.make({ sessionId: sessionID })
  return {
    connect: (given) => {
      const known = given as Known | undefined
      state = normalise.make({ sessionId: sessionID, after: state })
      if (known === undefined) return
      model.read(known)
    },
    receive: (frames) => {
      const [first] = frames
      if (isCommands(first)) return [{ _tag: "commands", commands: first.commands }]
      const events = frames as ReadonlyArray<normalise.OpenCodeEvent>
      for (const event of events) model.see(event)
      return normalise.applyAll(state, events)
    },
    answered: (request) => remember(state.answered, request, true, limits.answered),
    snapshot: (request) =>
      snapshot.build(state, {
        status: Object.fromEntries(model.status),
        messages: model.list(sessionID),
        permissions: [...model.permissions.values()],
        questions: [...model.questions.values()],
        childMessages: Object.fromEntries(
          model.sessions().filter((session) => session !== sessionID).map((session) => [session, model.list(session)])
        ),
        request
      })
  }
}

/**
 * Reads tapes of OpenCode for `TapeProvider`: the calls and the event stream of all servers that the tape saw.
 *
 * @category reading
 * @since 0.1.0
 */
export const reader: TapeProvider.TapeReader = {
  kind: "opencode",
  // What asks or rewrites the agent's own record needs the agent.
  capabilities: {
    ...OpenCode.capabilities,
    history: false,
    list: false,
    remove: false,
    fork: false,
    revert: false,
    compact: false,
    mcpServers: false
  },
  read: Effect.fnUntraced(function*(frames: ReadonlyArray<WireTape.Frame>) {
    const reader = new Reader()
    for (const entry of yield* HttpTape.read(frames)) reader.take(entry)
    return [...reader.all.values()].map(({ how, known, sessionID, steps }) => ({
      how,
      cursor: { v: 1, sessionID },
      steps,
      ...(how._tag === "new" ? undefined : { known }),
      play: () => play(sessionID)
    }))
  })
}
