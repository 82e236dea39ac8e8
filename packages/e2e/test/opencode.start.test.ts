/** Starting the server: what works, and what a person is told when it does not. */
import { assert, describe, it } from "@effect/vitest"
import * as AgentError from "@reins/core/AgentError"
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { DurableEvent } from "@reins/core/SessionEvent"
import type * as Sessions from "@reins/core/Sessions"
import { Effect, Fiber, FileSystem, Layer, Logger, Stream } from "effect"
import { existsSync, readFileSync } from "node:fs"
import * as Host from "./fixtures/host.ts"
import * as Processes from "./fixtures/processes.ts"
import { bash, prompt, text } from "./fixtures/script.ts"
import { serverOf } from "./fixtures/server.ts"

/** An executable of the test's own in place of the agent. */
const fakeBinary = Effect.fnUntraced(function*(script: string) {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "reins-fake-" })
  const path = `${directory}/opencode`
  yield* fs.writeFileString(path, script, { mode: 0o755 })
  return path
})

const node = `#!${process.execPath}\n`
const realBinary = new URL("../../../node_modules/opencode-linux-x64/bin/opencode", import.meta.url).pathname

/** Opens on a host of its own and gives the error. */
const failing = (options: Host.HostOptions, open: Partial<Sessions.OpenOptions> = {}) =>
  Effect.flip(Host.open(open)).pipe(Effect.scoped, Effect.provide(Host.layer(options)))

const withFake = (script: string, more: { readonly startTimeout?: string } = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const binary = yield* fakeBinary(script)
    return yield* failing({ openCode: { binary, ...(more as { readonly startTimeout?: "2 seconds" }) } })
  })).pipe(Effect.provide(Host.platform))

describe("a start that fails", () => {
  it.live("names every place that was looked at when the binary is missing", () =>
    Effect.gen(function*() {
      const error = yield* failing({ openCode: { binary: "/nonexistent/opencode" } })
      assert.isTrue(error.reason._tag === "NotInstalled" && error.reason.tried.includes("/nonexistent/opencode"))
    }))

  it.live("of a process that exits at once is told at once, with its last output", () =>
    Effect.gen(function*() {
      const error = yield* withFake("#!/bin/sh\necho 'disk is full, sorry' >&2\nexit 7\n")
      const info = AgentError.toInfo(error)
      assert.include(info.stderrTail ?? "", "disk is full")
      assert.include(AgentError.render(error), "disk is full")
    }), 30_000)

  it.live("of a server that never gets ready is limited, and says how long it waited", () =>
    Effect.gen(function*() {
      const error = yield* withFake("#!/bin/sh\necho still thinking >&2\nsleep 60\n", { startTimeout: "1500 millis" })
      assert.include(["StartTimeout", "Unavailable"], error.reason._tag)
      assert.include(AgentError.render(error), "still thinking")
    }), 30_000)

  it.live("of another protocol is told as such, not as a time-out", () =>
    Effect.gen(function*() {
      const error = yield* withFake(`${node}
        const port = Number(process.argv.find((a) => a.startsWith("--port=")).slice(7))
        require("node:http").createServer((_, res) => res.writeHead(200, { "content-type": "text/html" }).end("<html></html>"))
          .listen(port, "127.0.0.1", () => console.log("server listening on http://127.0.0.1:" + port))
      `)
      assert.include(["UnsupportedVersion", "ProtocolError"], error.reason._tag)
    }), 30_000)

  it.live(
    "trap 15: because of a broken configuration of the project names the file and the issue",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { cwd } = yield* Host.Place
        yield* fs.writeFileString(`${cwd}/opencode.json`, "{ \"model\": 5 }")
        const error = yield* Effect.flip(Host.open())
        assert.isTrue(error.reason._tag === "InvalidConfig" && (error.reason.file ?? "").endsWith("opencode.json"))
        assert.include(error.message, "model")
        // Repaired, the same host works.
        yield* fs.writeFileString(`${cwd}/opencode.json`, "{}")
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("hi", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
      }).pipe(Effect.scoped, Effect.provide(Host.layer())),
    60_000
  )

  it.live("because of broken configuration from the environment is InvalidConfig too", () =>
    Effect.gen(function*() {
      const error = yield* failing({ openCode: { env: { OPENCODE_CONFIG_CONTENT: "{ not json" } } })
      assert.strictEqual(error.reason._tag, "InvalidConfig")
    }), 60_000)
})

