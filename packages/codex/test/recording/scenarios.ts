/** What is recorded: each fixture by its name, and what its host and its model do. */
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect } from "effect"
import type { Refused, Scenario, Stage } from "./stage.ts"
import { anything } from "./stage.ts"

type Step = ScriptedModel.Step
type Content = { readonly [key: string]: unknown }

const usage = { prompt: 100, completion: 10, total: 110 }
const text = (text: string, more: Content = {}): Step => ({ do: "text", text, usage, ...more })
const done = text("all done")

const call = (name: string, args: Content): Step => ({ do: "tools", tools: [{ name, args: args as never }], usage })
const exec = (cmd: string, more: Content = {}) => call("exec_command", { cmd, ...more })
const patch = (...lines: ReadonlyArray<string>): Step => ({
  do: "tools",
  tools: [{ name: "apply_patch", input: `*** Begin Patch\n${lines.join("\n")}\n*** End Patch\n` }],
  usage
})

/** Codex asks before each command, and its sandbox stops none. */
const asking = { approvalPolicy: "untrusted", sandbox: "danger-full-access" }

const ended = "turn/completed"
const asksCommand = "item/commandExecution/requestApproval"
const asksPatch = "item/fileChange/requestApproval"

/** Prompts once, and waits for the end. */
const one = (script: ScriptedModel.Script, more: Omit<Scenario, "run"> = {}): Scenario => ({
  ...more,
  run: ({ answer, prompt, until }) =>
    Effect.gen(function*() {
      answer("go", script)
      yield* prompt("go")
      yield* until(ended)
    })
})

/** A turn after the others, which shows what of them is left. */
const next = ({ answer, prompt, until }: Stage, count: number) =>
  Effect.gen(function*() {
    answer("next", text("the next one"))
    yield* prompt("next")
    yield* until(ended, count)
  })

const followed = (scenario: Scenario): Scenario => ({
  ...scenario,
  run: (stage) => Effect.andThen(scenario.run(stage), next(stage, 2))
})

/** A turn, and the one after it. */
const two = (script: ScriptedModel.Script): Scenario => followed(one(script))

/** Prompts once, and answers what it is asked. */
const asked = (
  thread: Content,
  script: ScriptedModel.Script,
  method: string,
  result: Content,
  more: Omit<Scenario, "run" | "thread"> = {},
  options: Content = {}
): Scenario => ({
  ...more,
  thread,
  run: ({ answer, prompt, reply, until }) =>
    Effect.gen(function*() {
      answer("go", script)
      yield* prompt("go", options)
      yield* reply(yield* until(method), result)
      yield* until(ended)
    })
})

const decision = (decision: string) => ({ decision })

/** Stops the turn when something was said of it. */
const interrupted = (
  script: ScriptedModel.Script,
  when: (stage: Stage) => Effect.Effect<unknown, Refused>
): Scenario => ({
  run: (stage) =>
    Effect.gen(function*() {
      stage.answer("go", script)
      const turnId = yield* stage.prompt("go")
      yield* when(stage)
      yield* stage.request("turn/interrupt", { threadId: stage.thread, turnId })
      yield* stage.until(ended)
    })
})

const words = "one two three four five six "
const held = (gate: string): Step => text(words, { gate, gateAfter: 3 })

/** Waits until the text before the gate was told. */
const spoken = ({ until }: Stage) => until("item/agentMessage/delta", 3)

const isCommand = ({ item }: Content) => (item as { readonly type: string }).type === "commandExecution"

/** Waits until a command was seen to run. */
const ran = ({ until }: Stage) => until("item/started", 1, isCommand)

const refused = (code: number, error?: Content, more: Content = {}): Step => ({
  do: "status",
  code,
  ...(error === undefined ? undefined : { body: { error } as never }),
  ...more
})

const failed = (code: string, message = "It did not work."): Step => ({ do: "streamError", code, message })

const question = call("request_user_input", {
  questions: [{
    id: "color",
    header: "Color",
    question: "Which color?",
    options: [{ label: "Red", description: "r" }, { label: "Blue", description: "b" }]
  }]
})

const planning = {
  collaborationMode: {
    mode: "plan",
    settings: { model: "gpt-5.5", reasoning_effort: null, developer_instructions: null }
  }
}

const steered = (input: string) => [{ type: "text", text: input, text_elements: [] }]

