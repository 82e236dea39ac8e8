// npm links a workspace's bins before `prepare` has built them; the bin files are
// small committed launchers, so this only makes sure that they can be executed.
import { chmodSync } from "node:fs"

for (
  const bin of [
    "packages/cli/bin/reins.mjs",
    "packages/testing/bin/reins-scripted-model.mjs",
    "packages/testing/bin/reins-fault-relay.mjs"
  ]
) {
  chmodSync(new URL(`../${bin}`, import.meta.url), 0o755)
}
