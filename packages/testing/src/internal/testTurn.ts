/** What a script holds in its hand: one turn of the test agent. */
import * as AgentError from "@reins/core/AgentError"
import type { Answer, RequestFacts } from "@reins/core/AgentRequest"
import { needsPerson } from "@reins/core/AgentRequest"
import type { FileChange, ItemContent, ItemStatus } from "@reins/core/Item"
import { textOf, withText } from "@reins/core/Item"
import type { RequestSignal, Signal } from "@reins/core/Signal"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { TestPrompt, TestRequest, TestTurn } from "../TestProvider.ts"
import type { Ask, Item, TestAgent, Turn } from "./testAgent.ts"
import { deltaSignal, isOpen, itemSignal } from "./testAgent.ts"

const accepted = (answer: Answer): boolean => answer._tag !== "decline" && answer._tag !== "cancel"

export const make = (agent: TestAgent, turn: Turn, prompt: TestPrompt): TestTurn => {
  const { conversation } = turn
  /** The message or thought that is being streamed. */
  let current: Item | undefined
  const changes: Array<FileChange> = []

  const tell = (...signals: ReadonlyArray<Signal>): void => agent.tell(conversation, ...signals)

  /** After its end a turn may still be talked about; after it was stopped from outside it is silent. */
  const act = <A>(what: () => A, otherwise: A): Effect.Effect<A> =>
    Effect.sync(() => {
      if (turn.mute) return otherwise
      const result = what()
      agent.changed()
      return result
    })

  const start = (content: ItemContent): Item => {
    const item: Item = { key: agent.key("item"), content, status: undefined, voided: false }
    turn.items.push(item)
    tell(itemSignal(turn, item))
    return item
  }

  const append = (item: Item, text: string): void => {
    if (item.status !== undefined || item.voided || text === "") return
    item.content = withText(item.content, textOf(item.content) + text)
    tell(deltaSignal(turn, item, text))
  }

  const complete = (item: Item, status: ItemStatus): void => {
    if (item.status !== undefined || item.voided) return
    item.status = status
    tell(itemSignal(turn, item))
  }

  const closeCurrent = (): void => {
    if (current !== undefined) complete(current, "completed")
    current = undefined
  }

  const stream = (kind: "assistantMessage" | "reasoning", text: string) =>
    act(() => {
      // A turn that has ended has completed its items: what comes late is said anew.
      if (current?.content._tag !== kind || current.status !== undefined) {
        closeCurrent()
        current = start({ _tag: kind, text: "" })
      }
      append(current, text)
    }, undefined)

  const ask = (request: TestRequest, item?: Item): Effect.Effect<Answer> =>
    Effect.suspend(() => {
      if (turn.mute) return Effect.succeed<Answer>({ _tag: "cancel" })
      closeCurrent()
      const { facts = {}, kind, options, subject } = request
      const signal: RequestSignal = {
        _tag: "requestOpened",
        turn: turn.id,
        key: agent.key("request"),
        kind,
        subject,
        facts,
        options: options ?? (kind === "hostTool" ? ["content", "decline", "cancel"] : needsPerson(kind)
          ? ["answers", "decline", "cancel"]
          : ["accept", "acceptForSession", "decline", "cancel"]),
        ...(item === undefined ? undefined : { item: item.key })
      }
      const opened: Ask = { signal, answer: Deferred.makeUnsafe() }
      agent.open(turn, opened)
      return Effect.onInterrupt(
        Deferred.await(opened.answer),
        () => Effect.sync(() => agent.closeAsk(turn, opened, undefined))
      )
    })

  /** An item that may need approval first, takes its time, and then ends. */
  const work = Effect.fnUntraced(function*(options: {
    readonly content: ItemContent
    readonly ask: TestRequest | undefined
    readonly takes: Duration.Input | undefined
    readonly done: (item: Item) => ItemStatus
  }): Effect.fn.Return<Answer> {
    const item = yield* act(() => {
      closeCurrent()
      return start(options.content)
    }, undefined)
    if (item === undefined) return { _tag: "cancel" }
    const answer: Answer = options.ask === undefined ? { _tag: "accept" } : yield* ask(options.ask, item)
    if (!accepted(answer)) {
      yield* act(() => complete(item, "failed"), undefined)
      return answer
    }
    if (options.takes !== undefined) yield* Effect.sleep(options.takes)
    yield* act(() => complete(item, options.done(item)), undefined)
    return answer
  })

  const steered: Effect.Effect<TestPrompt> = Effect.suspend(() => {
    const taken = agent.takeHeld(turn)
    if (taken === undefined) {
      return Effect.andThen(agent.until(() => isOpen(turn) && conversation.held.length > 0), steered)
    }
    closeCurrent()
    return Effect.succeed(taken)
  })

  const asking = (
    wanted: boolean | undefined,
    kind: TestRequest["kind"],
    subject: string,
    facts: RequestFacts
  ): TestRequest | undefined => wanted === true ? { kind, subject, facts } : undefined

  return {
    id: turn.id,
    conversation: conversation.id,
    cwd: conversation.cwd,
    prompt,
    model: Effect.sync(() => conversation.model),
    mode: Effect.sync(() => conversation.mode),
    say: (text) => stream("assistantMessage", text),
    think: (text) => stream("reasoning", text),
    message: (text) =>
      act(() => {
        closeCurrent()
        const item = start({ _tag: "assistantMessage", text: "" })
        append(item, text)
        complete(item, "completed")
      }, undefined),
    retract: act(() => {
      if (current === undefined || current.status !== undefined) return
      current.voided = true
      tell({ _tag: "itemVoided", turn: turn.id, key: current.key })
      current = undefined
    }, undefined),
    command: ({ ask: wanted, command, cwd, exitCode = 0, output = "", takes }) =>
      work({
        content: { _tag: "command", command, output: "", ...(cwd === undefined ? undefined : { cwd }) },
        ask: asking(wanted, "command", command, { command, ...(cwd === undefined ? undefined : { cwd }) }),
        takes,
        done: (item) => {
          append(item, output)
          item.content = { ...item.content, exitCode } as ItemContent
          return exitCode === 0 ? "completed" : "failed"
        }
      }),
    edit: ({ ask: wanted, change = "updated", diff, path, takes }) => {
      const file: FileChange = { path, change, ...(diff === undefined ? undefined : { diff }) }
      return work({
        content: { _tag: "fileChange", changes: [file], output: "" },
        ask: asking(wanted, "edit", path, { paths: [path], ...(diff === undefined ? undefined : { diff }) }),
        takes,
        done: () => {
          changes.push(file)
          agent.tellBeside(turn, { _tag: "diff", turn: turn.id, files: [...changes] })
          return "completed"
        }
      })
    },
    tool: ({ ask: wanted, fails = false, input, output = "", server, takes, tool }) =>
      work({
        content: {
          _tag: "toolCall",
          tool,
          output: "",
          ...(server === undefined ? undefined : { server }),
          ...(input === undefined ? undefined : { input })
        },
        ask: asking(wanted, "tool", tool, { tool, ...(input === undefined ? undefined : { input }) }),
        takes,
        done: (item) => {
          append(item, output)
          return fails ? "failed" : "completed"
        }
      }),
    ask: (request) => ask(request),
    steered,
    plan: (entries) => act(() => agent.tellBeside(turn, { _tag: "plan", turn: turn.id, entries }), undefined),
    usage: (usage, scope = "delta") =>
      act(() => agent.tellBeside(turn, { _tag: "usage", turn: turn.id, usage, scope }), undefined),
    retrying: ({ after, attempt, error }) => {
      const wait = Duration.toMillis(Duration.fromInputUnsafe(after))
      return Clock.currentTimeMillis.pipe(
        Effect.flatMap((now) =>
          act(() =>
            tell({
              _tag: "turnRetrying",
              turn: turn.id,
              attempt,
              until: now + wait,
              ...(error === undefined ? undefined : { error: AgentError.fromReason(error) })
            }), undefined)
        ),
        Effect.andThen(Effect.sleep(wait)),
        Effect.andThen(act(() => tell({ _tag: "turnProgress", turn: turn.id }), undefined))
      )
    },
    fail: (error) =>
      act(() => {
        // A failed upstream does not unsay what was said.
        closeCurrent()
        agent.end(turn, { _tag: "failed", error: AgentError.fromReason(error) })
      }, undefined),
    finish: (stopReason = "endTurn") => act(() => agent.end(turn, { _tag: "completed", stopReason }), undefined)
  }
}
