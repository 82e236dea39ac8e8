/** Which session hears a message, and what becomes of a request that nobody hears. */
import type { AgentError } from "@reins/core/AgentError"
import type { Signal } from "@reins/core/Signal"
import type { Message } from "@reins/transport/JsonRpcPeer"
import { assert, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import type { Cause } from "effect"
import * as normalise from "../src/internal/normalise.ts"
import * as threadsOf from "../src/internal/threads.ts"

const ask = (id: number, threadId = "t"): Message => ({
  id,
  method: "item/commandExecution/requestApproval",
  params: { threadId, turnId: "u", itemId: `i${id}`, command: "ls" }
})

const make = () => {
  const refused: Array<number | string> = []
  const expiries: Array<() => void> = []
  const threads = threadsOf.make({
    onUnanswerable: ({ id }) => refused.push(id),
    onHeld: (expire) => expiries.push(expire),
    onOverflow: () => assert.fail("nothing overflows here")
  })
  return { threads, refused, expire: () => expiries.splice(0).forEach((expire) => expire()) }
}

const listen = Effect.fnUntraced(function*(threads: threadsOf.Threads, threadId = "t") {
  const queue = yield* Queue.unbounded<Signal, AgentError | Cause.Done>()
  const thread: threadsOf.Thread = { state: normalise.make(threadId), queue }
  threads.add(thread)
  return { thread, heard: Effect.map(Queue.takeAll(queue), (all) => all.map(({ _tag }) => _tag)) }
})

it.effect("a request of a thread that nobody ever heard is refused at once", () =>
  Effect.sync(() => {
    const { refused, threads } = make()
    threads.push([ask(1)])
    assert.deepStrictEqual(refused, [1])
  }))

it.effect("one that comes while its session is read again waits for it", () =>
  Effect.gen(function*() {
    const { expire, refused, threads } = make()
    const first = yield* listen(threads)
    threads.remove(first.thread)
    threads.push([{ method: "turn/started", params: { threadId: "t", turn: { id: "old" } } }, ask(1)])
    // What was said meanwhile is read from what is stored; what was asked is not stored.
    threads.forget("t")
    const { heard } = yield* listen(threads)
    assert.deepStrictEqual(yield* heard, ["requestOpened"])
    expire()
    assert.deepStrictEqual(refused, [])
  }))

it.effect("one that nobody comes back for is refused in the end", () =>
  Effect.gen(function*() {
    const { expire, refused, threads } = make()
    const first = yield* listen(threads)
    threads.remove(first.thread)
    threads.push([ask(1)])
    assert.deepStrictEqual(refused, [])
    expire()
    assert.deepStrictEqual(refused, [1])
  }))
