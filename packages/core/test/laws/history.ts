/** A history: what the host, the agent, the wire and the clock do, one step after the other. Plain data, made from a seed. */
import type { Answer } from "../../src/AgentRequest.ts"
import * as ApprovalPolicy from "../../src/ApprovalPolicy.ts"
import * as Random from "./random.ts"
import { errorInfo } from "./simulatedAgent.ts"
import type { Config, Fate, World } from "./world.ts"
import { Violation } from "./world.ts"

export type StepTag =
  | "queue"
  | "steer"
  | "withdraw"
  | "interrupt"
  | "answer"
  | "attach"
  | "close"
  | "work"
  | "deaf"
  | "hang"
  | "foreignPrompt"
  | "foreignInterrupt"
  | "foreignAnswer"
  | "strayError"
  | "deliver"
  | "deliverTwice"
  | "swap"
  | "late"
  | "call"
  | "reply"
  | "flow"
  | "cut"
  | "mute"
  | "connect"
  | "crash"
  | "restart"
  | "unavailable"
  | "time"
  | "sleep"

/** One step; `a` and `b` choose among what is possible when it is its turn. */
export interface Step {
  readonly t: StepTag
  readonly a: number
  readonly b: number
}

export type PolicyName = "askAlways" | "acceptReads" | "declineAll" | "fullAccess"

export interface History {
  readonly seed: number
  readonly config: Config
  readonly policy: PolicyName
  readonly steps: ReadonlyArray<Step>
  readonly closes: boolean
}

const weights: ReadonlyArray<readonly [StepTag, number]> = [
  ["queue", 70],
  ["steer", 35],
  ["withdraw", 8],
  ["interrupt", 18],
  ["answer", 60],
  ["attach", 4],
  ["close", 2],
  ["work", 330],
  ["deaf", 4],
  ["hang", 4],
  ["foreignPrompt", 10],
  ["foreignInterrupt", 6],
  ["foreignAnswer", 8],
  ["strayError", 3],
  ["deliver", 170],
  ["deliverTwice", 25],
  ["swap", 30],
  ["late", 8],
  ["call", 120],
  ["reply", 110],
  ["flow", 90],
  ["cut", 16],
  ["mute", 4],
  ["connect", 40],
  ["crash", 5],
  ["restart", 6],
  ["unavailable", 3],
  ["time", 45],
  ["sleep", 3]
]
const table: ReadonlyArray<StepTag> = weights.flatMap(([tag, weight]) => Array.from({ length: weight }, () => tag))

const times = [5, 200, 1_000, 1_500, 5_000, 11_000, 61_000, 130_000, 700_000] as const
const calm: ReadonlySet<StepTag> = new Set([
  "cut",
  "mute",
  "crash",
  "restart",
  "unavailable",
  "sleep",
  "late",
  "strayError"
])

const policies = {
  askAlways: ApprovalPolicy.askAlways,
  acceptReads: ApprovalPolicy.acceptReads,
  declineAll: ApprovalPolicy.declineAll,
  fullAccess: ApprovalPolicy.fullAccess
}

export const generate = (seed: number): History => {
  const random = Random.make(seed)
  const kind = random.chance(60) ? "opencode" : "codex"
  const policy = random.pick<PolicyName>([
    "askAlways",
    "askAlways",
    "askAlways",
    "acceptReads",
    "declineAll",
    "fullAccess"
  ])
  const config: Config = {
    kind,
    offsets: random.chance(25),
    midText: random.pick(kind === "opencode" ? ["empty"] : ["none", "full"]),
    lossy: random.chance(15),
    blind: random.chance(5),
    policy: policies[policy],
    canSteer: random.chance(60),
    mergesLater: kind === "opencode" || random.chance(50),
    expiresAfter: random.chance(15) ? 20_000 : undefined,
    queue: random.chance(10) ? 2 : 1000
  }
  // Half of the histories have no losses: what goes wrong there is easier to see, and must never be blamed on one.
  const quiet = config.blind || random.chance(50)
  // In half of them each call is answered, and in half nobody else types.
  const reliable = random.chance(50)
  const alone = random.chance(50)
  const length = 10 + random.below(90)
  const steps: Array<Step> = []
  while (steps.length < length) {
    const t = table[random.below(table.length)] ?? "work"
    if ((quiet && calm.has(t)) || (alone && t === "foreignPrompt")) continue
    const b = random.below(1 << 30)
    steps.push({ t, a: random.below(1 << 30), b: reliable && t === "call" ? 0 : b })
  }
  return { seed, config, policy, steps, closes: random.chance(50) }
}

