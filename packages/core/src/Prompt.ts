/**
 * What a host sends to an agent, and the receipt that it gets.
 *
 * @since 0.1.0
 */
import * as Base64 from "effect/encoding/Base64"
import * as Schema from "effect/Schema"
import { ErrorInfo } from "./AgentError.ts"
import { TurnId } from "./Ids.ts"

/**
 * One part of a prompt. What a provider cannot take is refused as `Unsupported` before anything is sent.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PromptPart = Schema.TaggedUnion({
  /** Plain text. */
  Text: { text: Schema.String },
  /** An image, its bytes in base64. At most `maxAttachment` bytes. */
  Image: { mediaType: Schema.String, data: Schema.String, name: Schema.optionalKey(Schema.String) },
  /**
   * A file, by path on the host (relative to the session's directory) or with its bytes in base64; one of the two. A path
   * is read when the prompt is taken, so that the agent may run elsewhere, and what is written to the file later on is
   * not sent. At most `maxAttachment` bytes. Without a `mediaType` the bytes tell what it is.
   */
  File: {
    path: Schema.optionalKey(Schema.String),
    data: Schema.optionalKey(Schema.String),
    mediaType: Schema.optionalKey(Schema.String),
    name: Schema.optionalKey(Schema.String)
  },
  /** Another agent of the provider, called by name. */
  Mention: { agent: Schema.String },
  /** A slash command or skill of the provider, by its name without the slash. */
  Command: { name: Schema.String, arguments: Schema.String }
})
/**
 * @category models
 * @since 0.1.0
 */
export type PromptPart = typeof PromptPart.Type

/**
 * A prompt with its parts in order.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PromptInput = Schema.Struct({
  parts: Schema.Array(PromptPart)
})
/**
 * @category models
 * @since 0.1.0
 */
export type PromptInput = typeof PromptInput.Type

/**
 * Largest image or file of a prompt in bytes, before base64: 20 MiB. `Sessions.Limits` can set another.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxAttachment: number = 20 * 1024 * 1024

/**
 * Bytes of images and files that may wait in one session, before base64: 64 MiB. `Sessions.Limits` can set another.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxAttachments: number = 64 * 1024 * 1024

/**
 * Makes a prompt of several parts; a string stands for one part of text.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (...parts: ReadonlyArray<string | PromptPart>): PromptInput => ({
  parts: parts.map((part) => typeof part === "string" ? { _tag: "Text", text: part } : part)
})

const encoded = (data: Uint8Array | string): string => typeof data === "string" ? data : Base64.encode(data)

/**
 * An image; `data` is its bytes, or these in base64.
 *
 * @category constructors
 * @since 0.1.0
 */
export const image = (
  image: { readonly mediaType: string; readonly data: Uint8Array | string; readonly name?: string }
): PromptPart => ({ _tag: "Image", ...image, data: encoded(image.data) })

/**
 * A file: a path on the host, or its bytes (or these in base64) with a name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const file = (
  file:
    | string
    | { readonly data: Uint8Array | string; readonly mediaType?: string; readonly name?: string }
): PromptPart =>
  typeof file === "string" ? { _tag: "File", path: file } : { _tag: "File", ...file, data: encoded(file.data) }

/**
 * Calls a subagent of the provider by its name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const mention = (agent: string): PromptPart => ({ _tag: "Mention", agent })

/**
 * A slash command or skill of the provider, by its name without the slash, with what is written behind it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const command = (name: string, args = ""): PromptPart => ({ _tag: "Command", name, arguments: args })

/**
 * Makes a prompt of plain text.
 *
 * @category constructors
 * @since 0.1.0
 */
export const text = (text: string): PromptInput => ({ parts: [{ _tag: "Text", text }] })

/**
 * Accepts a string where a prompt is wanted.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromInput = (input: string | PromptInput): PromptInput => typeof input === "string" ? text(input) : input

/**
 * The text parts of a prompt, joined by line breaks.
 *
 * @category getters
 * @since 0.1.0
 */
export const plainText = (input: PromptInput): string =>
  input.parts.flatMap((part) => part._tag === "Text" ? [part.text] : []).join("\n")

/**
 * How a prompt that arrives during a turn is delivered: `queue` gives it a turn of its own, in order;
 * `steer` joins the running turn where the provider can, and queues where it cannot.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Delivery = Schema.Literals(["queue", "steer"])
/**
 * @category models
 * @since 0.1.0
 */
export type Delivery = typeof Delivery.Type

/**
 * Where a prompt is. `consumed`, `returned`, `withdrawn` and `failed` are final; a prompt reaches exactly one of them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PromptState = Schema.TaggedUnion({
  /** Held by us until the turn before it has settled. */
  queued: {},
  /** Written to the agent. */
  submitted: { attempt: Schema.Int },
  /** The agent confirmed that it has the prompt; it has not begun with it. */
  acknowledged: {},
  /** The agent took it into this turn. It does not say that it was answered. */
  consumed: { turnId: TurnId },
  /** Sent into a running turn; ends `consumed` or `returned`. */
  steered: { turnId: TurnId },
  /** Given back unread: the turn ended or the session closed before the agent took it. */
  returned: { reason: Schema.String },
  /** Taken back by the host. */
  withdrawn: {},
  /** Refused, or its fate could not be found out. */
  failed: { error: ErrorInfo }
})
/**
 * @category models
 * @since 0.1.0
 */
export type PromptState = typeof PromptState.Type

/**
 * The final state of a prompt.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Receipt = Schema.Union([
  PromptState.cases.consumed,
  PromptState.cases.returned,
  PromptState.cases.withdrawn,
  PromptState.cases.failed
])
/**
 * @category models
 * @since 0.1.0
 */
export type Receipt = typeof Receipt.Type
