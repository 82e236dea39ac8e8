/**
 * What a person reads of a session: a pure function from a state and an event to text.
 *
 * The agent's answer and the notes around it are kept apart, so that the answer alone can go into a file.
 *
 * @since 0.1.0
 */
import * as AgentError from "@reins/core/AgentError"
import type { Item } from "@reins/core/Item"
import type { Lagged, SessionEvent } from "@reins/core/SessionEvent"
import type { TurnState } from "@reins/core/Turn"
import type { Usage } from "@reins/core/Usage"
import * as describe from "./internal/describe.ts"
import { show } from "./internal/duration.ts"
import * as sanitise from "./internal/sanitise.ts"
import * as style from "./internal/style.ts"

/**
 * Where the text is read.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Answer and notes stand on the same screen: a note ends the line that is being written. */
  readonly screen: boolean
  /** The answer goes to no terminal: it is given as the agent wrote it, control characters included. */
  readonly raw: boolean
  readonly color: boolean
}

/**
 * A piece of text. A note is whole lines; the answer comes as it is written.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fragment {
  readonly to: "answer" | "notes"
  readonly text: string
}

/**
 * What is remembered from one event to the next. Treat it as opaque.
 *
 * @category models
 * @since 0.1.0
 */
export interface RenderState {
  readonly options: Options
  /** The agent's messages that are not complete. */
  readonly messages: ReadonlySet<string>
  /** The message that is being written, and how much of its text was given. */
  readonly writing: { readonly itemId: string; readonly given: number } | undefined
  /** The answer does not stand at the beginning of a line. */
  readonly midLine: boolean
  /** What is under way, by item, oldest first. */
  readonly running: ReadonlyMap<string, string>
  readonly turn: { readonly startedAt: number; readonly state: TurnState } | undefined
  /** The connection or the process is not what it should be. */
  readonly trouble: string | undefined
  /** The attempt to start the agent again that was told last. */
  readonly restart: number
  /** Requests that wait for an answer. */
  readonly open: number
  readonly files: number
  readonly plan: string
  /** When the last event came, epoch milliseconds. */
  readonly at: number | undefined
}

/**
 * The state before the first event.
 *
 * @category constructors
 * @since 0.1.0
 */
export const initial = (options: Options): RenderState => ({
  options,
  messages: new Set(),
  writing: undefined,
  midLine: false,
  running: new Map(),
  turn: undefined,
  trouble: undefined,
  restart: 0,
  open: 0,
  files: 0,
  plan: "",
  at: undefined
})

type Step = readonly [RenderState, ReadonlyArray<Fragment>]

/** A note on lines of its own. */
const note = (state: RenderState, text: string): Step => {
  const fragments: Array<Fragment> = []
  const breaks = state.midLine && state.options.screen
  if (breaks) fragments.push({ to: "answer", text: "\n" })
  fragments.push({ to: "notes", text: `${text}\n` })
  return [breaks ? { ...state, midLine: false } : state, fragments]
}

const quiet = (state: RenderState): Step => [state, []]

const written = (state: RenderState, text: string): Step => {
  if (text.length === 0) return quiet(state)
  return [{ ...state, midLine: !text.endsWith("\n") }, [{ to: "answer", text }]]
}

/** Steps one after the other. */
const then = ([state, before]: Step, next: (state: RenderState) => Step): Step => {
  const [after, fragments] = next(state)
  return [after, fragments.length === 0 ? before : [...before, ...fragments]]
}

const endLine = (state: RenderState): Step => state.midLine ? written(state, "\n") : quiet(state)

/** The text of a message from `offset` on, as far as it was not given yet. */
const message = (state: RenderState, itemId: string, offset: number, text: string): Step => {
  const begun = state.writing?.itemId === itemId
  const [ready, before] = begun ? quiet(state) : endLine(state)
  const given = begun ? state.writing?.given ?? 0 : 0
  const fresh = text.slice(Math.max(0, given - offset))
  if (fresh.length === 0 || offset > given) return [ready, before]
  const shown = ready.options.raw ? fresh : sanitise.text(fresh)
  return then([{ ...ready, writing: { itemId, given: offset + text.length } }, before], (next) => written(next, shown))
}

