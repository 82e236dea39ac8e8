/**
 * What all threads of one server share: the conversation with it, as often as it is begun anew, who hears which thread, and
 * the secrets that must not be heard.
 */
import * as AgentError from "@reins/core/AgentError"
import * as Redaction from "@reins/core/Redaction"
import type { Signal } from "@reins/core/Signal"
import * as JsonRpcPeer from "@reins/transport/JsonRpcPeer"
import type { JsonRpcWire } from "@reins/transport/JsonRpcWire"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Queue from "effect/Queue"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CodexClient from "../CodexClient.ts"
import type { Attachment, CodexServer, Live } from "../CodexServer.ts"
import * as normalise from "./normalise.ts"
import type { ItemRecord, ThreadState } from "./state.ts"
import { remember } from "./state.ts"
import * as threadsOf from "./threads.ts"

/** How the agent is told of us. */
const clientInfo = { name: "reins", title: "Reins", version: "0.1.0" }

/** Threads of which it is remembered what was open. */
const maxLeft = 256
/** How long a request waits for a session that is read again. */
const holdLimit = "30 seconds"

/** What a session leaves open in its thread for the one that hears it next. */
interface Left {
  readonly asks: ThreadState["asks"]
  /** Patches by their items: a request for one names no more than the item. */
  readonly patches: ReadonlyArray<readonly [string, ItemRecord]>
  readonly children: ThreadState["children"]
}

export interface Conversation {
  /** Begins it anew, in the scope; until it is over the server is `current`. `life` names it among all that there were. */
  readonly begin: (wire: JsonRpcWire, life: string) => Effect.Effect<Live, AgentError.AgentError, Scope.Scope>
  /** The server, while somebody answers there. */
  readonly current: () => Live | undefined
  /** Nobody answers there any more, and what was asked there nobody waits for. */
  readonly end: (live: Live) => void
  /** Every session is told. */
  readonly fail: (error: AgentError.AgentError) => void
  readonly forget: CodexServer["forget"]
  readonly unload: CodexServer["unload"]
  readonly hide: CodexServer["hide"]
  readonly attach: CodexServer["attach"]
}

