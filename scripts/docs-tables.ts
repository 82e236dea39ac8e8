/**
 * Writes the tables of docs/errors.md and docs/events.md from the code; `--check` only compares.
 *
 *     npx node --conditions=@reins/source scripts/docs-tables.ts [--check]
 */
import * as AgentError from "@reins/core/AgentError"
import { SettledBy } from "@reins/core/AgentRequest"
import { Item, ItemStatus } from "@reins/core/Item"
import { PromptState } from "@reins/core/Prompt"
import { ConnectionStatus, Opened, Origin, ProcessStatus, SessionEvent } from "@reins/core/SessionEvent"
import { TurnOutcome, TurnState } from "@reins/core/Turn"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8")

const sources = (folder: string): string =>
  readdirSync(`${root}${folder}`, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => read(`${folder}/${name}`))
    .join("\n")

const packages = ["core", "transport", "opencode", "cli"].map((name) => sources(`packages/${name}/src`)).join("\n")
const engine = sources("packages/core/src/internal")
const openCode = sources("packages/opencode/src")

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")
const code = (text: string): string => `\`${text}\``
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n")

type Tag = AgentError.AgentErrorReason["_tag"]

/** One example of each reason, with facts as they occur. */
const examples: { readonly [K in Tag]: Extract<AgentError.AgentErrorReason, { readonly _tag: K }> } = {
  NotInstalled: new AgentError.NotInstalled({ binary: "opencode", tried: ["/usr/bin/opencode"] }),
  UnsupportedVersion: new AgentError.UnsupportedVersion({ found: "0.9.1", supported: "1.x" }),
  SpawnFailed: new AgentError.SpawnFailed({ command: "/opt/opencode serve", description: "permission denied" }),
  StartTimeout: new AgentError.StartTimeout({ command: "opencode serve", waited: 60_000 }),
  ProcessExited: new AgentError.ProcessExited({ command: "opencode serve", code: 1 }),
  Unavailable: new AgentError.Unavailable({ target: "opencode serve", attempts: 5, retryAfter: 30_000 }),
  HandshakeFailed: new AgentError.HandshakeFailed({ target: "an agent" }),
  ConnectionLost: new AgentError.ConnectionLost({ target: "opencode serve" }),
  ProtocolError: new AgentError.ProtocolError({ method: "GET /config" }),
  AuthRequired: new AgentError.AuthRequired({ provider: "anthropic", statusCode: 401 }),
  RateLimited: new AgentError.RateLimited({ statusCode: 429, retryAfter: 20_000 }),
  QuotaExceeded: new AgentError.QuotaExceeded({}),
  BudgetExceeded: new AgentError.BudgetExceeded({ limit: 5, spent: 5.1, unit: "USD" }),
  Overloaded: new AgentError.Overloaded({ statusCode: 529 }),
  ContextOverflow: new AgentError.ContextOverflow({ limit: 200_000 }),
  ModelNotFound: new AgentError.ModelNotFound({ model: "acme/large" }),
  InvalidRequest: new AgentError.InvalidRequest({ field: "prompt", description: "The prompt is empty." }),
  UpstreamFailed: new AgentError.UpstreamFailed({ statusCode: 502 }),
  UpstreamSilent: new AgentError.UpstreamSilent({ silentFor: 600_000 }),
  TurnLost: new AgentError.TurnLost({}),
  SessionNotFound: new AgentError.SessionNotFound({ sessionId: "ses_1" }),
  SessionBusy: new AgentError.SessionBusy({ holder: "process 4711", pid: 4711 }),
  Unsupported: new AgentError.Unsupported({ operation: "an image in a prompt", provider: "opencode" }),
  RequestNotOpen: new AgentError.RequestNotOpen({ requestId: "per_1", settledBy: "policy", decision: "accept" }),
  StoreFailed: new AgentError.StoreFailed({ operation: "write the binding", path: "/data/ses_1.json" }),
  InvalidConfig: new AgentError.InvalidConfig({ file: "/repo/opencode.json", issue: "model: expected a string" })
}

/** The sentence above the class of a reason. */
const meaning = (tag: Tag): string => {
  const found = new RegExp(String.raw`/\*\*\n \* ([^\n]+)\n(?: \*[^\n]*\n)*? \*/\nexport class ${tag} `).exec(reasons)
  if (found?.[1] === undefined) throw new Error(`${tag} has no sentence in its doc comment`)
  return found[1]
}
const reasons = sources("packages/core/src/internal/reasons")

