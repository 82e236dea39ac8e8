/**
 * Carries out a plan on an open exchange: streamed as server-sent events, or as one body.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Plan } from "./answerPlan.ts"
import type { Gates } from "./gates.ts"
import type { Reply } from "./loopbackServer.ts"
import type { Delta, Encoder, Envelope, ModelWire } from "./modelWire.ts"

const json = { "content-type": "application/json" }
const eventStream = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" }

/** Frames written at once when nothing slows the answer down. */
const batch = 32

/** What an answer needs besides its plan. */
export interface Context {
  readonly reply: Reply
  readonly gates: Gates
  readonly wire: ModelWire
  readonly envelope: Envelope
  readonly stream: boolean
  /** The client asked for token counts in its stream. */
  readonly includeUsage: boolean
}

const writeDeltas = Effect.fnUntraced(function*(
  deltas: ReadonlyArray<Delta>,
  intervalMs: number,
  encoder: Encoder,
  { reply }: Context
): Effect.fn.Return<void> {
  if (intervalMs === 0) {
    for (let index = 0; index < deltas.length; index += batch) {
      yield* reply.write(encoder.deltas(deltas.slice(index, index + batch)))
      // A long answer must not starve the others.
      yield* Effect.yieldNow
    }
    return
  }
  // Due times count from the start, so rounding of timers does not add up.
  const start = yield* Clock.currentTimeMillis
  for (const [index, delta] of deltas.entries()) {
    const wait = start + index * intervalMs - (yield* Clock.currentTimeMillis)
    if (wait > 0) {
      yield* Effect.sleep(wait)
    }
    yield* reply.write(encoder.deltas([delta]))
  }
})

const stream = Effect.fnUntraced(function*(
  plan: Extract<Plan, { readonly _tag: "Answer" }>,
  context: Context
): Effect.fn.Return<void> {
  const { envelope, gates, reply, wire } = context
  const encoder = wire.encoder(envelope)
  yield* reply.head(200, eventStream)
  yield* reply.write(encoder.begin())
  if (plan.hold === undefined) {
    yield* writeDeltas(plan.deltas, plan.intervalMs, encoder, context)
  } else {
    yield* writeDeltas(plan.deltas.slice(0, plan.hold.after), plan.intervalMs, encoder, context)
    yield* gates.pass(plan.hold.gate)
    yield* writeDeltas(plan.deltas.slice(plan.hold.after), plan.intervalMs, encoder, context)
  }
  const usage = context.includeUsage || plan.usageForced ? plan.usage : undefined
  const { ending } = plan
  switch (ending._tag) {
    case "Finish":
      yield* reply.write(encoder.finish(ending.reason, usage))
      return yield* reply.end
    case "NoFinish":
      yield* reply.write(encoder.noFinish(ending.done, usage))
      return yield* reply.end
    case "StreamError":
      yield* reply.write(encoder.streamError(ending.message, ending.code))
      return yield* reply.end
    case "Malformed":
      yield* reply.write(encoder.malformed)
      return yield* reply.end
    case "Stall":
      return yield* Effect.never
    case "Cut":
      return yield* reply.cut
  }
})

const whole = Effect.fnUntraced(function*(
  plan: Extract<Plan, { readonly _tag: "Answer" }>,
  { envelope, gates, reply, wire }: Context
): Effect.fn.Return<void> {
  if (plan.intervalMs > 0 && plan.deltas.length > 1) {
    yield* Effect.sleep(plan.intervalMs * (plan.deltas.length - 1))
  }
  if (plan.hold !== undefined) {
    yield* gates.pass(plan.hold.gate)
  }
  const { ending } = plan
  const reason = ending._tag === "Finish" ? ending.reason : null
  const body = wire.whole(envelope, plan.deltas, reason, plan.usage)
  const half = body.slice(0, Math.floor(body.length / 2))
  switch (ending._tag) {
    case "Finish":
    case "NoFinish":
      return yield* reply.send(200, json, body)
    case "StreamError":
      return yield* reply.send(500, json, wire.errorBody(500, ending.message))
    case "Malformed":
      return yield* reply.send(200, json, half)
    case "Stall":
      yield* reply.head(200, json)
      yield* reply.write(half)
      return yield* Effect.never
    case "Cut":
      yield* reply.head(200, json)
      yield* reply.write(half)
      return yield* reply.cut
  }
})

/** Answers an exchange as planned. A hang ends when its fiber is interrupted. */
export const perform = (plan: Plan, context: Context): Effect.Effect<void> => {
  switch (plan._tag) {
    case "Status":
      return context.reply.send(
        plan.code,
        { ...json, ...plan.headers },
        plan.body ?? context.wire.errorBody(plan.code, plan.message)
      )
    case "Hang":
      return plan.headers
        ? Effect.andThen(context.reply.head(200, context.stream ? eventStream : json), Effect.never)
        : Effect.never
    case "CutBeforeHeaders":
      return context.reply.cut
    case "Answer":
      return context.stream ? stream(plan, context) : whole(plan, context)
  }
}
