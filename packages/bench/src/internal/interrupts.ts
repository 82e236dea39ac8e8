/** From the wish to stop a turn until it has stopped: by Reins, and by hand over plain HTTP. */
import * as ScriptedModel from "@reins/testing/ScriptedModel"
import * as Effect from "effect/Effect"
import type { BareClient, Frame } from "./bareClient.ts"
import { isIdle } from "./bareClient.ts"
import type { Watched } from "./realHost.ts"
import * as realHost from "./realHost.ts"

/** Where the turn is when it is stopped. */
export const moments = ["text", "tool", "approval"] as const

export type Moment = typeof moments[number]

/** The text stops after its second chunk and never goes on; the tool runs longer than any measurement. */
const scripts: { readonly [K in Moment]: string } = {
  text: ScriptedModel.prompt("go", [{ do: "stall", text: "a text that stops in its middle", chunkSize: 4, after: 2 }]),
  tool: ScriptedModel.prompt("go", [{
    do: "tools",
    tools: [{ name: "bash", args: { command: "echo begun; sleep 300", description: "a command" } }]
  }]),
  approval: ScriptedModel.prompt("go", [{
    do: "tools",
    tools: [{ name: "bash", args: { command: "echo asked", description: "a command" } }]
  }])
}

const run = <A, E extends Error>(effect: Effect.Effect<A, E>): Promise<A> => Effect.runPromise(effect)

/** Sends the prompt; the turn is at the moment when it returns. */
const bringReins = async (watched: Watched, moment: Moment): Promise<void> => {
  const { session } = watched
  if (moment === "text") {
    const text = watched.next(realHost.isTag("ItemDelta", (event) => event.stream === "text"), "A delta")
    await run(session.prompt(scripts.text))
    await text
    return
  }
  const asked = watched.next(realHost.isTag("RequestOpened"), "A request")
  await run(session.prompt(scripts[moment]))
  const { requestId } = await asked
  if (moment === "approval" || requestId === undefined) return
  const begun = watched.next(
    realHost.isTag("ItemDelta", (event) => event.stream === "output" && event.text.includes("begun")),
    "The tool's output"
  )
  await run(session.answer(requestId, { _tag: "accept" }))
  await begun
}

/** Milliseconds from `interrupt` to the reader's `TurnSettled`. */
export const byReins = async (watched: Watched, moment: Moment): Promise<number> => {
  await bringReins(watched, moment)
  const settled = watched.next(realHost.isTag("TurnSettled"), "The end of a turn")
  const begin = performance.now()
  await run(watched.session.interrupt)
  const { outcome } = await settled
  const took = performance.now() - begin
  realHost.expectOutcome(outcome, "interrupted")
  return took
}

/** Milliseconds of the bare server. */
export interface Bare {
  /** From the abort's request to the first idle frame. */
  readonly idle: number
  /** From the abort's request until the conversation was read, which tells what became of the turn. */
  readonly read: number
}

const isOf = (session: string, type: string) => (frame: Frame): boolean =>
  frame.type === type && frame.properties.sessionID === session

/** The same by hand; gives the id of the request that is open then. */
const bringBare = async (bare: BareClient, session: string, moment: Moment): Promise<string | undefined> => {
  if (moment === "text") {
    const text = bare.next(isOf(session, "message.part.delta"), "A delta")
    await bare.prompt(session, scripts.text)
    await text
    return undefined
  }
  const asked = bare.next(isOf(session, "permission.asked"), "A permission")
  await bare.prompt(session, scripts[moment])
  const request = (await asked).properties.id ?? ""
  if (moment === "approval") return request
  const begun = bare.next((frame) => {
    const state = isOf(session, "message.part.updated")(frame) ? frame.properties.part?.state : undefined
    return state?.status === "running" && String(state.metadata?.output).includes("begun")
  }, "The tool's output")
  await bare.reply(request, "once")
  await begun
  return undefined
}

export const byHand = async (bare: BareClient, moment: Moment): Promise<Bare> => {
  const session = await bare.create()
  const request = await bringBare(bare, session, moment)
  const stopped = bare.next(isIdle(session), "The end of a turn")
  const begin = performance.now()
  const aborted = bare.abort(session)
  await stopped
  const idle = performance.now() - begin
  await bare.messages(session)
  const read = performance.now() - begin
  await aborted
  // An abort leaves the request open at the server.
  if (request !== undefined) await bare.reply(request, "reject")
  return { idle, read }
}
