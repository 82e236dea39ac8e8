/**
 * Law 10: the same agent with the same work, once over a connection that holds and once over one that is cut, muted or
 * lost with its server. What a host reads is the same, or the difference is declared in an event.
 */
import * as ApprovalPolicy from "../../src/ApprovalPolicy.ts"
import type { SessionEvent } from "../../src/SessionEvent.ts"
import { flow } from "./history.ts"
import * as Random from "./random.ts"
import type { Config, Engine } from "./world.ts"
import { realEngine, Violation, World } from "./world.ts"

export interface Cut {
  /** Before which piece of the agent's work. */
  readonly at: number
  readonly how: "cut" | "mute" | "crash"
  /** How many pieces of work nobody hears. */
  readonly lasts: number
}

export interface Script {
  readonly seed: number
  readonly config: Config
  readonly prompts: number
  readonly cuts: ReadonlyArray<Cut>
}

const policies = [
  ApprovalPolicy.askAlways,
  ApprovalPolicy.askAlways,
  ApprovalPolicy.fullAccess,
  ApprovalPolicy.declineAll
]

export const generate = (seed: number): Script => {
  const random = Random.make(seed ^ 0x5eed)
  const kind = random.chance(60) ? "opencode" : "codex"
  const cuts: Array<Cut> = []
  for (let at = random.below(12); cuts.length < 4; at += 2 + random.below(20)) {
    cuts.push({ at, how: random.pick(["cut", "cut", "cut", "mute", "crash"]), lasts: random.below(12) })
  }
  return {
    seed,
    config: {
      kind,
      offsets: random.chance(25),
      midText: random.pick(kind === "opencode" ? ["empty"] : ["none", "full"]),
      lossy: random.chance(10),
      blind: false,
      policy: policies[random.below(policies.length)] ?? ApprovalPolicy.askAlways,
      canSteer: false,
      mergesLater: true,
      expiresAfter: undefined,
      queue: 1000
    },
    prompts: 1 + random.below(3),
    cuts
  }
}

const begin = (world: World, cut: Cut): void => {
  if (cut.how === "crash") world.crash()
  else if (cut.how === "cut") world.cut(cut.at % 2 === 0)
  else world.mutedAt ??= world.now
}

const end = (world: World): void => {
  if (world.mutedAt !== undefined) world.advance(25_000)
  world.connect()
}

/** Works the script off; at most so many pieces of work. */
export const run = (script: Script, cut: boolean, engine: Engine, trace = false): World => {
  const world = new World(script.config, engine, false, trace)
  world.agent.tidy = true
  const random = Random.make(script.seed)
  for (let n = 0; n < script.prompts; n++) world.prompt(false)
  let worked = 0
  let silentUntil: number | undefined
  let next = 0
  for (let round = 0; round < 2_000; round++) {
    if (cut && silentUntil === undefined) {
      const planned = script.cuts[next]
      if (planned !== undefined && planned.at <= worked) {
        next++
        begin(world, planned)
        silentUntil = worked + planned.lasts
      }
    }
    const stuck = world.agent.running === undefined || world.agent.blocked
    if (silentUntil !== undefined && (worked >= silentUntil || stuck)) {
      silentUntil = undefined
      end(world)
    }
    flow(world)
    if (world.openRequests().length > 0) {
      world.answer(0, { _tag: "accept" })
      continue
    }
    if (world.agent.running !== undefined && !world.agent.blocked) {
      world.agent.work(random)
      worked++
      continue
    }
    if (silentUntil !== undefined) continue
    const S = world.S
    if (S.turn === undefined && S.inflight === undefined && S.queue.waiting.length === 0 && S.wakeAt === undefined)
      break
    world.advance(Math.max(0, (S.wakeAt ?? world.now) - world.now) + 10)
  }
  // What went on in the background ends now, in both runs.
  const last = Random.make(1)
  for (let n = 0; n < 50 && world.agent.work(last, true); n++) flow(world)
  world.close()
  world.advance(world.S.options.limits.close + 20)
  return world
}

/** Whether the log says that something of a gap is missing. */
const declared = (world: World): boolean =>
  world.log.some(({ event }) =>
    (event._tag === "ConnectionChanged" && event.status._tag === "resynced" && event.status.gap === "lossy") ||
    (event._tag === "TurnSettled" && event.outcome._tag === "lost") ||
    (event._tag === "PromptChanged" && event.state._tag === "failed") ||
    (event._tag === "Notice" && event.code === "textIncomplete")
  )

/** An item that was begun anew has a count; a reader that was away has not seen the first beginning. */
const baseOf = (itemId: string): string => itemId.replace(/~\d+$/, "")

/**
 * What is compared: groups 4 to 9 without envelope and passing states; of repeated snapshots the last. With `dying` not how
 * what went on in the background ended: a server that dies takes it along, and in the run without cuts nothing dies.
 */
