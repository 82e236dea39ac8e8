/** A host without Effect over the real OpenCode. */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, Layer, Schedule } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Reins, ReinsError } from "reins"
import { recorder } from "./fixtures/hosts.ts"

/** Ids of the processes that were started with the sandbox in their environment. */
const processesOf = (root: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/environ`, "utf8").includes(root)
    } catch {
      return false
    }
  })

const platform = Layer.merge(ScriptedModel.layer(), NodeServices.layer)

it.live("prompts, streams, asks, answers and leaves nothing behind", () =>
  Effect.gen(function*() {
    const model = yield* ScriptedModel.ScriptedModel
    const { cwd, env, root } = yield* OpenCodeSandbox.make({ url: model.url })
    const { logger, said } = recorder()
    yield* Effect.promise(async () => {
      const reins = await Reins.create({ providers: { opencode: Reins.openCode({ env }) }, logger })
      try {
        const session = await reins.open({ provider: "opencode", cwd, title: "test" })
        const commands: Array<string | undefined> = []
        session.onRequest(async (request) => {
          commands.push(request.facts.command)
          return request.facts.command?.includes("refused") === true
            ? { _tag: "decline", reason: "not that one" }
            : { _tag: "accept" }
        })
        const prompt = await session.prompt(ScriptedModel.prompt("go", [
          { do: "tools", tools: [{ name: "bash", args: { command: "touch allowed.txt", description: "a command" } }] },
          { do: "tools", tools: [{ name: "bash", args: { command: "touch refused.txt", description: "a command" } }] },
          { do: "text", text: "All of it is done now, as far as I may." }
        ]))
        const texts = new Map<string, string>()
        let deltas = 0
        for await (const event of prompt.events) {
          if (event._tag !== "ItemDelta" || event.stream !== "text") continue
          deltas++
          texts.set(event.itemId, (texts.get(event.itemId) ?? "").slice(0, event.offset) + event.text)
        }
        assert.deepStrictEqual(await prompt.outcome, { _tag: "completed", stopReason: "endTurn" })
        assert.deepStrictEqual(commands, ["touch allowed.txt", "touch refused.txt"])
        assert.isTrue(existsSync(join(cwd, "allowed.txt")))
        assert.isFalse(existsSync(join(cwd, "refused.txt")))
        assert.strictEqual(await prompt.text, "All of it is done now, as far as I may.")
        assert.isAbove(deltas, 0)
        assert.include([...texts.values()], await prompt.text)
        assert.isAbove(processesOf(root).length, 0)
        await session.close()
        assert.strictEqual(session.state.phase, "closed")
      } finally {
        await reins.close()
      }
    })
    // The operating system tells no event for the end of a process that is not a child of this one.
    yield* Effect.suspend(() => processesOf(root).length === 0 ? Effect.void : Effect.fail("a process is left")).pipe(
      Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 100 }),
      Effect.orDie
    )
    assert.deepStrictEqual(said.filter(({ level }) => level === "error"), [])
  }).pipe(Effect.scoped, Effect.provide(platform)), 60_000)

it.live(
  "goes on with a conversation of another host, reads what was said in it, and deletes it",
  () =>
    Effect.gen(function*() {
      const model = yield* ScriptedModel.ScriptedModel
      const { cwd, env } = yield* OpenCodeSandbox.make({ url: model.url })
      yield* Effect.promise(async () => {
        const providers = { opencode: Reins.openCode({ env }) }
        await using reins = await Reins.create({ providers, approvals: "all" })
        {
          await using other = await Reins.create({ providers, approvals: "all" })
          const session = await other.open({ provider: "opencode", cwd, title: "of another host" })
          const prompt = await session.prompt(ScriptedModel.prompt("go", [{ do: "text", text: "gone" }]))
          assert.strictEqual((await prompt.outcome)._tag, "completed")
        }
        const found = await reins.probe("opencode")
        assert.deepStrictEqual([found.installed, found.support, found.auth], [true, "tested", "ok"])
        const { conversations } = await reins.conversations({ provider: "opencode", cwd })
        assert.deepStrictEqual(conversations.map(({ title }) => title), ["of another host"])
        const session = await reins.adopt({ provider: "opencode", cursor: conversations[0]?.cursor })
        const history = await session.history({ limit: 5 })
        const last = history.turns[0]?.items.at(-1)?.item
        assert.deepStrictEqual(history.turns.map(({ outcome }) => outcome?._tag), ["completed"])
        assert.strictEqual(last?._tag === "assistantMessage" ? last.text : "", "gone")
        const [listed] = (await reins.list({ title: "another" })).sessions
        assert.deepStrictEqual([listed?.sessionId, listed?.open], [session.id, true])
        await reins.remove(session.id, { provider: true })
        assert.deepStrictEqual((await reins.conversations({ provider: "opencode", cwd })).conversations, [])
        for (const cursor of [undefined, 5n, { v: 9, sessionID: "ses_1" }]) {
          const error = await reins.adopt({ provider: "opencode", cursor }).then(
            () => undefined,
            (error: unknown) => error
          )
          assert.isTrue(ReinsError.is(error, "InvalidRequest"), String(error))
        }
      })
    }).pipe(Effect.scoped, Effect.provide(platform)),
  90_000
)

it("attaches to an address, and says when nothing is there", async () => {
  const password = "not to be told"
  await using reins = await Reins.create({
    providers: { opencode: Reins.openCode({ url: "http://127.0.0.1:1", password }) }
  })
  const error = await reins.open({ provider: "opencode", cwd: "/" }).then(() => undefined, (error: unknown) => error)
  assert.isTrue(ReinsError.is(error, "Unavailable"))
  assert.notInclude(String(error) + JSON.stringify(error), password)
})