const isRaised = (tag: Tag): boolean => new RegExp(String.raw`new (?:AgentError\.)?${tag}\(`).test(packages)

const errors = (): string =>
  table(
    ["Reason", "Meaning", "The sentence, for example", "What to do (`advice`)", "Retry"],
    AgentError.AgentErrorReason.members.map((member) => {
      const tag = member.fields._tag.schema.literal
      const example = examples[tag]
      return [
        code(tag),
        isRaised(tag) ? meaning(tag) : `${meaning(tag)} Reserved: nothing raises it yet.`,
        example.message,
        example.advice,
        tag === "UpstreamFailed"
          ? "yes, unless it says `4xx` (408 aside) or calls itself lasting"
          : example.retryable
          ? "yes"
          : "no"
      ]
    })
  )

type EventTag = SessionEvent["_tag"]

/** Group, meaning and, where an adapter says it, the signal behind each event. */
const events: { readonly [K in EventTag]: readonly [group: string, meaning: string, signal?: string] } = {
  ProcessChanged: ["process", "State of the agent's server process; each open session on it hears it.", "process"],
  ConnectionChanged: [
    "connection",
    "State of the session's attachment to its provider. `resynced` says what a gap cost."
  ],
  SessionOpened: ["session", "The session is ready, and how it was opened. First event that tells a host so."],
  SessionConfigured: ["session", "Model or mode changed for later turns."],
  SessionInfo: ["session", "The conversation has a new title.", "info"],
  CommandsUpdated: ["session", "The slash commands that the agent offers.", "commands"],
  HistoryReverted: [
    "session",
    "Turns were taken back, from `beforeTurn` on; without it the last taking back was undone."
  ],
  SessionClosed: ["session", "The last event of a session; its streams end behind it."],
  PromptChanged: ["prompt", "Where a prompt is. One of four final states ends it."],
  TurnStarted: ["turn", "The agent began to work."],
  TurnChanged: ["turn", "What the running turn is doing, once per change."],
  TurnSettled: ["turn", "How the turn ended, and the evidence for it. Exactly one for each `TurnStarted`."],
  ItemStarted: ["item", "An item began; its text is empty and grows by deltas."],
  ItemDelta: ["item", "More text of an item. Ephemeral: it has no `seq`."],
  ItemUpdated: ["item", "The item as it is now. `background`: it outlives its turn."],
  ItemCompleted: ["item", "The whole item and its status. Exactly one for each `ItemStarted`."],
  PlanUpdated: ["plan, diff", "The agent's whole plan; it replaces the one before.", "plan"],
  DiffUpdated: ["plan, diff", "All files changed so far; it replaces the list before.", "diff"],
  RequestOpened: ["request", "The agent asks, and waits."],
  RequestSettled: ["request", "Who answered, what, and by which rule. Exactly one for each `RequestOpened`."],
  SubagentStarted: ["subagent", "A subagent began. Its own events carry `agentPath`.", "subagentStarted"],
  SubagentChanged: ["subagent", "State of a subagent."],
  SubagentSettled: ["subagent", "A subagent ended.", "subagentEnded"],
  UsageUpdated: ["usage", "Tokens and cost. A figure that is unknown is absent, not 0.", "usage"],
  RateLimited: ["usage", "The provider limits the rate.", "rateLimited"],
  AccountChanged: ["usage", "The agent's sign-in changed.", "account"],
  Notice: ["notice", "Something worth saying that changes no state; see the codes below."],
  Unrecognised: ["unknown", "A frame that the adapter does not know, with its payload.", "unrecognised"]
}

const says = (source: string, tag: string): boolean => source.includes(`_tag: "${tag}"`)

/** Whether today's engine, with OpenCode behind it, can send the event. */
const isSent = (tag: EventTag): boolean => {
  const signal = events[tag][2]
  return says(engine, tag) && (signal === undefined || says(openCode, signal))
}

const envelope = new Set([
  "_tag",
  "v",
  "seq",
  "at",
  "sessionId",
  "turnId",
  "itemId",
  "requestId",
  "promptId",
  "agentPath",
  "origin",
  "native"
])

const fieldsOf = (tag: EventTag): string => {
  const fields: Readonly<
    Record<string, { readonly ast: { readonly context?: { readonly isOptional: boolean } | undefined } }>
  > = SessionEvent.cases[tag].fields
  const own = Object.entries(fields).filter(([name]) => !envelope.has(name))
  return own.map(([name, field]) => code(field.ast.context?.isOptional === true ? `${name}?` : name)).join(", ")
}

