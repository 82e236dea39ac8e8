/** One session attached to its thread of a server. */
import * as AgentError from "@reins/core/AgentError"
import * as McpServer from "@reins/core/McpServer"
import type { PromptInput } from "@reins/core/Prompt"
import type { Connection, ConnectOptions, Submission, TurnReference } from "@reins/core/Provider"
import type { Opened } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { TurnSettings } from "../CodexClient.ts"
import type { CodexServer, Live } from "../CodexServer.ts"
import * as approvals from "./approvals.ts"
import { checkMode } from "./catalogue.ts"
import * as cursors from "./cursor.ts"
import * as errors from "./errors.ts"
import * as hostTools from "./hostTools.ts"
import * as mcp from "./mcp.ts"
import * as parts from "./parts.ts"
import * as record from "./record.ts"
import * as requests from "./requests.ts"
import type { Servers } from "./servers.ts"
import { remember } from "./state.ts"
import * as turns from "./turns.ts"
import * as skills from "./skills.ts"

/** Turns of one page that is searched for a turn. */
const pageSize = 50

interface Choice {
  readonly model: string | undefined
  readonly effort: string | undefined
  readonly mode: string | undefined
  readonly approval: approvals.Mode
}

/** How a call ends whose server dies. */
const died = new Set(["ConnectionLost", "ProcessExited"])

const isOver = (error: AgentError.AgentError): boolean => /no active turn/i.test(error.message)

const refuse = (field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }), { provider: "codex" })

/** Threads whose MCP servers are known. */
const maxLoaded = 1_024

const begin = Effect.fnUntraced(function*(
  server: CodexServer,
  live: Live,
  session: ConnectOptions,
  choice: Choice
): Effect.fn.Return<{ readonly threadId: string; readonly how: Opened }, AgentError.AgentError> {
  const { client } = live
  const config = mcp.config(session.mcpServers ?? {})
  const wanted = JSON.stringify(config)
  const settings = {
    cwd: session.cwd,
    approvalPolicy: choice.approval.approvalPolicy,
    sandbox: choice.approval.sandbox,
    ...(choice.model === undefined ? undefined : { model: choice.model }),
    config
  }
  const offered = session.tools === undefined ? undefined : { dynamicTools: hostTools.specs(session.tools) }
  const begun = (threadId: string, how: Opened) => {
    remember(live.loaded, threadId, wanted, maxLoaded)
    return { threadId, how }
  }
  const fresh = (how: Opened) =>
    Effect.map(client.startThread({ ...settings, ...offered }), ({ thread }) => begun(thread.id, how))
  const taken = wanted === "{}" ? [] : yield* client.configuredMcpServers(session.cwd)
  const clash = Object.keys(session.mcpServers ?? {}).find((name) => taken.includes(name))
  if (clash !== undefined) {
    return yield* refuse(
      `mcpServers.${clash}`,
      "The user's own configuration has an MCP server of this name, and Codex would make one of the two: choose another name."
    )
  }
  if (session.cursor === undefined) return yield* fresh({ _tag: "new" })
  const { threadId } = yield* cursors.decode(session.cursor)
  const before = live.loaded.get(threadId)
  if (before !== undefined && before !== wanted) yield* server.unload(live, threadId)
  // That it was archived by this, or closed a while ago, is not the end of the conversation.
  server.forget(threadId)
  return yield* client.resumeThread(threadId, settings).pipe(
    // It is not gone: who opens it wants it out of the archive.
    Effect.catchIf(
      errors.isArchived,
      () => Effect.andThen(client.unarchiveThread(threadId), client.resumeThread(threadId, settings))
    ),
    Effect.map(({ thread }) => begun(thread.id, { _tag: "resumed" })),
    Effect.catchIf(
      ({ reason }) => session.recreate && reason._tag === "SessionNotFound",
      // A thread without a turn was never stored: nothing of it is lost.
      (error) => fresh({ _tag: "recreated", reason: error.message })
    )
  )
})

/** The agent takes any text for a directory, and its commands then fail one by one. */
const checkDirectory = ({ fs, path, servers }: Needs, cwd: string): Effect.Effect<void, AgentError.AgentError> =>
  servers.local
    ? Effect.flatMap(
      Effect.orElseSucceed(Effect.map(fs.stat(cwd), ({ type }) => type === "Directory"), () => false),
      (isDirectory) =>
        isDirectory && path.isAbsolute(cwd)
          ? Effect.void
          : Effect.fail(refuse("cwd", `"${cwd}" is no directory with an absolute path.`))
    )
    : Effect.void

