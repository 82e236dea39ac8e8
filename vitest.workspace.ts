import { defineConfig } from "vitest/config"
import CountsReporter from "./scripts/CountsReporter.ts"

// Sources are tested as they lie in `src`: the condition below points every `@reins/*` import there.
const resolve = { conditions: ["@reins/source"] }
const ssr = { resolve: { conditions: ["@reins/source", "node", "import", "default"] } }

const project = (name: string, options: { readonly timeout?: number; readonly serial?: boolean } = {}) => ({
  resolve,
  ssr,
  test: {
    name,
    root: `packages/${name}`,
    include: ["test/**/*.test.ts"],
    testTimeout: options.timeout ?? 20_000,
    hookTimeout: options.timeout ?? 20_000,
    fileParallelism: options.serial !== true,
    pool: "forks" as const
  }
})

export default defineConfig({
  test: {
    reporters: ["default", new CountsReporter()],
    maxWorkers: 2,
    projects: [
      project("core", { timeout: 120_000 }),
      project("transport", { timeout: 30_000 }),
      project("sqlite", { timeout: 60_000 }),
      project("opencode", { timeout: 30_000 }),
      project("codex", { timeout: 30_000 }),
      project("testing", { timeout: 30_000 }),
      project("cli", { timeout: 60_000 }),
      project("reins", { timeout: 60_000 }),
      project("bench", { timeout: 90_000 }),
      project("e2e", { timeout: 90_000, serial: true })
    ]
  }
})
