/** Whether OpenCode can be used, found out without a turn and without a failure. */
import { assert, describe, it } from "@effect/vitest"
import type { Probe } from "@reins/core/Provider"
import * as Providers from "@reins/core/Providers"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import { Effect, FileSystem, Redacted } from "effect"
import * as Foreign from "./fixtures/foreignServer.ts"
import * as Host from "./fixtures/host.ts"

const probe = Providers.Providers.use((providers) => Effect.flatMap(providers.get("opencode"), (found) => found.probe))

/** On a host of its own. */
const probed = (options: Host.HostOptions = {}): Effect.Effect<Probe> =>
  Effect.orDie(probe.pipe(Effect.scoped, Effect.provide(Host.layer(options))))

/** In place of the binary: says this version, and is no server. */
const saying = Effect.fnUntraced(function*(version: string) {
  const fs = yield* FileSystem.FileSystem
  const path = `${yield* fs.makeTempDirectoryScoped({ prefix: "reins-fake-" })}/opencode`
  yield* fs.writeFileString(path, `#!/bin/sh\n[ "$1" = --version ] && { echo ${version}; exit 0; }\nexit 3\n`, {
    mode: 0o755
  })
  return path
})

describe("a probe", () => {
  it.live(
    "of the tested release with a model provider that has its key finds all well, and makes no turn",
    () =>
      Effect.gen(function*() {
        const model = yield* ScriptedModel.ScriptedModel
        const found = yield* probe
        assert.include(found.binary, "opencode")
        assert.deepStrictEqual({ ...found, binary: "" }, {
          installed: true,
          binary: "",
          version: "1.18.33",
          support: "tested",
          protocol: "http",
          auth: "ok"
        })
        assert.deepStrictEqual(yield* model.requests, [])
      }).pipe(Effect.scoped, Effect.provide(Host.layer())),
    60_000
  )

  it.live("says that nobody is signed in, and how to", () =>
    Effect.gen(function*() {
      const { env } = yield* Host.Place
      // What is there without any key are the agent's own hosted models, under one that belongs to nobody.
      const alone = JSON.stringify({ enabled_providers: ["opencode"] })
      const found = yield* probed({ openCode: { env: { ...env, OPENCODE_CONFIG_CONTENT: alone } } })
      assert.deepStrictEqual([found.installed, found.support, found.auth], [true, "tested", "missing"])
      assert.include(found.advice, "opencode auth login")
    }).pipe(Effect.scoped, Effect.provide(Host.layer())), 60_000)

  it.live("of no binary says where it was looked for", () =>
    Effect.gen(function*() {
      const found = yield* probed({ openCode: { binary: "/nonexistent/opencode" } })
      assert.isFalse(found.installed)
      assert.strictEqual(found.auth, "unknown")
      assert.include(found.advice, "/nonexistent/opencode")
    }))

  it.live(
    "tells older and newer releases from the tested one, with advice, also when the server does not start",
    () =>
      Effect.gen(function*() {
        const older = yield* probed({ openCode: { binary: yield* saying("1.17.9") } })
        assert.deepStrictEqual([older.installed, older.version, older.support], [true, "1.17.9", "older"])
        assert.include(older.advice, "older than 1.18.33")
        const newer = yield* probed({ openCode: { binary: yield* saying("1.99.0") } })
        assert.deepStrictEqual([newer.version, newer.support, newer.auth], ["1.99.0", "newer", "unknown"])
        assert.include(newer.advice, "newer than 1.18.33")
        const other = yield* probed({ openCode: { binary: yield* saying("2.1.0") } })
        assert.deepStrictEqual([other.version, other.support], ["2.1.0", "newer"])
        assert.include(other.advice, "another protocol")
        const silent = yield* probed({ openCode: { binary: yield* saying("nothing of use") } })
        assert.deepStrictEqual([silent.installed, silent.version, silent.support], [true, undefined, "unknown"])
      }).pipe(Effect.scoped, Effect.provide(Host.platform)),
    60_000
  )

  it.live("names a configuration that does not work", () =>
    Effect.gen(function*() {
      const { env } = yield* Host.Place
      const found = yield* probed({ openCode: { env: { ...env, OPENCODE_CONFIG_CONTENT: "{ not json" } } })
      assert.deepStrictEqual([found.installed, found.version, found.auth], [true, "1.18.33", "unknown"])
      assert.include(found.advice, "not valid")
    }).pipe(Effect.scoped, Effect.provide(Host.layer())), 60_000)

  it.live(
    "of a server that runs already tells of it, of its password, and of nothing there",
    () =>
      Effect.gen(function*() {
        const { env } = yield* Host.Place
        const server = yield* Foreign.start({ env, port: yield* Foreign.freePort, password: "a good password" })
        const right = yield* probed({ openCode: { url: server.url, password: Redacted.make("a good password") } })
        assert.deepStrictEqual(right, {
          installed: true,
          version: "1.18.33",
          support: "tested",
          protocol: "http",
          auth: "ok"
        })
        const wrong = yield* probed({ openCode: { url: server.url, password: Redacted.make("another one") } })
        assert.deepStrictEqual([wrong.installed, wrong.auth], [true, "missing"])
        assert.include(wrong.advice, "OPENCODE_SERVER_PASSWORD")
        const nobody = yield* probed({ openCode: { url: `http://127.0.0.1:${yield* Foreign.freePort}` } })
        assert.deepStrictEqual([nobody.installed, nobody.auth], [false, "unknown"])
        assert.include(nobody.advice, "address")
      }).pipe(Effect.scoped, Effect.provide(Host.layer())),
    60_000
  )
})
