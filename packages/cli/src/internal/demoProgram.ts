/** The demo: a prompt with approvals, a server killed in the middle of a turn, and the conversation that goes on. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as BindingStore from "@reins/core/BindingStore"
import * as Providers from "@reins/core/Providers"
import type { PromptHandle, Session } from "@reins/core/Session"
import type { SessionEvent } from "@reins/core/SessionEvent"
import * as Sessions from "@reins/core/Sessions"
import type { PromptOutcome } from "@reins/core/Turn"
import * as OpenCode from "@reins/opencode/OpenCode"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as exitCodes from "../exitCodes.ts"
import * as render from "../render.ts"
import { prompts, respond } from "./demoScript.ts"
import * as dialogue from "./dialogue.ts"
import { runMain } from "./interrupts.ts"
import * as outputModule from "./output.ts"
import { Output } from "./output.ts"
import * as sanitise from "./sanitise.ts"
import * as style from "./style.ts"

/** The whole demo takes about ten seconds; a machine that needs more than this has another problem. */
const limit = "90 seconds"
/** Characters of the second answer that are read before its server is killed. */
const readBeforeKill = 120

const wrapAt = 100

/** Words of the narrator, broken into lines. */
const wrap = (text: string): string => {
  const lines: Array<string> = [""]
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? ""
    if (line.length + word.length + 1 > wrapAt) lines.push(word)
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`
  }
  return lines.join("\n")
}

interface Stage {
  readonly say: (text: string) => Effect.Effect<void>
  readonly heading: (text: string) => Effect.Effect<void>
  /** Says something in the middle of what the agent writes. */
  readonly interject: (text: string) => Effect.Effect<void>
  /** Shows the events of a prompt as they come, answers what is asked, and gives the outcome. */
  readonly watch: (
    session: Session,
    handle: PromptHandle,
    onEvent?: (event: SessionEvent) => Effect.Effect<void>
  ) => Effect.Effect<PromptOutcome, never, Scope.Scope>
}

const makeStage = Effect.gen(function*(): Effect.fn.Return<Stage, never, Output> {
  const output = yield* Output
  const paint = style.make(output.color)
  const indent = "    "
  let state = render.initial({ screen: true, raw: false, color: output.color })
  let lineStart = true

  /** Everything that the agent and Reins say stands to the right of what the narrator says. */
  const indented = (text: string): string => {
    let result = ""
    for (const part of text.split(/(?<=\n)/)) {
      result += lineStart && part !== "\n" ? indent + part : part
      lineStart = part.endsWith("\n")
    }
    return result
  }
  const show = (text: string) => output.answer(indented(text))
  const say = (text: string) => output.answer(`${wrap(text)}\n`)

  const approve = (session: Session, requestId: string) =>
    Effect.gen(function*() {
      const request = (yield* session.requests).find((open) => open.id === requestId)
      if (request === undefined) return
      yield* show(
        `${dialogue.describe(request, paint, session.cwd)}\n  ${paint.cyan("This demo answers by itself: yes")}\n`
      )
      yield* Effect.ignore(session.answer(request.id, { _tag: "accept" }))
    })

  return {
    say,
    interject: (text) =>
      Effect.suspend(() => {
        const before = state.midLine ? "\n" : ""
        state = { ...state, midLine: false }
        lineStart = true
        return output.answer(`${before}${text}\n`)
      }),
    heading: (text) => output.answer(`\n${paint.bold(wrap(text))}\n`),
    watch: (session, handle, onEvent) =>
      Effect.gen(function*() {
        yield* output.spin((now) => render.status(state, now))
        yield* handle.events.pipe(Stream.runForEach(Effect.fnUntraced(function*(event) {
          const [next, fragments] = render.render(state, event)
          state = next
          for (const { text } of fragments) yield* show(text)
          if (event._tag === "Lagged") return
          if (event._tag === "RequestOpened") yield* approve(session, event.requestId)
          if (onEvent !== undefined) yield* onEvent(event)
        })))
        return yield* handle.outcome
      })
  }
})

const pidOf = (event: SessionEvent): number | undefined =>
  event._tag === "ProcessChanged" && event.status._tag === "ready" ? event.status.pid : undefined

const secondsSince = (start: number) =>
  Effect.map(Clock.currentTimeMillis, (now) => `${((now - start) / 1_000).toFixed(1)} s`)

const play = Effect.gen(function*() {
  const output = yield* Output
  const sessions = yield* Sessions.Sessions
  const sandbox = yield* Sandbox
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const paint = style.make(output.color)
  const { heading, interject, say, watch } = yield* makeStage
  const begun = yield* Clock.currentTimeMillis

  yield* heading("1. Reins starts the agent")
  const session = yield* Effect.scoped(Effect.andThen(
    output.spin(() => "Starting OpenCode"),
    sessions.open({ provider: "opencode", cwd: sandbox.cwd, title: "Reins demo" })
  ))
  yield* Effect.addFinalizer(() => session.close)
  yield* session.attach()
  const ready = yield* session.events().pipe(
    Stream.filter((event) => event._tag !== "Lagged" && pidOf(event) !== undefined),
    Stream.runHead
  )
  const first = Option.isSome(ready) && ready.value._tag === "ProcessChanged" ? ready.value.status : undefined
  if (first?._tag !== "ready" || first.pid === undefined) {
    return yield* AgentError.make(new AgentError.Unavailable({ target: "opencode serve" }))
  }
  const pid = first.pid
  yield* say(
    `OpenCode ${first.version ?? ""} runs as process ${pid}, ready after ${yield* secondsSince(
      begun
    )}. A session is open ` +
      "in an empty directory."
  )

  yield* heading(`2. A prompt: "${prompts.work}"`)
  yield* say(
    "The text comes as the model writes it. Before the agent changes a file or runs a command it has to ask; you would " +
      "be asked now, and here the demo answers in your place."
  )
  const worked = yield* watch(session, yield* session.prompt(prompts.work))
  const written = yield* fs.readFileString(path.join(sandbox.cwd, "hello.js")).pipe(Effect.orElseSucceed(() => ""))
  yield* say(
    written === ""
      ? "The file hello.js is not there."
      : `And really: hello.js now says ${paint.cyan(sanitise.line(written))}`
  )

  yield* heading(`3. Another prompt, and an accident: "${prompts.explain}"`)
  yield* say("While the agent is writing, its server process is killed the hard way (kill -9).")
  let read = 0
  let killed = false
  let replacement: number | undefined
  const kill = Effect.gen(function*() {
    killed = true
    yield* interject(paint.red(`kill -9 ${pid}`))
    process.kill(pid, "SIGKILL")
  })
  const cut = yield* watch(session, yield* session.prompt(prompts.explain), (event) => {
    replacement = pidOf(event) ?? replacement
    if (event._tag !== "ItemDelta" || event.text === prompts.explain) return Effect.void
    read += event.text.length
    return read >= readBeforeKill && !killed ? kill : Effect.void
  })
  yield* say(
    `Reins saw the process die, started another one${
      replacement === undefined ? "" : ` (process ${replacement})`
    }, and ` +
      "read the conversation back. The turn that was cut off is reported as lost: Reins does not claim that it finished, " +
      "and does not run it again behind your back, because a command could then run twice."
  )

  yield* heading(`4. The conversation goes on: "${prompts.again}"`)
  yield* say("The same session, the same history, a new process.")
  const resumed = yield* watch(session, yield* session.prompt(prompts.again))

  yield* session.close
  const events = yield* session.events({ deltas: false }).pipe(Stream.runCollect)
  const numbers = events.flatMap((event) => event._tag !== "Lagged" && event.seq !== undefined ? [event.seq] : [])
  const gapless = numbers.every((seq, index) => seq === index + 1)
  const outcomes = [worked, cut, resumed].map((outcome) => outcome._tag)

  yield* heading("What you saw")
  yield* say(`Three prompts, and each has exactly one outcome: ${outcomes.join(", ")}.`)
  yield* say(
    `One session over two server processes, and ${numbers.length} events, numbered ${
      gapless ? "without a gap" : "WITH A GAP, which should not happen"
    }.`
  )
  return { asExpected: gapless && outcomes.join() === "completed,lost,completed" }
})

class Sandbox extends Context.Service<Sandbox, OpenCodeSandbox.OpenCodeSandbox>()("@reins/cli/demo/Sandbox") {}

const sandbox = Layer.effect(
  Sandbox,
  Effect.flatMap(ScriptedModel.ScriptedModel, (model) => OpenCodeSandbox.make({ url: model.url }))
)

const providers = Layer.unwrap(Effect.map(Sandbox, ({ env }) =>
  Providers.layer({
    opencode: OpenCode.make({ env, searchFrom: [process.cwd(), import.meta.dirname] })
  })))

const host = Sessions.layer.pipe(
  Layer.provide(providers),
  Layer.provide(ApprovalPolicy.layer(ApprovalPolicy.askAlways)),
  Layer.provide(BindingStore.layerMemory),
  Layer.provideMerge(sandbox),
  Layer.provide(ScriptedModel.layer({ respond })),
  Layer.provide(NodeHttpClient.layerUndici)
)

const program = Effect.gen(function*() {
  const output = yield* Output
  const paint = style.make(output.color)
  yield* output.answer(`${paint.bold("Reins drives coding agents, and stays true when things break.")}\n`)
  yield* output.answer(
    wrap(
      "You will watch a real agent, OpenCode, at work for about fifteen seconds. Only its model is not real: it follows a " +
        "script on this machine. So this needs no key and no network, and happens in a temporary directory."
    ) + "\n"
  )
  const { asExpected } = yield* play.pipe(
    Effect.scoped,
    Effect.provide(host),
    Effect.timeout(limit),
    // Nobody watches any more.
    Effect.raceFirst(Effect.andThen(output.readerGone, Effect.interrupt))
  )
  yield* output.answer(
    [
      "The agent's processes are ended and the temporary directory is removed.",
      "",
      paint.bold("Now with your own agent and model"),
      "Stay in this directory, set up OpenCode once (npx opencode auth login), and name the project to work in:",
      `  ${paint.cyan("npx reins run --cwd /path/to/project \"Explain this project\"")}`,
      `  ${
        paint.cyan("npx reins run --cwd /path/to/project --model anthropic/claude-sonnet-4-5 \"Fix the failing test\"")
      }`,
      `  ${paint.cyan("npx reins run --help")}`,
      ""
    ].join("\n")
  )
  if (!asExpected) yield* output.note("The demo did not go as it should: see the outcomes above.\n")
  return asExpected ? exitCodes.completed : exitCodes.failed
}).pipe(
  Effect.catchCause((cause) => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
    return Effect.gen(function*() {
      const output = yield* Output
      const error = Cause.squash(cause)
      const text = error instanceof AgentError.AgentError
        ? render.error({ options: output }, error)
        : Cause.isTimeoutError(error)
        ? `The demo was not done after ${limit}.\n  What to do: Try again when the machine is less busy.`
        : sanitise.text(Cause.pretty(cause))
      yield* output.note(`${text}\n`)
      return error instanceof AgentError.AgentError ? exitCodes.ofError(error) : exitCodes.failed
    })
  }),
  Effect.provide(Layer.mergeAll(outputModule.layer(process), NodeServices.layer, Logger.layer([])))
)

runMain(program)
