/** Makes one session: engine, driver, connection and binding, in the scope that it is given. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { Json } from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as AgentError from "../AgentError.ts"
import type { ApprovalPolicy } from "../ApprovalPolicy.ts"
import type { Binding, BindingStore } from "../BindingStore.ts"
import type { EventJournal } from "../EventJournal.ts"
import * as EventLog from "../EventLog.ts"
import type { HostTools } from "../HostTool.ts"
import { PromptId } from "../Ids.ts"
import type { SessionId, TurnId } from "../Ids.ts"
import type { McpServers } from "../McpServer.ts"
import type { Receipt } from "../Prompt.ts"
import * as Prompt from "../Prompt.ts"
import * as PromptFiles from "../PromptFiles.ts"
import type { Connection, ProviderInstance, Settings } from "../Provider.ts"
import type { PromptHandle, Session } from "../Session.ts"
import type { DurableEvent, Lagged, Opened, SessionEvent } from "../SessionEvent.ts"
import type { PromptOutcome } from "../Turn.ts"
import * as agentCalls from "./agentCalls.ts"
import * as connectionLoop from "./connectionLoop.ts"
import * as driverModule from "./driver.ts"
import type { CallLimits } from "./driver.ts"
import * as checkpoint from "./engine/checkpoint.ts"
import type { EngineLimits } from "./engine/state.ts"
import * as engine from "./engine/state.ts"
import * as hostTools from "./hostTools.ts"
import * as identifier from "./identifier.ts"
import * as journalHistory from "./journalHistory.ts"
import * as promptIntake from "./promptIntake.ts"
import * as rewriting from "./rewriting.ts"
import * as sessionHistory from "./sessionHistory.ts"
import * as sessionKeeping from "./sessionKeeping.ts"
import * as sessionView from "./sessionView.ts"
import * as settingsModule from "./settings.ts"
import * as toldTurns from "./toldTurns.ts"

export interface SessionOptions {
  readonly id: SessionId
  readonly provider: ProviderInstance
  readonly cwd: string
  readonly title?: string
  readonly model?: string
  readonly mode?: string
  readonly variant?: string
  readonly mcpServers?: McpServers
  readonly tools?: HostTools
  readonly env?: Readonly<Record<string, string>>
  readonly policy: ApprovalPolicy
  readonly limits: EngineLimits
  readonly calls: CallLimits
  readonly attachments: promptIntake.AttachmentLimits
  readonly expiresAfter?: number
  /** What is known of the session from before. */
  readonly binding?: Binding
  /** Whether a conversation that the agent does not have may be begun anew at the opening. */
  readonly recreate: boolean
  /** From which session its conversation was copied a moment ago. */
  readonly forked?: Extract<Opened, { readonly _tag: "forked" }>
  /** Opens a session with a copy of this one's conversation. */
  readonly onFork: (seed: ForkSeed) => Effect.Effect<Session, AgentError.AgentError>
  readonly store: BindingStore["Service"]
  readonly journal?: EventJournal
  /** How long the journal may fail until the session ends, in milliseconds. */
  readonly patience: number
  /** What becomes of prompts that were queued when the host ended. */
  readonly queued: "keep" | "return"
  readonly onLost: "report" | "continue"
  readonly realPath?: (path: string) => string | undefined
  readonly onProgress?: (event: DurableEvent) => void
}

/** What a fork takes along. */
export interface ForkSeed {
  readonly cursor: Json
  readonly at: TurnId | undefined
  readonly settings: Settings
}

/** Beyond the engine's own limit, for the last call to the agent and the release of the connection. */
const closeGrace = 2_000

const unsupported = (provider: string, operation: string) =>
  AgentError.make(new AgentError.Unsupported({ operation, provider }), { provider })

/** What the one who opens a session is told when somebody closes it meanwhile. */
export const closedWhileOpening = (
  sessionId: SessionId,
  provider?: string
): Effect.Effect<never, AgentError.AgentError> =>
  // Made when it is needed: an error takes a stack trace, and every open session would keep one.
  Effect.suspend(() =>
    Effect.fail(AgentError.make(
      new AgentError.ConnectionLost({
        target: provider ?? sessionId,
        description: "The session was closed while it opened."
      }),
      { provider, sessionId }
    ))
  )

