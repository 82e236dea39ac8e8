/** A real `codex app-server` behind a scripted model, whose wire is kept while a scenario speaks to it. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Deferred, Effect, Exit, Schema, Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { hostname } from "node:os"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as CodexBinary from "../../src/CodexBinary.ts"
import type { Line } from "./cut.ts"
import { cut } from "./cut.ts"

type Fields = Readonly<Record<string, unknown>>

/** Codex refused a request. */
export class Refused
  extends Schema.TaggedError<Refused>()("Refused", { method: Schema.String, error: Schema.Unknown }) {
  override get message() {
    return `Codex refuses ${this.method}: ${JSON.stringify(this.error)}`
  }
}

/** What Codex said of its own accord: a notification, or with an id a request. */
export interface Said {
  readonly id?: number
  readonly method: string
  readonly params: Fields
}

/** What a scenario does with Codex. */
export interface Stage {
  readonly cwd: string
  /** The thread that the scenario began with. */
  readonly thread: string
  readonly model: ScriptedModel.ScriptedModel["Service"]
  /** What the model answers to a prompt with exactly this text. */
  readonly answer: (text: string, script: ScriptedModel.Script) => void
  readonly request: (method: string, params: Fields) => Effect.Effect<Fields, Refused>
  /** Asks for what Codex has to refuse. */
  readonly vain: (method: string, params: Fields) => Effect.Effect<Refused>
  /** Answers a request of Codex. */
  readonly reply: (ask: Said, result: Fields) => Effect.Effect<void>
  /** Begins a thread; its id. */
  readonly begin: (params: Fields) => Effect.Effect<string, Refused>
  /** Begins a turn, or joins the one that runs; its id. */
  readonly prompt: (text: string, more?: Fields) => Effect.Effect<string, Refused>
  /** Waits until something was said this many times; the last of them. */
  readonly until: (method: string, count?: number, which?: (params: Fields) => boolean) => Effect.Effect<Said>
  /** Ends the process and starts another one; what was said before is not part of the recording. */
  readonly restart: Effect.Effect<void, Refused>
}

export interface Scenario {
  /** Settings of the command line. */
  readonly settings?: ReadonlyArray<string>
  /** Variables that it is not given. */
  readonly without?: ReadonlyArray<string>
  /** How the thread is begun. */
  readonly thread?: Fields
  readonly run: (stage: Stage) => Effect.Effect<void, Refused>
}

/** How long a step of a scenario may take. */
const patience = "60 seconds"

/** Messages come after the end of a turn, too, and nothing tells the last of them. */
const quiet = "300 millis"

/** How long a process may take to go when its input has ended. */
const grace = "5 seconds"

/** Each fault is tried three times, and what is silent is given up soon. */
const settings = [
  "model_providers.scripted.request_max_retries=2",
  "model_providers.scripted.stream_max_retries=2",
  "model_providers.scripted.stream_idle_timeout_ms=1000",
  "features.plugins=false",
  "features.unbounded_connection_retries=false"
]

/** Codex asks for nothing, and nothing stops its commands. */
export const anything = { approvalPolicy: "never", sandbox: "danger-full-access" }

const gone = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) resume(Effect.void)
    else child.once("exit", () => resume(Effect.void))
  })

/** By the end of its input it goes and takes its commands with it. */
const end = (child: ChildProcess) =>
  Effect.suspend(() => {
    child.stdin?.end()
    return gone(child)
  }).pipe(
    Effect.timeoutOrElse({
      duration: grace,
      orElse: () =>
        Effect.sync(() => {
          child.kill("SIGKILL")
        })
    })
  )