const essence = (world: World, dying: boolean): ReadonlyArray<string> => {
  const background = new Set<string>()
  for (const { event } of world.log) {
    if (dying && event._tag === "ItemUpdated" && event.background === true) background.add(baseOf(event.itemId))
  }
  const items = new Map<string, string>()
  const last = new Map<string, string>()
  const lines: Array<string> = []
  const say = (...values: ReadonlyArray<unknown>) => lines.push(JSON.stringify(values))
  const order: Array<string> = []
  for (const { event } of world.log) {
    switch (event._tag) {
      case "PromptChanged": {
        if (event.state._tag === "consumed" || event.state._tag === "returned" || event.state._tag === "withdrawn") {
          say("prompt", event.promptId, event.state._tag, event.turnId)
        }
        break
      }
      case "TurnStarted":
        say("turn", event.turnId)
        break
      case "TurnSettled":
        say("settled", event.turnId, event.outcome)
        break
      case "ItemStarted": {
        const id = baseOf(event.itemId)
        if (!order.includes(id)) order.push(id)
        break
      }
      case "ItemCompleted": {
        if (event.status !== "discarded" && !background.has(baseOf(event.itemId))) {
          const { id: _, ...item } = event.item
          items.set(baseOf(event.itemId), JSON.stringify([event.turnId, event.agentPath, event.status, item]))
        }
        break
      }
      case "RequestOpened":
        say("asked", event.requestId, event.turnId, event.kind, event.subject, event.facts, event.agentPath)
        break
      case "RequestSettled":
        say("answered", event.requestId, event.by, event.decision)
        break
      case "SubagentStarted":
        say("subagent", event.agentPath, event.turnId)
        break
      case "SubagentSettled":
        say("subagent settled", event.agentPath, event.outcome, event.turnId)
        break
      case "PlanUpdated":
        last.set(`plan ${event.turnId}`, JSON.stringify(event.entries))
        break
      case "DiffUpdated":
        last.set(`diff ${event.turnId}`, JSON.stringify(event.files))
        break
    }
  }
  // Two things that go on side by side may be told in either order; each for itself keeps its own.
  const kinds = ["prompt", "turn", "settled", "asked", "answered", "subagent"]
  const sorted = kinds.flatMap((kind) => lines.filter((line) => line.startsWith(`["${kind}`)))
  return [
    ...sorted,
    ...order.filter((id) => items.has(id)).map((id) => `item ${id} ${items.get(id)}`),
    ...[...last].sort(([a], [b]) => a < b ? -1 : 1).map(([key, value]) => `${key} ${value}`)
  ]
}

/** Says how the two runs differ, if they do and nobody said so. */
export const check = (script: Script, engine: Engine = realEngine): string | undefined => {
  let whole: ReadonlyArray<string>
  let cut: World
  const dying = script.cuts.some(({ how }) => how === "crash")
  try {
    const uncut = run(script, false, engine)
    whole = essence(uncut, dying)
    cut = run(script, true, engine)
  } catch (error) {
    if (error instanceof Violation) return error.message
    throw error
  }
  if (declared(cut)) return undefined
  const other = essence(cut, dying)
  for (let n = 0; n < Math.max(whole.length, other.length); n++) {
    if (whole[n] !== other[n]) return `with the connection: ${whole[n]}\nwith cuts:           ${other[n]}`
  }
  return undefined
}

/** Fewer and shorter cuts that show the same. */
export const shrink = (script: Script, engine: Engine = realEngine): Script => {
  let best = script
  const attempt = (candidate: Script) => {
    if (check(candidate, engine) !== undefined) best = candidate
  }
  for (const cut of script.cuts) attempt({ ...best, cuts: best.cuts.filter((other) => other !== cut) })
  for (let n = best.prompts - 1; n >= 1; n--) attempt({ ...best, prompts: n })
  for (const cut of best.cuts) {
    for (let lasts = 0; lasts < cut.lasts; lasts++) {
      attempt({ ...best, cuts: best.cuts.map((other) => other === cut ? { ...cut, lasts } : other) })
      if (best.cuts.some((other) => other.at === cut.at && other.lasts === lasts)) break
    }
  }
  return best
}

export const describe = (script: Script, engine: Engine = realEngine): string => {
  const { policy: _, ...config } = script.config
  const world = run(script, true, engine)
  const tags = world.log.map(({ event }) => `    ${JSON.stringify(brief(event))}`)
  return [
    `law 10: ${check(script, engine)}`,
    `seed ${script.seed}, ${script.prompts} prompts, cuts ${JSON.stringify(script.cuts)}, ${JSON.stringify(config)}`,
    ...tags
  ].join("\n")
}

const brief = (event: SessionEvent): unknown => {
  const { at: _at, sessionId: _sessionId, v: _v, native: _native, ...rest } = event
  return rest
}
