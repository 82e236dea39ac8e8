/** What Codex has stored of a thread, as signals, verdicts and history. */
import type { AgentError } from "@reins/core/AgentError"
import type { HistorySource } from "@reins/core/History"
import type { ItemStatus } from "@reins/core/Item"
import type { TurnReference } from "@reins/core/Provider"
import type { Signal, Snapshot, SnapshotRequest, TurnVerdict } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { CodexClient } from "../CodexClient.ts"
import type * as Wire from "../CodexSchema.ts"
import * as errors from "./errors.ts"
import * as items from "./items.ts"
import type { ThreadState } from "./state.ts"
import { limits, remember, verdictOf } from "./state.ts"

/** Turns of one page of the agent's, and pages that a snapshot reads at the most. */
const pageSize = 50
const maxPages = 20

/** The turns of a page, oldest first, and where the older ones are. */
export interface Page {
  readonly turns: ReadonlyArray<Wire.Turn>
  readonly older: string | undefined
}

/** A thread that never had a turn has no file, and nothing to list. */
export const page = (
  client: CodexClient,
  threadId: string,
  options: { readonly cursor?: string; readonly limit: number }
): Effect.Effect<Page, AgentError> =>
  client.listTurns(threadId, options).pipe(
    Effect.map(({ data, nextCursor }) => ({ turns: data.toReversed(), older: nextCursor ?? undefined })),
    Effect.catch((error) =>
      error.reason._tag === "SessionNotFound" || error.reason._tag === "Unsupported" ||
        (error.reason._tag === "InvalidRequest" && /not supported yet|not materialized/.test(error.message))
        ? Effect.succeed({ turns: [], older: undefined })
        : Effect.fail(error)
    )
  )

/** The keys of the prompts that a turn took: ours, where they are ours. */
export const promptsOf = (turn: Wire.Turn): ReadonlyArray<items.Said> =>
  (turn.items ?? []).flatMap((item) => items.saidOf(item) ?? [])

/** The end of an id, which a prompt and its turn have in common. */
const tail = 14

/** Whether a turn of the agent is the one that a host names. */
export const isOf = (reference: TurnReference, turn: Wire.Turn): boolean =>
  reference.keys.includes(turn.id) || reference.id === `trn_${turn.id}` ||
  promptsOf(turn).some(({ clientId }) =>
    clientId !== undefined && (reference.keys.includes(clientId) ||
      (clientId.startsWith("prm_") && clientId.slice(-tail) === reference.id.slice(-tail)))
  )

/**
 * How the agent judges a turn. One that is stored as running while nothing runs was cut off with its server; when it is
 * read again after that it is called interrupted, without a time at which it ended (measured on 0.169.0).
 */
export const verdict = (turn: Wire.Turn, busy: boolean): TurnVerdict => {
  const judged = verdictOf(turn.status, () => errors.infoOf(turn.error ?? { message: "It did not say why." }))
  const cutOff = judged._tag === "interrupted" && (turn.completedAt === undefined || turn.completedAt === null)
  return cutOff || (judged._tag === "running" && !busy) ? { _tag: "unfinished" } : judged
}

const ended = (status: ItemStatus | undefined, running: boolean): { readonly status?: ItemStatus } =>
  status !== undefined ? { status } : running ? {} : { status: "interrupted" }

/** The stored items of a turn as signals; what is stored of an item is all of its text. */
export const signalsOf = (turn: Wire.Turn, running: boolean): ReadonlyArray<Signal> => {
  const out: Array<Signal> = []
  let first = true
  for (const item of turn.items ?? []) {
    const said = items.saidOf(item)
    if (said !== undefined) {
      const key = items.keyOf(said)
      out.push({
        _tag: "prompt",
        key,
        turn: turn.id,
        ...(said.clientId === undefined ? { text: said.text } : undefined)
      })
      if (first) out.push({ _tag: "turnStarted", turn: turn.id, prompt: key })
      first = false
    }
    const seen = items.seenOf(item, !running)
    if (Result.isFailure(seen)) continue
    const { content, hasText, key, status } = seen.success
    out.push({ _tag: "item", key, turn: turn.id, item: content, hasText, ...ended(status, running) })
  }
  return out
}

/** Subagents that a turn has begun are heard again by who attaches anew. */
const rememberChildren = (state: ThreadState, turn: Wire.Turn): void => {
  for (const item of turn.items ?? []) {
    const seen = items.seenOf(item, false)
    if (Result.isFailure(seen) || seen.success.content._tag !== "subagent") continue
    for (const thread of seen.success.content.path ?? []) {
      if (!state.children.has(thread)) remember(state.children, thread, [thread], limits.children)
    }
  }
}

