/**
 * `reins run`: one prompt to an agent, from a terminal, a pipe or a script.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import { SessionId } from "@reins/core/Ids"
import * as Providers from "@reins/core/Providers"
import * as Sessions from "@reins/core/Sessions"
import * as Codex from "@reins/codex/Codex"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as exitCodes from "./exitCodes.ts"
import { conduct } from "./internal/conduct.ts"
import * as duration from "./internal/duration.ts"
import { Output } from "./internal/output.ts"
import * as sanitise from "./internal/sanitise.ts"
import { WrongUsage } from "./internal/wrongUsage.ts"
import * as paths from "./paths.ts"
import * as render from "./render.ts"

/**
 * The names of `--approve` and the policies that they stand for.
 *
 * @category models
 * @since 0.1.0
 */
export const approvals = {
  ask: ApprovalPolicy.askAlways,
  all: ApprovalPolicy.fullAccess,
  edits: ApprovalPolicy.acceptEdits,
  reads: ApprovalPolicy.acceptReads,
  none: ApprovalPolicy.declineAll
} as const

/**
 * The run ended with another exit code than 0; all that is to be said about it was said.
 *
 * @category errors
 * @since 0.1.0
 */
export class Ended extends Schema.TaggedError<Ended>()("Ended", { code: Schema.Int }) {
  override readonly [Runtime.errorExitCode] = this.code
  override readonly [Runtime.errorReported] = true
}

/** Longest prompt that is read from standard input, in characters. */
const maxPrompt = 4_000_000

const searchFrom = [process.cwd(), import.meta.dirname]
const providers = { opencode: OpenCode.make({ searchFrom }), codex: Codex.make({ searchFrom }) }

const flags = {
  prompt: Argument.String("prompt").pipe(
    Argument.withDescription("What the agent is to do; read from standard input when it is left out"),
    Argument.optional
  ),
  provider: Flag.String("provider").pipe(
    Flag.withDescription("The agent to run: opencode or codex (default: opencode, or that of the session)"),
    Flag.withMetavar("NAME"),
    Flag.optional
  ),
  cwd: Flag.String("cwd").pipe(
    Flag.withDescription("The directory to work in (default: the current one, or that of the session)"),
    Flag.withMetavar("DIR"),
    Flag.optional
  ),
  model: Flag.String("model").pipe(
    Flag.withDescription(
      "The model, in the agent's words, like anthropic/claude-sonnet-4-5 (default: the agent's own)"
    ),
    Flag.withMetavar("MODEL"),
    Flag.optional
  ),
  approve: Flag.Literals("approve", ["ask", "all", "edits", "reads", "none"]).pipe(
    Flag.withDescription(
      "What the agent may do unasked. ask: nothing; reads: read files here; edits: read and change files here; " +
        "all: everything; none: nothing, and nobody is asked (default: ask)"
    ),
    Flag.withDefault("ask" as const)
  ),
  session: Flag.String("session").pipe(
    Flag.withDescription("Go on with this session; its id is shown by every run"),
    Flag.withMetavar("ID"),
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Write every event as one line of JSON, and nothing else, to standard output"),
    Flag.withDefault(false)
  ),
  timeout: Flag.String("timeout").pipe(
    Flag.withDescription("Interrupt the turn after this time: 90s, 5m, 1h30m (default: never)"),
    Flag.withMetavar("DURATION"),
    Flag.optional
  )
}

const wrong = (description: string, advice: string) => new WrongUsage({ description, advice })

const stdinPrompt = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  if (yield* stdio.stdinIsTerminal) {
    return yield* wrong(
      "There is no prompt.",
      "Give it in quotes, like reins run \"Fix the failing test\", or pipe it in."
    )
  }
  const text = yield* stdio.stdin.pipe(
    Stream.decodeText(),
    Stream.runFoldEffect(() => "", (read, chunk) =>
      read.length + chunk.length > maxPrompt
        ? Effect.fail(wrong(
          `The prompt on standard input is longer than ${maxPrompt.toLocaleString("en-US")} characters.`,
          "Put it into a file in the directory, and tell the agent to read that."
        ))
        : Effect.succeed(read + chunk)),
    Effect.catchTag(
      "PlatformError",
      (error) =>
        Effect.fail(wrong(`Standard input could not be read: ${error.message}`, "Give the prompt in quotes instead."))
    )
  )
  return text
})

const promptOf = Effect.fnUntraced(function*(given: Option.Option<string>) {
  const text = Option.isSome(given) ? given.value : (yield* stdinPrompt).trimEnd()
  if (text.trim() === "") {
    return yield* wrong("The prompt is empty.", "Say what the agent is to do, like reins run \"Fix the failing test\".")
  }
  return text
})

const directoryOf = Effect.fnUntraced(function*(given: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = path.resolve(given)
  const info = yield* Effect.option(fs.stat(directory))
  if (Option.isNone(info)) {
    return yield* wrong(
      `The directory ${sanitise.line(directory)} does not exist.`,
      "Make it first, or give another one with --cwd."
    )
  }
  if (info.value.type !== "Directory") {
    return yield* wrong(`${sanitise.line(directory)} is no directory.`, "Give the directory to work in with --cwd.")
  }
  return directory
})