const withRunning = (state: RenderState, itemId: string, label: string | undefined): RenderState => {
  if (state.running.get(itemId) === label) return state
  const running = new Map(state.running)
  if (label === undefined) running.delete(itemId)
  else running.set(itemId, label)
  return { ...state, running }
}

const withMessage = (state: RenderState, itemId: string, open: boolean): RenderState => {
  if (state.messages.has(itemId) === open) return state
  const messages = new Set(state.messages)
  if (open) messages.add(itemId)
  else messages.delete(itemId)
  return { ...state, messages }
}

const onItem = (state: RenderState, itemId: string, item: Item, path: ReadonlyArray<string> | undefined): Step => {
  if (item._tag === "assistantMessage") {
    return path === undefined ? message(withMessage(state, itemId, true), itemId, 0, item.text) : quiet(state)
  }
  return quiet(withRunning(state, itemId, describe.underWay(item)))
}

const onCompleted = (state: RenderState, event: Extract<SessionEvent, { _tag: "ItemCompleted" }>): Step => {
  const { item, itemId, status } = event
  const paint = style.make(state.options.color)
  if (item._tag === "assistantMessage") {
    if (event.agentPath !== undefined) return quiet(state)
    const closed = withMessage(state, itemId, false)
    if (status === "discarded") {
      if (state.writing?.itemId !== itemId) return quiet(closed)
      return then(
        endLine({ ...closed, writing: undefined }),
        (next) => note(next, paint.yellow("  The model begins again: the text above does not count"))
      )
    }
    return then(
      then(message(closed, itemId, 0, item.text), endLine),
      (next) => quiet({ ...next, writing: undefined })
    )
  }
  const done = withRunning(state, itemId, undefined)
  const lines = describe.finished(item, status, paint)
  if (lines.length === 0) return quiet(done)
  const indent = event.agentPath === undefined ? "  " : "    "
  return note(done, lines.map((line) => indent + line).join("\n"))
}

const onTurnState = (state: RenderState, turn: TurnState, at: number): Step => {
  const paint = style.make(state.options.color)
  const next: RenderState = { ...state, turn: { startedAt: state.turn?.startedAt ?? at, state: turn } }
  switch (turn._tag) {
    case "retryingUpstream": {
      const when = turn.until === undefined ? "" : ` in ${show(turn.until - at)}`
      const why = turn.error === undefined ? "" : `: ${sanitise.line(turn.error.message)}`
      return note(next, paint.yellow(`  Retrying${when} (attempt ${turn.attempt})${why}`))
    }
    case "silent":
      return note(next, paint.yellow(`  Silent for ${show(at - turn.since)}: looking whether the agent still works`))
    case "compacting":
      return note(next, paint.dim("  The agent compacts the conversation to make room"))
    case "interrupting":
      // Who pressed Ctrl-C knows it.
      return turn.by === "user" ? quiet(next) : note(next, paint.yellow(`  The turn is interrupted by ${turn.by}`))
    case "running":
    case "awaitingApproval":
    case "awaitingInput":
      return quiet(next)
  }
}

const usage = (value: Usage | undefined): string => {
  if (value === undefined) return ""
  const total = value.total ?? ((value.input ?? 0) + (value.output ?? 0))
  const tokens = total > 0 ? `, ${total.toLocaleString("en-US")} tokens` : ""
  const cost = value.cost === undefined || value.cost.amount === 0
    ? ""
    : `, ${value.cost.amount.toFixed(value.cost.amount < 0.1 ? 4 : 2)} ${sanitise.line(value.cost.currency)}`
  return tokens + cost
}

const stopReasons: { readonly [reason: string]: string } = {
  maxTokens: "Stopped at the limit of tokens",
  maxTurns: "Stopped at the limit of steps",
  refusal: "The model refused"
}