/** A process, and what is said over its standard input and output. */
const start = Effect.fnUntraced(function*(command: string, args: ReadonlyArray<string>, options: {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly hear: (line: Line) => void
}) {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(command, args, { cwd: options.cwd, env: options.env, stdio: ["pipe", "pipe", "ignore"] })),
    end
  )
  const waiting = new Map<number, { readonly method: string; readonly answered: Deferred.Deferred<Fields, Refused> }>()
  let next = 1
  const send = (m: Fields) =>
    Effect.sync(() => {
      options.hear({ dir: ">>", m })
      child.stdin.write(`${JSON.stringify(m)}\n`)
    })
  createInterface({ input: child.stdout }).on("line", (text) => {
    const m = JSON.parse(text) as Fields
    options.hear({ dir: "<<", m })
    const { error, id, method, result } = m
    const asked = method === undefined && typeof id === "number" ? waiting.get(id) : undefined
    if (asked === undefined) return
    Deferred.doneUnsafe(
      asked.answered,
      error === undefined ? Effect.succeed(result as Fields) : Effect.fail(new Refused({ method: asked.method, error }))
    )
  })
  const request: Stage["request"] = (method, params) =>
    Effect.suspend(() => {
      const id = next++
      const answered = Deferred.makeUnsafe<Fields, Refused>()
      waiting.set(id, { method, answered })
      return Effect.andThen(send({ id, method, params }), Deferred.await(answered))
    }).pipe(Effect.timeoutOrElse({
      duration: patience,
      orElse: () => Effect.die(new Error(`no answer to ${method}`))
    }))
  yield* request("initialize", {
    clientInfo: { name: "reins", title: "Reins", version: "0.1.0" },
    capabilities: { experimentalApi: true }
  })
  yield* send({ method: "initialized" })
  return { request, send }
})

/** Records a scenario as the text of a fixture. */
export const record = Effect.fnUntraced(function*(scenario: Scenario) {
  const answers = new Map<string, ScriptedModel.Script>()
  const model = yield* ScriptedModel.make({ titles: false, respond: ({ lastUserText }) => answers.get(lastUserText) })
  const { cwd, env, root } = yield* CodexSandbox.make({ url: model.url })
  const binary = yield* CodexBinary.find({ from: [fileURLToPath(new URL(".", import.meta.url))] })
  const args = ["app-server", ...[...settings, ...scenario.settings ?? []].flatMap((setting) => ["-c", setting])]
  const given: NodeJS.ProcessEnv = { PATH: process.env["PATH"], SHELL: "/bin/bash", ...env }
  for (const name of scenario.without ?? []) given[name] = undefined

  const lines: Array<Line> = []
  let changed = Deferred.makeUnsafe<void>()
  const hear = (line: Line) => {
    lines.push(line)
    const waiting = changed
    changed = Deferred.makeUnsafe()
    Deferred.doneUnsafe(waiting, Effect.void)
  }
  const launch = Effect.gen(function*() {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const peer = yield* Scope.provide(start(binary.path, args, { cwd, env: given, hear }), scope)
    // The handshake is none of the scenario, and has the version and the platform in it.
    lines.length = 0
    return { ...peer, scope }
  })
  let peer = yield* launch
  const own = yield* Effect.scope

  const until: Stage["until"] = (method, count = 1, which = () => true) =>
    Effect.gen(function*() {
      for (;;) {
        const found = lines.filter(({ dir, m }) =>
          dir === "<<" && m["method"] === method && which(m["params"] as Fields)
        )
        const last = found[count - 1]
        if (last !== undefined) return last.m as unknown as Said
        yield* Deferred.await(changed)
      }
    }).pipe(Effect.timeoutOrElse({
      duration: patience,
      orElse: () =>
        Effect.die(new Error(`no ${count}. ${method}; said: ${lines.map(({ m }) => String(m["method"])).join(" ")}`))
    }))
  const request: Stage["request"] = (method, params) => Effect.suspend(() => peer.request(method, params))
  const begin: Stage["begin"] = (params) =>
    Effect.map(request("thread/start", { cwd, ...params }), ({ thread }) => (thread as { readonly id: string }).id)
  const thread = yield* begin(scenario.thread ?? anything)
  yield* scenario.run({
    cwd,
    thread,
    model,
    until,
    request,
    vain: (method, params) => Effect.orDie(Effect.flip(request(method, params))),
    begin,
    answer: (text, script) => void answers.set(text, script),
    reply: ({ id }, result) => Effect.suspend(() => peer.send({ id, result })),
    prompt: (text, more) =>
      Effect.map(
        request("turn/start", { threadId: thread, input: [{ type: "text", text, text_elements: [] }], ...more }),
        ({ turn }) => (turn as { readonly id: string }).id
      ),
    restart: Effect.gen(function*() {
      yield* Scope.close(peer.scope, Exit.void)
      peer = yield* Scope.provide(launch, own)
    })
  })
  yield* Effect.sleep(quiet)
  const text = cut(lines, [[cwd, "/sandbox/project"], [root, "/sandbox"]])
  for (const secret of [root, binary.path, hostname(), process.cwd(), given["SCRIPTED_API_KEY"]]) {
    if (secret !== undefined && text.includes(secret)) return yield* Effect.die(new Error(`It has ${secret} in it.`))
  }
  return text
}, Effect.scoped)

export const platform = NodeServices.layer
