/** Who decides what the real OpenCode may do. */
import { assert, layer } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { AgentRequest, Answer } from "@reins/core/AgentRequest"
import type { Session } from "@reins/core/Session"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { bash, prompt, text, tools } from "./fixtures/script.ts"

/** Answers every request of a session as the test says, for as long as the scope lives. */
const answering = (session: Session, decide: (request: AgentRequest) => Answer) =>
  Effect.gen(function*() {
    yield* session.attach()
    yield* session.events().pipe(
      Stream.filter(Host.isTag("RequestOpened")),
      Stream.runForEach((event) =>
        Effect.gen(function*() {
          const request = (yield* session.requests).find((open) => open.id === event.requestId)
          if (request !== undefined) yield* Effect.ignore(session.answer(request.id, decide(request)))
        })
      ),
      Effect.forkScoped
    )
  })

const exists = (path: string) => Effect.flatMap(FileSystem.FileSystem, (fs) => fs.exists(path))

layer(Host.layer({ policy: ApprovalPolicy.askAlways }), { excludeTestServices: true, timeout: "60 seconds" })(
  "approvals on OpenCode",
  (it) => {
    it.effect("askAlways sees every command, write and edit, those of subagents too, with no permission configured", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open()
        const asked: Array<{ readonly kind: string; readonly depth: number; readonly command: string | undefined }> = []
        yield* answering(session, (request) => {
          asked.push({ kind: request.kind, depth: request.agentPath?.length ?? 0, command: request.facts.command })
          return { _tag: "accept" }
        })
        const turn = yield* session.prompt(prompt(
          "work",
          bash("echo parent"),
          tools(["write", { filePath: `${cwd}/a.txt`, content: "one\n" }]),
          tools(["edit", { filePath: `${cwd}/a.txt`, oldString: "one", newString: "two" }]),
          tools(["task", {
            description: "d",
            subagent_type: "general",
            prompt: prompt(
              "child",
              bash("echo child"),
              tools(["write", { filePath: `${cwd}/b.txt`, content: "b\n" }]),
              text("child done")
            )
          }]),
          text("done")
        ))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const at = (depth: number) => asked.filter((one) => one.depth === depth).map((one) => one.kind)
        assert.deepStrictEqual(at(0), ["command", "edit", "edit", "subagent"])
        assert.deepStrictEqual(at(1), ["command", "edit"])
        assert.deepStrictEqual(asked.flatMap((one) => one.command ?? []), ["echo parent", "echo child"])
      }))

    it.effect("a declined command does not run, and the model goes on with the reason", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        yield* answering(session, () => ({ _tag: "decline", reason: "not on a Friday" }))
        const turn = yield* session.prompt(prompt("go", bash(`touch ${cwd}/declined.txt`), text("understood")))
        const events = yield* Stream.runCollect(turn.events)
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.isFalse(yield* exists(`${cwd}/declined.txt`))
        const item = [...events].find((event) => event._tag === "ItemCompleted" && event.item._tag === "command")
        assert.isTrue(item?._tag === "ItemCompleted" && item.status === "declined")
        const told = (yield* model.requests).flatMap(({ request }) =>
          request.toolResultsAfterLastUser.map((result) => result.content)
        )
        assert.isTrue(told.some((content) => content.includes("not on a Friday")))
      }))

    it.effect("a cancelled one ends the turn, interrupted by the user", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* answering(session, () => ({ _tag: "cancel" }))
        const turn = yield* session.prompt(prompt("go", bash("echo never"), text("not reached")))
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "interrupted", by: "user" })
        const next = yield* session.prompt(prompt("next", text("fine")))
        assert.strictEqual((yield* next.outcome)._tag, "completed")
      }))

    it.effect("trap 17: acceptForSession is ours: the same command is not asked again, another one and another session are", () =>
      Effect.gen(function*() {
        const asked: Array<string> = []
        const decide = (request: AgentRequest): Answer => {
          asked.push(request.facts.command ?? "")
          return { _tag: "acceptForSession" }
        }
        const session = yield* Host.open()
        yield* answering(session, decide)
        const turn = yield* session.prompt(
          prompt("go", bash("echo same"), bash("echo same"), bash("echo other"), text("done"))
        )
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.deepStrictEqual(asked, ["echo same", "echo other"])
        const second = yield* Host.open()
        yield* answering(second, decide)
        yield* Effect.flatMap(second.prompt(prompt("go", bash("echo same"), text("done"))), (turn) => turn.outcome)
        assert.deepStrictEqual(asked, ["echo same", "echo other", "echo same"])
      }))

    it.effect("parallel asks are answered each by its own", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* answering(session, (request) =>
          request.facts.command === "echo yes" ? { _tag: "accept" } : { _tag: "decline", reason: "no" })
        const turn = yield* session.prompt(prompt(
          "both",
          tools(["bash", { command: "echo yes", description: "1" }], ["bash", {
            command: "echo no",
            description: "2"
          }]),
          text("done")
        ))
        const events = yield* Stream.runCollect(turn.events)
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        const statuses = [...events].flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "command" ? [[event.item.command, event.status]] : []
        )
        assert.deepStrictEqual(statuses.toSorted(), [["echo no", "declined"], ["echo yes", "completed"]])
      }))

    it.effect("two windows answer one request: the first wins, the other learns who settled it", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* session.attach()
        const turn = yield* session.prompt(prompt("go", bash("echo once"), text("done")))
        const opened = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.answer(opened.requestId, { _tag: "accept" })
        const error = yield* Effect.flip(session.answer(opened.requestId, { _tag: "decline" }))
        assert.isTrue(error.reason._tag === "RequestNotOpen" && error.reason.settledBy === "user")
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
      }))

    it.effect("questions: an option, free text, and a refusal", () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const session = yield* Host.open()
        const given: Array<Answer> = [
          { _tag: "answers", answers: [["Red"]] },
          { _tag: "answers", answers: [["a colour of my own"]] },
          { _tag: "decline", reason: "Nobody knows colours here." },
          { _tag: "cancel" }
        ]
        yield* answering(session, () => given.shift() ?? { _tag: "cancel" })
        const ask = tools(["question", {
          questions: [{
            question: "Which colour?",
            header: "Colour",
            options: [{ label: "Red", description: "r" }, { label: "Blue", description: "b" }],
            multiple: false
          }]
        }])
        for (const expected of ["Red", "a colour of my own"]) {
          const turn = yield* session.prompt(prompt("ask", ask, text("thanks")))
          assert.strictEqual((yield* turn.outcome)._tag, "completed")
          const told = (yield* model.requests).at(-1)?.request.toolResultsAfterLastUser.map((result) => result.content)
            .join("\n")
          assert.include(told, expected)
        }
        const refused = yield* session.prompt(prompt("ask", ask, text("thanks")))
        const opened = yield* Stream.runCollect(refused.events)
        const settled = [...opened].find(Host.isTag("RequestSettled"))
        assert.strictEqual(settled?.decision?._tag, "decline")
        // The agent goes on, and knows why.
        assert.strictEqual((yield* refused.outcome)._tag, "completed")
        const told = (yield* model.requests).at(-1)?.request.toolResultsAfterLastUser
        assert.include(JSON.stringify(told), "Nobody knows colours here.")
        const cancelled = yield* session.prompt(prompt("ask", ask, text("thanks")))
        assert.deepStrictEqual(yield* cancelled.outcome, { _tag: "interrupted", by: "user" })
      }))

    it.effect("declineAll runs nothing", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open({ policy: ApprovalPolicy.declineAll })
        const turn = yield* session.prompt(prompt(
          "go",
          bash(`touch ${cwd}/none-1`),
          tools(["write", { filePath: `${cwd}/none-2`, content: "x" }]),
          tools(["task", {
            description: "d",
            subagent_type: "general",
            prompt: prompt("child", bash(`touch ${cwd}/none-3`), text("x"))
          }]),
          text("nothing happened")
        ))
        const events = yield* Stream.runCollect(turn.events)
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        for (const name of ["none-1", "none-2", "none-3"]) assert.isFalse(yield* exists(`${cwd}/${name}`))
        const settled = [...events].filter(Host.isTag("RequestSettled"))
        assert.isTrue(
          settled.length >= 3 && settled.every((event) => event.by === "policy" && event.decision?._tag === "decline")
        )
      }))

    it.effect("acceptEdits edits inside the directory unasked, and asks for a command", () =>
      Effect.gen(function*() {
        const { cwd } = yield* Host.Place
        const session = yield* Host.open({ policy: ApprovalPolicy.acceptEdits })
        const asked: Array<string> = []
        yield* answering(session, (request) => {
          asked.push(request.kind)
          return { _tag: "accept" }
        })
        const turn = yield* session.prompt(prompt(
          "go",
          tools(["write", { filePath: `${cwd}/edited.txt`, content: "x\n" }]),
          tools(["read", { filePath: `${cwd}/edited.txt` }]),
          bash("echo asked"),
          text("done")
        ))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
        assert.deepStrictEqual(asked, ["command"])
      }))

    it.effect("a request that nobody can answer raises a notice at once", () =>
      Effect.gen(function*() {
        const session = yield* Host.open()
        yield* session.prompt(prompt("go", bash("echo alone"), text("done")))
        const notice = yield* Host.awaitEvent(session, Host.isTag("Notice"))
        assert.strictEqual(notice.code, "nobodyAttached")
      }))
  }
)