const onSettled = (state: RenderState, event: Extract<SessionEvent, { _tag: "TurnSettled" }>): Step => {
  const paint = style.make(state.options.color)
  const started = state.turn?.startedAt ?? event.at
  const ended = endLine({ ...state, turn: undefined, running: new Map(), writing: undefined, open: 0 })
  const files = state.files === 0 ? "" : `, ${state.files} file${state.files === 1 ? "" : "s"} changed`
  const facts = ` after ${show(event.at - started)}${files}${usage(event.usage)}`
  return then(ended, (next) => {
    switch (event.outcome._tag) {
      case "completed": {
        const said = stopReasons[event.outcome.stopReason]
        return note(next, said === undefined ? paint.dim(`Done${facts}`) : paint.yellow(said + facts))
      }
      case "interrupted":
        return note(
          next,
          paint.yellow(`Interrupted${event.outcome.by === "user" ? "" : ` by ${event.outcome.by}`}${facts}`)
        )
      case "failed":
        return note(next, error(next, event.outcome.error))
      case "lost":
        return note(next, error(next, event.outcome.error))
    }
  })
}

/**
 * An error with its cause and advice, for the notes.
 *
 * @category getters
 * @since 0.1.0
 */
export const error = (
  state: { readonly options: Pick<Options, "color"> },
  failure: AgentError.AgentError | AgentError.ErrorInfo
): string => {
  const paint = style.make(state.options.color)
  const [first = "", ...rest] = sanitise.text(AgentError.render(failure)).split("\n")
  return [paint.red(first), ...rest].join("\n")
}

const onProcess = (state: RenderState, event: Extract<SessionEvent, { _tag: "ProcessChanged" }>): Step => {
  const paint = style.make(state.options.color)
  const { status } = event
  switch (status._tag) {
    case "starting":
      return quiet(state)
    case "ready":
      return state.trouble === undefined
        ? quiet(state)
        : note({ ...state, trouble: "Reconnecting", restart: 0 }, paint.dim("  The agent's process runs again"))
    case "degraded":
      return note(state, paint.yellow(`  The agent's process is in trouble: ${sanitise.line(status.reason)}`))
    case "exited": {
      const how = status.signal !== undefined
        ? ` by ${status.signal}`
        : status.code === undefined
        ? ""
        : ` with code ${status.code}`
      return note({ ...state, trouble: "Reconnecting" }, paint.yellow(`  The agent's process ended${how}`))
    }
    case "restarting": {
      const next = { ...state, trouble: "Starting the agent again", restart: status.attempt }
      return state.restart === status.attempt
        ? quiet(next)
        : note(next, paint.dim(`  Starting it again in ${show(status.in)}`))
    }
    case "unavailable":
      return note({ ...state, trouble: "The agent is not available" }, error(state, status.error))
  }
}

const onConnection = (state: RenderState, event: Extract<SessionEvent, { _tag: "ConnectionChanged" }>): Step => {
  const paint = style.make(state.options.color)
  const { status } = event
  switch (status._tag) {
    case "connecting":
    case "live":
    case "resyncing":
      return quiet(state)
    case "silent":
      return note(
        { ...state, trouble: "Waiting for a sign of the agent" },
        paint.yellow(`  The connection is silent for ${show(event.at - status.since)}`)
      )
    case "lost":
      return note(
        { ...state, trouble: "Reconnecting" },
        paint.yellow(`  Reconnecting: ${sanitise.line(status.error.message)}`)
      )
    case "retrying":
      return note(
        { ...state, trouble: "Reconnecting" },
        paint.dim(`  Reconnecting in ${show(status.in)} (attempt ${status.attempt})`)
      )
    case "resynced": {
      if (state.trouble === undefined) return quiet(state)
      const next = { ...state, trouble: undefined }
      return status.gap === "lossy"
        ? note(
          next,
          paint.yellow(
            `  Connected again; something may be missing${
              status.detail === undefined ? "" : `: ${sanitise.line(status.detail)}`
            }`
          )
        )
        : note(next, paint.dim("  Connected again; all that happened meanwhile was read"))
    }
  }
}

