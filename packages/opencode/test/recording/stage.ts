/** A real server behind a scripted model, whose wire is recorded while a scenario speaks to it. */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import type * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as HttpTape from "@reins/transport/HttpTape"
import * as WireTape from "@reins/transport/WireTape"
import type { Scope } from "effect"
import { Deferred, Effect, Layer, Option, Stream } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { hostname } from "node:os"
import { fileURLToPath } from "node:url"
import * as OpenCodeBinary from "../../src/OpenCodeBinary.ts"
import type * as OpenCodeClient from "../../src/OpenCodeClient.ts"
import * as OpenCodeServer from "../../src/OpenCodeServer.ts"
import { cut } from "./cut.ts"

/** What a scenario does with its conversation. */
export interface Stage {
  readonly client: OpenCodeClient.OpenCodeClient
  readonly cwd: string
  readonly session: string
  /** What the model answers to a prompt with exactly this text. */
  readonly answer: (text: string, script: ScriptedModel.Script | (() => ScriptedModel.Script)) => void
  readonly model: ScriptedModel.ScriptedModel["Service"]
  readonly prompt: (
    text: string,
    more?: Partial<OpenCodeClient.PromptBody>
  ) => Effect.Effect<void, AgentError.AgentError>
  /** Waits until this many signals of a kind were told; the last of them. */
  readonly until: <Tag extends Signal["_tag"]>(
    tag: Tag,
    count?: number,
    which?: (signal: Extract<Signal, { readonly _tag: Tag }>) => boolean
  ) => Effect.Effect<Extract<Signal, { readonly _tag: Tag }>>
  /** Waits until the agent has told so many characters of text; what comes at once may be one signal. */
  readonly spoken: (characters: number) => Effect.Effect<void>
  /** Reads what a fresh connection would. */
  readonly look: Effect.Effect<void, AgentError.AgentError>
  readonly summarize: Effect.Effect<void, AgentError.AgentError>
  /** Kills the server and waits until it was started anew. */
  readonly kill: Effect.Effect<Stage, AgentError.AgentError, Scope.Scope>
}

export interface Scenario {
  /** The rules that the conversation has on top of the configuration, which asks. */
  readonly permission?: ReadonlyArray<OpenCodeClient.PermissionRule>
  readonly run: (stage: Stage) => Effect.Effect<void, AgentError.AgentError, Scope.Scope>
}

/** How long a step of a scenario may take. */
const patience = "60 seconds"

/** Frames come after the end of a turn, too, and nothing tells the last of them. */
const quiet = "500 millis"

const asking = { bash: "ask", edit: "ask", webfetch: "ask", grep: "ask", external_directory: "ask" }

/** Keeps the signals of a conversation. */
const listen = Effect.fnUntraced(function*(attached: OpenCodeServer.Attached) {
  const told: Array<Signal> = []
  let changed = Deferred.makeUnsafe<void>()
  yield* attached.signals.pipe(
    Stream.runForEach((signal) =>
      Effect.suspend(() => {
        told.push(signal)
        const waiting = changed
        changed = Deferred.makeUnsafe()
        return Deferred.succeed(waiting, undefined)
      })
    ),
    Effect.ignore,
    Effect.forkScoped
  )
  const until: Stage["until"] = (tag, count = 1, which = () => true) =>
    Effect.gen(function*() {
      type Wanted = Extract<Signal, { readonly _tag: typeof tag }>
      for (;;) {
        const found = told.filter((signal): signal is Wanted => signal._tag === tag && which(signal as Wanted))
        const last = found[count - 1]
        if (last !== undefined) return last
        yield* Deferred.await(changed)
      }
    }).pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.die(new Error(`no ${count}. ${tag}; told: ${told.map(({ _tag }) => _tag).join(" ")}`))
      })
    )
  const spoken: Stage["spoken"] = (characters) =>
    Effect.asVoid(
      until("delta", 1, () =>
        told.reduce((length, signal) =>
          length + (signal._tag === "delta" ? signal.text.length : 0), 0) >= characters)
    )
  return { until, spoken }
})

