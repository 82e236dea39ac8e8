/** Prompts: each reaches exactly one final receipt, judged by its own evidence. */
import * as AgentError from "../../AgentError.ts"
import type { ErrorInfo } from "../../AgentError.ts"
import { PromptId } from "../../Ids.ts"
import type { PromptState } from "../../Prompt.ts"
import type { TurnVerdict } from "../../Signal.ts"
import * as PromptQueue from "../../PromptQueue.ts"
import { emit } from "./emit.ts"
import type { EngineState, PromptRecord, TurnRecord } from "./state.ts"
import { remembered, untouched } from "./state.ts"
import * as turns from "./turns.ts"

/** Submissions of one prompt at the most: the first and two repetitions with the same key. */
const maxAttempts = 3

export const isFinal = (state: PromptState): boolean =>
  state._tag === "consumed" || state._tag === "withdrawn" || state._tag === "returned" || state._tag === "failed"

const change = (S: EngineState, prompt: PromptRecord, state: PromptState): void => {
  if (isFinal(prompt.state)) return
  prompt.state = state
  emit(S, {
    _tag: "PromptChanged",
    promptId: prompt.id,
    state,
    ...("turnId" in state ? { turnId: state.turnId } : undefined),
    ...(prompt.continues === undefined ? undefined : { continues: prompt.continues }),
    ...(prompt.key === undefined ? undefined : { native: { ids: { prompt: prompt.key } } })
  })
  if (!isFinal(state)) return
  if (state._tag === "consumed" && prompt.continues !== undefined) {
    const turn = S.turnByKey.get(prompt.key ?? prompt.id)
    if (turn !== undefined) turn.followsLost = true
  }
  prompt.doubtAt = undefined
  prompt.target = undefined
  if (S.inflight === prompt) S.inflight = undefined
  PromptQueue.remove(S.queue, prompt)
  const steering = S.steering.indexOf(prompt)
  if (steering >= 0) S.steering.splice(steering, 1)
  if (S.prompts.size > remembered) {
    for (const old of S.prompts.values()) {
      if (!isFinal(old.state)) continue
      S.prompts.delete(old.id)
      // Its own key, and the agent's names of turns that it began.
      for (const [key, owner] of S.promptByKey) if (owner === old) S.promptByKey.delete(key)
      break
    }
  }
}

const invalid = (S: EngineState, description: string): ErrorInfo =>
  AgentError.fromReason(new AgentError.InvalidRequest({ description }), {
    provider: S.options.provider,
    sessionId: S.options.sessionId
  })

type Given = Pick<PromptRecord, "delivery" | "id" | "input">

/** Makes a prompt known, and tells that it waits; nothing for one that is known already. */
const queued = (S: EngineState, given: Given & Partial<Pick<PromptRecord, "continues">>): PromptRecord | undefined => {
  if (S.prompts.has(given.id)) return undefined
  const prompt: PromptRecord = { ...untouched, ...given, state: { _tag: "queued" }, key: undefined, attempts: 0 }
  S.prompts.set(prompt.id, prompt)
  change(S, prompt, prompt.state)
  return prompt
}

export const accept = (S: EngineState, input: Given): void => {
  const prompt = queued(S, { id: input.id, input: input.input, delivery: input.delivery })
  if (prompt === undefined) return
  if (S.phase === "closing" || S.phase === "closed") {
    change(S, prompt, { _tag: "returned", reason: "The session is closing." })
    return
  }
  const turn = input.delivery === "steer" ? steerable(S) : undefined
  if (turn !== undefined) {
    steer(S, prompt, turn)
    return
  }
  if (!PromptQueue.offer(S.queue, prompt)) {
    change(S, prompt, {
      _tag: "failed",
      error: invalid(S, `The prompt queue is full: ${S.queue.limit} prompts wait already.`)
    })
  }
}

/** What the agent is told after a turn that was lost. */
const goOn: PromptRecord["input"] = {
  parts: [{
    _tag: "Text",
    text:
      "You were cut off while you worked on what was asked last, and what you did then may be incomplete. Look at " +
      "what is done already, do not do it again, and go on from there."
  }]
}

/** A turn was lost: asks the agent once to go on with it, before anything else that waits. */
export const continueLost = (S: EngineState, turn: TurnRecord): void => {
  if (S.options.continueLost !== true || turn.followsLost || S.phase !== "open") return
  const id = PromptId.make(`prm_${turn.id.replace(/^trn_/, "")}0`)
  const prompt = queued(S, { id, input: goOn, delivery: "queue", continues: turn.id })
  if (prompt !== undefined) PromptQueue.offerFirst(S.queue, prompt)
}

