/** Parts of prompts, what is offered, and the history of a session, for a host without Effect over the real OpenCode. */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { ReinsSession } from "reins"
import { Reins, ReinsError } from "reins"
import { first, withSession } from "./fixtures/hosts.ts"

const program = fileURLToPath(new URL("../../e2e/test/fixtures/mcpServer.mjs", import.meta.url))
const platform = Layer.merge(ScriptedModel.layer(), NodeServices.layer)

const tagOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise
    return "resolved"
  } catch (error) {
    return error instanceof ReinsError ? error.tag : "another error"
  }
}

it.live("files, commands, models, MCP servers, forks and reverts", () =>
  Effect.gen(function*() {
    const model = yield* ScriptedModel.ScriptedModel
    const { cwd, env } = yield* OpenCodeSandbox.make({ url: model.url })
    mkdirSync(`${cwd}/.opencode/command`, { recursive: true })
    writeFileSync(`${cwd}/.opencode/command/greet.md`, "---\ndescription: Greets\n---\nSay hello to $ARGUMENTS")
    writeFileSync(`${cwd}/notes.txt`, "the notes")
    const sent = async () => {
      const requests = await Effect.runPromise(model.requests)
      return JSON.stringify(requests.filter(({ request }) => !request.isTitle).at(-1)?.request.body)
    }
    yield* Effect.promise(async () => {
      await using reins = await Reins.create({
        providers: { opencode: Reins.openCode({ env }) },
        approvals: "all",
        limits: { attachment: 1_000 }
      })
      const mcpServers = { numbers: { command: [process.execPath, program] as const } }
      const session = await reins.open({ provider: "opencode", cwd, title: "one", mcpServers })
      const say = async (session: ReinsSession, text: string) => {
        const prompt = await session.prompt(ScriptedModel.prompt(text, [{ do: "text", text: "well" }]))
        assert.strictEqual((await prompt.outcome)._tag, "completed")
        const receipt = await prompt.receipt
        return receipt._tag === "consumed" ? receipt.turnId : assert.fail("not taken")
      }

      const place = { cwd, mcpServers }
      assert.deepStrictEqual((await reins.models("opencode", place)).map(({ id }) => id), ["scripted/scripted-1"])
      assert.include((await reins.modes("opencode", place)).map(({ id }) => id), "plan")
      assert.include((await reins.commands("opencode", place)).map(({ name }) => name), "greet")

      const file = await session.prompt({ parts: [{ _tag: "File", path: "notes.txt" }] })
      assert.strictEqual((await file.outcome)._tag, "completed")
      assert.include(await sent(), "the notes")
      assert.include(await sent(), "numbers_add")
      writeFileSync(`${cwd}/notes.txt`, "n".repeat(1_001))
      assert.strictEqual(
        await tagOf(session.prompt({ parts: [{ _tag: "File", path: "notes.txt" }] })),
        "InvalidRequest"
      )
      assert.strictEqual(
        await tagOf(session.prompt({ parts: [{ _tag: "Image", mediaType: "image/tiff", data: "SUkqAA==" }] })),
        "Unsupported"
      )
      const command = await session.prompt({ parts: [{ _tag: "Command", name: "greet", arguments: "Bob" }] })
      assert.strictEqual((await command.outcome)._tag, "completed")
      assert.include(await sent(), "Say hello to Bob")

      await say(session, "remember alpha")
      const second = await say(session, "remember beta")
      const fork = await session.fork({ title: "two" })
      await say(fork, "in the copy")
      assert.include(await sent(), "remember beta")
      assert.strictEqual(await reins.get(fork.id), fork)
      assert.deepStrictEqual(await session.revert({ beforeTurn: second }), { files: "kept" })
      await session.unrevert()
      assert.strictEqual(await tagOf(session.unrevert()), "InvalidRequest")
      await session.revert({ beforeTurn: second })
      await say(session, "what now")
      assert.notInclude(await sent(), "remember beta")
      assert.strictEqual((await session.compact())._tag, "completed")
      await session.configure({ title: "three" })
      assert.strictEqual((await first(session, "HistoryReverted")).beforeTurn, second)
    })
  }).pipe(Effect.scoped, Effect.provide(platform)), 60_000)

it("a provider that cannot says so", () =>
  withSession(async (session, _hand, reins) => {
    assert.strictEqual(await tagOf(session.fork()), "Unsupported")
    assert.strictEqual(await tagOf(session.revert({ beforeTurn: "trn_1" })), "Unsupported")
    assert.strictEqual(await tagOf(session.unrevert()), "Unsupported")
    assert.strictEqual(await tagOf(session.compact()), "Unsupported")
    assert.strictEqual(await tagOf(session.configure({ title: "x" })), "Unsupported")
    const mcpServers = { far: { url: "http://127.0.0.1:1/" } }
    assert.strictEqual(await tagOf(reins.open({ provider: "hand", cwd: "/repo", mcpServers })), "Unsupported")
    const tools = { one: { description: "One.", inputSchema: { type: "object" } } }
    assert.strictEqual(await tagOf(reins.open({ provider: "hand", cwd: "/repo", tools })), "Unsupported")
    const noTool = { one: { ...tools.one, run: "no function" as unknown as () => void } }
    assert.strictEqual(await tagOf(reins.open({ provider: "hand", cwd: "/repo", tools: noTool })), "InvalidConfig")
    const wrong = { odd: {} as { readonly url: string } }
    assert.strictEqual(await tagOf(reins.open({ provider: "hand", cwd: "/repo", mcpServers: wrong })), "InvalidConfig")
    assert.deepStrictEqual(await reins.modes("hand", { cwd: "/repo" }), [])
    assert.deepStrictEqual(await reins.commands("hand", { cwd: "/repo" }), [])
    assert.strictEqual(await tagOf(reins.models("nobody", { cwd: "/repo" })), "InvalidRequest")
  }))