export const make = Effect.fnUntraced(function*(options: {
  /** Names the server in errors. */
  readonly target: string
  /** Whether nobody else can answer what is asked here: what nobody here can answer is then refused at once. */
  readonly alone: boolean
  readonly redactor: Redaction.Redactor
}): Effect.fn.Return<Conversation, never, Scope.Scope> {
  const { redactor, target } = options
  const context = yield* Effect.context<never>()
  const scope = yield* Effect.scope
  /** One entry for each session that has secrets. */
  const hidden = new Set<ReadonlyArray<Redacted.Redacted<string>>>()
  let clean = Redaction.jsonFilter([])
  let current: Live | undefined
  let answering: JsonRpcPeer.JsonRpcPeer | undefined
  /** What the agent still waits for in threads that nobody listens to now. */
  const left = new Map<string, Left>()

  const threads = threadsOf.make({
    onOverflow: () =>
      AgentError.make(
        new AgentError.ConnectionLost({
          target,
          description: "A session could not keep up with its events; it is read again from the agent."
        })
      ),
    // Without an answer the agent would wait for ever; it takes a refusal as a no.
    onUnanswerable: options.alone
      ? ({ id, method }) => {
        const peer = answering
        if (peer === undefined) return
        Effect.runForkWith(context)(Effect.ignore(peer.refuse(id, {
          code: JsonRpcPeer.codes.methodNotFound,
          message: `Nobody answers "${method}" here.`
        })))
      }
      : undefined,
    onHeld: (expire) => {
      Effect.runForkWith(context)(
        Effect.andThen(Effect.sleep(holdLimit), Effect.sync(expire)).pipe(Effect.forkIn(scope))
      )
    }
  })

  const attach = (threadId: string): Effect.Effect<Attachment, AgentError.AgentError, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.gen(function*() {
        if (current === undefined) {
          return yield* AgentError.make(
            new AgentError.ConnectionLost({ target, description: "The server was lost while the session connected." })
          )
        }
        const queue = yield* Queue.dropping<Signal, AgentError.AgentError | Cause.Done>(threadsOf.queueLimit)
        const before = left.get(threadId)
        const state = normalise.make(threadId, before?.asks, current.life)
        for (const [key, record] of before?.patches ?? []) state.items.set(key, record)
        for (const [child, path] of before?.children ?? []) state.children.set(child, path)
        const thread: threadsOf.Thread = { state, queue }
        left.delete(threadId)
        threads.add(thread)
        return thread
      }),
      (thread) =>
        Effect.sync(() => {
          threads.remove(thread)
          Queue.endUnsafe(thread.queue)
          const { asks, children, items } = thread.state
          const patches = [...items].filter(([, { changes, open }]) => open && changes.length > 0)
          if (asks.size + patches.length + children.size === 0) return
          // Who lost the conversation is asked again, under other ids.
          remember(left, threadId, { asks: current === undefined ? new Map() : asks, patches, children }, maxLeft)
        })
    ).pipe(Effect.map((thread) => ({
      state: thread.state,
      signals: Stream.fromQueue(thread.queue),
      tell: (signals) => {
        if (signals.length > 0) Queue.offerAllUnsafe(thread.queue, signals)
      },
      lose: (error) =>
        Effect.sync(() => {
          threads.remove(thread)
          Queue.failCauseUnsafe(thread.queue, Cause.fail(error))
        })
    })))

  /** Requests that were answered elsewhere are not open here any more. */
  const withdrawn = (messages: ReadonlyArray<JsonRpcPeer.Message>) => {
    const ids = messages.flatMap(({ method, params }) =>
      method === "serverRequest/resolved" && Predicate.isObject(params) && "requestId" in params
        ? [params.requestId]
        : []
    )
    return ids.length === 0
      ? Effect.void
      : Effect.forEach(
        ids,
        (id) => typeof id === "number" || typeof id === "string" ? answering?.withdraw(id) ?? Effect.void : Effect.void,
        { discard: true }
      )
  }

  const filter = () => {
    clean = Redaction.jsonFilter([...hidden].flat())
  }

  return {
    current: () => current,
    begin: Effect.fnUntraced(function*(wire, life) {
      const peer = yield* JsonRpcPeer.make({
        wire,
        target,
        receive: (messages) => Effect.andThen(Effect.sync(() => threads.push(messages)), withdrawn(messages)),
        overloadCode: JsonRpcPeer.codes.overloaded,
        clean: (text) => clean(text),
        redactor
      })
      answering = peer
      const client = CodexClient.make(peer)
      const live: Live = { client, peer, life, loaded: new Map(), ...(yield* client.initialize(clientInfo)) }
      current = live
      return live
    }),
    end: (live) => {
      if (current === live) current = undefined
      // Whoever dies waits for nothing, and whoever lives asks again.
      for (const [thread, open] of left) left.set(thread, { ...open, asks: new Map() })
    },
    fail: threads.fail,
    forget: threads.forget,
    // Not interrupted in between: the thread would stay in the archive.
    unload: ({ client, loaded }, threadId) =>
      Effect.andThen(client.archiveThread(threadId), client.unarchiveThread(threadId)).pipe(
        Effect.andThen(Effect.sync(() => loaded.delete(threadId))),
        Effect.asVoid,
        Effect.uninterruptible
      ),
    hide: (secrets) =>
      secrets.length === 0 ? Effect.void : Effect.acquireRelease(
        Effect.sync(() => {
          hidden.add(secrets)
          // For what the agent writes of them to its standard error.
          for (const secret of secrets) redactor.add(secret)
          filter()
        }),
        () =>
          Effect.sync(() => {
            hidden.delete(secrets)
            filter()
          })
      ),
    attach
  }
})
