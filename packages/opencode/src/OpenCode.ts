/**
 * OpenCode as a provider: `opencode serve` of the 1.x line, spoken to over HTTP and server-sent events.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import * as Capabilities from "@reins/core/Capabilities"
import type { Connection, ConnectOptions, Place, Provider, Submission } from "@reins/core/Provider"
import type { Opened } from "@reins/core/SessionEvent"
import type { RequestSignal } from "@reins/core/Signal"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as HttpClient from "effect/http/HttpClient"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import type * as Redacted from "effect/Redacted"
import * as askRules from "./internal/askRules.ts"
import * as catalogue from "./internal/catalogue.ts"
import * as conversation from "./internal/conversation.ts"
import * as conversations from "./internal/conversations.ts"
import * as cursors from "./internal/cursor.ts"
import * as history from "./internal/history.ts"
import type { NormaliserState } from "./internal/normalise.ts"
import * as normalise from "./internal/normalise.ts"
import * as parts from "./internal/parts.ts"
import * as probing from "./internal/probe.ts"
import * as recent from "./internal/recent.ts"
import { limits, remember } from "./internal/state.ts"
import * as servers from "./internal/servers.ts"
import * as snapshot from "./internal/snapshot.ts"
import * as submitting from "./internal/submitting.ts"
import * as telling from "./internal/telling.ts"
import type * as Wire from "./OpenCodeSchema.ts"
import type * as OpenCodeServer from "./OpenCodeServer.ts"

/**
 * The release that Reins is tested with.
 *
 * @category models
 * @since 0.1.0
 */
export const testedVersion = "1.18.33"

/**
 * How OpenCode is found and run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Absolute path of the native binary. Default: `REINS_OPENCODE_BIN`, the nearest `node_modules`, `PATH`. */
  readonly binary?: string
  /** Environment variables for the servers, besides the inherited ones. */
  readonly env?: Readonly<Record<string, string>>
  /** Where to look for `node_modules`, besides the session's directory. Default: the working directory. */
  readonly searchFrom?: ReadonlyArray<string>
  /** From spawn to healthy. Default 60 seconds. */
  readonly startTimeout?: Duration.Input
  /**
   * A server that ends is started again; one that fails more than `max` times within `window` is unavailable for a while,
   * and is tried again by the next prompt. Default 5 in 60 seconds.
   */
  readonly restarts?: { readonly max: number; readonly window: Duration.Input }
  /** How long a server is kept after its last session closed. Default 5 minutes. */
  readonly idleTimeToLive?: Duration.Input
  /**
   * How long OpenCode waits for the head of a model's answer, and between two pieces of it, before it tries again. Holds
   * for the providers that `OPENCODE_CONFIG_CONTENT` defines, where they have no `headerTimeout` and `chunkTimeout` of
   * their own. Default: OpenCode's own, 5 minutes.
   */
  readonly modelTimeout?: Duration.Input
  /**
   * Absolute path where each server is noted while it runs, so that the next host ends it if this one is killed. Default:
   * `$XDG_STATE_HOME/reins/servers` or `~/.local/state/reins/servers`; `false`: nowhere.
   */
  readonly leases?: string | false
  /**
   * The address of a server that runs already, for example `http://127.0.0.1:4096`: it is used as it is, and never
   * started, restarted, disposed or ended. What is said here of binaries, their environment and their start is not used.
   */
  readonly url?: string
  /** The password of the server at `url`; absent: it asks for none. */
  readonly password?: Redacted.Redacted<string>
  /** The user name of the server at `url`. Default `opencode`. */
  readonly username?: string
}

/**
 * What OpenCode can do through Reins.
 *
 * @category models
 * @since 0.1.0
 */
export const capabilities: Capabilities.Capabilities = {
  ...Capabilities.none,
  steer: true,
  interrupt: true,
  resume: true,
  history: true,
  list: true,
  remove: true,
  fork: true,
  revert: true,
  compact: true,
  images: true,
  files: true,
  commands: true,
  mcpServers: true,
  setModel: true,
  setMode: true,
  setTitle: true,
  questions: true,
  plan: true,
  subagents: true,
  usage: true,
  cost: true,
  unasked: ["the todo list of the conversation", "shell commands inside of the text of a slash command"]
}

/** A server that is not ours cannot be made to ask in subagents: their conversations have no rules (1.18.33). */
const capabilitiesOfOthers: Capabilities.Capabilities = {
  ...capabilities,
  // They would be added to the directory for everybody.
  mcpServers: false,
  unasked: [...capabilities.unasked, "all that subagents do, unless the server itself is configured to ask"]
}