const answers: readonly [Answer, ...Array<Answer>] = [
  { _tag: "accept" },
  { _tag: "accept" },
  { _tag: "acceptForSession" },
  { _tag: "decline" },
  { _tag: "cancel" },
  { _tag: "answers", answers: [["Red"]] }
]
const fates: ReadonlyArray<Fate> = [
  "ok",
  "ok",
  "ok",
  "ok",
  "ok",
  "ok",
  "ok",
  "ok",
  "lostBefore",
  "lostAfter",
  "refused"
]

const at = <A>(values: ReadonlyArray<A>, index: number): A | undefined => values[index % Math.max(1, values.length)]

/** Everything on its way arrives. */
export const flow = (world: World): void => {
  for (let round = 0; round < 8; round++) {
    const before = world.log.length
    const pending = world.calls.length + world.stream.length
    for (const call of [...world.calls]) world.execute(call, "ok")
    for (const call of [...world.calls]) world.reply(call)
    while (world.deliver(64, false));
    if (world.log.length === before && world.calls.length + world.stream.length === pending) return
  }
}

const play = (world: World, step: Step): void => {
  const { a, b } = step
  switch (step.t) {
    case "queue":
      return world.prompt(false)
    case "steer":
      return world.prompt(true)
    case "withdraw": {
      const id = at(world.promptIds, a)
      if (id !== undefined) world.dispatch([{ _tag: "withdraw", id }])
      return
    }
    case "interrupt":
      return world.interrupt(a % 4 === 0 ? "host" : "user")
    case "answer":
      return world.answer(a, at(answers, b) ?? answers[0])
    case "attach":
      return world.dispatch([{ _tag: "attached", count: a % 2 }])
    case "close":
      return world.close()
    case "work": {
      const random = Random.make(a)
      for (let n = b % 4; n >= 0; n--) world.agent.work(random)
      return
    }
    case "deaf": {
      world.hindered = true
      world.agent.deaf = 1 + a % 4
      return
    }
    case "hang": {
      if (world.agent.running === undefined) return
      world.hindered = true
      world.agent.hung = true
      return
    }
    case "foreignPrompt": {
      // Nobody can tell a turn that died without a word from one that goes on with somebody else's prompt.
      const end = world.agent.turns[world.agent.turns.length - 1]?.end
      const wordless = end?._tag === "crashed" || (end?._tag === "interrupted" && end.quietly)
      const unread = !world.connected || world.S.resyncing || world.stream.length > 0
      if (wordless && (unread || world.S.turn !== undefined || world.S.inflight !== undefined)) return
      return world.agent.submit(`f${world.agent.prompts.size + 1}`, true)
    }
    case "foreignInterrupt": {
      if (world.agent.running !== undefined) world.agent.interrupt()
      return
    }
    case "foreignAnswer": {
      const ask = at(world.agent.openAsks(), a)
      const answer = at(answers, b)
      if (ask !== undefined && answer !== undefined) world.agent.answer(ask.key, answer, true)
      return
    }
    case "strayError":
      return world.stray(errorInfo("UpstreamFailed", "stray"))
    case "deliver": {
      world.deliver(1 + a % 6, false)
      return
    }
    case "deliverTwice": {
      world.deliver(1 + a % 3, true)
      return
    }
    case "swap":
      return world.swap(a)
    case "late":
      return world.deliverLate()
    case "call": {
      const call = at(world.calls, a)
      if (call !== undefined) world.execute(call, world.connected ? at(fates, b) ?? "ok" : "lostBefore")
      return
    }
    case "reply": {
      const call = at(world.calls.filter((one) => one.done), a)
      if (call !== undefined) world.reply(call)
      return
    }
    case "flow":
      return flow(world)
    case "cut":
      return world.cut(a % 2 === 0)
    case "mute": {
      if (world.connected) world.mutedAt ??= world.now
      return
    }
    case "connect":
      return world.connect()
    case "crash":
      return world.crash()
    case "restart":
      return world.restart(a % 2 === 0)
    case "unavailable":
      return world.giveUp()
    case "time":
      return world.advance(at(times, a) ?? 5)
    case "sleep":
      return world.sleep(3_600_000 * (1 + a % 8))
  }
}

