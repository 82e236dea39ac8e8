/** The whole command: reads the arguments, runs, and says in the exit code how it ended. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Path from "effect/Path"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as exitCodes from "../exitCodes.ts"
import { run } from "../run.ts"
import { Interrupts, live, runMain } from "./interrupts.ts"
import * as outputModule from "./output.ts"
import { Output } from "./output.ts"
import * as sanitise from "./sanitise.ts"

const root = Command.make("reins").pipe(
  Command.withDescription("Drives coding agents from the command line. Try: reins run \"Say hello\""),
  Command.withSubcommands([run]),
  Command.withExamples([
    { command: "reins run \"Fix the failing test\"", description: "Give an agent one prompt and follow it to the end" },
    { command: "reins run --help", description: "All that run can do" }
  ])
)

const Package = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

const version = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  // The same from the sources and from what is built of them.
  const file = yield* path.fromFileUrl(new URL("../../package.json", import.meta.url))
  return (yield* Schema.decodeUnknownEffect(Package)(yield* fs.readFileString(file))).version
})

/** Help and version go to standard output; what is wrong with a call goes to standard error, without the whole help. */
const presenter = Layer.effect(
  CliOutput.Presenter,
  Effect.gen(function*() {
    const output = yield* Output
    const formatter = CliOutput.defaultFormatter({ colors: output.color })
    return {
      present: (event) => {
        switch (event._tag) {
          case "Help":
            return event.reason === "Requested"
              ? output.answer(`${formatter.formatHelpDoc(event.helpDoc)}\n`)
              : output.note(`${formatter.formatHelpDoc(event.helpDoc)}\n`)
          case "Version":
            return output.answer(`${event.version}\n`)
          case "InvalidInvocation": {
            const sentences = event.errors.map((error) => sanitise.text(error.message))
            return output.note(
              `${sentences.join("\n")}\n  What to do: See ${
                event.commandPath.join(" ")
              } --help for what can be given.\n`
            )
          }
        }
      }
    }
  })
)

/** The library's own log: warnings for the person, on standard error. */
const logger = Layer.unwrap(Effect.map(Output, (output) =>
  Logger.layer([
    Logger.make(({ logLevel, message }) => {
      const said = (Array.isArray(message) ? message : [message]).map(String).join(" ")
      output.noteUnsafe(`${logLevel}: ${sanitise.line(said, 1_000)}\n`)
    })
  ])))

const program = Effect.gen(function*() {
  const output = yield* Output
  return yield* Command.run(root, { version: yield* version }).pipe(
    Effect.as(exitCodes.completed),
    Effect.catchTag("Ended", ({ code }) => Effect.succeed(code)),
    Effect.catchTag("WrongUsage", (error) => Effect.as(output.note(`${error.message}\n`), exitCodes.wrongUsage)),
    Effect.catchIf(CliError.isCliError, () => Effect.succeed(exitCodes.wrongUsage))
  )
}).pipe(
  Effect.catchCause((cause) =>
    Cause.hasInterruptsOnly(cause)
      ? Effect.interrupt
      : Effect.gen(function*() {
        const output = yield* Output
        yield* output.note(
          `Something went wrong inside Reins: ${
            sanitise.text(Cause.pretty(cause))
          }\n  What to do: report it with the command that you gave.\n`
        )
        return exitCodes.failed
      })
  ),
  Effect.provide(
    Layer.mergeAll(
      presenter,
      logger,
      CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel] }),
      Layer.succeed(References.MinimumLogLevel, "Warn"),
      Layer.succeed(Interrupts, live)
    ).pipe(Layer.provideMerge(outputModule.layer(process)), Layer.provideMerge(NodeServices.layer))
  )
)

runMain(program)