/** The turn that a prompt can join now: one that the agent was seen at work on. */
const steerable = (S: EngineState): TurnRecord | undefined => {
  const turn = S.turn
  return S.options.canSteer && S.live && S.steering.length < S.queue.limit && turn !== undefined && turn.active &&
      turn.interrupt === undefined && turn.cancelledBy === undefined && turn.settleAt === undefined
    ? turn
    : undefined
}

const steer = (S: EngineState, prompt: PromptRecord, turn: TurnRecord): void => {
  prompt.target = turn
  S.steering.push(prompt)
  submit(S, prompt, true)
}

const submit = (S: EngineState, prompt: PromptRecord, steer: boolean): void => {
  if (prompt.key === undefined) {
    prompt.key = S.options.promptKey(prompt.id, S.now)
    S.promptByKey.set(prompt.key, prompt)
  }
  prompt.attempts++
  prompt.calling = true
  prompt.suspect = undefined
  prompt.unknownSince = undefined
  prompt.doubtAt = undefined
  change(S, prompt, { _tag: "submitted", attempt: prompt.attempts })
  S.commands.push({ _tag: "submit", prompt, steer })
}

/** Sends the next queued prompt when nothing else runs. */
export const pump = (S: EngineState): void => {
  const turn = S.phase === "open" && PromptQueue.size(S.queue) > 0 ? steerable(S) : undefined
  if (turn !== undefined) {
    // What was to join a turn that had not begun joins it now.
    for (const prompt of S.queue.waiting.slice()) {
      if (prompt.delivery !== "steer" || S.steering.length >= S.queue.limit) continue
      PromptQueue.remove(S.queue, prompt)
      steer(S, prompt, turn)
    }
  }
  if (S.phase !== "open" || !S.live || S.resyncing) return
  if (S.turn !== undefined || S.inflight !== undefined || S.zombie !== undefined || S.steering.length > 0) return
  const next = PromptQueue.take(S.queue)
  if (next === undefined) return
  S.inflight = next
  submit(S, next, false)
}

export const withdraw = (S: EngineState, id: PromptRecord["id"]): void => {
  const prompt = S.prompts.get(id)
  if (prompt === undefined || prompt.state._tag !== "queued") return
  change(S, prompt, { _tag: "withdrawn" })
}

/** The agent answered a submission, or the call failed. */
export const submitted = (
  S: EngineState,
  prompt: PromptRecord,
  error: ErrorInfo | undefined,
  refused: boolean
): void => {
  prompt.calling = false
  prompt.fence = S.inputNo
  if (S.turn !== undefined) turns.sendInterrupt(S, S.turn)
  if (isFinal(prompt.state)) return
  if (error === undefined) {
    if (prompt.state._tag === "submitted") change(S, prompt, { _tag: "acknowledged" })
    if (S.promptByKey.get(prompt.key ?? "") === prompt && prompt === S.inflight) {
      prompt.doubtAt = S.now + S.options.limits.promptSeen
    } else if (S.steering.includes(prompt)) {
      prompt.doubtAt = S.now + S.options.limits.promptSeen
      // Its turn ended while it was on the way: only a snapshot tells whether it got one of its own.
      if (prompt.target !== S.turn) S.snapshotWanted = true
    }
    return
  }
  if (refused) {
    if (S.turn !== undefined && S.turn.key === prompt.key && !S.turn.active) {
      change(S, prompt, { _tag: "failed", error })
      turns.settle(
        S,
        S.turn,
        S.turn.interrupt === undefined
          ? { _tag: "failed", error }
          : { _tag: "interrupted", by: S.turn.interrupt.by }
      )
      return
    }
    change(S, prompt, { _tag: "failed", error })
    return
  }
  // Nobody knows whether it arrived: the conversation itself is asked.
  prompt.doubtAt = S.now
  S.snapshotWanted = true
}

/** Makes a turn for a prompt that we submitted, before the agent's own evidence of it. */
export const startTurnOf = (S: EngineState, prompt: PromptRecord): TurnRecord => {
  const key = prompt.key ?? prompt.id
  const known = S.turnByKey.get(key)
  if (known !== undefined) return known
  const turn = turns.start(S, key, `trn_${prompt.id.replace(/^prm_/, "")}`)
  turn.fence = Math.max(turn.fence, prompt.fence)
  return turn
}

