/**
 * The command `reins-scripted-model`: a scripted model for agents that are started by hand.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as ScriptedModel from "./ScriptedModel.ts"

/** A call as one line: the body once, as it was posted. */
const toLine = ({ request, ...recorded }: ScriptedModel.RecordedRequest): string => {
  const { index, isTitle, model, sessionId } = request
  return `${JSON.stringify({ index, isTitle, model, sessionId, ...recorded })}\n`
}

const Package = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

const command = Command.make("reins-scripted-model", {
  port: Flag.Int("port").pipe(
    Flag.withDescription("Port to listen on; 0 takes a free one"),
    Flag.withSchema(Schema.Port),
    Flag.withDefault(0)
  ),
  log: Flag.File("log").pipe(
    Flag.withDescription("File to append each model call to, one JSON object a line"),
    Flag.optional
  )
}, ({ log, port }) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const append = (file: string, line: string) => fs.writeFileString(file, line, { flag: "a" })
    if (Option.isSome(log)) {
      // A file that cannot be written is found out now, not at the first call.
      yield* append(log.value, "")
    }
    // Calls come in parallel, lines must not.
    const single = yield* Semaphore.make(1)
    const model = yield* ScriptedModel.make({
      port,
      onRequest: (recorded) =>
        Option.match(log, {
          onNone: () => Effect.void,
          onSome: (file) =>
            append(file, toLine(recorded)).pipe(
              single.withPermits(1),
              Effect.catch((error) => Effect.logError("cannot write the log", error))
            )
        })
    }).pipe(Effect.mapError((cause) => new CliError.UserError({ cause, userMessage: cause.message })))
    yield* Console.log(`scripted model listening on ${model.url}`)
    return yield* Effect.never
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription(
      "A model server for tests: chat-completions on 127.0.0.1, answering with the script in the prompt."
    ),
    Command.withExamples([
      {
        command: "reins-scripted-model --port 4010",
        description: "Then prompt the agent: say it <<<{\"text\":\"hello\"}>>>"
      }
    ])
  )

const main = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const text = yield* fs.readFileString(yield* path.fromFileUrl(new URL("../package.json", import.meta.url)))
  const { version } = yield* Schema.decodeUnknownEffect(Package)(text)
  yield* Command.run(command, { version })
})

NodeRuntime.runMain(Effect.provide(main, NodeServices.layer))