describe("a start", () => {
  it.live(
    "trap 2: asks nothing of the server before it says that it listens",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped()
        // The real server, which answers already, and whose own word is held back.
        const binary = yield* fakeBinary(`#!/bin/sh
${realBinary} "$@" >${directory}/out 2>&1 &
trap "kill $!" TERM
until grep -q listening ${directory}/out; do sleep 0.05; done
touch ${directory}/listens
until [ -e ${directory}/say ]; do sleep 0.05; done
cat ${directory}/out
wait
`)
        const asked: Array<string> = []
        yield* Effect.gen(function*() {
          const opening = yield* Effect.forkChild(Host.open())
          yield* Processes.until(
            () => existsSync(`${directory}/listens`),
            "the server does not listen",
            Processes.starts
          )
          assert.deepStrictEqual(asked, [])
          yield* fs.writeFileString(`${directory}/say`, "")
          const session = yield* Fiber.join(opening)
          const turn = yield* session.prompt(prompt("hi", text("hi")))
          assert.strictEqual((yield* turn.outcome)._tag, "completed")
          assert.strictEqual(asked[0], "/global/health")
        }).pipe(
          Effect.scoped,
          Effect.provide(Host.layer({
            openCode: { binary },
            http: Host.watching((request) => asked.push(new URL(request.url).pathname))
          }))
        )
      })).pipe(Effect.provide(Host.platform)),
    60_000
  )

  it.live(
    "trap 14: that finds its port taken takes another, and never the one that everybody uses",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped()
        const binary = yield* fakeBinary(
          `#!/bin/sh\nif [ ! -e ${directory}/once ]; then touch ${directory}/once; echo 'Error: Unexpected error' >&2; echo ServeError >&2; exit 1; fi\nexec ${realBinary} "$@"\n`
        )
        yield* Effect.gen(function*() {
          const session = yield* Host.open()
          const turn = yield* session.prompt(prompt("hi", text("hi")))
          assert.strictEqual((yield* turn.outcome)._tag, "completed")
          // Without a port, or with 0, OpenCode takes 4096, where a server of the user's may be.
          assert.notInclude([0, 4096], (yield* serverOf(session)).port)
        }).pipe(Effect.scoped, Effect.provide(Host.layer({ openCode: { binary } })))
      })).pipe(Effect.provide(Host.platform)),
    60_000
  )

  it.live("tells its progress while the session opens", () =>
    Effect.gen(function*() {
      const heard: Array<DurableEvent> = []
      yield* Host.open({ onProgress: (event) => heard.push(event) })
      const stages = heard.flatMap((event) => event._tag === "ProcessChanged" ? [event.status._tag] : [])
      assert.include(stages, "starting")
      assert.include(stages, "ready")
    }).pipe(Effect.scoped, Effect.provide(Host.layer())), 60_000)

  it.live("demands a password of its own, which is in no event and no log", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(JSON.stringify(message))
      })
      yield* Effect.gen(function*() {
        const session = yield* Host.open()
        const turn = yield* session.prompt(prompt("hi", bash("echo 1"), text("hi")))
        yield* turn.outcome
        const events = [
          ...yield* session.events().pipe(Stream.takeUntil((event) => event._tag === "TurnSettled"), Stream.runCollect)
        ]
        const ready = events.find((event) => event._tag === "ProcessChanged" && event.status._tag === "ready")
        const pid = ready?._tag === "ProcessChanged" && ready.status._tag === "ready" ? ready.status.pid ?? 0 : 0
        const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0")
        const password = environment.find((entry) => entry.startsWith("OPENCODE_SERVER_PASSWORD="))?.slice(25) ?? ""
        assert.isAtLeast(password.length, 32)
        const port = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").find((arg) => arg.startsWith("--port="))
          ?.slice(7)
        const answer = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/global/health`))
        assert.strictEqual(answer.status, 401)
        assert.notInclude(JSON.stringify(events), password)
        assert.notInclude(lines.join("\n"), password)
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(Host.layer(), Logger.layer([logger]))))
    }), 60_000)

  it.live("trap 19: of servers on one fresh data directory is serialised", () =>
    Effect.gen(function*() {
      const sessions = yield* Effect.all([
        Host.open({ env: { REINS_TEST: "1" } }),
        Host.open({ env: { REINS_TEST: "2" } }),
        Host.open({ env: { REINS_TEST: "3" } })
      ], { concurrency: "unbounded" })
      for (const session of sessions) {
        const turn = yield* session.prompt(prompt("hi", text("hi")))
        assert.strictEqual((yield* turn.outcome)._tag, "completed")
      }
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))), 90_000)

  it.live("is shared: sessions in two directories and their events do not mix", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { root } = yield* Host.Place
      const other = `${root}/other`
      yield* fs.makeDirectory(other)
      const sessions = yield* Effect.forEach([undefined, other, undefined, other], (cwd) =>
        Host.open(cwd === undefined ? {} : { cwd }))
      const turns = yield* Effect.forEach(sessions, (session, index) =>
        session.prompt(prompt(`q${index}`, bash("pwd"), text(`answer ${index}`))), { concurrency: "unbounded" })
      yield* Effect.forEach(turns, (turn) =>
        turn.outcome, { concurrency: "unbounded" })
      const pids = new Set<number>()
      for (const [index, session] of sessions.entries()) {
        const events = [
          ...yield* session.events().pipe(
            Stream.takeUntil((event) =>
              event._tag === "TurnSettled"
            ),
            Stream.runCollect
          )
        ]
        const texts = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "assistantMessage" ? [event.item.text] : []
        )
        assert.deepStrictEqual(texts, [`answer ${index}`])
        const output = events.flatMap((event) =>
          event._tag === "ItemCompleted" && event.item._tag === "command" ? [event.item.output.trim()] : []
        )
        assert.deepStrictEqual(output, [session.cwd])
        for (const event of events)
          if (event._tag === "ProcessChanged" && event.status._tag === "ready")
            pids.add(event.status.pid ?? 0)
      }
      assert.strictEqual(pids.size, 1)
    }).pipe(Effect.scoped, Effect.provide(Host.layer({ policy: ApprovalPolicy.fullAccess }))), 90_000)
})
