/** The error of a fault carrier. */
import * as Schema from "effect/Schema"

export class FaultError extends Schema.TaggedError<FaultError>()("FaultError", {
  operation: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return `the fault injector failed to ${this.operation}`
  }
}
