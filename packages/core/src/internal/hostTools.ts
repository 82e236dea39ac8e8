/** Runs the host's tools when the agent calls them: each call is answered once, and none holds up the session. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Answer } from "../AgentRequest.ts"
import * as HostTool from "../HostTool.ts"
import type { RequestId, SessionId } from "../Ids.ts"
import type { DurableEvent } from "../SessionEvent.ts"

export interface HostTools {
  /** Looks at an event of the session: a call begins, or nobody waits for it any more. */
  readonly onDurable: (event: DurableEvent) => void
}

type Call = Extract<DurableEvent, { readonly _tag: "RequestOpened" }>

const isJson = Schema.is(Schema.Json)

/** Longest reason of a failed call, in characters. */
const maxReason = 16_384

const failed = (message: string): Answer => ({ _tag: "decline", reason: message.slice(0, maxReason) })

export const make = Effect.fnUntraced(function*(options: {
  readonly sessionId: SessionId
  readonly tools: HostTool.HostTools
  /** What was told is in the journal: a call that a crash hides is not run. */
  readonly kept: Effect.Effect<void>
  readonly answer: (id: RequestId, answer: Answer) => void
}): Effect.fn.Return<HostTools, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const run = Effect.runForkWith(context)
  const tools = new Map(Object.entries(options.tools))
  const permits = yield* Semaphore.make(HostTool.concurrency)
  const running = new Map<RequestId, Fiber.Fiber<unknown>>()

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      // Not joined: a tool that cannot be interrupted must not hold up the close.
      for (const fiber of running.values()) fiber.interruptUnsafe()
      running.clear()
    })
  )

  const resultOf = Effect.fnUntraced(function*(
    { agentPath, facts, requestId, turnId }: Call
  ): Effect.fn.Return<Answer | undefined, { readonly message: string }> {
    const name = facts.tool ?? ""
    const tool = tools.get(name)
    // A conversation may know tools of an earlier host.
    if (tool === undefined) return failed(`The host has no tool "${name}".`)
    if (tool.run === undefined) return undefined
    const value = yield* tool.run(facts.input ?? {}, {
      sessionId: options.sessionId,
      requestId,
      ...(turnId === undefined ? undefined : { turnId }),
      ...(agentPath === undefined ? undefined : { agentPath })
    })
    // It goes to the agent and into the journal: what is no JSON, or never ends, must not break them.
    if (!isJson(value)) return failed(`The tool "${name}" came to a value that is no JSON.`)
    const size = HostTool.textOf(value).length
    return size > HostTool.maxResult
      ? failed(`The result of the tool "${name}" has ${size} characters; the limit is ${HostTool.maxResult}.`)
      : { _tag: "content", value }
  })

  const call = (event: Call): void => {
    const { facts, requestId } = event
    const work = Effect.andThen(options.kept, resultOf(event)).pipe(
      permits.withPermit,
      Effect.catch(({ message }) => Effect.succeed(failed(message))),
      Effect.catchCause((cause) =>
        Effect.as(
          Effect.logError(`The tool "${facts.tool}" of the host died.`, cause),
          failed(`The tool "${facts.tool}" failed in the host.`)
        )
      ),
      Effect.tap((answer) =>
        Effect.sync(() => {
          // One that was settled meanwhile has an answer.
          if (running.delete(requestId) && answer !== undefined) options.answer(requestId, answer)
        })
      ),
      Effect.annotateLogs({ sessionId: options.sessionId, requestId })
    )
    running.set(requestId, run(Effect.andThen(Effect.yieldNow, work)))
  }

  return {
    onDurable: (event) => {
      if (event._tag === "RequestOpened" && event.kind === "hostTool") call(event)
      else if (event._tag === "RequestSettled") {
        const fiber = running.get(event.requestId)
        running.delete(event.requestId)
        fiber?.interruptUnsafe()
      }
    }
  }
})
