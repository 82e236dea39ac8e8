/** A session of the core as promises and async iterables. */
import type { PromptId, RequestId, TurnId } from "@reins/core/Ids"
import type * as Core from "@reins/core/Session"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { AgentRequest, Receipt, SessionEntry, SessionState } from "../Model.ts"
import { ReinsError } from "../ReinsError.ts"
import type { PromptHandle, PromptOptions, ReinsSession } from "../ReinsSession.ts"
import * as errors from "./errors.ts"
import type { Running } from "./running.ts"
import * as settings from "./settings.ts"
import * as turnText from "./turnText.ts"

export const make = (
  core: Core.Session,
  running: Running,
  /** The facade of another session. */
  facade: (core: Core.Session) => ReinsSession
): ReinsSession => {
  const { guard, iterable, kept, now, promise, start } = running
  const named = { sessionId: core.id }
  const closed = kept(core.closed)
  const state = (): SessionState => SubscriptionRef.getUnsafe(core.state)

  const onState: ReinsSession["onState"] = (listener) => {
    let active = true
    let last: SessionState["phase"] | undefined
    const tell = (told: SessionState) => {
      if (!active || last === "closed") return
      last = told.phase
      guard("A listener to the state", named, () => listener(told))
    }
    const stop = start(
      SubscriptionRef.changes(core.state).pipe(
        Stream.runForEach((told) => Effect.sync(() => tell(told))),
        // However the changes end, the last state is told when the session has closed.
        Effect.exit,
        Effect.andThen(core.closed),
        Effect.raceFirst(core.closed),
        Effect.andThen(Effect.sync(() => tell(state())))
      )
    )
    return () => {
      active = false
      stop()
    }
  }

  /** Reads on from the durable event `after` until it is stopped or the session closes. */
  const follow = (after: number, deltas: boolean, take: (entry: SessionEvent | Lagged) => void): () => void => {
    let active = true
    const stop = start(
      core.events({ after, deltas }).pipe(
        Stream.runForEachArray((entries) =>
          Effect.sync(() => {
            for (const entry of entries) if (active) take(entry)
          })
        )
      )
    )
    return () => {
      active = false
      stop()
    }
  }

  const listen = (
    first: SessionEntry["_tag"] | ((entry: SessionEntry) => void),
    second?: (entry: never) => void
  ): () => void => {
    const tag = typeof first === "string" ? first : undefined
    // A listener to one tag hears entries of that tag only, which its signature says.
    const listener = (typeof first === "string" ? second : first) as (entry: SessionEntry) => void
    return follow(now(core.current).seq, tag === undefined || tag === "ItemDelta", (entry) => {
      if (tag === undefined || entry._tag === tag) guard("A listener to events", named, () => listener(entry))
    })
  }

  const answer: ReinsSession["answer"] = (id, answer) =>
    promise(Effect.suspend(() => core.answer(id as RequestId, answer)))

  const onRequest: ReinsSession["onRequest"] = (handler) => {
    let active = true
    const seen = new Set<string>()
    const decide = async (request: AgentRequest) => {
      const said = await handler(request)
      if (said === undefined) return
      try {
        await answer(request.id, said)
      } catch (error) {
        // Somebody else was quicker: another handler, the policy, the agent itself.
        if (!ReinsError.is(error, "RequestNotOpen")) throw error
      }
    }
    const consider = (request: AgentRequest) => {
      if (!active || seen.has(request.id)) return
      seen.add(request.id)
      queueMicrotask(() => {
        if (active) guard("A handler of requests", { ...named, requestId: request.id }, () => decide(request))
      })
    }
    const scope = Scope.makeUnsafe()
    const detach = Scope.close(scope, Exit.void)
    now(Scope.provide(core.attach(), scope))
    const view = now(core.current)
    const unfollow = follow(view.seq, false, (entry) => {
      if (entry._tag === "RequestSettled") seen.delete(entry.requestId)
      if (entry._tag !== "RequestOpened") return
      const request = now(core.requests).find((open) => open.id === entry.requestId)
      if (request !== undefined) consider(request)
    })
    for (const request of view.requests) consider(request)
    return () => {
      if (!active) return
      active = false
      unfollow()
      now(detach)
    }
  }

  const prompt = async (input: Parameters<ReinsSession["prompt"]>[0], options: PromptOptions = {}) => {
    const { delivery, signal } = options
    if (signal?.aborted === true) throw errors.aborted(core.id, signal.reason)
    const [after, handle] = await promise(Effect.gen(function*() {
      const { seq } = yield* core.current
      return [seq, yield* core.prompt(input, delivery === undefined ? {} : { delivery })] as const
    }))
    const receipt = kept(handle.receipt)
    const outcome = kept(handle.outcome)
    if (signal !== undefined) watch(signal, handle.id, receipt, outcome)
    const own: PromptHandle = {
      id: handle.id,
      receipt,
      outcome,
      events: iterable(handle.events),
      text: kept(Effect.suspend(() => {
        const gathered = turnText.make(handle.id)
        return core.events({ after, deltas: false }).pipe(
          Stream.takeUntil(gathered.take),
          Stream.runDrain,
          Effect.map(() => gathered.text())
        )
      }))
    }
    return own
  }

  const watch = (signal: AbortSignal, id: PromptId, receipt: Promise<Receipt>, outcome: Promise<unknown>): void => {
    const stop = () => {
      if (now(core.current).queue.some((waiting) => waiting.promptId === id)) {
        if (!now(core.withdraw(id))) now(core.interrupt)
        return
      }
      // It is over or in a turn; the turn of a later prompt is not ours to stop.
      receipt.then((told) => {
        if (told._tag === "consumed" && now(core.current).turn?.id === told.turnId) now(core.interrupt)
      }, () => undefined)
    }
    if (signal.aborted) return stop()
    signal.addEventListener("abort", stop, { once: true })
    const forget = () => signal.removeEventListener("abort", stop)
    outcome.then(forget, forget)
  }

  const close = () => promise(core.close)

  return {
    id: core.id,
    provider: core.provider,
    cwd: core.cwd,
    capabilities: core.capabilities,
    get state() {
      return state()
    },
    onState,
    view: () => now(core.current),
    events: (options) => iterable(core.events(options)),
    on: listen,
    history: (options) => promise(core.history(options)),
    prompt,
    withdraw: (id) => promise(core.withdraw(id as PromptId)),
    interrupt: () => promise(core.interrupt),
    requests: () => now(core.requests),
    answer,
    onRequest,
    configure: async ({ approvals, mode, model, title, variant }) => {
      const policy = approvals === undefined ? undefined : settings.policy(approvals)
      await promise(core.configure({
        ...(model === undefined ? undefined : { model }),
        ...(mode === undefined ? undefined : { mode }),
        ...(title === undefined ? undefined : { title }),
        ...(variant === undefined ? undefined : { variant }),
        ...(policy === undefined ? undefined : { policy })
      }))
    },
    fork: (options) =>
      promise(Effect.map(
        core.fork({
          ...(options?.at === undefined ? undefined : { at: options.at as TurnId }),
          ...(options?.title === undefined ? undefined : { title: options.title })
        }),
        facade
      )),
    revert: ({ beforeTurn }) => promise(core.revert({ beforeTurn: beforeTurn as TurnId })),
    unrevert: () => promise(core.unrevert),
    compact: () => promise(core.compact),
    quiescent: () => promise(core.quiescent),
    close,
    closed,
    [Symbol.asyncDispose]: close
  }
}