export const scenarios: Readonly<Record<string, Scenario>> = {
  // What the sandbox stops makes no item.
  "02-never-ro": one([exec("touch a.txt && echo made"), done], {
    thread: { approvalPolicy: "never", sandbox: "read-only" }
  }),
  "02-untrusted-WRONG-approved": asked(asking, [exec("touch a.txt"), done], asksCommand, decision("approved")),
  "02-untrusted-accept": asked(
    { approvalPolicy: "untrusted", sandbox: "workspace-write" },
    [exec("touch a.txt && echo made"), done],
    asksCommand,
    decision("accept")
  ),
  "02-untrusted-cancel": followed(
    asked(asking, [exec("touch a.txt"), done], asksCommand, decision("cancel"))
  ),
  "02-untrusted-decline": asked(asking, [exec("touch a.txt"), done], asksCommand, decision("decline")),
  "03-patch-or-ro-cancel": asked(
    { approvalPolicy: "on-request", sandbox: "read-only" },
    [patch("*** Add File: new.txt", "+hello"), done],
    asksPatch,
    decision("cancel")
  ),
  "03-patch-or-ro-decline": asked(
    { approvalPolicy: "on-request", sandbox: "read-only" },
    [patch("*** Add File: new.txt", "+hello"), done],
    asksPatch,
    decision("decline")
  ),
  "03-patch-untrusted-accept": asked(
    { approvalPolicy: "untrusted", sandbox: "workspace-write" },
    [patch("*** Add File: new.txt", "+hello"), done],
    asksPatch,
    decision("accept")
  ),
  "03-patches": one([
    patch("*** Add File: a.txt", "+one", "+two"),
    patch("*** Update File: a.txt", "*** Move to: b.txt", "@@", " one", "-two", "+three"),
    patch("*** Delete File: b.txt"),
    done
  ]),
  "04-400": two(refused(400, { message: "bad thing", type: "invalid_request_error", code: "x" })),
  "04-400-context": two(refused(400, {
    message: "Your input exceeds the context window of this model.",
    type: "invalid_request_error",
    code: "context_length_exceeded"
  })),
  "04-401": two(
    refused(401, { message: "Incorrect API key provided", type: "invalid_request_error", code: "invalid_api_key" })
  ),
  "04-403": two(refused(403)),
  "04-404": two(refused(404)),
  "04-404-model": two(refused(404, {
    message: "The model `gpt-5.5` does not exist",
    type: "invalid_request_error",
    code: "model_not_found"
  })),
  "04-429-insufficient-quota": two(refused(429, {
    message: "You exceeded your current quota",
    type: "insufficient_quota",
    code: "insufficient_quota"
  })),
  "04-429-noRA-storm": two(refused(429)),
  "04-429-retryafter1-once": two([refused(429, undefined, { headers: { "retry-after": "1" }, times: 1 }), done]),
  "04-429-usage-limit": two(
    refused(429, { type: "usage_limit_reached", message: "limit", plan_type: "plus", resets_at: 1_700_000_000 })
  ),
  "04-500-storm": two(refused(500)),
  "04-502-storm": two(refused(502)),
  // Tries within the first request are not told.
  "04-502-twice-recover": two([refused(502, undefined, { times: 2 }), done]),
  "04-503-overloaded": two(
    refused(503, { code: "server_is_overloaded", message: "overloaded", type: "server_error" })
  ),
  "04-cut-mid": two({ do: "cut", text: words, after: 3, delayMs: 40 }),
  "04-cut-once": two([{ do: "cut", text: words, after: 3, delayMs: 40, times: 1 }, text("recovered")]),
  "04-failed-context": two(
    failed("context_length_exceeded", "Your input exceeds the context window of this model.")
  ),
  "04-failed-mid": two({ do: "streamError", code: "server_error", message: "It did not work.", text: words, after: 2 }),
  "04-failed-overloaded": two(failed("server_is_overloaded")),
  "04-failed-quota": two(failed("insufficient_quota")),
  "04-failed-ratelimit": two(failed("rate_limit_exceeded", "Rate limit reached. Please try again in 1s.")),
  "04-failed-server": two(failed("server_error")),
  "04-garbage": two({ do: "malformed" }),
  "04-hang-headers": two({ do: "hang", headers: true }),
  "04-incomplete": two({ do: "finish", reason: "length", text: "one two ", usage }),
  "04-incomplete-filter": two({ do: "finish", reason: "content_filter", text: "one two ", usage }),
  "04-noComplete-once": two([{ do: "noFinish", text: "one two ", usage, times: 1 }, text("recovered")]),
  "04-reason-summary": two(text("after all", { reasoning: "**Thinking** about it" })),
  "04-stall-mid": two({ do: "stall", text: words, after: 2 }),
  "04-text": two(text("one two three four five ", { delayMs: 40 })),
  "05-bg-terminal": {
    run: ({ answer, prompt, request, thread, until }) =>
      Effect.gen(function*() {
        answer("go", [exec("echo start; sleep 2; echo end", { yield_time_ms: 300 }), done])
        yield* prompt("go")
        yield* until(ended)
        yield* request("thread/backgroundTerminals/list", { threadId: thread })
        yield* until("item/completed", 1, isCommand)
      })
  },
  "05-int-approval": {
    thread: asking,
    run: (stage) =>
      Effect.gen(function*() {
        yield* interrupted([exec("touch q.txt"), done], ({ until }) => until(asksCommand)).run(stage)
        yield* stage.until("serverRequest/resolved")
        // Nobody waits for this answer any more.
        yield* stage.reply(yield* stage.until(asksCommand), decision("accept"))
        yield* next(stage, 2)
      })
  },
  "05-int-command": interrupted([exec("sleep 61 & sleep 62; echo x"), done], ran),
  "05-int-text": {
    run: (stage) =>
      Effect.gen(function*() {
        yield* interrupted(held("text"), spoken).run(stage)
        // There is nothing to interrupt any more.
        yield* stage.vain("turn/interrupt", { threadId: stage.thread, turnId: "nope" })
        yield* next(stage, 2)
      })
  },
  "05-second-turn": {
    run: (stage) =>
      Effect.gen(function*() {
        stage.answer("go", held("second"))
        stage.answer("second please", text("SECOND"))
        yield* stage.prompt("go")
        yield* spoken(stage)
        yield* stage.prompt("second please")
        yield* stage.model.open("second")
        yield* stage.until(ended)
      })
  },
  "05-steer": {
    run: (stage) =>
      Effect.gen(function*() {
        const { answer, prompt, request, thread: threadId, until, vain } = stage
        answer("go", [exec("sleep 1; echo one"), done])
        answer("STEERED please", text("as you wish"))
        const expectedTurnId = yield* prompt("go")
        yield* ran(stage)
        yield* vain("turn/steer", { threadId, expectedTurnId: "zzz", input: steered("x") })
        yield* request("turn/steer", { threadId, expectedTurnId, input: steered("STEERED please") })
        yield* until(ended)
        yield* vain("turn/steer", { threadId, expectedTurnId, input: steered("late") })
      })
  },
  "05-steer-in-text": {
    run: (stage) =>
      Effect.gen(function*() {
        const { answer, model, prompt, request, thread: threadId, until } = stage
        answer("go", held("steer"))
        answer("STEERED in text", text("as you wish"))
        const expectedTurnId = yield* prompt("go")
        yield* spoken(stage)
        yield* request("turn/steer", { threadId, expectedTurnId, input: steered("STEERED in text") })
        yield* model.open("steer")
        yield* until(ended)
      })
  },
  "05-tools-parallel": {
    thread: asking,
    run: ({ answer, prompt, reply, until }) =>
      Effect.gen(function*() {
        const touch = (name: string) => ({ name: "exec_command", args: { cmd: `touch ${name}` } })
        answer("go", [{ do: "tools", tools: [touch("p1"), touch("p2"), touch("p3")], usage }, done])
        yield* prompt("go")
        const asks = [yield* until(asksCommand), yield* until(asksCommand, 2), yield* until(asksCommand, 3)]
        // In no order.
        for (const ask of asks.toReversed()) yield* reply(ask, decision("accept"))
        yield* until(ended)
      })
  },
  "06-C-resume-never": {
    thread: asking,
    run: (stage) =>
      Effect.gen(function*() {
        const { answer, prompt, request, restart, thread: threadId, until } = stage
        answer("first", text("the first answer"))
        yield* prompt("first")
        yield* until(ended)
        yield* restart
        answer("go", [exec("touch never.txt"), done])
        yield* request("thread/resume", { threadId, ...anything, model: "gpt-5.6-luna" })
        yield* prompt("go")
        yield* until(ended)
      })
  },
  // More output than is kept, all of it at the end.
  "07-hugeline": one([exec(`head -c 3000000 /dev/zero | tr "\\0" a`, { max_output_tokens: 100_000 }), done]),
  "07-int-cmd-clean": {
    run: (stage) =>
      Effect.gen(function*() {
        const { request, thread: threadId, until } = stage
        yield* interrupted([exec("sleep 33; echo x"), done], ran).run(stage)
        yield* request("thread/backgroundTerminals/list", { threadId })
        yield* request("thread/backgroundTerminals/clean", { threadId })
        yield* until("item/completed", 1, isCommand)
        yield* next(stage, 2)
      })
  },
  "08-dyn": asked(
    {
      ...anything,
      dynamicTools: [{
        type: "function",
        name: "my_tool",
        description: "mine",
        inputSchema: { type: "object", properties: { q: { type: "string" } } }
      }]
    },
    [call("my_tool", { q: "hey" }), done],
    "item/tool/call",
    { contentItems: [{ type: "inputText", text: "dyn result" }], success: true }
  ),
  "08-mcp-missing": one(done, { settings: ["mcp_servers.lab.command=\"/nowhere/lab\""] }),
  "08-perm-grant": asked(
    { approvalPolicy: "on-request", sandbox: "workspace-write" },
    [call("request_permissions", { reason: "need net", permissions: { network: { enabled: true } } }), done],
    "item/permissions/requestApproval",
    { permissions: { network: { enabled: true }, fileSystem: null }, scope: "turn" },
    { settings: ["features.request_permissions_tool=true", "features.exec_permission_approvals=true"] }
  ),
  "08-plan": {
    run: ({ answer, prompt, until }) =>
      Effect.gen(function*() {
        answer("go", text("I looked.\n<proposed_plan>\n- look\n- act\n</proposed_plan>\n"))
        yield* prompt("go", planning)
        yield* until(ended)
      })
  },
  "08-rui-plan": asked(
    { approvalPolicy: "on-request", sandbox: "workspace-write" },
    [question, done],
    "item/tool/requestUserInput",
    { answers: { color: { answers: ["Blue"] } } },
    {},
    planning
  ),
  "08-unknown-tool": one([call("no_such_tool", { q: 1 }), done]),
  "09-noenvkey": one(done, { without: ["SCRIPTED_API_KEY"] }),
  // Nothing listens there.
  "09-refused-bounded": one(done, { settings: ["model_providers.scripted.base_url=\"http://127.0.0.1:1/v1\""] }),
  "13-archive-delete": {
    run: (stage) =>
      Effect.gen(function*() {
        const { request, thread: threadId, until, vain } = stage
        yield* one(done).run(stage)
        yield* request("thread/archive", { threadId })
        yield* until("thread/archived")
        yield* vain("thread/resume", { threadId })
        yield* request("thread/unarchive", { threadId })
        yield* request("thread/delete", { threadId })
        yield* until("thread/deleted")
        yield* vain("thread/resume", { threadId })
      })
  },
  "13-compact": {
    run: (stage) =>
      Effect.gen(function*() {
        yield* one(done).run(stage)
        yield* stage.request("thread/compact/start", { threadId: stage.thread })
        yield* stage.until(ended, 2)
        yield* next(stage, 3)
      })
  },
  "13-tool-then-fail": {
    run: (stage) =>
      Effect.gen(function*() {
        const { request, thread: threadId } = stage
        yield* one([exec("touch did.txt"), refused(400)]).run(stage)
        yield* request("thread/turns/list", { threadId, itemsView: "full" })
        yield* next(stage, 2)
      })
  },
  "13-two-threads-approval": {
    thread: asking,
    run: ({ answer, begin, prompt, reply, thread, until }) =>
      Effect.gen(function*() {
        const other = yield* begin(asking)
        answer("one", [exec("touch one"), done])
        answer("two", [exec("touch two"), done])
        yield* prompt("one")
        const first = yield* until(asksCommand, 1, ({ threadId }) => threadId === thread)
        yield* prompt("two", { threadId: other })
        const second = yield* until(asksCommand, 1, ({ threadId }) => threadId === other)
        yield* reply(first, decision("accept"))
        yield* until(ended, 1, ({ threadId }) => threadId === thread)
        yield* reply(second, decision("decline"))
        yield* until(ended, 1, ({ threadId }) => threadId === other)
      })
  }
}
