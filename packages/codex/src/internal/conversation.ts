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
import * as Queue from "effect/Queue"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CodexClient from "../CodexClient.ts"
import type { Attachment, CodexServer, Live } from "../CodexServer.ts"
import * as normalise from "./normalise.ts"
import { remember } from "./state.ts"
import * as threadsOf from "./threads.ts"

/** How the agent is told of us. */
const clientInfo = { name: "reins", title: "Reins", version: "0.1.0" }

/** Threads whose open requests are remembered. */
const maxLeft = 256

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
}): Effect.fn.Return<Conversation> {
  const { redactor, target } = options
  const context = yield* Effect.context<never>()
  /** One entry for each session that has secrets. */
  const hidden = new Set<ReadonlyArray<Redacted.Redacted<string>>>()
  let clean = Redaction.jsonFilter([])
  let current: Live | undefined
  let answering: JsonRpcPeer.JsonRpcPeer | undefined
  /** What the agent still waits for in threads that nobody listens to now. */
  const left = new Map<string, normalise.ThreadState["asks"]>()

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
      : undefined
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
        const thread: threadsOf.Thread = { state: normalise.make(threadId, left.get(threadId), current.life), queue }
        left.delete(threadId)
        threads.add(thread)
        return thread
      }),
      (thread) =>
        Effect.sync(() => {
          threads.remove(thread)
          Queue.endUnsafe(thread.queue)
          const { asks } = thread.state
          if (current !== undefined && asks.size > 0) remember(left, threadId, asks, maxLeft)
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

  const filter = () => {
    clean = Redaction.jsonFilter([...hidden].flat())
  }

  return {
    current: () => current,
    begin: Effect.fnUntraced(function*(wire, life) {
      const peer = yield* JsonRpcPeer.make({
        wire,
        target,
        receive: (messages) => Effect.sync(() => threads.push(messages)),
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
      left.clear()
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
