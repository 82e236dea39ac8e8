/** Why a session, a request inside of it, or what is stored about it did not work. */
import * as Schema from "effect/Schema"
import { line, quote, say, shared } from "./facts.ts"

const optional = Schema.optionalKey

/**
 * It is not known how a turn ended: the agent may have acted on it.
 *
 * @category errors
 * @since 0.1.0
 */
export class TurnLost extends Schema.TaggedError<TurnLost>()("TurnLost", { ...shared }) {
  override get message(): string {
    return say("The outcome of the turn is not known", this)
  }
  get advice(): string {
    return "Look at what the agent has changed before you send the prompt again: it may have been carried out."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The agent confirms that it has no such session.
 *
 * @category errors
 * @since 0.1.0
 */
export class SessionNotFound extends Schema.TaggedError<SessionNotFound>()("SessionNotFound", {
  ...shared,
  sessionId: Schema.String
}) {
  override get message(): string {
    return say(`The agent has no session ${quote(this.sessionId)}`, this)
  }
  get advice(): string {
    return "Start a new session; the earlier conversation is not part of it."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * Somebody else holds the session.
 *
 * @category errors
 * @since 0.1.0
 */
export class SessionBusy extends Schema.TaggedError<SessionBusy>()("SessionBusy", {
  ...shared,
  holder: Schema.String,
  /** The holder's process, where it is one of this machine's. */
  pid: optional(Schema.Int)
}) {
  override get message(): string {
    return say(`The session is held by ${quote(this.holder)}`, this)
  }
  get advice(): string {
    return "Stop the holder or wait until it lets go, then open the session again."
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The agent cannot do what was asked.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  ...shared,
  operation: Schema.String,
  provider: Schema.String
}) {
  override get message(): string {
    return say(`${quote(this.provider)} does not support ${quote(this.operation)}`, this)
  }
  get advice(): string {
    return "Look at the capabilities of the session before you offer the operation."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The request that was answered is not open: it was settled before, or never asked.
 *
 * @category errors
 * @since 0.1.0
 */
export class RequestNotOpen extends Schema.TaggedError<RequestNotOpen>()("RequestNotOpen", {
  ...shared,
  /** The id of the agent's request. */
  requestId: Schema.String,
  /** Who or what settled it. */
  settledBy: Schema.String,
  /** How it was settled. */
  decision: optional(Schema.String)
}) {
  override get message(): string {
    const how = this.decision === undefined ? "" : ` with ${quote(this.decision)}`
    return say(
      `The request ${quote(this.requestId)} is not open, it was settled by ${line(this.settledBy)}${how}`,
      this
    )
  }
  get advice(): string {
    return "Take the request off the screen: the answer had no effect."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * Reading or writing what is kept on disk failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreFailed extends Schema.TaggedError<StoreFailed>()("StoreFailed", {
  ...shared,
  operation: Schema.String,
  path: optional(Schema.String)
}) {
  override get message(): string {
    const where = this.path === undefined ? "" : ` on ${quote(this.path)}`
    return say(`The store failed to ${line(this.operation)}${where}`, this)
  }
  get advice(): string {
    return "Check that the directory exists, may be written to, and that the disk is not full."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * A setting is missing or has a value that is not allowed.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidConfig extends Schema.TaggedError<InvalidConfig>()("InvalidConfig", {
  ...shared,
  file: optional(Schema.String),
  issue: Schema.String
}) {
  override get message(): string {
    const where = this.file === undefined ? "The configuration" : `The file ${quote(this.file)}`
    return say(`${where} is not valid (${line(this.issue)})`, this)
  }
  get advice(): string {
    return this.file === undefined ? "Correct the setting and start again." : `Correct ${this.file} and start again.`
  }
  get retryable(): boolean {
    return false
  }
}
