/**
 * What a binding keeps of a conversation, as an adapter makes it: ids of the agent's with the version of their shape.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AgentError from "./AgentError.ts"

const decodeVersion = Schema.decodeUnknownOption(Schema.Struct({ v: Schema.Int }))

/**
 * Reads cursors, which may come from anywhere: fails with `InvalidRequest` for one of another provider, of another shape,
 * or of a newer version.
 *
 * @category constructors
 * @since 0.1.0
 */
export const decoder = <A extends { readonly v: number }>(options: {
  readonly schema: Schema.Decoder<A>
  readonly version: number
  readonly provider: string
  /** The name of the agent, and a cursor of its, for people. */
  readonly name: string
  readonly example: string
}): (cursor: unknown) => Effect.Effect<A, AgentError.AgentError> => {
  const decode = Schema.decodeUnknownOption(options.schema)
  return (cursor) => {
    const found = decode(cursor)
    if (Option.isSome(found)) return Effect.succeed(found.value)
    const other = decodeVersion(cursor)
    return AgentError.fail(
      new AgentError.InvalidRequest({
        field: "cursor",
        description: Option.isSome(other) && other.value.v > options.version
          ? `The cursor has version ${other.value.v}, and only ${options.version} is known here: it was made by a newer release.`
          : `The cursor is none of ${options.name}'s: one is like ${options.example}.`
      }),
      { provider: options.provider }
    )
  }
}