export interface Needs {
  readonly servers: Servers
  readonly fs: FileSystem.FileSystem
  readonly path: Path.Path
}

/** Attaches a session; the thread is let go when the scope closes. */
export const connect = Effect.fnUntraced(function*(
  needs: Needs,
  session: ConnectOptions
): Effect.fn.Return<Connection, AgentError.AgentError, Scope.Scope> {
  yield* checkDirectory(needs, session.cwd)
  yield* checkMode(session.mode)
  const { live, server } = yield* needs.servers.of(session)
  yield* server.listen(session.report)
  yield* server.hide(McpServer.secrets(session.mcpServers ?? {}))
  let choice: Choice = {
    model: session.model,
    effort: session.variant,
    mode: session.mode,
    approval: approvals.modeOf(session.policy)
  }
  const config = mcp.config(session.mcpServers ?? {})
  const { client, how, loaded, peer, signals, state, tell, threadId } = yield* Effect.gen(function*() {
    const now = yield* live
    // One that is mute would be waited for, thread by thread, as long as a thread may take.
    yield* Effect.tapError(
      now.client.isThere,
      ({ reason }) => reason._tag === "ConnectionLost" ? server.abandon(now) : Effect.void
    )
    const { client, loaded, peer } = now
    const begun = yield* begin(server, now, session, choice)
    // Registered first, so that it runs last. A thread that nobody hears is unloaded after a while.
    yield* Effect.addFinalizer(() =>
      client.unsubscribe(begun.threadId).pipe(Effect.ignore, Effect.forkDetach({ startImmediately: true }))
    )
    return { client, loaded, peer, ...begun, ...(yield* server.attach(begun.threadId)) }
  }).pipe(
    // The server may have died a moment ago without anybody having seen it: nothing of ours was begun there.
    Effect.retry({ times: 1, while: ({ reason }) => died.has(reason._tag) })
  )
  if (session.title !== undefined && how._tag !== "resumed") {
    yield* Effect.ignore(client.nameThread(threadId, session.title))
  }

  const settings = Effect.gen(function*(): Effect.fn.Return<TurnSettings, AgentError.AgentError> {
    const { approval, effort, mode, model } = choice
    return {
      // A thread that was loaded already has ignored what it was resumed with: each turn says it again.
      approvalPolicy: approval.approvalPolicy,
      sandboxPolicy: approval.sandboxPolicy,
      ...(model === undefined ? undefined : { model }),
      ...(effort === undefined ? undefined : { effort }),
      ...(mode === undefined ? undefined : {
        collaborationMode: {
          mode,
          settings: {
            model: model ?? (yield* usualModel),
            reasoning_effort: effort ?? null,
            developer_instructions: null
          }
        }
      })
    }
  })
  const usualModel = Effect.map(client.readThread(threadId), ({ thread }) => thread.model ?? "").pipe(
    Effect.catch(() => Effect.map(client.listModels(), ({ data }) => data.find((one) => one.isDefault)?.model ?? ""))
  )

  /** The skills of the directory, where a prompt calls one. */
  const skillsFor = (input: PromptInput) =>
    parts.callsSkill(input) ? skills.of(client, session.cwd) : Effect.succeed([])
  const worded = (input: PromptInput) => Effect.map(skillsFor(input), (known) => parts.inputOf(input, known))

  const accepts = Effect.fnUntraced(function*(input: PromptInput) {
    yield* skills.check(input, yield* skillsFor(input))
    if (!parts.hasImage(input)) return
    const { data } = yield* client.listModels()
    const model = choice.model ?? (yield* usualModel)
    const modalities = data.find((one) => one.model === model)?.inputModalities
    if (modalities === undefined || modalities.includes("image")) return
    return yield* AgentError.make(
      new AgentError.Unsupported({ operation: `an image by the model "${model}"`, provider: "codex" }),
      { provider: "codex" }
    )
  })

  const submit = Effect.fnUntraced(function*({ attempt, input, key }: Submission) {
    if (attempt > 1) {
      // The agent does not know a prompt again by its key: whether it has it, its record says.
      const { turns } = yield* record.page(client, threadId, { limit: pageSize })
      if (turns.some((turn) => record.promptsOf(turn).some(({ clientId }) => clientId === key))) return
    }
    const words = yield* worded(input)
    const changes = yield* settings
    turns.sending(state, key)
    const { turn } = yield* Effect.onExit(
      client.startTurn(threadId, words, key, changes),
      (exit) => Effect.sync(() => tell(turns.sent(state, Exit.isSuccess(exit) ? exit.value.turn.id : undefined)))
    )
    started = turn.id
  })
  /** The turn that was asked for last. */
  let started: string | undefined
  /** Whether it is over. One that is not is on its way where the agent says that nothing runs. */
  const hasEnded = () => started === undefined || state.ended.has(started)

  /** An interrupt leaves the commands of its turn running; those that earlier turns left on purpose go on. */
  const endCommands = Effect.fnUntraced(function*(turn: string | undefined) {
    const { data } = yield* client.listTerminals(threadId)
    yield* Effect.forEach(
      data.filter(({ itemId }) => turn !== undefined && state.items.get(itemId)?.turn === turn),
      ({ processId }) => client.endTerminal(threadId, processId),
      { discard: true }
    )
    yield* Effect.forEach(state.children.keys(), client.cleanTerminals, { discard: true })
  })

  const turnOf = Effect.fnUntraced(
    function*(reference: TurnReference) {
      let cursor: string | undefined
      do {
        const read: record.Page = yield* record.page(client, threadId, {
          limit: pageSize,
          ...(cursor === undefined ? undefined : { cursor })
        })
        const found = read.turns.find((turn) => record.isOf(reference, turn))
        if (found !== undefined) return found.id
        cursor = read.older
      } while (cursor !== undefined)
      return yield* refuse("turn", `The conversation has no turn "${reference.id}".`)
    }
  )

  const connection: Connection = {
    how,
    cursor: cursors.make(threadId),
    signals,
    submit,
    steer: (submission) =>
      Effect.suspend(() => {
        const { turn } = state
        // Without a turn that runs it begins one.
        return turn === undefined
          ? submit(submission)
          : worded(submission.input).pipe(
            Effect.flatMap((input) => client.steerTurn(threadId, turn, input, submission.key)),
            Effect.catchIf(isOver, () => submit(submission))
          )
      }),
    interrupt: Effect.suspend(() => {
      const turn = state.turn ?? started
      return client.interruptTurn(threadId).pipe(
        Effect.retry({
          while: (error) => isOver(error) && !hasEnded(),
          schedule: Schedule.spaced("20 millis"),
          times: 50
        }),
        Effect.catchIf(isOver, () => Effect.void),
        Effect.andThen(Effect.ignore(endCommands(turn)))
      )
    }),
    settle: (request, answer) =>
      Effect.suspend(() => {
        const ask = state.asks.get(request.key)
        if (ask === undefined) return Effect.succeed("gone" as const)
        // A turn that goes on after a cancelled request is ended; one that is over by itself has another after it.
        const { turn } = state
        const ends = answer._tag === "cancel" && !requests.endsByCancel(ask.method) &&
          (request.turn === turn || request.agentPath !== undefined)
        return peer.answer(ask.id, requests.answered(ask.method, ask.params, answer)).pipe(
          Effect.tap((sent) => {
            // Not every method is said to be resolved afterwards.
            if (sent) state.asks.delete(request.key)
            return sent && ends && turn !== undefined
              ? Effect.catchIf(client.interruptTurn(threadId, turn), isOver, () => Effect.void)
              : Effect.void
          }),
          Effect.map((sent) => sent ? "delivered" as const : "gone" as const)
        )
      }),
    snapshot: (request) => record.snapshot(client, state, request),
    configure: Effect.fnUntraced(function*(change) {
      yield* checkMode(change.mode)
      if (change.title !== undefined) yield* client.nameThread(threadId, change.title)
      choice = {
        model: change.model ?? choice.model,
        effort: change.variant ?? (change.model === undefined ? choice.effort : undefined),
        mode: change.mode ?? choice.mode,
        approval: change.policy === undefined ? choice.approval : approvals.modeOf(change.policy)
      }
    }),
    history: (request) => record.history(client, threadId, request, state.turn !== undefined),
    accepts,
    fork: Effect.fnUntraced(function*({ before, through }) {
      const { thread } = yield* client.forkThread(threadId, {
        cwd: session.cwd,
        config,
        ...(before === undefined ? undefined : { beforeTurnId: yield* turnOf(before) }),
        ...(through === undefined ? undefined : { lastTurnId: yield* turnOf(through) })
      })
      remember(loaded, thread.id, JSON.stringify(config), maxLoaded)
      return cursors.make(thread.id)
    }),
    revert: Effect.fnUntraced(function*(turn) {
      yield* client.revertThread(threadId, yield* turnOf(turn))
      return { files: "kept" as const }
    }),
    compact: client.compactThread(threadId)
  }
  return connection
})