export const open = (options: SessionOptions): Effect.Effect<Session, AgentError.AgentError, Scope.Scope> =>
  Effect.gen(function*() {
    const { provider, store } = options
    const context = { provider: provider.id, sessionId: options.id }
    const { journal } = options
    const kept = journal === undefined || options.binding === undefined
      ? sessionKeeping.nothing
      : yield* sessionKeeping.load(journal, options.id)
    const S = engine.make({
      sessionId: options.id,
      provider: provider.id,
      cwd: options.cwd,
      firstSeq: Math.max(options.binding?.lastSeq ?? 0, kept.last),
      canSteer: provider.capabilities.steer,
      promptKey: provider.promptKey ?? ((id) => id),
      limits: options.limits,
      continueLost: options.onLost === "continue",
      ...(options.expiresAfter === undefined ? undefined : { expiresAfter: options.expiresAfter }),
      ...(options.realPath === undefined ? undefined : { realPath: options.realPath }),
      runs: (tool) => options.tools?.[tool]?.run !== undefined
    }, options.policy)

    let cursor: Json | undefined = options.binding?.cursor
    const current: settingsModule.Current = {
      model: options.model ?? options.binding?.model,
      mode: options.mode ?? options.binding?.mode,
      // A variant belongs to its model.
      variant: options.variant ?? (options.model === undefined ? options.binding?.variant : undefined)
    }
    let title = options.title ?? options.binding?.title
    let started = options.binding?.started === true || sessionKeeping.wasBegun(kept)
    let lastOutcome = options.binding?.lastOutcome
    const createdAt = options.binding?.createdAt ?? (yield* Clock.currentTimeMillis)

    // One that was never begun has nothing yet; of one from before it is what its binding says.
    const told = toldTurns.make(
      S,
      options.binding === undefined ? [] : sessionKeeping.toldKeys(kept) ?? options.binding.turns
    )
    const noting = checkpoint.restore(S, kept, yield* Clock.currentTimeMillis)

    const binding = Effect.map(Clock.currentTimeMillis, (now): Binding => ({
      v: 1,
      sessionId: options.id,
      provider: provider.id,
      cwd: options.cwd,
      createdAt,
      updatedAt: now,
      lastSeq: driver.keptSeq(),
      started,
      ...(cursor === undefined ? undefined : { cursor }),
      ...settingsModule.given(current),
      ...(title === undefined ? undefined : { title }),
      ...(lastOutcome === undefined ? undefined : { lastOutcome }),
      ...turnsOf(told)
    }))
    const save = Effect.flatMap(binding, store.set)
    const changed = Latch.makeUnsafe(false)

    const progress = (event: DurableEvent): void => {
      try {
        options.onProgress?.(event)
      } catch (defect) {
        Effect.runFork(Effect.logWarning("A listener to the opening of a session threw.", defect))
      }
    }

    const calls = yield* hostTools.make({
      sessionId: options.id,
      tools: options.tools ?? {},
      kept: Effect.suspend(() => driver.kept),
      answer: (id, answer) => driver.dispatch([{ _tag: "answer", id, answer, by: "host" }])
    })

    const onDurable = (event: DurableEvent): void => {
      calls.onDurable(event)
      if (S.generation === 0) progress(event)
      if (event._tag === "TurnSettled") lastOutcome = event.outcome._tag
      else if (event._tag === "TurnStarted") started = true
      else if (event._tag === "SessionInfo") title = event.title
      else if (event._tag !== "SessionConfigured") return
      Latch.openUnsafe(changed)
    }

    const driver = yield* driverModule.make({
      state: S,
      limits: options.calls,
      ...(journal === undefined
        ? undefined
        : { keeping: { journal, noting, names: kept.open.keys(), patience: options.patience } }),
      onDurable,
      told: told.keys,
      onResync: (snapshot) => {
        told.read(snapshot)
        Latch.openUnsafe(changed)
      }
    })
    const demand = Latch.makeUnsafe(false)
    const first = yield* Deferred.make<Connection, AgentError.AgentError>()

    // What the provider says before a connection stands is told in order with everything else.
    const report = (signal: Parameters<Parameters<ProviderInstance["connect"]>[0]["report"]>[0]): void =>
      driver.dispatch([{ _tag: "signals", generation: S.generation, signals: [signal] }])

    const closedError = Effect.suspend(() =>
      AgentError.make(
        new AgentError.SessionNotFound({ sessionId: options.id, description: "The session is closed." }),
        context
      )
    )

    const settings = settingsModule.make({
      current,
      driver,
      provider,
      calls: options.calls,
      context,
      closed: closedError
    })

    const connect = Effect.suspend(() => {
      const used = settings.used()
      return provider.connect({
        sessionId: options.id,
        cwd: options.cwd,
        recreate: cursor !== undefined && (options.recreate || S.generation > 0),
        policy: S.policy,
        report,
        ...(cursor === undefined ? undefined : { cursor }),
        ...(title === undefined ? undefined : { title }),
        ...settingsModule.given(used),
        ...(options.mcpServers === undefined ? undefined : { mcpServers: options.mcpServers }),
        ...(options.tools === undefined ? undefined : { tools: options.tools }),
        ...(options.env === undefined ? undefined : { env: options.env })
      }).pipe(Effect.tap((connection) => {
        cursor = connection.cursor
        return settings.catchUp(connection, used)
      }))
    })

    /** A title that was given for a conversation that exists is set there; a new one is made with it. */
    const retitle = (connection: Connection): Effect.Effect<void, AgentError.AgentError> => {
      const wanted = options.title
      if (wanted === undefined || wanted === options.binding?.title || connection.how._tag !== "resumed") {
        return Effect.void
      }
      return driver.callOn(
        connection,
        (connection) => connection.configure?.({ title: wanted }) ?? Effect.void,
        options.calls.call,
        "a new title"
      )
    }

    const loop = yield* connectionLoop.run({
      driver,
      demand,
      first,
      connect,
      // The binding is stored before the session reports ready: a session that cannot be resumed is not opened.
      onFirst: (connection) =>
        retitle(connection).pipe(
          Effect.andThen(Effect.sync(() => {
            if (connection.how._tag === "recreated") told.restart()
            driver.dispatch([{
              _tag: "opened",
              how: connection.how._tag === "resumed" && options.forked !== undefined ? options.forked : connection.how
            }])
            if (options.queued === "return") {
              driver.dispatch([{ _tag: "giveBack", reason: "The host was started again." }])
            }
          })),
          Effect.andThen(save),
          Effect.andThen(Effect.onError(driver.keep, () =>
            // Half a session is none.
            options.binding === undefined ? Effect.ignore(store.remove(options.id)) : Effect.void))
        ),
      onRecreated: (connection) =>
        Effect.sync(() => {
          told.restart()
          if (S.phase === "open") driver.dispatch([{ _tag: "opened", how: connection.how }])
          Latch.openUnsafe(changed)
        })
    }).pipe(Effect.forkScoped)

    const writing = yield* Semaphore.make(1)
    const saveQuietly = save.pipe(
      writing.withPermit,
      Effect.catchCause((cause) => Effect.logWarning("The binding of a session could not be stored.", cause)),
      Effect.annotateLogs(context)
    )
    yield* Effect.forever(Effect.andThen(
      changed.await,
      Effect.suspend(() => {
        Latch.closeUnsafe(changed)
        return saveQuietly
      })
    )).pipe(Effect.forkScoped)

    // The loop may be waiting inside a call of the adapter: it is asked to go, never joined from here.
    const release = Fiber.interrupt(loop).pipe(
      Effect.forkDetach,
      Effect.andThen(
        Fiber.await(loop).pipe(Effect.timeoutOption(closeGrace), Effect.asVoid)
      )
    )

    const close = (why: string): Effect.Effect<void> =>
      Effect.suspend(() => {
        driver.dispatch([{ _tag: "close", why }])
        return Deferred.await(driver.finished).pipe(
          Effect.timeoutOption(options.limits.close + closeGrace),
          Effect.asVoid
        )
      })

    yield* Effect.addFinalizer(() =>
      close("the host stopped").pipe(
        Effect.andThen(release),
        // A session that never opened leaves no binding behind.
        Effect.andThen(Effect.suspend(() => S.generation === 0 ? Effect.void : saveQuietly)),
        Effect.timeoutOption(5_000)
      )
    )

    yield* Deferred.await(first).pipe(
      Effect.mapError((error) => AgentError.withContext(error, context)),
      Effect.raceFirst(Effect.andThen(
        Deferred.await(driver.finished),
        closedWhileOpening(options.id, provider.id)
      ))
    )

    let attached = 0
    const events: Session["events"] = (read) => EventLog.read(driver.log, read)

    const isOver = () => S.phase === "closing" || S.phase === "closed"
    // One after another: a prompt whose files are being read is not overtaken by the one behind it.
    const ordering = yield* Semaphore.make(1)
    const intake = {
      provider,
      cwd: options.cwd,
      driver,
      calls: options.calls,
      limits: options.attachments
    }

    const prompt = (input: string | Prompt.PromptInput, how?: { readonly delivery?: Prompt.Delivery }) =>
      Effect.gen(function*() {
        if (isOver()) return yield* closedError
        const { attached, input: value } = yield* promptIntake.take(intake, Prompt.fromInput(input)).pipe(
          Effect.mapError((error) => AgentError.withContext(error, context))
        )
        const id = PromptId.make(yield* identifier.next("prm"))
        const receipt = yield* Deferred.make<Receipt>()
        const outcome = yield* Deferred.make<PromptOutcome>()
        // From here to the dispatch nothing else runs: what is accepted reaches an engine that still answers.
        if (isOver()) return yield* closedError
        const waiter: driverModule.PromptWaiter = { receipt, outcome, input: value, attached, toldAt: undefined }
        driver.waiters.set(id, waiter)
        const after = S.seq
        driver.dispatch([{
          _tag: "prompt",
          id,
          input: PromptFiles.withoutData(value),
          delivery: how?.delivery ?? "queue"
        }])
        Latch.openUnsafe(demand)
        yield* driver.kept
        const handle: PromptHandle = {
          id,
          receipt: Deferred.await(receipt),
          outcome: Deferred.await(outcome),
          events: Stream.takeUntil(events({ after }), (event) => isPast(event, waiter.toldAt))
        }
        return handle
      }).pipe(ordering.withPermit)

    const { compact, copy, revert, unrevert } = rewriting.make({
      driver,
      provider,
      calls: options.calls,
      context,
      ordering,
      closed: closedError
    })

    const history: Session["history"] = (request) =>
      Effect.gen(function*() {
        if (isOver()) return yield* closedError
        const connection = driver.connection
        const record = provider.capabilities.history ? connection?.history : undefined
        if (journal !== undefined && (record === undefined || journalHistory.isPlace(request?.before ?? ""))) {
          return yield* journalHistory.read(journal, options.id, request)
        }
        if (!provider.capabilities.history) return yield* unsupported(provider.id, "reading the history")
        if (connection === undefined) return yield* agentCalls.noConnection(provider.id)
        if (record === undefined) return yield* unsupported(provider.id, "reading the history")
        const source = yield* driver.callOn(
          connection,
          () =>
            record({
              limit: sessionHistory.limitOf(request?.limit),
              ...(request?.before === undefined ? undefined : { before: request.before })
            }),
          options.calls.call,
          "a question for the history"
        )
        return sessionHistory.page(S, source)
      }).pipe(Effect.mapError((error) => AgentError.withContext(error, context)))

    const session: Session = {
      id: options.id,
      provider: provider.id,
      cwd: options.cwd,
      capabilities: provider.capabilities,
      state: driver.summary,
      // What it shows is kept, so that `events({ after: view.seq })` goes on with it also in the next host.
      view: Effect.suspend(() => Effect.as(driver.kept, sessionView.view(S))),
      current: Effect.sync(() => sessionView.view(S)),
      events,
      history,
      prompt,
      withdraw: (id) =>
        Effect.sync(() => {
          if (S.prompts.get(id)?.state._tag !== "queued") return false
          driver.dispatch([{ _tag: "withdraw", id }])
          return true
        }),
      interrupt: Effect.sync(() => driver.dispatch([{ _tag: "interrupt", by: "user" }])),
      requests: Effect.sync(() => sessionView.view(S).requests),
      answer: (id, answer) =>
        Effect.suspend(() => {
          const record = S.requests.get(id)
          if (record === undefined || record.settledBy !== undefined) {
            return Effect.fail(AgentError.make(
              new AgentError.RequestNotOpen({
                requestId: id,
                settledBy: record?.settledBy ?? "unknown",
                ...(record?.answer === undefined ? undefined : { decision: record.answer._tag })
              }),
              context
            ))
          }
          if (!record.request.options.includes(answer._tag)) {
            return Effect.fail(AgentError.make(
              new AgentError.InvalidRequest({
                field: "answer",
                description: `The request takes ${record.request.options.join(", ")}, not "${answer._tag}".`
              }),
              context
            ))
          }
          driver.dispatch([{ _tag: "answer", id, answer, by: "user" }])
          return Effect.void
        }),
      configure: settings.configure,
      fork: (fork) =>
        Effect.flatMap(copy(fork?.at), (cursor) =>
          options.onFork({
            cursor,
            at: fork?.at,
            settings: {
              policy: S.policy,
              ...settingsModule.given(current),
              ...(fork?.title === undefined ? undefined : { title: fork.title })
            }
          })),
      revert,
      unrevert,
      compact,
      attach: (attach) =>
        attach?.answers === false ? Effect.void : Effect.acquireRelease(
          Effect.sync(() => driver.dispatch([{ _tag: "attached", count: ++attached }])),
          () => Effect.sync(() => driver.dispatch([{ _tag: "attached", count: --attached }]))
        ),
      quiescent: driver.quiescent,
      close: close("closed by the host"),
      closed: Deferred.await(driver.finished)
    }
    return session
  })

const turnsOf = (told: toldTurns.ToldTurns): { readonly turns?: ReadonlyArray<string> } => {
  const turns = told.keys()
  return turns === undefined ? {} : { turns }
}

/** Whether a reader of events has come to the one with this `seq`, or past it. */
const isPast = (event: SessionEvent | Lagged, seq: number | undefined): boolean =>
  seq !== undefined && (event._tag === "Lagged" ? event.to : event._tag === "ItemDelta" ? 0 : event.seq ?? 0) >= seq
