/** What an adapter says it cannot do is refused with the typed reason; what it says it can do is done. */
import type { AgentError } from "@reins/core/AgentError"
import type { Capabilities } from "@reins/core/Capabilities"
import { TurnId } from "@reins/core/Ids"
import * as Prompt from "@reins/core/Prompt"
import type { Session } from "@reins/core/Session"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { NotApplicable } from "../../Conformance.ts"
import type { Definition } from "./clause.ts"
import { answers, atRest, begun, expect, outcomeOf, reading, turn, usable, within } from "./clause.ts"

/** A picture of one pixel. */
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

const operations: ReadonlyArray<{
  readonly name: string
  readonly of: keyof Capabilities
  readonly attempt: (session: Session) => Effect.Effect<unknown, AgentError>
}> = [
  { name: "a fork", of: "fork", attempt: (session) => session.fork() },
  { name: "a revert", of: "revert", attempt: (session) => session.revert({ beforeTurn: TurnId.make("trn_none") }) },
  { name: "the undoing of a revert", of: "revert", attempt: (session) => session.unrevert },
  { name: "a compaction", of: "compact", attempt: (session) => session.compact },
  { name: "a change of the model", of: "setModel", attempt: (session) => session.configure({ model: "some/model" }) },
  { name: "a change of the mode", of: "setMode", attempt: (session) => session.configure({ mode: "some mode" }) },
  { name: "a change of the title", of: "setTitle", attempt: (session) => session.configure({ title: "a title" }) },
  {
    name: "an image",
    of: "images",
    attempt: (session) => session.prompt(Prompt.make("look", Prompt.image({ mediaType: "image/png", data: pixel })))
  },
  {
    name: "a file",
    of: "files",
    attempt: (session) => session.prompt(Prompt.make("look", Prompt.file({ data: "aGk=", name: "a.txt" })))
  },
  {
    name: "a command",
    of: "commands",
    attempt: (session) => session.prompt(Prompt.make(Prompt.command("some-command")))
  },
  {
    name: "a subagent that is called by name",
    of: "subagents",
    attempt: (session) => session.prompt(Prompt.make(Prompt.mention("some-agent")))
  }
]

export const clauses: ReadonlyArray<Definition> = [
  ...operations.map(({ attempt, name, of }): Definition => ({
    name: `${name} is refused as Unsupported where the agent cannot do it`,
    group: "capabilities",
    body: (subject) =>
      Effect.gen(function*() {
        if (subject.capabilities[of] !== false) {
          return yield* new NotApplicable({ message: `the agent has the capability "${of}"` })
        }
        const session = yield* subject.open
        const { seq } = yield* session.view
        const result = yield* Effect.result(attempt(session))
        yield* expect(
          result._tag === "Failure" && result.failure.reason._tag === "Unsupported",
          `it is ${result._tag === "Success" ? "taken" : result.failure.reason._tag}`
        )
        yield* within(session.quiescent, "rest")
        const told = yield* session.events({ after: seq, deltas: false }).pipe(
          Stream.take((yield* session.view).seq - seq),
          Stream.runCollect
        )
        yield* expect(!told.some((event) => event._tag === "TurnStarted"), "it is refused, and a turn began")
        yield* usable(subject, session)
      })
  })),
  {
    name: "a prompt that is steered into a turn joins it, or waits for its own",
    group: "capabilities",
    law: 1,
    body: (subject) =>
      Effect.gen(function*() {
        const session = yield* subject.open
        const first = yield* begun(session, subject.agent.hold("working on it"))
        const second = yield* session.prompt(subject.agent.say(["steered"]), { delivery: "steer" })
        yield* Effect.sleep(100)
        yield* session.interrupt
        yield* outcomeOf(first)
        const receipt = yield* within(second.receipt, "the receipt of a steered prompt")
        yield* outcomeOf(second)
        yield* expect(
          receipt._tag === "consumed" || receipt._tag === "returned",
          `the receipt is ${JSON.stringify(receipt)}`
        )
        yield* usable(subject, session)
      })
  },
  {
    name: "the history has what was said, where the agent keeps one",
    group: "capabilities",
    body: (subject) =>
      Effect.gen(function*() {
        if (!subject.capabilities.history) {
          return yield* new NotApplicable({ message: "the agent keeps no history" })
        }
        const session = yield* subject.open
        const events = yield* reading(session)
        yield* turn(session, subject.agent.say(["to be ", "remembered"]))
        yield* atRest(session, events)
        const page = yield* session.history()
        const said = page.turns.flatMap(({ items }) =>
          items.flatMap(({ item }) => item._tag === "assistantMessage" ? [item.text] : [])
        )
        yield* expect(said.join() === answers(events).join(), `the history has ${JSON.stringify(said)}`)
      })
  }
]
