import { assert, describe, it } from "@effect/vitest"
import * as AsyncEvents from "@reins/core/AsyncEvents"
import * as EventLog from "@reins/core/EventLog"
import { type Cause, Context, Effect, Fiber, Layer, ManagedRuntime, Queue, Stream } from "effect"
import * as childProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { durable, show } from "./fixtures/events.ts"
import { type Cell, cells, expected, runCell } from "./fixtures/stopCells.ts"

const assertCell = (cell: Cell): void => {
  const { outcome, seen } = expected(cell.way, cell.consumer, cell.region)
  const name = `${cell.way} / ${cell.consumer} / ${cell.region}`
  assert.strictEqual(cell.outcome, outcome, name)
  assert.strictEqual(cell.waiting, 0, name)
  if (seen !== undefined) assert.deepStrictEqual(cell.seen, seen, name)
}

/** What a `for await` was given, and how it ended. */
const consume = async (iterable: AsyncIterable<unknown>) => {
  const seen: Array<unknown> = []
  try {
    for await (const value of iterable) seen.push(value)
    return { seen, ended: "done" }
  } catch (error) {
    return { seen, ended: error instanceof Error ? error.message : String(error) }
  }
}

const filledQueue = (): Queue.Queue<number, Cause.Done> => {
  const queue = Effect.runSync(Queue.unbounded<number, Cause.Done>())
  Queue.offerAllUnsafe(queue, [1, 2, 3])
  return queue
}

describe("Streams and async iterables end normally on close, on stop from inside a handler, on `break`, on runtime disposal", () => {
  it.each(cells.map(([way, consumer, region]) => ({ way, consumer, region })))(
    "$way / $consumer / $region",
    async ({ consumer, region, way }) => assertCell(await runCell(way, consumer, region))
  )

  it("in a process of its own nothing is left unhandled", async () => {
    const program = fileURLToPath(new URL("./fixtures/stopMatrix.ts", import.meta.url))
    const output = await new Promise<string>((resolve, reject) =>
      childProcess.execFile(
        process.execPath,
        ["--conditions=@reins/source", program],
        { timeout: 60_000 },
        (error, stdout) => error === null ? resolve(stdout) : reject(error)
      )
    )
    const report: { results: Array<Cell>; unhandledRejections: number; uncaughtExceptions: number } = JSON.parse(output)
    assert.strictEqual(report.unhandledRejections, 0)
    assert.strictEqual(report.uncaughtExceptions, 0)
    assert.strictEqual(report.results.length, cells.length)
    for (const cell of report.results) assertCell(cell)
  })
})

describe("Why queues are ended and never shut down", () => {
  it("Queue.end delivers the backlog and completes an async iterable", async () => {
    const queue = filledQueue()
    Effect.runSync(Queue.end(queue))
    assert.deepStrictEqual(await consume(Stream.toAsyncIterable(Stream.fromQueue(queue))), {
      seen: [1, 2, 3],
      ended: "done"
    })
  })

  it("Queue.shutdown drops the backlog and makes an async iterable throw", async () => {
    const queue = filledQueue()
    Effect.runSync(Queue.shutdown(queue))
    assert.deepStrictEqual(await consume(Stream.toAsyncIterable(Stream.fromQueue(queue))), {
      seen: [],
      ended: "All fibers interrupted without error"
    })
  })

  it("Queue.shutdown makes an async iterable that waits throw, too", async () => {
    const queue = filledQueue()
    const iterator = Stream.toAsyncIterable(Stream.fromQueue(queue))[Symbol.asyncIterator]()
    for (let i = 1; i <= 3; i++) assert.strictEqual((await iterator.next()).value, i)
    const waiting = iterator.next()
    Effect.runSync(Queue.shutdown(queue))
    assert.strictEqual(await waiting.catch((error: Error) => error.message), "All fibers interrupted without error")
  })
})

describe("AsyncEvents", () => {
  it("a stream that is interrupted from inside completes", async () => {
    const queue = filledQueue()
    Effect.runSync(Queue.shutdown(queue))
    assert.deepStrictEqual(await consume(AsyncEvents.toAsyncIterable(Stream.fromQueue(queue))), {
      seen: [],
      ended: "done"
    })
  })

  it("a stream that waits for a fiber of a disposed runtime completes", async () => {
    const runtime = ManagedRuntime.make(Layer.empty)
    const fiber = runtime.runFork(Effect.never)
    const stream = Stream.concat(Stream.make(1), Stream.fromEffect(Fiber.join(fiber)))
    const guarded = consume(AsyncEvents.toAsyncIterable(stream))
    const plain = consume(Stream.toAsyncIterable(stream))
    await runtime.dispose()
    assert.deepStrictEqual(await guarded, { seen: [1], ended: "done" })
    assert.deepStrictEqual(await plain, { seen: [1], ended: "All fibers interrupted without error" })
  })

  it("a failure and a defect throw, then it is done", async () => {
    const error = new Error("broken")
    assert.deepStrictEqual(
      await consume(AsyncEvents.toAsyncIterable(Stream.concat(Stream.make(1), Stream.fail(error)))),
      { seen: [1], ended: "broken" }
    )
    const iterator = AsyncEvents.toAsyncIterable(Stream.die(error))[Symbol.asyncIterator]()
    assert.strictEqual(await iterator.next().catch((thrown: unknown) => thrown), error)
    assert.deepStrictEqual(await iterator.next(), { done: true, value: undefined })
  })

  it("services come from the context", async () => {
    class Number extends Context.Service<Number, number>()("test/Number") {}
    const stream = Stream.fromEffect(Effect.service(Number))
    assert.deepStrictEqual(await consume(AsyncEvents.toAsyncIterable(stream, Context.make(Number, 7))), {
      seen: [7],
      ended: "done"
    })
  })

  it("calls of next that overlap are each given their own event, in order", async () => {
    const log = EventLog.make()
    const iterator = AsyncEvents.toAsyncIterable(EventLog.read(log))[Symbol.asyncIterator]()
    const results = Promise.all([iterator.next(), iterator.next(), iterator.next(), iterator.next()])
    EventLog.append(log, [durable(1), durable(2)])
    await Promise.resolve()
    EventLog.append(log, [durable(3)])
    EventLog.end(log)
    assert.deepStrictEqual(
      (await results).map((result) => result.done === true ? "done" : show(result.value)),
      ["1", "2", "3", "done"]
    )
  })

  it("return answers at once and completes what waits", async () => {
    const log = EventLog.make()
    const iterator = AsyncEvents.toAsyncIterable(EventLog.read(log))[Symbol.asyncIterator]()
    const waiting = [iterator.next(), iterator.next()]
    await Promise.resolve()
    assert.deepStrictEqual(await iterator.return?.(), { done: true, value: undefined })
    assert.deepStrictEqual(await Promise.all(waiting), [
      { done: true, value: undefined },
      { done: true, value: undefined }
    ])
    assert.strictEqual(EventLog.waiting(log), 0)
    assert.deepStrictEqual(await iterator.next(), { done: true, value: undefined })
  })

  it("each iterator reads anew", async () => {
    const log = EventLog.make()
    EventLog.append(log, [durable(1)])
    EventLog.end(log)
    const iterable = AsyncEvents.toAsyncIterable(EventLog.read(log))
    assert.strictEqual((await consume(iterable)).seen.length, 1)
    assert.strictEqual((await consume(iterable)).seen.length, 1)
  })
})