/** The agent's side as the engine wants to know it. */
export const snapshot = Effect.fnUntraced(function*(
  client: CodexClient,
  state: ThreadState,
  request: SnapshotRequest
): Effect.fn.Return<Snapshot, AgentError> {
  const { threadId } = state
  const status = yield* client.readThread(threadId).pipe(
    Effect.map(({ thread }) => thread.status?.type ?? "unknown"),
    Effect.catch((error) => error.reason._tag === "SessionNotFound" ? Effect.succeed("idle") : Effect.fail(error))
  )
  const busy = status === "active"
  const wanted = new Set([...request.turns, ...request.prompts, ...request.after ?? []])
  const found = new Set<string>()
  let turns: ReadonlyArray<Wire.Turn> = []
  let cursor: string | undefined
  for (let pages = 0; pages < maxPages; pages++) {
    const read: Page = yield* page(client, threadId, {
      limit: pageSize,
      ...(cursor === undefined ? undefined : { cursor })
    })
    turns = [...read.turns, ...turns]
    for (const turn of read.turns) {
      found.add(turn.id)
      for (const said of promptsOf(turn)) found.add(items.keyOf(said))
    }
    cursor = read.older
    // Older ones are of no interest once the last of those that were told is there.
    const known = request.after !== undefined && request.after !== null && request.after.length > 0
      ? request.after.some((key) => found.has(key))
      : [...wanted].every((key) => found.has(key))
    if (cursor === undefined || known) break
  }

  const promptsIn = (turn: Wire.Turn) => promptsOf(turn).map(items.keyOf)
  const isAsked = (turn: Wire.Turn) =>
    request.turns.includes(turn.id) ||
    promptsIn(turn).some((key) => request.prompts.includes(key) || request.turns.includes(key))
  const after = request.after
  const toldIndex = after === undefined || after === null
    ? undefined
    : turns.findLastIndex((turn) => after.includes(turn.id) || promptsIn(turn).some((key) => after.includes(key)))
  const running = (turn: Wire.Turn) => busy && turn.status === "inProgress"
  const told = turns.filter((turn, index) =>
    isAsked(turn) || (after === null ? running(turn) : toldIndex !== undefined && index > toldIndex)
  )
  const verdicts: Record<string, TurnVerdict> = {}
  for (const turn of told) {
    if (running(turn)) rememberChildren(state, turn)
    const stored = verdict(turn, busy)
    // The end of its input interrupts what runs, and is stored like the wish of a person. Only the engine knows whether
    // somebody wished it; a turn that it has open and nobody interrupted was cut off.
    const judged: TurnVerdict = stored._tag === "interrupted" && isAsked(turn) ? { _tag: "unfinished" } : stored
    verdicts[turn.id] = judged
    for (const key of promptsIn(turn)) if (request.turns.includes(key)) verdicts[key] = judged
  }
  const last = turns.findLast((turn) => turn.status !== "inProgress" || !busy)
  return {
    activity: status === "unknown" ? "unknown" : busy ? "busy" : "idle",
    prompts: Object.fromEntries(request.prompts.map((key) => [
      key,
      turns.some((turn) => promptsIn(turn).includes(key))
        ? "taken" as const
        : busy
        ? "unknown" as const
        : "absent" as const
    ])),
    turns: verdicts,
    signals: told.flatMap((turn) => signalsOf(turn, running(turn))),
    requests: [...state.asks.values()].map(({ signal }) => signal),
    // What is streaming is not stored yet.
    complete: !busy,
    newest: last?.id ?? null
  }
})

/** A page of turns for a reader. */
export const history = (
  client: CodexClient,
  threadId: string,
  request: { readonly before?: string; readonly limit: number },
  busy: boolean
): Effect.Effect<HistorySource, AgentError> =>
  Effect.map(
    page(client, threadId, {
      limit: request.limit,
      ...(request.before === undefined ? undefined : { cursor: request.before })
    }),
    ({ older, turns }) => ({
      turns: turns.map((turn) => {
        const running = busy && turn.status === "inProgress"
        return {
          key: turn.id,
          verdict: verdict(turn, busy),
          items: signalsOf(turn, running).flatMap((signal) =>
            signal._tag === "item"
              ? [{
                key: signal.key,
                item: signal.item,
                ...(signal.status === undefined ? undefined : { status: signal.status })
              }]
              : []
          ),
          // Seconds on the wire.
          ...(turn.startedAt === undefined || turn.startedAt === null
            ? undefined
            : { startedAt: turn.startedAt * 1_000 })
        }
      }),
      ...(older === undefined ? undefined : { before: older })
    })
  )
