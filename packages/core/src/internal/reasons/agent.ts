/** Why the agent itself could not be used: its program, its process, the connection to it. */
import * as Schema from "effect/Schema"
import { duration, quote, say, shared, when } from "./facts.ts"

const optional = Schema.optionalKey

/**
 * The agent's program was not found on this machine.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotInstalled extends Schema.TaggedError<NotInstalled>()("NotInstalled", {
  ...shared,
  binary: Schema.String,
  tried: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const where = this.tried.length === 0 ? "" : ` (looked in ${this.tried.slice(0, 8).join(", ")})`
    return say(`The program ${quote(this.binary)} was not found${where}`, this)
  }
  get advice(): string {
    return `Install ${this.binary}, or set the path of its binary in the settings of the provider.`
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The agent is of a version that is not spoken here.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnsupportedVersion extends Schema.TaggedError<UnsupportedVersion>()("UnsupportedVersion", {
  ...shared,
  found: Schema.String,
  supported: Schema.String
}) {
  override get message(): string {
    return say(`The agent has version ${this.found}, and supported is ${this.supported}`, this)
  }
  get advice(): string {
    return `Use a version of the agent within ${this.supported}; at an address of your own, check that it is the agent's.`
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The operating system did not start the agent's process.
 *
 * @category errors
 * @since 0.1.0
 */
export class SpawnFailed extends Schema.TaggedError<SpawnFailed>()("SpawnFailed", {
  ...shared,
  command: Schema.String
}) {
  override get message(): string {
    return say(`The command ${quote(this.command)} could not be started`, this)
  }
  get advice(): string {
    return "Check that the file may be executed and that the working directory exists."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The agent's process started but was not ready in time.
 *
 * @category errors
 * @since 0.1.0
 */
export class StartTimeout extends Schema.TaggedError<StartTimeout>()("StartTimeout", {
  ...shared,
  command: Schema.String,
  /** How long it was waited for, in milliseconds. */
  waited: Schema.Number
}) {
  override get message(): string {
    return say(`The command ${quote(this.command)} was not ready after ${duration(this.waited)}`, this)
  }
  get advice(): string {
    return "Read the last output of the agent, and raise the start time-out if the machine is slow."
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The agent's process ended while it was needed. `starting`: before it was ready.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProcessExited extends Schema.TaggedError<ProcessExited>()("ProcessExited", {
  ...shared,
  command: Schema.String,
  code: optional(Schema.Int),
  signal: optional(Schema.String),
  starting: optional(Schema.Boolean)
}) {
  override get message(): string {
    const how = this.signal !== undefined
      ? ` by signal ${this.signal}`
      : this.code !== undefined
      ? ` with code ${this.code}`
      : ""
    return say(
      `The process ${quote(this.command)} ended${how} ${
        this.starting === true ? "before it was ready" : "while it was in use"
      }`,
      this
    )
  }
  get advice(): string {
    if (this.stderrTail === undefined || this.stderrTail.trim() === "") {
      return `It said nothing of the reason. Run ${
        quote(this.command)
      } by hand to see whether it works, then start the session again.`
    }
    return "Read the last output of the agent for the reason it ended, then start the session again."
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The agent cannot be reached now.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  ...shared,
  target: Schema.String,
  attempts: optional(Schema.Int)
}) {
  override get message(): string {
    const tries = this.attempts === undefined ? "" : ` after ${this.attempts} attempt${this.attempts === 1 ? "" : "s"}`
    return say(`The agent ${quote(this.target)} could not be reached${tries}`, this)
  }
  get advice(): string {
    return `Check that the agent runs and that its address is right, then try again ${when(this, "in a moment")}.`
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The agent was reached, but the first exchange failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class HandshakeFailed extends Schema.TaggedError<HandshakeFailed>()("HandshakeFailed", {
  ...shared,
  target: optional(Schema.String)
}) {
  override get message(): string {
    const who = this.target === undefined ? "the agent" : quote(this.target)
    return say(`The first exchange with ${who} failed`, this)
  }
  get advice(): string {
    return "Check that the address belongs to this kind of agent and that its version is supported."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The connection to the agent broke.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLost extends Schema.TaggedError<ConnectionLost>()("ConnectionLost", {
  ...shared,
  target: Schema.String
}) {
  override get message(): string {
    return say(`The connection to ${quote(this.target)} was lost`, this)
  }
  get advice(): string {
    return `Connect again ${when(this, "now")}; what the agent did meanwhile is read back on connecting.`
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The agent sent, or was sent, something outside of the protocol, or the adapter failed unexpectedly.
 *
 * @category errors
 * @since 0.1.0
 */
export class ProtocolError extends Schema.TaggedError<ProtocolError>()("ProtocolError", {
  ...shared,
  method: optional(Schema.String)
}) {
  override get message(): string {
    const where = this.method === undefined ? "" : ` in ${quote(this.method)}`
    return say(`The exchange with the agent went wrong${where}`, this)
  }
  get advice(): string {
    return "Check the version of the agent against the tested one; if it matches, report this together with the excerpt."
  }
  get retryable(): boolean {
    return false
  }
}
