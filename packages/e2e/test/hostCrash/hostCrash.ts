/** Kills a host at random moments, starts it again on the same files, and says what it has kept. */
import { NodeServices } from "@effect/platform-node"
import * as OpenCodeSandbox from "@reins/testing/OpenCodeSandbox"
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import type { PlatformError } from "effect"
import { Clock, Effect, FileSystem, Layer, Random } from "effect"
import { fileURLToPath } from "node:url"
import { spawn } from "node:child_process"
import { tmpdir } from "node:os"
import { withEnvironment } from "../fixtures/processes.ts"
import type { Orders } from "./crashHost.ts"
import { respond } from "./crashModel.ts"
import * as phases from "./phases.ts"
import type { Verdict } from "./verdict.ts"
import { judge } from "./verdict.ts"

const script = fileURLToPath(new URL("./crashHost.ts", import.meta.url))
/** What was left 5 seconds after a kill is an orphan. */
const orphanLimit = 5_000
/** How long a host is waited for to be in the middle of something; then it is killed in the middle of something else. */
const phaseLimit = 30_000
/** What a host is killed in the middle of, kill after kill; `undefined` is any moment. */
const targets = [...phases.phases, undefined]
/** What tells nothing for this time is stuck. */
const settleLimit = 120_000

export interface Figures extends Verdict {
  readonly kills: number
  /** How many of them hit what: `opening` before all sessions were open, the others in any of the sessions. */
  readonly hit: Readonly<Record<phases.Phase, number>>
  readonly orphans: number
  /** From the kill until nothing of the host was left, in milliseconds. */
  readonly slowestEnd: number
}

const startHost = (orders: Orders) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, ["--conditions=@reins/source", script, JSON.stringify(orders)], {
        stdio: ["pipe", "pipe", "pipe"]
      })
      let out = ""
      let err = ""
      const waiting = new Set<() => void>()
      const changed = () => {
        for (const look of waiting) look()
      }
      let ended = false
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        out += text
        changed()
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        err += text
      })
      child.on("exit", () => {
        ended = true
        changed()
      })
      const until = (found: () => boolean) =>
        Effect.callback<void>((resume) => {
          const look = () => {
            if (found()) resume(Effect.void)
          }
          waiting.add(look)
          look()
          return Effect.sync(() => waiting.delete(look))
        })
      return {
        says: (text: string) => until(() => out.includes(text) || ended),
        said: (text: string) => out.includes(text),
        /** Waits until it says that it is in the middle of this now. */
        isIn: (phase: phases.Phase) =>
          until(() =>
            ended || (out.includes("ready\n") && out.split("\nnow ").at(-1)?.split(/\s/).includes(phase) === true)
          ),
        errors: () => err,
        settle: () => child.stdin.write("settle\n"),
        ended: until(() => ended),
        kill: Effect.suspend(() => {
          child.kill("SIGKILL")
          return until(() => ended)
        })
      }
    }),
    (host) => host.kill
  )

export const run = (options: {
  readonly kills: number
  readonly seed: number
  readonly sessions?: number
  readonly progress?: (line: string) => void
}): Effect.Effect<Figures, PlatformError.PlatformError> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const model = yield* ScriptedModel.ScriptedModel
    const sandbox = yield* OpenCodeSandbox.make({ url: model.url })
    const state = `${sandbox.root}/host`
    yield* fs.makeDirectory(state)
    const leases = `${sandbox.root}/leases`
    const hit = Object.fromEntries(phases.phases.map((phase) => [phase, 0])) as Record<phases.Phase, number>
    let orphans = 0
    let slowestEnd = 0
    const problems: Array<string> = []
    const orders = (round: number, quiet = false): Orders => ({
      cwd: sandbox.cwd,
      env: sandbox.env,
      state,
      leases,
      seed: options.seed,
      round,
      sessions: options.sessions ?? 2,
      quiet
    })

    const allGone = Effect.gen(function*() {
      const since = yield* Clock.currentTimeMillis
      while (true) {
        const took = (yield* Clock.currentTimeMillis) - since
        const left = withEnvironment(sandbox.root)
        if (left.length === 0) {
          slowestEnd = Math.max(slowestEnd, took)
          return
        }
        if (took > orphanLimit) {
          orphans += left.length
          return
        }
        yield* Effect.sleep(25)
      }
    })

    /** Bytes of what the sessions were told. */
    const size = Effect.gen(function*() {
      let bytes = 0
      for (const name of yield* fs.readDirectory(state)) {
        if (name.endsWith(".ndjson")) bytes += Number((yield* fs.stat(`${state}/${name}`)).size)
      }
      return bytes
    })

    for (let round = 0; round < options.kills; round++) {
      yield* Effect.scoped(Effect.gen(function*() {
        const target = targets[(options.seed + round) % targets.length]
        const host = yield* startHost(orders(round, target === "idle"))
        yield* host.says(target === "opening" ? "opening" : "ready").pipe(Effect.timeoutOption(settleLimit))
        if (target === undefined) yield* Effect.sleep(yield* Random.nextIntBetween(10, 2_500))
        else if (target === "opening") yield* Effect.sleep(yield* Random.nextIntBetween(0, 1_500))
        else yield* Effect.timeoutOption(host.isIn(target), phaseLimit)
        const isOpen = host.said("ready")
        if (host.errors().includes("the host failed")) problems.push(`round ${round}: ${host.errors()}`)
        yield* host.kill
        for (const phase of isOpen ? phases.at(state) : ["opening"] as const) hit[phase]++
        yield* allGone
      }))
      options.progress?.(`${round + 1} kills, ${hit.opening} while opening, ${orphans} orphans`)
    }
    yield* Effect.scoped(Effect.gen(function*() {
      const host = yield* startHost(orders(options.kills))
      yield* host.says("ready").pipe(Effect.timeoutOption(settleLimit))
      host.settle()
      // As long as it tells something it comes to its end, however much a busy machine has left it to do.
      let written = -1
      while (!host.said("settled") && written < (yield* size)) {
        written = yield* size
        yield* host.says("settled").pipe(Effect.timeoutOption(settleLimit))
      }
      if (!host.said("settled"))
        problems.push(`stuck: the last host did not come to rest. ${host.errors().slice(-2_000)}`)
      yield* host.ended.pipe(Effect.timeoutOption(10_000))
    }))
    yield* allGone
    const asked = new Map<string, number>()
    for (const { request } of yield* model.requests) {
      const name = /P-[\w-]+/.exec(request.lastUserText)?.[0]
      if (name === undefined || request.isTitle || request.toolResultsAfterLastUser.length > 0) continue
      asked.set(name, (asked.get(name) ?? 0) + 1)
    }
    const verdict = judge({ state, cwd: sandbox.cwd, asked })
    const evidence = `${tmpdir()}/reins-host-crash-${process.pid}`
    if (verdict.problems.length + problems.length > 0) {
      yield* fs.copy(sandbox.root, evidence)
      problems.push(`What the hosts and the agent have written is in ${evidence}.`)
    }
    return {
      ...verdict,
      problems: [...problems, ...verdict.problems],
      kills: options.kills,
      hit,
      orphans,
      slowestEnd
    }
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(ScriptedModel.layer({ respond, titles: false }), NodeServices.layer)),
    Random.withSeed(options.seed)
  )
