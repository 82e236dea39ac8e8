/** What is recorded: each fixture by its name, and what its host and its model do. */
import type { AgentError } from "@reins/core/AgentError"
import type * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect } from "effect"
import type { Scenario, Stage } from "./stage.ts"

type Step = ScriptedModel.Step
type Content = { readonly [key: string]: unknown }

const usage = { prompt: 100, completion: 10, total: 110 }
const text = (text: string, more: Content = {}): Step => ({ do: "text", text, usage, ...more })
const done = text("all done")

const call = (name: string, args: Readonly<Record<string, never>> | Content): Step => ({
  do: "tools",
  tools: [{ name, args: args as never }],
  usage
})
const bash = (command: string, more: Content = {}) => call("bash", { command, description: "Run it", ...more })

const allow: Scenario["permission"] = [{ permission: "*", pattern: "*", action: "allow" }]

/** Prompts once, and waits for the end. */
const one = (script: ScriptedModel.Script, permission: Scenario["permission"] = allow): Scenario => ({
  ...(permission === undefined ? undefined : { permission }),
  run: ({ answer, prompt, until }) =>
    Effect.gen(function*() {
      answer("go", script)
      yield* prompt("go")
      yield* until("turnEnded")
    })
})

/** Prompts once, and does something when the agent asks. */
const asked = (
  script: ScriptedModel.Script | ((stage: Stage) => ScriptedModel.Script),
  reply: (stage: Stage, key: string) => Effect.Effect<unknown, AgentError>,
  count = 1
): Scenario => ({
  run: (stage) =>
    Effect.gen(function*() {
      stage.answer("go", typeof script === "function" ? script(stage) : script)
      yield* stage.prompt("go")
      for (let index = 1; index <= count; index++) {
        const ask = yield* stage.until("requestOpened", index)
        yield* Effect.orDie(reply(stage, ask.key))
      }
      yield* stage.until("turnEnded")
    })
})

const once = ({ client, cwd }: Stage, key: string) => client.replyPermission(key, { reply: "once" }, cwd)
const reject = (message?: string) => ({ client, cwd }: Stage, key: string) =>
  client.replyPermission(key, { reply: "reject", ...(message === undefined ? undefined : { message }) }, cwd)
const looking = (stage: Stage, key: string) => Effect.andThen(stage.look, once(stage, key))

/** Stops the turn when something was seen of it. */
const aborted = (
  script: ScriptedModel.Script | ((stage: Stage) => ScriptedModel.Script),
  when: (stage: Stage) => Effect.Effect<unknown, AgentError>,
  permission: Scenario["permission"] = allow
): Scenario => ({
  ...(permission === undefined ? undefined : { permission }),
  run: (stage) =>
    Effect.gen(function*() {
      stage.answer("go", typeof script === "function" ? script(stage) : script)
      yield* stage.prompt("go")
      yield* Effect.orDie(when(stage))
      yield* stage.client.abort(stage.session)
      yield* stage.until("turnEnded")
    })
})

const held = (name: string, words = "one two three four five six "): Step => text(words, { gate: name, gateAfter: 3 })

/** What of it is told before the gate. */
const held3 = "one two three ".length

const question = call("question", {
  questions: [{
    question: "Which colour?",
    header: "Colour",
    options: [{ label: "Red", description: "r" }, { label: "Blue", description: "b" }],
    multiple: false
  }]
})

/** A reset that arrives together with bytes hides them from the agent, in milliseconds. */
const paced = 40

const refused = (code: number, error: Content, more: Content = {}): Step => ({
  do: "status",
  code,
  body: { error } as never,
  ...more
})

/** A turn before, a second one in which the server is killed, and a third on the new server. */
const killed = (step: Step, when: (stage: Stage) => Effect.Effect<unknown>, gate?: string): Scenario => ({
  run: (stage) =>
    Effect.gen(function*() {
      stage.answer("first", text("before "))
      stage.answer("go", [step, done])
      stage.answer("again", text("resumed resumed "))
      yield* stage.prompt("first")
      yield* stage.until("turnEnded")
      yield* stage.prompt("go")
      yield* when(stage)
      const next = yield* stage.kill
      if (gate !== undefined) yield* stage.model.open(gate)
      yield* next.client.getSession(stage.session)
      yield* next.look
      yield* next.prompt("again")
      yield* next.until("turnEnded")
    })
})