/** The agent took the prompt into a turn. */
export const taken = (S: EngineState, prompt: PromptRecord): void => {
  if (isFinal(prompt.state)) return
  const own = S.turnByKey.get(prompt.key ?? prompt.id) ?? prompt.target
  if (own !== undefined) {
    turns.alias(S, own, prompt.key ?? prompt.id)
    if (prompt.suspect !== undefined && S.turn === own && !own.active) own.error ??= prompt.suspect
    change(S, prompt, { _tag: "consumed", turnId: own.id })
    return
  }
  if (S.turn !== undefined && S.turn.key !== prompt.key) {
    // Somebody else's turn runs: the agent merged ours into it.
    turns.alias(S, S.turn, prompt.key ?? prompt.id)
    change(S, prompt, { _tag: "consumed", turnId: S.turn.id })
    return
  }
  const turn = startTurnOf(S, prompt)
  if (prompt.suspect !== undefined && S.turn === turn) turn.error ??= prompt.suspect
  change(S, prompt, { _tag: "consumed", turnId: turn.id })
}

/** The agent works on the prompt: in the turn that it was sent into, unless that one has ended. */
export const begun = (S: EngineState, prompt: PromptRecord, into?: TurnRecord): void => {
  if (into !== undefined) prompt.target = into
  else {
    turns.endBeforeWork(S)
    if (prompt.target !== undefined && prompt.target !== S.turn) prompt.target = undefined
  }
  taken(S, prompt)
}

/** The agent holds the prompt in its conversation. */
export const seen = (S: EngineState, prompt: PromptRecord): void => {
  if (isFinal(prompt.state)) return
  if (turns.isEnding(S) && S.turn?.key !== prompt.key) {
    // Whether it joins the turn that was seen to end shows when the agent begins with it.
    prompt.doubtAt = S.now
    S.snapshotWanted = true
    return
  }
  // It came after the end of the turn that it was meant for, or after the beginning of a later one: it waits in the one
  // that runs now, or begins its own.
  if (prompt.target !== undefined && prompt.target !== S.turn && S.reading === undefined) {
    if (prompt.target.endedBy > 0 || S.turn?.streamed === true) prompt.target = S.turn
  }
  if (prompt.target === undefined) {
    taken(S, prompt)
    return
  }
  prompt.doubtAt = undefined
  if (prompt.target === S.turn) {
    turns.alias(S, prompt.target, prompt.key ?? prompt.id)
    if (prompt.state._tag !== "steered") change(S, prompt, { _tag: "steered", turnId: prompt.target.id })
  } else {
    // Its turn is over: it gets one of its own if the agent begins with it, else it is given back.
    prompt.doubtAt = S.now
    S.snapshotWanted = true
  }
}

/** A turn ended: prompts steered into it and not taken are asked about. */
export const turnEnded = (S: EngineState, turn: TurnRecord): void => {
  for (const prompt of S.steering) {
    if (prompt.target !== turn) continue
    prompt.doubtAt = S.now
    S.snapshotWanted = true
  }
  const own = S.promptByKey.get(turn.key)
  if (own !== undefined && !isFinal(own.state) && own !== S.inflight) taken(S, own)
  if (own !== undefined && own === S.inflight && !own.calling) {
    own.doubtAt = S.now
    S.snapshotWanted = true
  }
}

/** Whether a snapshot must say what became of this prompt. */
export const open = (S: EngineState): ReadonlyArray<PromptRecord> =>
  S.inflight === undefined ? S.steering : [...S.steering, S.inflight]

export const isSteering = (S: EngineState, prompt: PromptRecord): boolean => S.steering.includes(prompt)