const settledDown = (world: World): boolean => {
  const S = world.S
  return S.phase === "closed" || (
    S.turn === undefined && S.inflight === undefined && S.steering.length === 0 && S.queue.waiting.length === 0 &&
    S.zombie === undefined && world.openRequests().length === 0
  )
}

/** Lets everything come to its end: connected, answered, delivered, worked off, and as much time as is asked for. */
const drain = (world: World): void => {
  const random = Random.make(7)
  world.agent.deaf = 0
  let timers = 0
  for (let round = 0; round < 10_000; round++) {
    if (world.S.phase === "closed") return
    if (!world.connected) world.connect()
    if (world.mutedAt !== undefined) {
      world.advance(25_000)
      continue
    }
    const before = world.log.length
    flow(world)
    const accept: Answer = { _tag: "accept" }
    if (world.openRequests().length > 0) world.answer(0, accept)
    const worked = world.agent.work(random, true)
    flow(world)
    if (worked || world.log.length > before || world.stream.length > 0) continue
    if (
      settledDown(world) && world.agent.running === undefined && world.calls.length === 0 &&
      world.S.wakeAt === undefined
    ) {
      return
    }
    const due = world.S.wakeAt
    if (due === undefined) {
      if (settledDown(world)) return
      throw new Violation(11, `stuck at the end: turn ${world.S.turn?.id}, in flight ${world.S.inflight?.id}`)
    }
    // A tool may run for as long as it likes.
    if (++timers > 100) world.agent.hung = false
    if (timers > 3_000)
      throw new Violation(11, `timers go on for ever: turn ${world.S.turn?.id}, ${JSON.stringify(world.S.zombie)}`)
    world.advance(Math.max(0, due - world.now) + 10)
  }
  throw new Violation(11, "the session does not come to rest")
}

/** Plays a history to its end. */
export const run = (history: History, world: World): void => {
  for (const step of history.steps) {
    play(world, step)
    if (world.S.phase === "closed") break
  }
  drain(world)
  world.drained = world.S.phase !== "closed"
  if (history.closes && world.S.phase !== "closed") {
    world.close()
    world.advance(world.S.options.limits.close + 20)
  }
  if (world.S.phase === "closed") {
    // What comes after the end changes nothing.
    world.now += 1_000
    world.dispatch([{ _tag: "signals", generation: world.generation, signals: [{ _tag: "turnEnded", fact: "idle" }] }])
    world.dispatch([{ _tag: "tick" }, { _tag: "close", why: "again" }, { _tag: "interrupt", by: "user" }])
  }
}

export const print = (history: History): string => {
  const { policy: _, ...config } = history.config
  return [
    `seed ${history.seed}, policy ${history.policy}, closes ${history.closes}, ${JSON.stringify(config)}`,
    ...history.steps.map((step, index) => `${String(index).padStart(3)} ${step.t} ${step.a} ${step.b}`)
  ].join("\n")
}