const react = (state: RenderState, event: SessionEvent): Step => {
  const paint = style.make(state.options.color)
  switch (event._tag) {
    case "ItemDelta":
      return state.messages.has(event.itemId)
        ? message(state, event.itemId, event.offset, event.text)
        : quiet(state)
    case "ItemStarted":
    case "ItemUpdated":
      return onItem(state, event.itemId, event.item, event.agentPath)
    case "ItemCompleted":
      return onCompleted(state, event)
    case "TurnStarted":
      return quiet({ ...state, turn: { startedAt: event.at, state: { _tag: "running" } }, files: 0, plan: "" })
    case "TurnChanged":
      return onTurnState(state, event.state, event.at)
    case "TurnSettled":
      return onSettled(state, event)
    case "ProcessChanged":
      return onProcess(state, event)
    case "ConnectionChanged":
      return onConnection(state, event)
    case "RequestOpened":
      return quiet({ ...state, open: state.open + 1 })
    case "RequestSettled":
      return quiet({ ...state, open: Math.max(0, state.open - 1) })
    case "SessionOpened":
      return event.how._tag === "recreated"
        ? note(
          state,
          paint.yellow(`The earlier conversation is gone; this is a new one. ${sanitise.line(event.how.reason)}`)
        )
        : quiet(state)
    case "DiffUpdated":
      return quiet({ ...state, files: event.files.length })
    case "PlanUpdated": {
      const plan = describe.plan(event.entries, paint).map((line) => `  ${line}`).join("\n")
      return plan === "" || plan === state.plan ? quiet(state) : note({ ...state, plan }, plan)
    }
    case "SubagentStarted":
      return note(state, paint.dim(`  Subagent ${sanitise.line(event.title ?? event.agent ?? "")} begins`))
    case "SubagentSettled":
      return note(state, paint.dim(`  Subagent ended: ${event.outcome._tag}`))
    case "PromptChanged":
      switch (event.state._tag) {
        case "failed":
          return note(state, error(state, event.state.error))
        case "returned":
          return note(state, paint.yellow(`The prompt was not run: ${sanitise.line(event.state.reason)}`))
        default:
          return quiet(state)
      }
    case "RateLimited": {
      const wait = event.retryAfter ?? (event.resetAt === undefined ? undefined : event.resetAt - event.at)
      return note(
        state,
        paint.yellow(`  The provider limits the rate${wait === undefined ? "" : `; free again in ${show(wait)}`}`)
      )
    }
    case "AccountChanged":
      return event.auth === "missing"
        ? note(state, paint.yellow("  The agent has no valid credentials: sign in with the agent's own command"))
        : quiet(state)
    case "HistoryReverted":
      return note(state, paint.yellow("  The conversation was taken back to an earlier point"))
    case "Notice":
      // Who answers requests says so itself.
      return event.level === "info" || event.code === "nobodyAttached"
        ? quiet(state)
        : note(state, paint.yellow(`  ${sanitise.line(event.text, 400)}`))
    case "SessionConfigured":
    case "SessionInfo":
    case "SessionClosed":
    case "CommandsUpdated":
    case "SubagentChanged":
    case "UsageUpdated":
    case "Unrecognised":
      return quiet(state)
  }
}

/**
 * What an event adds to the screen, and the state after it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const render = (state: RenderState, event: SessionEvent | Lagged): Step =>
  event._tag === "Lagged"
    ? note(state, style.make(state.options.color).yellow("  Some output was too much for this screen and is left out"))
    : react({ ...state, at: event.at }, event)

/**
 * What is being waited for, in one line; nothing where a spinner has no place. `now` is epoch milliseconds.
 *
 * @category getters
 * @since 0.1.0
 */
export const status = (state: RenderState, now: number): string | undefined => {
  if (state.open > 0 || (state.midLine && state.options.screen)) return undefined
  if (state.trouble !== undefined) return state.trouble
  const turn = state.turn
  if (turn === undefined) return undefined
  const waited = now - (state.at ?? now)
  const since = waited < 2_000 ? "" : ` ${show(waited)}`
  switch (turn.state._tag) {
    case "retryingUpstream": {
      const left = (turn.state.until ?? now) - now
      return left > 0 ? `Retrying in ${show(left)}` : "Retrying"
    }
    case "silent":
      return `Silent for ${show(now - turn.state.since)}`
    case "compacting":
      return `Compacting the conversation${since}`
    case "interrupting":
      return "Interrupting"
    default: {
      const label = [...state.running.values()].at(-1)
      return `${label ?? "Waiting for the model"}${since}`
    }
  }
}
