/** A call of the command that cannot mean anything. */
import * as Schema from "effect/Schema"

export class WrongUsage extends Schema.TaggedError<WrongUsage>()("WrongUsage", {
  /** What is wrong, in a sentence. */
  description: Schema.String,
  advice: Schema.String
}) {
  override get message() {
    return `${this.description}\n  What to do: ${this.advice}`
  }
}
