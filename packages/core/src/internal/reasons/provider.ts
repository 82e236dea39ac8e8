/** Why the model provider behind the agent did not do what was asked. */
import * as Schema from "effect/Schema"
import { duration, line, quote, say, shared, when } from "./facts.ts"

const optional = Schema.optionalKey

/**
 * There are no credentials, or the provider rejects them.
 *
 * @category errors
 * @since 0.1.0
 */
export class AuthRequired extends Schema.TaggedError<AuthRequired>()("AuthRequired", {
  ...shared,
  /** Whose credentials are asked for. */
  provider: optional(Schema.String),
  /** How to sign in: a command or an address. */
  how: optional(Schema.String)
}) {
  override get message(): string {
    const who = this.provider === undefined ? "The provider" : quote(this.provider)
    return say(`${who} does not accept the credentials, or has none`, this)
  }
  get advice(): string {
    return this.how === undefined
      ? "Sign in with the agent's own login command, then try again."
      : `Sign in with ${line(this.how)}, then try again.`
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * Too many requests in a short time.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimited extends Schema.TaggedError<RateLimited>()("RateLimited", { ...shared }) {
  override get message(): string {
    return say("The provider limits the rate of requests", this)
  }
  get advice(): string {
    return `Try again ${when(this, "in a minute")}.`
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * What the account may use is used up.
 *
 * @category errors
 * @since 0.1.0
 */
export class QuotaExceeded extends Schema.TaggedError<QuotaExceeded>()("QuotaExceeded", { ...shared }) {
  override get message(): string {
    return say("The quota of the account is used up", this)
  }
  get advice(): string {
    return `Raise the quota or add credit with the provider, or continue ${when(this, "when it is renewed")}.`
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * A budget that the host set is spent.
 *
 * @category errors
 * @since 0.1.0
 */
export class BudgetExceeded extends Schema.TaggedError<BudgetExceeded>()("BudgetExceeded", {
  ...shared,
  limit: optional(Schema.Number),
  spent: optional(Schema.Number),
  /** What is counted, for example `USD` or `tokens`. */
  unit: optional(Schema.String)
}) {
  override get message(): string {
    const unit = this.unit === undefined ? "" : ` ${this.unit}`
    const limit = this.limit === undefined ? "" : ` of ${this.limit}${unit}`
    const spent = this.spent === undefined ? "" : ` (${this.spent}${unit} spent)`
    return say(`The budget${limit} is spent${spent}`, this)
  }
  get advice(): string {
    return "Raise the budget of the session to let the agent continue."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The provider has more work than it can take.
 *
 * @category errors
 * @since 0.1.0
 */
export class Overloaded extends Schema.TaggedError<Overloaded>()("Overloaded", { ...shared }) {
  override get message(): string {
    return say("The provider is overloaded", this)
  }
  get advice(): string {
    return `Try again ${when(this, "in a few minutes")}, or choose another model.`
  }
  get retryable(): boolean {
    return true
  }
}

/**
 * The conversation does not fit into the model's context.
 *
 * @category errors
 * @since 0.1.0
 */
export class ContextOverflow extends Schema.TaggedError<ContextOverflow>()("ContextOverflow", {
  ...shared,
  /** What fits, in tokens. */
  limit: optional(Schema.Number)
}) {
  override get message(): string {
    const limit = this.limit === undefined ? "" : ` of ${this.limit} tokens`
    return say(`The conversation does not fit into the context${limit}`, this)
  }
  get advice(): string {
    return "Compact the conversation, start a new session, or choose a model with a larger context."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The asked-for model does not exist, or not for this account.
 *
 * @category errors
 * @since 0.1.0
 */
export class ModelNotFound extends Schema.TaggedError<ModelNotFound>()("ModelNotFound", {
  ...shared,
  model: Schema.String,
  available: optional(Schema.Array(Schema.String))
}) {
  override get message(): string {
    return say(`There is no model ${quote(this.model)}`, this)
  }
  get advice(): string {
    const names = this.available ?? []
    if (names.length === 0) return "Choose one of the models that the agent lists."
    return `Choose one of ${line(names.slice(0, 10).join(", "))}${names.length > 10 ? " or another listed model" : ""}.`
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The provider rejects what was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  ...shared,
  field: optional(Schema.String)
}) {
  override get message(): string {
    const field = this.field === undefined ? "" : ` because of ${quote(this.field)}`
    return say(`The request was rejected as invalid${field}`, this)
  }
  get advice(): string {
    return "Correct the request; sending the same again is rejected again."
  }
  get retryable(): boolean {
    return false
  }
}

/**
 * The model provider failed, in a way that has no better name here.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamFailed extends Schema.TaggedError<UpstreamFailed>()("UpstreamFailed", {
  ...shared,
  /** The provider's own name of the failure. */
  kind: optional(Schema.String),
  /** Whether the provider says that it passes; without it, a status of 4xx is taken as lasting. */
  transient: optional(Schema.Boolean)
}) {
  override get message(): string {
    const kind = this.kind === undefined ? "" : ` with ${quote(this.kind)}`
    const status = this.statusCode === undefined ? "" : ` (status ${this.statusCode})`
    return say(`The model provider failed${kind}${status}`, this)
  }
  get advice(): string {
    return this.retryable
      ? `Send the prompt again ${when(this, "in a moment")}; if it stays, look at the provider's status page.`
      : "Look at what the provider says, and change the request or the model."
  }
  get retryable(): boolean {
    return this.transient ?? (this.statusCode === undefined || this.statusCode >= 500 || this.statusCode === 408)
  }
}

/**
 * The model provider stopped sending in the middle of an answer.
 *
 * @category errors
 * @since 0.1.0
 */
export class UpstreamSilent extends Schema.TaggedError<UpstreamSilent>()("UpstreamSilent", {
  ...shared,
  /** How long nothing came, in milliseconds. */
  silentFor: Schema.Number
}) {
  override get message(): string {
    return say(`Nothing came from the model for ${duration(this.silentFor)}`, this)
  }
  get advice(): string {
    return "Send the prompt again, or raise the silence time-out if the model thinks for long."
  }
  get retryable(): boolean {
    return true
  }
}
