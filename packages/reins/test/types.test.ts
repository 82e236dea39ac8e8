/** What the compiler of a host sees. */
import { assert, it } from "@effect/vitest"
import type * as AgentError from "@reins/core/AgentError"
import type {
  AgentRequest,
  Answer,
  Approvals,
  ErrorInfo,
  PromptHandle,
  ReinsErrorTag,
  ReinsSession,
  SessionEntry,
  SessionEvent,
  SessionSummary
} from "reins"
import { ReinsError } from "reins"

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Each of these is an error of the compiler where it does not hold. */
const holds: {
  readonly tags: Same<ReinsErrorTag, AgentError.AgentErrorReason["_tag"] | "Aborted">
  readonly itemId: Same<Extract<SessionEvent, { readonly _tag: "ItemDelta" }>["itemId"], string>
  readonly literals: Same<Extract<SessionEvent, { readonly _tag: "ItemDelta" }>["stream"], "text" | "output">
  readonly requestId: Same<AgentRequest["id"], string>
  readonly sessionId: Same<SessionSummary["sessionId"], string>
  readonly entries: Same<SessionEntry["_tag"], SessionEvent["_tag"] | "Lagged">
  readonly text: Same<PromptHandle["text"], Promise<string>>
} = { tags: true, itemId: true, literals: true, requestId: true, sessionId: true, entries: true, text: true }

/** A host as it is written, compiled only. */
export const host = async (session: ReinsSession): Promise<ErrorInfo | undefined> => {
  session.on("TurnSettled", (event) => {
    if (event.outcome._tag === "failed") throw new ReinsError(event.outcome.error)
  })
  // @ts-expect-error there is no such event
  session.on("TurnEnded", () => undefined)
  const answer: Answer = { _tag: "content", value: { name: ["a", 1, null] } }
  session.onRequest((request) => request.kind === "elicitation" ? answer : undefined)
  const approvals: Approvals = {
    rules: [{ when: { kinds: ["command"], argvPrefix: [["npm", "test"]] }, then: { _tag: "accept" } }],
    otherwise: { _tag: "ask" }
  }
  await session.configure({ approvals })
  try {
    await session.prompt({ parts: [{ _tag: "Text", text: "hi" }] }, { delivery: "steer" })
  } catch (error) {
    if (ReinsError.is(error, "RateLimited")) return error.toJSON()
  }
  return undefined
}

it("the types are those of the core, with plain ids", () => {
  assert.isTrue(Object.values(holds).every((one) => one))
})