/** Subagents whose messages a snapshot reads; the newest. */
const maxChildren = 32

/** Conversations whose state outlives their connection. */
const maxKnown = 2_048

/** Sent with a refusal: without words OpenCode ends the turn, with them the model goes on. */
const declined =
  "The user declined this. Do not try to reach the same in another way; say what you would need, and go on."

/** The answer to a question that the user does not want to answer. */
const unanswered = "The user does not want to answer this. Go on without the answer."

const checkModel = (model: string | undefined): Effect.Effect<void, AgentError.AgentError> =>
  model === undefined || /^[^/]+\/.+$/.test(model) ? Effect.void : AgentError.fail(
    new AgentError.InvalidRequest({
      field: "model",
      description: `OpenCode names a model "provider/model"; "${model}" has no provider.`
    })
  )

/** Ids of messages and parts sort by time; the agent compares ours with its own. */
const promptKey = (promptId: string, now: number): string =>
  `msg_${((BigInt(now) * 0x1000n) & 0xffffffffffffn).toString(16).padStart(12, "0")}${promptId.slice(-14)}`

/**
 * OpenCode for `Providers.layer`. Its servers are started when the first session needs them, with a password of their
 * own, on a loopback port of their own, and are shared by sessions with the same binary and environment.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Provider<ChildProcessSpawner | HttpClient.HttpClient | FileSystem.FileSystem | Path.Path> => ({
  kind: "opencode",
  make: Effect.fnUntraced(function*(id) {
    const spawner = yield* ChildProcessSpawner
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const { url } = options
    const { asked, asking, beside, find, mcpServers, prepare } = yield* servers.make(id, options)
    const teller = telling.make()
    // What the last connection of a conversation knew, for the next one.
    const known = new Map<string, NormaliserState>()

    const here: Place = { cwd: process.cwd() }

    const connect = Effect.fnUntraced(function*(session: ConnectOptions) {
      yield* checkModel(session.model)
      // A server of others is asked by the rules of each conversation alone.
      const asks = url === undefined && !ApprovalPolicy.acceptsAll(session.policy)
      const { client, server } = yield* asks ? asking(session) : prepare(session, false)
      let choice: submitting.Choice = { model: session.model, mode: session.mode, variant: session.variant }
      if (session.mcpServers !== undefined) {
        yield* mcpServers.connect({
          client,
          directory: session.cwd,
          servers: session.mcpServers,
          report: session.report
        })
      }

      const created = client.createSession({
        ...(session.title === undefined ? undefined : { title: session.title }),
        permission: url === undefined ? [] : askRules.sessionRules(session.policy)
      }, session.cwd)

      let how: Opened = { _tag: "new" }
      let held: Wire.Session
      let children: ReadonlyArray<string> = []
      let title: string | undefined
      if (session.cursor === undefined) {
        held = yield* created
      } else {
        const cursor = yield* cursors.decode(session.cursor)
        const found = yield* client.getSession(cursor.sessionID)
        if (Option.isSome(found)) {
          how = { _tag: "resumed" }
          held = found.value
          children = (yield* client.children(held.id)).map((child) => child.id)
          title = held.title
          yield* setRules(client, held, session.policy, url === undefined)
        } else if (session.recreate) {
          held = yield* created
          how = { _tag: "recreated", reason: `OpenCode does not know the conversation ${cursor.sessionID} any more.` }
        } else {
          return yield* AgentError.make(new AgentError.SessionNotFound({ sessionId: cursor.sessionID }))
        }
      }
      const sessionID = held.id
      // The server's own name of it: through a link, or in a conversation begun elsewhere, it is another one than ours.
      const directory = held.directory ?? session.cwd
      const inUse = (): catalogue.InUse => ({
        client,
        directory,
        sessionID,
        serverDirectory: url === undefined ? process.cwd() : undefined,
        ...choice
      })
      /** The choice whose variant is known to exist. */
      let vouched: submitting.Choice | undefined
      const vouch = Effect.suspend(() => {
        if (vouched === choice) return Effect.void
        const checked = choice
        return Effect.andThen(
          catalogue.checkVariant(inUse(), checked.variant),
          Effect.sync(() => {
            vouched = checked
          })
        )
      })
      // A stored one that is gone by now must not keep the conversation from being opened: the next prompt says so.
      if (session.cursor === undefined) yield* vouch
      const before = known.get(sessionID)
      const { lose, prove, signals, state } = yield* server.attach({
        root: sessionID,
        children,
        // Of a subagent alone: to its parent it is the failure of one tool.
        onLoop: (looping) => Effect.ignore(client.abort(looping)),
        mcpServers: Object.keys(session.mcpServers ?? {}),
        ...(before === undefined ? undefined : { after: before })
      })
      // No rule is added to those that it has: the server tells all who listen that the conversation was updated.
      yield* prove(client.updateSession(sessionID, { permission: [] }))
      known.delete(sessionID)
      remember(known, sessionID, state, maxKnown)
      // Of all that it knew only the open asks are of use to the next connection.
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (known.get(sessionID) !== state) return
          if (state.asks.size === 0) known.delete(sessionID)
          else known.set(sessionID, normalise.make({ sessionId: sessionID, after: state }))
        })
      )

      yield* teller.plan(state, session.report)
      yield* teller.commands(client, session.cwd, session.report).pipe(Effect.forkScoped)
      const submitter = submitting.make(client, sessionID, yield* Effect.scope)
      let mustAsk = asks
      const submit = Effect.fnUntraced(function*(submission: Submission) {
        if (mustAsk && !asks && url === undefined && !state.busy) {
          // The subagents of this server do not ask: the conversation moves to one whose do.
          const error = AgentError.make(
            new AgentError.ConnectionLost({
              target: "opencode serve",
              description: "The policy asks now: the conversation moves to a server that asks."
            })
          )
          yield* lose(error)
          return yield* error
        }
        // The model, or what is offered, may have changed since the prompt was taken.
        if (submission.attempt === 1) yield* Effect.andThen(vouch, catalogue.accepts(inUse(), submission.input))
        yield* submitter.submit(submission, choice)
      })

      const connection: Connection = {
        how,
        cursor: cursors.make(sessionID),
        signals: teller.title(state, title, session.title, submitter.watch(signals)),
        submit,
        // OpenCode merges a prompt that arrives during a turn into the next step of the loop.
        steer: submit,
        interrupt: client.abort(sessionID),
        settle: (request, answer) =>
          Effect.suspend(() => {
            // Before it is sent: the reply may be told of before the call has returned.
            remember(state.answered, request.key, true, limits.answered)
            return settle(client, directory, request, answer)
          }),
        snapshot: (request) =>
          Effect.all({
            recent: recent.read(client, sessionID, request),
            permissions: client.permissions(directory),
            questions: client.questions(directory),
            todos: client.todos(sessionID).pipe(Effect.orElseSucceed(() => undefined))
          }, { concurrency: "unbounded" }).pipe(
            Effect.bind("childMessages", () => childMessages(client, state)),
            (reading) => statusAround(client.sessionStatus(directory), reading),
            Effect.map(({ recent, ...read }) => snapshot.build(state, { ...read, ...recent, request }))
          ),
        configure: Effect.fnUntraced(function*(change) {
          yield* checkModel(change.model)
          const next: submitting.Choice = {
            model: change.model ?? choice.model,
            mode: change.mode ?? choice.mode,
            // A variant belongs to its model.
            variant: change.variant ?? (change.model === undefined ? choice.variant : undefined)
          }
          yield* catalogue.checkMode(inUse(), change.mode)
          yield* catalogue.checkVariant({ ...inUse(), ...next }, change.variant)
          if (change.title !== undefined) yield* client.updateSession(sessionID, { title: change.title })
          choice = next
          if (change.policy !== undefined) {
            const found = yield* client.getSession(sessionID)
            if (Option.isSome(found)) yield* setRules(client, found.value, change.policy, url === undefined)
            mustAsk = !ApprovalPolicy.acceptsAll(change.policy)
          }
        }),
        history: (request) => history.read(client, { id: sessionID, directory }, request),
        accepts: (input) => catalogue.accepts(inUse(), input),
        fork: (fork) => Effect.map(conversation.fork(client, sessionID, fork), cursors.make),
        revert: (turn) =>
          Effect.suspend(() => {
            state.reverting = true
            return conversation.revert(client, sessionID, turn)
          }).pipe(Effect.tapError(() =>
            Effect.sync(() => {
              state.reverting = false
            })
          )),
        unrevert: conversation.unrevert(client, sessionID),
        compact: Effect.gen(function*() {
          const model = yield* catalogue.modelInUse(inUse())
          if (model === undefined) {
            return yield* AgentError.make(
              new AgentError.InvalidRequest({
                field: "model",
                description: "OpenCode summarises with a model that is named, and none is: choose one."
              })
            )
          }
          yield* client.summarize(sessionID, catalogue.splitModel(model))
        })
      }
      return connection
    })

    return {
      id,
      kind: "opencode",
      capabilities: url === undefined ? capabilities : capabilitiesOfOthers,
      promptKey,
      prepare: (input, limits) =>
        parts.prepare(input, limits).pipe(
          Effect.provideService(FileSystem.FileSystem, fs),
          Effect.provideService(Path.Path, path)
        ),
      connect,
      probe: url === undefined
        ? probing.ofBinary({
          find: find(process.cwd()),
          version: (binary) =>
            probing.versionOf(binary, options.env ?? {}).pipe(Effect.provideService(ChildProcessSpawner, spawner)),
          ask: (use) => beside(here, use),
          directory: process.cwd(),
          tested: testedVersion
        })
        : probing.ofAddress({
          ask: (use) => beside(here, use),
          directory: process.cwd(),
          tested: testedVersion
        }),
      models: (place) => asked(place, (client) => client.models(place.cwd)),
      modes: (place) => asked(place, (client) => catalogue.modes(client, place.cwd)),
      commands: (place) => asked(place, (client) => catalogue.commands(client, place.cwd)),
      conversations: (request) =>
        beside({ cwd: request.cwd ?? process.cwd() }, ({ client }) => conversations.list(client, request)),
      conversation: ({ cursor, cwd }) =>
        Effect.andThen(
          cursors.decode(cursor),
          beside({ cwd: cwd ?? process.cwd() }, ({ client }) => conversations.find(client, cursor))
        ),
      removeConversation: ({ cursor, cwd }) => beside({ cwd }, ({ client }) => conversations.remove(client, cursor))
    }
  })
})

