/** A host without Effect over the real Codex. */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import * as CodexSandbox from "@reins/testing/CodexSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Reins } from "reins"

const exec = (cmd: string): ScriptedModel.Step => ({ do: "tools", tools: [{ name: "exec_command", args: { cmd } }] })

it.live("runs tools of the host that Codex calls", () =>
  Effect.gen(function*() {
    const model = yield* ScriptedModel.ScriptedModel
    const { cwd, env } = yield* CodexSandbox.make({ url: model.url })
    yield* Effect.promise(async () => {
      await using reins = await Reins.create({ providers: { codex: Reins.codex({ env }) } })
      const inputSchema = { type: "object", properties: { id: { type: "string" } } }
      let aborted = false
      const session = await reins.open({
        provider: "codex",
        cwd,
        tools: {
          ticket: { description: "Finds a ticket.", inputSchema, run: async (input) => ({ found: input }) },
          lost: {
            description: "Never finds.",
            inputSchema,
            run: () => {
              throw new Error("no such ticket")
            }
          },
          slow: {
            description: "Takes its time.",
            inputSchema,
            run: (_input, { signal }) => {
              void session.interrupt()
              return new Promise((resolve) =>
                signal.addEventListener("abort", () => {
                  aborted = true
                  resolve("late")
                })
              )
            }
          }
        }
      })
      const call = (name: string): ScriptedModel.Step => ({ do: "tools", tools: [{ name, args: { id: "T-1" } }] })
      const prompt = await session.prompt(
        ScriptedModel.prompt("go", [call("ticket"), call("lost"), { do: "text", text: "Done." }])
      )
      assert.strictEqual((await prompt.outcome)._tag, "completed")
      const outputs: Array<string> = []
      for await (const event of prompt.events) {
        if (event._tag === "ItemCompleted" && event.item._tag === "toolCall") outputs.push(event.item.output)
      }
      assert.deepStrictEqual(outputs, ["{\"found\":{\"id\":\"T-1\"}}", "no such ticket"])
      const slow = await session.prompt(ScriptedModel.prompt("wait", [call("slow"), { do: "text", text: "Never." }]))
      assert.deepStrictEqual(await slow.outcome, { _tag: "interrupted", by: "user" })
      assert.isTrue(aborted)
    })
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(ScriptedModel.layer(), NodeServices.layer))), 60_000)

it("a Codex server of others is told when nobody is there, and stands alone", async () => {
  await using reins = await Reins.create({ providers: { codex: Reins.codex({ url: "ws://127.0.0.1:1" }) } })
  const error = await reins.open({ provider: "codex", cwd: "/" }).then(() => undefined, (error: unknown) => error)
  assert.include(String(error), "ws://127.0.0.1:1")
  const both = { codex: Reins.codex({ url: "ws://127.0.0.1:1", binary: "/bin/codex" }) }
  const refused = await Reins.create({ providers: both }).then(() => undefined, (error: unknown) => error)
  assert.include(String(refused), "\"providers.codex.binary\" does not go with \"url\"")
})

it.live("prompts Codex, asks and answers", () =>
  Effect.gen(function*() {
    const model = yield* ScriptedModel.ScriptedModel
    const { cwd, env } = yield* CodexSandbox.make({ url: model.url })
    yield* Effect.promise(async () => {
      await using reins = await Reins.create({ providers: { codex: Reins.codex({ env }) } })
      const session = await reins.open({ provider: "codex", cwd, title: "test" })
      const commands: Array<string | undefined> = []
      session.onRequest(async (request) => {
        commands.push(request.facts.command)
        return { _tag: request.facts.command?.includes("refused") === true ? "decline" : "accept" }
      })
      const prompt = await session.prompt(ScriptedModel.prompt("go", [
        exec("touch allowed.txt"),
        exec("touch refused.txt"),
        { do: "text", text: "All of it is done now, as far as I may." }
      ]))
      assert.deepStrictEqual(await prompt.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.strictEqual(await prompt.text, "All of it is done now, as far as I may.")
      assert.deepStrictEqual(commands, ["touch allowed.txt", "touch refused.txt"])
      assert.isTrue(existsSync(join(cwd, "allowed.txt")))
      assert.isFalse(existsSync(join(cwd, "refused.txt")))
      const models = await reins.models("codex", { cwd })
      assert.include(models.map((one) => one.id), CodexSandbox.model)
    })
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(ScriptedModel.layer(), NodeServices.layer))), 60_000)
