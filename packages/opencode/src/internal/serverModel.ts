/**
 * What a server would answer after the frames of its event stream so far: for snapshots where there is no server. Text is
 * stored at its end only, as the real one does.
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import type { WireEvent } from "./state.ts"

/** What a host read of the agent when it connected: the answers of the calls behind a snapshot, as far as it made them. */
export interface Known {
  status?: unknown
  children?: unknown
  permissions?: unknown
  questions?: unknown
  readonly messages: Map<string, unknown>
}

interface Part {
  readonly id: string
  readonly messageID: string
}

interface Stored {
  info: Wire.Message
  readonly parts: Map<string, Part>
}

const isPart = (value: unknown): value is Part =>
  Predicate.isObject(value) && "id" in value && typeof value.id === "string" && "messageID" in value &&
  typeof value.messageID === "string"

const decodeMessage = Schema.decodeUnknownOption(Schema.Struct({ info: Wire.Message }))
const decodeStatus = Schema.decodeUnknownOption(Schema.Struct({ status: Wire.SessionStatus }))
const decodePermission = Schema.decodeUnknownOption(Wire.Permission)
const decodeQuestion = Schema.decodeUnknownOption(Wire.Question)
const decodeStatuses = Schema.decodeUnknownOption(Schema.Record(Schema.String, Wire.SessionStatus))
const decodeMessages = Schema.decodeUnknownOption(Schema.Array(Wire.MessageWithParts))
const decodePermissions = Schema.decodeUnknownOption(Schema.Array(Wire.Permission))
const decodeQuestions = Schema.decodeUnknownOption(Schema.Array(Wire.Question))

const field = (value: unknown, name: string): string | undefined => {
  const found = Predicate.isObject(value) ? (value as { readonly [name: string]: unknown })[name] : undefined
  return typeof found === "string" ? found : undefined
}

/** The agent's side of some sessions. */
export class ServerModel {
  readonly status = new Map<string, Wire.SessionStatus>()
  readonly permissions = new Map<string, Wire.Permission>()
  readonly questions = new Map<string, Wire.Question>()
  readonly #messages = new Map<string, Map<string, Stored>>()

  /** Takes an event of the stream. */
  see(event: WireEvent): void {
    const { properties, type } = event
    const session = field(properties, "sessionID")
    if (session === undefined) return
    switch (type) {
      case "session.status": {
        const value = decodeStatus(properties)
        if (value._tag === "None") return
        if (value.value.status.type === "idle") this.status.delete(session)
        else this.status.set(session, value.value.status)
        return
      }
      case "message.updated": {
        const value = decodeMessage(properties)
        if (value._tag === "Some") this.#put(session, value.value.info)
        return
      }
      case "message.part.updated": {
        const part = Predicate.isObject(properties) && "part" in properties ? properties.part : undefined
        if (isPart(part)) this.#messages.get(session)?.get(part.messageID)?.parts.set(part.id, part)
        return
      }
      case "message.removed":
        this.#messages.get(session)?.delete(field(properties, "messageID") ?? "")
        return
      case "message.part.removed":
        this.#messages.get(session)?.get(field(properties, "messageID") ?? "")?.parts.delete(
          field(properties, "partID") ?? ""
        )
        return
      case "permission.asked": {
        const ask = decodePermission(properties)
        if (ask._tag === "Some") this.permissions.set(ask.value.id, ask.value)
        return
      }
      case "question.asked": {
        const ask = decodeQuestion(properties)
        if (ask._tag === "Some") this.questions.set(ask.value.id, ask.value)
        return
      }
      case "permission.replied":
        this.permissions.delete(field(properties, "requestID") ?? "")
        return
      case "question.replied":
      case "question.rejected":
        this.questions.delete(field(properties, "requestID") ?? "")
    }
  }

  /** Takes what was read of the real server: it replaces what was known. */
  read(known: Known): void {
    const status = decodeStatuses(known.status)
    if (status._tag === "Some") {
      this.status.clear()
      for (const [id, value] of Object.entries(status.value)) this.status.set(id, value)
    }
    const permissions = decodePermissions(known.permissions)
    if (permissions._tag === "Some") {
      this.permissions.clear()
      for (const ask of permissions.value) this.permissions.set(ask.id, ask)
    }
    const questions = decodeQuestions(known.questions)
    if (questions._tag === "Some") {
      this.questions.clear()
      for (const ask of questions.value) this.questions.set(ask.id, ask)
    }
    for (const [session, answer] of known.messages) {
      const messages = decodeMessages(answer)
      if (messages._tag === "None") continue
      this.#messages.delete(session)
      for (const { info, parts } of messages.value) {
        const stored = this.#put(session, info)
        for (const part of parts) if (isPart(part)) stored.parts.set(part.id, part)
      }
    }
  }

  /** The messages of a session with their parts, oldest first. */
  list(session: string): ReadonlyArray<Wire.MessageWithParts> {
    return [...this.#messages.get(session)?.values() ?? []].map(({ info, parts }) => ({
      info,
      parts: [...parts.values()]
    }))
  }

  /** The sessions that have messages. */
  sessions(): ReadonlyArray<string> {
    return [...this.#messages.keys()]
  }

  #put(session: string, info: Wire.Message): Stored {
    const all = this.#messages.get(session) ?? new Map<string, Stored>()
    this.#messages.set(session, all)
    const stored = all.get(info.id) ?? { info, parts: new Map<string, Part>() }
    stored.info = info
    all.set(info.id, stored)
    return stored
  }
}
