import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Path } from "effect"
import * as paths from "../src/paths.ts"

const within = (env: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromEnv({ env }))

describe("paths", () => {
  it.live("follow the XDG variables, and the home directory where these are missing or relative", () =>
    Effect.gen(function*() {
      const set = yield* Effect.provide(
        paths.resolve,
        within({ XDG_STATE_HOME: "/s", XDG_DATA_HOME: "/d", HOME: "/h" })
      )
      assert.deepStrictEqual(set, { state: "/s/reins", data: "/d/reins", sessions: "/s/reins/sessions" })
      const home = yield* Effect.provide(paths.resolve, within({ XDG_STATE_HOME: "relative", HOME: "/h" }))
      assert.strictEqual(home.state, "/h/.local/state/reins")
      assert.strictEqual(home.data, "/h/.local/share/reins")
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("are closed to other users, also when they were open before", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const root = yield* fs.makeTempDirectoryScoped()
      yield* fs.makeDirectory(path.join(root, "state", "reins"), { recursive: true, mode: 0o755 })
      const made = yield* Effect.provide(
        paths.ensure,
        within({ XDG_STATE_HOME: path.join(root, "state"), XDG_DATA_HOME: path.join(root, "data"), HOME: root })
      )
      for (const folder of [made.state, made.data]) {
        assert.strictEqual((yield* fs.stat(folder)).mode & 0o777, 0o700)
      }
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
})
