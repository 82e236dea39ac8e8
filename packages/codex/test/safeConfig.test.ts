/** What is passed to Codex where the user's own settings say nothing. */
import { assert, it } from "@effect/vitest"
import * as safeConfig from "../src/internal/safeConfig.ts"

const retries = "features.unbounded_connection_retries=false"
const plugins = "features.plugins=false"

it.each<readonly [name: string, toml: string, given: ReadonlyArray<string>]>([
  ["no settings at all", "", [retries, plugins]],
  ["settings of other things", "model = \"m\"\n[mcp_servers.x.env]\nplugins = \"a\"\n", [retries, plugins]],
  ["a comment", "# features.plugins = true\n[features]\n# plugins = true\n", [retries, plugins]],
  ["a feature in its table", "[features]\nplugins = true\n", [retries]],
  ["a feature with dots", "features.plugins = true\n\"features\".\"unbounded_connection_retries\" = true\n", []],
  ["features in one line", "features = { plugins = true }\n", []],
  ["a plugin that is set up", "[plugins.\"x@y\"]\nenabled = true\n", [retries]]
])("beside %s", (_, toml, given) => {
  assert.deepStrictEqual(safeConfig.args(toml).filter((arg) => arg !== "-c"), given)
})
