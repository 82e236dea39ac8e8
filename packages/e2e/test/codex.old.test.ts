/** The two requests of the first protocol, asked by a peer that is not the real one: no release asks them any more. */
import { assert, layer } from "@effect/vitest"
import type { Answer } from "@reins/core/AgentRequest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { Effect, Stream } from "effect"
import { fileURLToPath } from "node:url"
import * as Codex from "./fixtures/codexHost.ts"

const binary = fileURLToPath(new URL("./fixtures/oldCodex.mjs", import.meta.url))

layer(Codex.layer({ policy: ApprovalPolicy.askAlways, codex: { binary } }), {
  excludeTestServices: true,
  timeout: "60 seconds"
})("a Codex that asks in the words of the first protocol", (it) => {
  it.effect.each<readonly [Answer, Answer, readonly [string, string]]>([
    [{ _tag: "accept" }, { _tag: "accept" }, ["approved", "approved"]],
    [{ _tag: "acceptForSession" }, { _tag: "decline" }, ["approved", "denied"]],
    [{ _tag: "decline", reason: "no" }, { _tag: "accept" }, ["denied", "approved"]]
  ])("is answered in its own words", ([command, patch, words]) =>
    Effect.gen(function*() {
      const session = yield* Codex.open()
      yield* session.attach()
      const turn = yield* session.prompt("go")
      const kinds: Array<string> = []
      let said = ""
      yield* turn.events.pipe(Stream.runForEach((event) =>
        Effect.suspend(() => {
          if (event._tag === "ItemCompleted" && event.item._tag === "assistantMessage") said = event.item.text
          if (event._tag !== "RequestOpened") return Effect.void
          kinds.push(event.kind)
          if (event.kind === "edit") assert.deepStrictEqual(event.facts.paths, ["/w/a.txt", "/w/b.txt"])
          else assert.deepStrictEqual(event.facts.argv, ["rm", "-r", "build"])
          return Effect.orDie(session.answer(event.requestId, event.kind === "edit" ? patch : command))
        })
      ))
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.deepStrictEqual(kinds, ["command", "edit"])
      assert.deepStrictEqual(JSON.parse(said), words.map((decision) => ({ decision })))
      yield* session.close
    }))
})