export const scenarios: Readonly<Record<string, Scenario>> = {
  "02b-text-warm": one(text("word word word word word ")),
  "02c-reasoning": one({ do: "reasoning", text: "hmm hmm hmm ", answer: "after all ", usage }),
  "03a-perm-once": asked([
    { ...bash("echo hi-once"), text: "I will run it. " } as Step,
    done
  ], looking),
  "03d-perm-reject": asked([bash("touch rejected.txt"), done], reject()),
  "03e-perm-reject-message": asked([bash("touch rejected2.txt"), done], reject("use another way")),
  "03h-perm-two-parallel": asked(
    [
      {
        do: "tools",
        tools: [
          { name: "bash", args: { command: "echo par1", description: "Run it" } },
          { name: "bash", args: { command: "echo par2", description: "Run it" } }
        ],
        usage
      },
      done
    ],
    // Both are open before one is answered.
    (stage, key) => Effect.andThen(stage.until("requestOpened", 2), once(stage, key)),
    2
  ),
  "03i-perm-reject-one-of-two": asked(
    [
      {
        do: "tools",
        tools: [
          { name: "bash", args: { command: "echo parA", description: "Run it" } },
          { name: "bash", args: { command: "echo parB", description: "Run it" } }
        ],
        usage
      },
      done
    ],
    (stage, key) => Effect.andThen(stage.until("requestOpened", 2), reject()(stage, key))
  ),
  "03j-edit-write-ask": asked(
    ({ cwd }) => [
      call("write", { filePath: `${cwd}/a.txt`, content: "one\ntwo\n" }),
      call("edit", { filePath: `${cwd}/a.txt`, oldString: "two", newString: "three" }),
      done
    ],
    once,
    2
  ),
  "03k-external-dir": asked([call("read", { filePath: "/etc/hostname" }), done], once),
  "04a-question-reply": asked(
    [question, done],
    ({ client, cwd, look }, key) => Effect.andThen(look, client.replyQuestion(key, { answers: [["Red"]] }, cwd))
  ),
  "04b-question-reject": asked([question, done], ({ client, cwd }, key) => client.rejectQuestion(key, cwd)),
  "05a-abort-text": aborted([held("05a")], ({ spoken }) => spoken(held3)),
  "05c-abort-bash-running": aborted(
    [bash("echo started; sleep 46 & sleep 47"), done],
    ({ until }) => until("item", 1, ({ item }) => item._tag === "command" && item.output.includes("started"))
  ),
  "05e-abort-question-pending": aborted([question, done], ({ until }) => until("requestOpened")),
  "06a-401": one(
    refused(401, { message: "Incorrect API key provided", type: "invalid_request_error", code: "invalid_api_key" })
  ),
  "06b-400": one({ do: "status", code: 400 }),
  "06c-context-overflow-400": one([
    refused(400, {
      message: "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
      type: "invalid_request_error",
      code: "context_length_exceeded"
    }, { times: 1 }),
    done
  ]),
  "06d-429-retryafter1-x2": one([
    refused(429, { message: "Rate limit reached", type: "rate_limit", code: "rate_limit_exceeded" }, {
      headers: { "retry-after": "1" },
      times: 2
    }),
    done
  ]),
  "06f-cut-midstream-once": {
    run: ({ answer, model, prompt, spoken, until }) =>
      Effect.gen(function*() {
        answer("go", [
          { do: "cut", text: "word word word word ", after: 3, gate: "06f", gateAfter: 3, times: 1 },
          text("recovered recovered ")
        ])
        yield* prompt("go")
        yield* spoken("word word word ".length)
        yield* model.open("06f")
        yield* until("turnEnded")
      })
  },
  "06f2-cut-midstream-forever": aborted(
    { do: "cut", text: "word word word word ", after: 3, delayMs: paced },
    ({ until }) => until("turnRetrying", 4)
  ),
  "06i-garbage-sse": one({ do: "malformed", text: "word word word ", after: 2 }),
  "06l-finish-length": one({ do: "finish", reason: "length", text: "word word word ", usage }),
  "06m-finish-content_filter": one({ do: "finish", reason: "content_filter", text: "word word word ", usage }),
  "06o-insufficient-quota": aborted(
    refused(429, {
      message: "You exceeded your current quota",
      type: "insufficient_quota",
      code: "insufficient_quota"
    }),
    ({ until }) => until("turnRetrying")
  ),
  "06p-tool-unknown": one([call("no_such_tool", { a: 1 }), done]),
  "06q-tool-bad-json": one([
    { do: "tools", tools: [{ name: "bash", rawArgs: "{\"command\": \"echo" }], usage },
    done
  ]),
  "06r-tool-missing-arg": one([call("bash", { description: "x" }), done]),
  // The output grows before the eyes of the reader.
  "06s-tool-nonzero-exit": one([bash("echo out; sleep 0.4; echo err >&2; sleep 0.4; exit 3"), done]),
  "06t-tool-timeout": one([bash("sleep 30", { timeout: 1_500 }), done]),
  "06u-bad-model": {
    run: ({ prompt, until }) =>
      Effect.gen(function*() {
        yield* prompt("go", { model: { providerID: "scripted", modelID: "nope" } })
        yield* until("turnEnded")
      })
  },
  "06u4-bad-agent": {
    run: ({ client, look, prompt, session, until }) =>
      Effect.gen(function*() {
        yield* prompt("go", { agent: "nope" })
        yield* until("turnError")
        yield* look
        yield* client.abort(session)
        yield* until("turnEnded")
      })
  },
  "06x-autocompact": one([
    {
      do: "tools",
      tools: [{ name: "bash", args: { command: "true", description: "x" } }],
      usage: {
        prompt: 95_000,
        completion: 100,
        total: 95_100
      }
    },
    done
  ]),
  "07a-two-prompts-while-running": {
    run: ({ answer, model, prompt, spoken, until }) =>
      Effect.gen(function*() {
        answer("P1", held("07a"))
        answer("P3", text("three three "))
        yield* prompt("P1")
        yield* spoken(held3)
        yield* prompt("P2")
        yield* prompt("P3")
        yield* until("prompt", 3)
        yield* model.open("07a")
        yield* until("turnEnded")
      })
  },
  "07d-abort-with-queued": {
    run: ({ answer, client, prompt, session, spoken, until }) =>
      Effect.gen(function*() {
        answer("P1", held("07d"))
        yield* prompt("P1")
        yield* spoken(held3)
        yield* prompt("P2")
        yield* until("prompt", 2)
        yield* client.abort(session)
        yield* until("turnEnded")
      })
  },
  "08b-kill9-mid-text": killed(held("08b"), ({ spoken }) => spoken(held3), "08b"),
  "08d-kill9-permission-pending": killed(bash("echo x > y"), ({ until }) => until("requestOpened")),
  "20-subagent": {
    run: (stage) =>
      Effect.gen(function*() {
        stage.answer("DELEGATE", [
          call("task", { description: "sub job", prompt: "CHILD work", subagent_type: "general" }),
          text("parent done")
        ])
        stage.answer("CHILD work", [bash("mkdir sub1"), text("child done")])
        yield* stage.prompt("DELEGATE")
        const ask = yield* stage.until("requestOpened")
        yield* Effect.orDie(looking(stage, ask.key))
        yield* stage.until("turnEnded")
      })
  },
  "21-todo": one([
    call("todowrite", {
      todos: [
        { content: "one", status: "completed", priority: "high" },
        { content: "two", status: "in_progress", priority: "low" }
      ]
    }),
    text("planned")
  ]),
  // Nothing listens there.
  "23-webfetch": asked([call("webfetch", { url: "http://127.0.0.1:1/x", format: "text" }), text("fetched")], looking),
  "24-grep": asked([call("grep", { pattern: "foo.*bar" }), text("searched")], looking),
  "25-loop": {
    permission: allow ?? [],
    run: ({ answer, client, model, prompt, session, until }) =>
      Effect.gen(function*() {
        let calls = 0
        answer("go", () => ++calls > 5 ? { do: "hang", gate: "25" } : { do: "noFinish", text: "again again ", usage })
        yield* prompt("go")
        yield* model.awaitGate("25")
        yield* client.abort(session)
        yield* until("turnEnded")
        yield* model.open("25")
      })
  },
  "26-slow": {
    run: ({ answer, look, model, prompt, spoken, until }) =>
      Effect.gen(function*() {
        answer("go", held("26"))
        yield* prompt("go")
        yield* spoken(held3)
        yield* look
        yield* model.open("26")
        yield* until("turnEnded")
      })
  },
  "27-workdir": asked(({ cwd }) => [bash("pwd", { workdir: cwd }), done], looking),
  "28-summarize": {
    run: ({ answer, prompt, summarize, until }) =>
      Effect.gen(function*() {
        answer("go", text("a long story "))
        yield* prompt("go")
        yield* until("turnEnded")
        yield* summarize
        yield* until("turnEnded", 2)
      })
  }
}
