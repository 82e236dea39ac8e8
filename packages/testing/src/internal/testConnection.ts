/** The test agent as a provider of the core. */
import * as AgentError from "@reins/core/AgentError"
import type { Capabilities } from "@reins/core/Capabilities"
import type { Connection, ConnectOptions, Provider, Submission } from "@reins/core/Provider"
import type { Opened } from "@reins/core/SessionEvent"
import type { Signal } from "@reins/core/Signal"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Operation } from "../TestProvider.ts"
import type { Attachment, Conversation, Reader, TestAgent } from "./testAgent.ts"
import { lost, maxBacklog } from "./testAgent.ts"

const Cursor = Schema.Struct({ v: Schema.Literal(1), conversation: Schema.String })
const decodeCursor = Schema.decodeUnknownOption(Cursor)

/** A call that the agent answers, unless the test lets it hang. */
const call = <A, E>(agent: TestAgent, operation: Operation, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const hung = agent.hung.get(operation)
    if (hung === undefined) return effect
    return hung.heard ? Effect.andThen(effect, Effect.never) : Effect.never
  })

/** The conversation that the session goes on with, or a new one. */
const find = Effect.fnUntraced(function*(
  agent: TestAgent,
  options: ConnectOptions
): Effect.fn.Return<{ readonly conversation: Conversation; readonly how: Opened }, AgentError.AgentError> {
  if (options.cursor === undefined) return { conversation: agent.begin(options.cwd), how: { _tag: "new" } }
  const cursor = decodeCursor(options.cursor)
  const known = Option.isNone(cursor) ? undefined : agent.conversations.get(cursor.value.conversation)
  if (known !== undefined) return { conversation: known, how: { _tag: "resumed" } }
  if (options.recreate) {
    return {
      conversation: agent.begin(options.cwd),
      how: { _tag: "recreated", reason: "The test agent does not know the conversation." }
    }
  }
  return yield* AgentError.make(
    new AgentError.SessionNotFound({
      sessionId: options.sessionId,
      description: "The test agent does not know the conversation."
    })
  )
})

const connect = Effect.fnUntraced(function*(
  agent: TestAgent,
  capabilities: Capabilities,
  readers: Map<string, Reader>,
  options: ConnectOptions
): Effect.fn.Return<Connection, AgentError.AgentError, Scope.Scope> {
  yield* call(agent, "connect", Effect.void)
  if (agent.unavailable !== undefined) return yield* AgentError.make(agent.unavailable)
  const { conversation, how } = yield* find(agent, options)
  conversation.model = options.model ?? conversation.model
  conversation.mode = options.mode ?? conversation.mode
  const readerKey = JSON.stringify([options.sessionId, conversation.id])
  const reader = readers.get(readerKey) ?? { seen: conversation.running?.index ?? conversation.turns.length }
  readers.set(readerKey, reader)
  const queue = yield* Queue.dropping<Signal, AgentError.AgentError | Cause.Done>(maxBacklog)
  const attachment: Attachment = { queue, report: options.report, reader, open: true }
  yield* Effect.acquireRelease(
    Effect.sync(() => agent.attach(conversation, attachment)),
    () => Effect.sync(() => agent.detach(conversation, attachment))
  )

  const onLine = <A>(operation: Operation, what: () => A): Effect.Effect<A, AgentError.AgentError> =>
    call(
      agent,
      operation,
      Effect.suspend(() => attachment.open ? Effect.sync(what) : Effect.fail(lost("There is no connection any more.")))
    )
  const submit = (steer: boolean) => (submission: Submission) =>
    onLine("submit", () => agent.submit(conversation, submission, steer))

  return {
    how,
    cursor: { v: 1, conversation: conversation.id },
    signals: Stream.fromQueue(queue),
    submit: submit(false),
    ...(capabilities.steer ? { steer: submit(true) } : undefined),
    interrupt: onLine("interrupt", () => agent.interrupt(conversation)),
    settle: (request, answer) => onLine("settle", () => agent.settle(conversation, request, answer)),
    snapshot: (request) => onLine("snapshot", () => agent.snapshot(conversation, reader, request)),
    configure: ({ mode, model }) =>
      Effect.sync(() => {
        conversation.model = model ?? conversation.model
        conversation.mode = mode ?? conversation.mode
      })
  }
})

export const provider = (agent: TestAgent, kind: string, capabilities: Capabilities): Provider => ({
  kind,
  make: (id) =>
    Effect.sync(() => {
      const readers = new Map<string, Reader>()
      return {
        id,
        kind,
        capabilities,
        probe: Effect.sync(() =>
          agent.unavailable === undefined
            ? { installed: true, support: "tested", auth: "ok" }
            : {
              installed: agent.unavailable._tag !== "NotInstalled",
              support: "tested",
              auth: agent.unavailable._tag === "AuthRequired" ? "missing" : "unknown"
            }
        ),
        models: () => Effect.succeed([{ id: "test-1", name: "Test 1", isDefault: true }]),
        connect: (options) => connect(agent, capabilities, readers, options)
      }
    })
})