const eventTable = (): string =>
  table(
    ["Group", "Event", "Meaning", "Own fields"],
    (Object.keys(SessionEvent.cases) as ReadonlyArray<EventTag>).map((tag) => [
      events[tag][0],
      code(tag),
      isSent(tag) ? events[tag][1] : `${events[tag][1]} Reserved: nothing sends it yet.`,
      fieldsOf(tag)
    ])
  )

type Meanings<T extends string> = { readonly [K in T]: string }

/** `T` is named by the caller, so that the compiler finds a value without its meaning. */
const values = <T extends string = never>(tags: ReadonlyArray<string>, meanings: Meanings<NoInfer<T>>): string =>
  table(["Value", "Meaning"], tags.map((tag) => [code(tag), meanings[tag as T]]))

const tagsOf = (union: { readonly cases: object }): ReadonlyArray<string> => Object.keys(union.cases)

const valueTables = {
  origin: () =>
    values<Origin>(Origin.literals, {
      native: "the agent said it",
      derived: "Reins concluded it, or a host did it",
      resync: "a snapshot after a reconnect told it"
    }),
  process: () =>
    values<ProcessStatus["_tag"]>(tagsOf(ProcessStatus), {
      starting: "it was spawned and is not ready; `stage` and `elapsed` (ms) say how far",
      ready: "it answers; with version and pid",
      degraded: "it runs, but not well. Reserved: nothing sends it yet",
      exited: "it ended; with exit code or signal and its last output",
      restarting: "it is started again, `in` milliseconds",
      unavailable: "it was given up for now; with the error"
    }),
  connection: () =>
    values<ConnectionStatus["_tag"]>(tagsOf(ConnectionStatus), {
      connecting: "being made",
      live: "events flow",
      silent: "no byte since that time; it is dropped and made anew",
      lost: "it broke; with the error",
      retrying: "the next attempt comes `in` milliseconds",
      resyncing: "connected again; the conversation is being read back",
      resynced: "`gap` says what that cost: `none`, `closed` (all was recovered) or `lossy` (something was not)"
    }),
  opened: () =>
    values<Opened["_tag"]>(tagsOf(Opened), {
      new: "a new conversation",
      resumed: "the stored conversation goes on",
      recreated: "the agent confirmed that the old conversation is gone, so a new one was begun; `reason` says so",
      forked: "a copy of the conversation of the session `from`, up to its turn `at` where that is given"
    }),
  prompt: () =>
    values<PromptState["_tag"]>(tagsOf(PromptState), {
      queued: "held by Reins until the turn before it has settled",
      submitted: "written to the agent; `attempt` counts from 1",
      acknowledged: "the agent has it and has not begun with it",
      consumed: "final: the agent took it into this turn. It does not say that it was answered",
      steered: "sent into a running turn; ends `consumed` or `returned`",
      returned: "final: given back unread",
      withdrawn: "final: taken back by the host",
      failed: "final: refused, or its fate could not be found out"
    }),
  turn: () =>
    values<TurnState["_tag"]>(tagsOf(TurnState), {
      running: "the agent works",
      awaitingApproval: "it waits for an approval",
      awaitingInput: "it waits for the answer to a question",
      retryingUpstream: "the model provider failed and the agent tries again; `until` says when",
      compacting: "the conversation is being summarised",
      silent: "no sign of life since that time; the agent is being asked",
      interrupting: "it was asked to stop"
    }),
  outcome: () =>
    values<TurnOutcome["_tag"]>(tagsOf(TurnOutcome), {
      completed:
        "the agent finished by itself; `stopReason` is `endTurn`, `maxTokens`, `maxTurns`, `refusal` or its own word",
      interrupted: "it was stopped `by` `user`, `host`, `policy` or `provider`",
      failed: "it ended with an error",
      lost: "its server or its host died, and nothing says that it had finished. It is never run again by itself"
    }),
  items: () =>
    values<Item["_tag"]>(tagsOf(Item), {
      userMessage: "a prompt, as the conversation holds it",
      assistantMessage: "what the agent says",
      reasoning: "its chain of thought, where the model shows it",
      command: "a shell command with its output and exit code",
      fileChange: "files that were written or edited",
      toolCall: "any other tool",
      webSearch: "a search of the web",
      plan: "a plan as an item of its own",
      subagent: "a call of a subagent",
      compaction: "the conversation so far became a summary"
    }),
  itemStatus: () =>
    values<ItemStatus>(ItemStatus.literals, {
      completed: "done; a command that exits with another code than 0 is completed too",
      failed: "it did not work; `error` says why",
      declined: "its request was declined, so it did not run",
      discarded: "void: forget it and its text. What replaces it has an id of its own",
      interrupted: "its turn was interrupted or lost"
    }),
  settledBy: () =>
    values<SettledBy>(SettledBy.literals, {
      user: "a host called `answer`",
      policy: "a rule, or an earlier `acceptForSession`; `rule` names it",
      host: "a tool of the host that the agent called: what it came to, or why it failed",
      provider: "the agent's side: it was answered there",
      expiry: "`approvalExpiresAfter` was over; the turn is interrupted",
      teardown: "its turn or its session ended",
      unknown: "after a gap the agent does not wait any more, and does not say why"
    })
}