const timeoutOf = (given: Option.Option<string>) =>
  Effect.suspend(() => {
    if (Option.isNone(given)) return Effect.succeed(undefined)
    const parsed = duration.parse(given.value)
    return typeof parsed === "string"
      ? Effect.fail(wrong(`--timeout ${parsed}.`, "Give a duration like 90s, 5m or 1h30m."))
      : Effect.succeed(parsed)
  })

const providerOf = (given: Option.Option<string>) =>
  Effect.suspend(() =>
    Option.isSome(given) && !Object.hasOwn(providers, given.value)
      ? Effect.fail(wrong(
        `There is no provider "${sanitise.line(given.value)}".`,
        `Give one of: ${Object.keys(providers).join(", ")}.`
      ))
      : Effect.succeed(given)
  )

/** The sessions of this user, with all agents that the command knows. */
const layer = (folder: string) =>
  Sessions.layer.pipe(
    Layer.provide(Providers.layer(providers)),
    Layer.provideMerge(BindingStore.layerFileSystem(folder)),
    Layer.provide(NodeHttpClient.layerUndici)
  )

/** What a resumed session needs of this machine. */
const resumable = Effect.fnUntraced(function*(id: SessionId) {
  const store = yield* BindingStore.BindingStore
  const binding = yield* store.get(id)
  if (Option.isNone(binding)) {
    return yield* wrong(
      `There is no session ${sanitise.line(id)} here.`,
      "Copy the id from the run that you want to go on with, or leave --session out to begin a new one."
    )
  }
  return binding.value
})

/**
 * The command.
 *
 * @category constructors
 * @since 0.1.0
 */
export const run = Command.make("run", flags, (input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const timeout = yield* timeoutOf(input.timeout)
    const provider = yield* providerOf(input.provider)
    const given = Option.isSome(input.cwd) || Option.isNone(input.session)
      ? yield* directoryOf(Option.getOrElse(input.cwd, () => process.cwd()))
      : undefined
    const prompt = yield* promptOf(input.prompt)
    const folders = yield* paths.ensure
    const code = yield* Effect.gen(function*() {
      const id = Option.map(input.session, (session) => SessionId.make(session))
      const binding = Option.isSome(id) ? yield* resumable(id.value) : undefined
      if (binding !== undefined && given === undefined) yield* directoryOf(binding.cwd)
      return yield* conduct({
        prompt,
        timeout,
        json: input.json,
        open: {
          policy: approvals[input.approve],
          ...(Option.isSome(id) ? { id: id.value } : { provider: "opencode" }),
          ...(Option.isSome(provider) ? { provider: provider.value } : undefined),
          ...(given === undefined ? undefined : { cwd: given }),
          ...(Option.isSome(input.model) ? { model: input.model.value } : undefined)
        }
      })
    }).pipe(
      Effect.scoped,
      Effect.provide(layer(folders.sessions)),
      Effect.catchTag("AgentError", (error) =>
        Effect.as(
          output.note(`${render.error({ options: output }, error)}\n`),
          exitCodes.ofError(error)
        ))
    )
    if (code !== exitCodes.completed) return yield* new Ended({ code })
  }).pipe(
    Effect.catchTag("AgentError", (error) =>
      Effect.gen(function*() {
        const output = yield* Output
        yield* output.note(`${AgentError.render(error)}\n`)
        return yield* new Ended({ code: exitCodes.ofError(error) })
      }))
  )).pipe(
    Command.withShortDescription("Give an agent one prompt and follow it to the end"),
    Command.withDescription(
      [
        "Give an agent one prompt and follow it to the end.",
        "",
        "  The answer goes to standard output, everything else to standard error. In a terminal you are asked before",
        "  the agent changes anything; without one it is declined, unless --approve allows it. Ctrl-C interrupts the",
        "  turn, a second one leaves at once.",
        "",
        "  Exit codes: 0 completed, 1 the turn failed or was lost, 2 wrong usage, 3 the agent is not installed or not",
        "  available, 4 a request was declined because nobody was there to ask, 124 timed out, 130 interrupted."
      ].join("\n")
    ),
    Command.withExamples([
      {
        command: "reins run \"Fix the failing test\"",
        description: "Work in this directory, and ask before each change"
      },
      {
        command: "reins run --approve edits --cwd ../site \"Add a dark theme\"",
        description: "Let it edit files there"
      },
      {
        command: "git diff | reins run --approve none > review.md",
        description: "The prompt from a pipe, the answer into a file"
      },
      {
        command: "reins run --json --approve all --timeout 10m \"Update the docs\" | jq -r ._tag",
        description: "Every event as a line of JSON, for a script"
      },
      {
        command: "reins run --session ses_\u2026 \"Now the other file\"",
        description: "Go on with an earlier conversation"
      }
    ])
  )
