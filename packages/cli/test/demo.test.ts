import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { complaint } from "../src/internal/nodeVersion.ts"
import * as Reins from "./fixtures/reins.ts"
import { leftBehind, run } from "./fixtures/reins.ts"

layer(Reins.layer, { excludeTestServices: true, timeout: "60 seconds" })("npm start", (it) => {
  it.effect("shows a turn with approvals, a killed server and the conversation that goes on, and leaves nothing", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const temporary = yield* fs.makeTempDirectoryScoped({ prefix: "reins-demo-test-" })
      const { code, stderr, stdout } = yield* run([], { entry: "demo.ts", env: { TMPDIR: temporary } })
      assert.strictEqual(code, 0, stdout + stderr)
      assert.match(stdout, /This demo answers by itself: yes[\s\S]*\u2713 Ran node hello\.js/)
      assert.match(stdout, /kill -9 \d+[\s\S]*ended by SIGKILL[\s\S]*outcome of the turn is not known/)
      assert.include(stdout, "exactly one outcome: completed, lost, completed.")
      assert.include(stdout, "without a gap")
      assert.include(stdout, "npx reins run")
      assert.deepStrictEqual(yield* fs.readDirectory(temporary), [])
      assert.deepStrictEqual(leftBehind(temporary), [])
    }))

  it.effect("says clearly that a Node is too old", () =>
    Effect.sync(() => {
      assert.match(
        complaint("20.20.2", "The demo of Reins") ?? "",
        /needs Node 22\.19\.0 or newer, and this is Node 20\.20\.2/
      )
      assert.isUndefined(complaint("22.19.0", "reins"))
      assert.isUndefined(complaint("26.0.0", "reins"))
    }))
})