/**
 * Makes a conversation ask as its policy wants it, once: the agent appends what it is given. On a server of ours the agents
 * ask already, and only what the conversation itself was allowed elsewhere is left.
 */
const setRules = (
  client: OpenCodeServer.Live["client"],
  session: Wire.Session,
  policy: ApprovalPolicy.ApprovalPolicy,
  owned: boolean
): Effect.Effect<void, AgentError.AgentError> => {
  const permission = owned && !ApprovalPolicy.acceptsAll(policy)
    ? askRules.askedAgain(session.permission)
    : owned
    ? []
    : askRules.sessionRules(policy)
  return askRules.endsWith(session.permission, permission)
    ? Effect.void
    : Effect.asVoid(client.updateSession(session.id, { permission }))
}

/**
 * What is read while the conversation is idle says how it ended. A status that is read once may be that of another moment
 * than the messages: a turn that ended in between would look like one that stopped in the middle.
 */
const statusAround = <A>(
  status: ReturnType<OpenCodeServer.Live["client"]["sessionStatus"]>,
  reading: Effect.Effect<A, AgentError.AgentError>
) =>
  Effect.gen(function*() {
    const before = yield* status
    const read = yield* reading
    return { ...read, status: { ...before, ...(yield* status) } }
  })

/** The messages of the subagents that run now. */
const childMessages = (client: OpenCodeServer.Live["client"], state: NormaliserState) =>
  Effect.forEach(
    [...state.children.keys()].slice(-maxChildren),
    (child) => Effect.map(client.messages(child), (messages) => [child, messages] as const),
    { concurrency: 4 }
  ).pipe(Effect.map((all) => Object.fromEntries(all)))

const settle = (
  client: OpenCodeServer.Live["client"],
  directory: string,
  { facts: { questions = [] }, key, kind }: RequestSignal,
  answer: Answer
): Effect.Effect<"delivered" | "gone", AgentError.AgentError> => {
  if (kind === "question") {
    if (answer._tag === "answers") return client.replyQuestion(key, { answers: answer.answers }, directory)
    // A rejected question ends the turn; the words of a refusal are an answer to each question, and the model goes on.
    const words = answer._tag === "decline" ? answer.reason ?? unanswered : undefined
    return words === undefined
      ? client.rejectQuestion(key, directory)
      : client.replyQuestion(key, { answers: questions.map(() => [words]) }, directory)
  }
  switch (answer._tag) {
    case "accept":
    case "acceptForSession":
      // Never the agent's own "always": it is broader than what was asked, and holds for the whole directory.
      return client.replyPermission(key, { reply: "once" }, directory)
    case "decline":
      return client.replyPermission(key, { reply: "reject", message: answer.reason ?? declined }, directory)
    case "cancel":
    case "answers":
    case "content":
      return client.replyPermission(key, { reply: "reject" }, directory)
  }
}