/** A snapshot judged the prompt. `old`: the snapshot was asked for before the prompt's submission was answered. */
export const judged = (
  S: EngineState,
  prompt: PromptRecord,
  fate: "taken" | "held" | "absent" | "unknown",
  verdict: TurnVerdict | undefined,
  busy: boolean,
  resync: boolean
): void => {
  if (isFinal(prompt.state)) return
  switch (fate) {
    case "taken": {
      if (S.turn !== undefined && S.turn.key === S.inflight?.key && prompt !== S.inflight) {
        // Another one was interrupted on its way and has not begun: this one ran in a turn of its own, told after that.
        prompt.doubtAt = S.now
        S.snapshotWanted = true
        return
      }
      // Its turn was over before the agent took it, if the agent has a judgement on it alone or works on it now.
      const alone = verdict === undefined || verdict._tag === "unfinished" ? busy && S.turn === undefined : true
      if (alone && prompt.target !== S.turn) prompt.target = undefined
      taken(S, prompt)
      return
    }
    case "held": {
      if (prompt.target !== undefined) {
        if (busy) {
          prompt.doubtAt = S.now + S.options.limits.promptSeen
          // It came too late for its turn, and waits in the one that runs, unless that one has not begun itself.
          if (S.turn !== undefined && S.turn.key !== S.inflight?.key) prompt.target = S.turn
          if (prompt.target === S.turn) seen(S, prompt)
          return
        }
        change(S, prompt, { _tag: "returned", reason: "The turn ended before the agent took the prompt." })
        return
      }
      if (busy && (S.turn === undefined || S.turn.key !== (prompt.key ?? prompt.id) || !S.turn.active)) {
        // The agent works on something else, or has not begun: the prompt waits for it, and is not counted into a turn that has not taken it.
        prompt.heldAt = undefined
        prompt.doubtAt = S.now + S.options.limits.promptSeen
        return
      }
      if (!busy && S.settledAt > prompt.fence) {
        // A turn in which it may have waited has ended since, and nothing works on it: looked at once more.
        prompt.heldAt ??= S.now
        if (S.now - prompt.heldAt < S.options.limits.promptSeen) {
          prompt.doubtAt = prompt.heldAt + S.options.limits.promptSeen
          return
        }
        change(S, prompt, { _tag: "returned", reason: "The turn ended before the agent took the prompt." })
        return
      }
      prompt.heldAt = undefined
      taken(S, prompt)
      return
    }
    case "absent": {
      if (prompt.calling) return
      if (prompt.suspect !== undefined) {
        change(S, prompt, { _tag: "failed", error: prompt.suspect })
        return
      }
      if (prompt.target !== undefined && prompt.target !== S.turn) {
        change(S, prompt, { _tag: "returned", reason: "The turn ended before the agent took the prompt." })
        return
      }
      if (S.turn !== undefined && S.turn.key === prompt.key && S.turn.interrupt !== undefined) {
        change(S, prompt, { _tag: "returned", reason: "The turn was interrupted before the agent took the prompt." })
        if (!S.turn.active) turns.settleByEvidence(S, S.turn, undefined)
        return
      }
      if (S.phase !== "open") {
        change(S, prompt, { _tag: "returned", reason: "The session was closed." })
        return
      }
      if (prompt.attempts >= maxAttempts || S.settled.has(S.turnByKey.get(prompt.key ?? "") as TurnRecord)) {
        change(
          S,
          prompt,
          S.turnByKey.has(prompt.key ?? "")
            ? { _tag: "returned", reason: "The turn ended before the agent took the prompt." }
            : {
              _tag: "failed",
              error: invalid(
                S,
                `The agent does not keep the prompt: submitted ${prompt.attempts} times with the same id.`
              )
            }
        )
        return
      }
      submit(S, prompt, prompt.target !== undefined)
      return
    }
    case "unknown": {
      prompt.unknownSince ??= S.now
      // What may still show itself is waited for, but not for ever.
      const patience = prompt.state._tag === "submitted" ? S.options.limits.promptSeen : S.options.limits.silenceEnd
      if (!resync && S.now - prompt.unknownSince < patience) {
        prompt.doubtAt = S.now + S.options.limits.promptSeen
        return
      }
      change(S, prompt, {
        _tag: "failed",
        error: unknownFate(S, "The agent cannot say whether the prompt arrived.")
      })
    }
  }
}

const unknownFate = (S: EngineState, description: string): ErrorInfo =>
  AgentError.fromReason(
    new AgentError.ConnectionLost({ target: S.options.provider, description }),
    { provider: S.options.provider, sessionId: S.options.sessionId }
  )

/** Gives back all that was not sent. */
export const returnQueued = (S: EngineState, reason: string): void => {
  for (const prompt of S.queue.waiting.slice()) change(S, prompt, { _tag: "returned", reason })
}

/** Gives back all that was not sent, and fails what was on its way: nobody knows whether the agent has it. */
export const giveBack = (S: EngineState, reason: string, error: ErrorInfo | undefined): void => {
  returnQueued(S, reason)
  for (const prompt of open(S).slice()) {
    change(S, prompt, { _tag: "failed", error: error ?? unknownFate(S, `${reason} The prompt was on its way.`) })
  }
}

/** A queued prompt of a session that closes. */
export const withdrawForClose = (S: EngineState, prompt: PromptRecord): void =>
  change(S, prompt, { _tag: "returned", reason: "The session was closed." })

export const tick = (S: EngineState): void => {
  for (const prompt of open(S)) {
    if (prompt.doubtAt !== undefined && prompt.doubtAt <= S.now && S.live) {
      prompt.doubtAt = S.now + S.options.limits.promptSeen
      S.snapshotWanted = true
    }
  }
}

export const wakeAt = (S: EngineState): number => {
  let wake = Number.POSITIVE_INFINITY
  if (!S.live) return wake
  for (const prompt of open(S)) {
    if (prompt.doubtAt !== undefined && prompt.doubtAt < wake) wake = prompt.doubtAt
  }
  return wake
}