/** What each code of a notice means. */
const codes: { readonly [code: string]: string } = {
  answeredElsewhere: "what the agent asked for was accepted, and not by this host: another client of its server did",
  compacted: "the agent replaced the conversation so far by a summary",
  conversationGone: "the agent's conversation ended for good: somebody deleted or archived it",
  endlessLoop: "the model ends its answers without a finish reason, and the agent asks it again and again",
  lateEvidence: "the agent reported something of a turn or an item that was settled already; the settlement stands",
  mcpConnected: "an MCP server of the session answers, and the agent has its tools",
  mcpDisabled: "an MCP server of the session is switched off",
  mcpFailed: "an MCP server of the session failed; the text says why, and the session does without it",
  mcpNeedsAuth: "an MCP server of the session asks for a sign-in; the session does without it",
  mcpSlow: "an MCP server of the session has not answered in time; the session goes on, and hears when it does",
  nobodyAttached: "a request waits, and nobody is attached who can answer it",
  stillRunning: "the agent goes on with a turn that was interrupted; new prompts wait for it",
  textIncomplete: "part of a text was lost with the connection, and the agent does not have it",
  suspended: "the machine slept; the session is read again from the agent",
  toolSilent: "a tool has been running for an hour without output"
}

const noticeTable = (): string => {
  const source = engine + openCode
  const found = new Set([
    ...Array.from(source.matchAll(/code: "([a-z][A-Za-z]*)"/g), (match) => match[1] ?? ""),
    ...Array.from(source.matchAll(/notice\(\s*S,\s*"\w+",\s*"(\w+)"/g), (match) => match[1] ?? "")
  ])
  return table(
    ["Code", "Meaning"],
    [...found].sort().map((name) => {
      const meaning = codes[name]
      if (meaning === undefined) throw new Error(`scripts/docs-tables.ts says nothing of the notice "${name}"`)
      return [code(name), meaning]
    })
  )
}

const pages: { readonly [page: string]: { readonly [name: string]: () => string } } = {
  "docs/errors.md": { reasons: errors },
  "docs/events.md": { events: eventTable, ...valueTables, notices: noticeTable }
}

/** A page with its tables as the code has them now. */
export const render = (page: string, text: string): string => {
  let result = text
  for (const [name, make] of Object.entries(pages[page] ?? {})) {
    const begin = `<!-- table ${name}: written by scripts/docs-tables.ts -->`
    const end = `<!-- end of table ${name} -->`
    const from = result.indexOf(begin)
    const to = result.indexOf(end)
    if (from < 0 || to < from) throw new Error(`${page} has no place for the table "${name}"`)
    result = `${result.slice(0, from + begin.length)}\n\n${make()}\n\n${result.slice(to)}`
  }
  return result
}

/** The same text whatever the formatter has padded. */
export const plain = (text: string): string => text.replaceAll(/ +/g, " ").replaceAll(/-{3,}/g, "---")

/** The pages whose tables are not what the code says. */
export const stale = (): ReadonlyArray<string> =>
  Object.keys(pages).filter((page) => plain(render(page, read(page))) !== plain(read(page)))

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes("--check")) {
    const found = stale()
    if (found.length > 0) {
      console.error(
        `Tables are not up to date in ${
          found.join(", ")
        }.\nWrite them with: npx node --conditions=@reins/source scripts/docs-tables.ts && npm run format`
      )
      process.exitCode = 1
    }
  } else {
    for (const page of Object.keys(pages)) writeFileSync(`${root}${page}`, render(page, read(page)))
  }
}
