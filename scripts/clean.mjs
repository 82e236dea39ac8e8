import { rmSync } from "node:fs"

for (const name of ["core", "transport", "sqlite", "opencode", "codex", "testing", "cli", "bench", "reins"]) {
  rmSync(new URL(`../packages/${name}/dist`, import.meta.url), { recursive: true, force: true })
}
rmSync(new URL("../.tsbuild", import.meta.url), { recursive: true, force: true })