/** A server that the scenarios share, and a function that records one of them as the text of a fixture. */
export const make = Effect.gen(function*() {
  const answers = new Map<string, ScriptedModel.Script | (() => ScriptedModel.Script)>()
  const model = yield* ScriptedModel.make({
    respond: ({ lastUserText }) => {
      const answer = answers.get(lastUserText)
      return typeof answer === "function" ? answer() : answer
    }
  })
  const { cwd, env, root } = yield* OpenCodeSandbox.make({ url: model.url, overrides: { permission: asking } })
  const binary = yield* OpenCodeBinary.find({ from: [fileURLToPath(new URL(".", import.meta.url))] })
  const tape = yield* WireTape.recorderMemory({ redactor: Redaction.make({ values: [] }), provider: "opencode" })
  const http = WireTape.httpClient(yield* HttpClient.HttpClient, tape)
  const server = yield* OpenCodeServer.make({ binary: binary.path, env, startTimeout: "60 seconds", ask: false }).pipe(
    Effect.provideService(HttpClient.HttpClient, http)
  )

  const entries = Effect.gen(function*() {
    yield* tape.flush
    return yield* HttpTape.read(yield* Stream.runCollect(WireTape.readLines(yield* tape.lines)))
  })

  const enter = Effect.fnUntraced(
    function*(session: string): Effect.fn.Return<Stage, AgentError.AgentError, Scope.Scope> {
      const live = yield* server.live
      const { client } = live
      const { spoken, until } = yield* listen(
        yield* server.attach({ root: session, children: [], onLoop: () => Effect.void })
      )
      return {
        client,
        cwd,
        session,
        model,
        until,
        spoken,
        answer: (text, script) => void answers.set(text, script),
        prompt: (text, more) => client.promptAsync(session, { parts: [{ type: "text", text }], ...more }),
        look: look(client, cwd, session),
        summarize: http.execute(
          HttpClientRequest.post(`${client.url}/session/${session}/summarize`).pipe(
            HttpClientRequest.setHeaders(client.eventRequest.headers),
            HttpClientRequest.bodyJsonUnsafe({ providerID: OpenCodeSandbox.provider, modelID: OpenCodeSandbox.model })
          )
        ).pipe(Effect.flatMap((response) => response.text), Effect.orDie, Effect.asVoid),
        kill: Effect.gen(function*() {
          if (live.pid !== undefined) process.kill(live.pid, "SIGKILL")
          for (;;) {
            const next = yield* Effect.option(server.live)
            if (Option.isSome(next) && next.value.pid !== live.pid) return yield* enter(session)
            yield* Effect.sleep("50 millis")
          }
        })
      }
    }
  )

  const open = Effect.fnUntraced(function*(title: string, permission: Scenario["permission"]) {
    const { client } = yield* server.live
    const { id } = yield* client.createSession(
      { title, ...(permission === undefined ? undefined : { permission }) },
      cwd
    )
    return yield* enter(id)
  })

  // The first turn of a server has much to do; what it tells of that is none of a scenario.
  yield* Effect.scoped(Effect.gen(function*() {
    const { answer, prompt, until } = yield* open("warm", undefined)
    answer("warm", { do: "text", text: "warm" })
    yield* prompt("warm")
    yield* until("turnEnded")
    yield* Effect.sleep(quiet)
  }))

  const record = Effect.fnUntraced(function*(name: string, { permission, run }: Scenario) {
    answers.clear()
    const before = (yield* entries).length
    const stage = yield* open(name, permission)
    yield* run(stage)
    yield* Effect.sleep(quiet)
    // The server may have been killed meanwhile.
    const { client } = yield* server.live
    yield* look(client, cwd, stage.session)
    return cut((yield* entries).slice(before), stage.session, [
      [cwd, "/sandbox/proj"],
      // Patterns of permissions have no slash at their beginning.
      [cwd.slice(1), "sandbox/proj"],
      [root, "/sandbox"],
      [hostname(), "host"]
    ])
  }, Effect.scoped)

  return { record }
})

const look = Effect.fnUntraced(function*(client: OpenCodeClient.OpenCodeClient, cwd: string, session: string) {
  yield* client.sessionStatus(cwd)
  yield* client.messages(session)
  yield* client.permissions(cwd)
  yield* client.questions(cwd)
})

export const platform = Layer.merge(NodeHttpClient.layerUndici, NodeServices.layer)
