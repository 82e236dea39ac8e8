/**
 * The calls a server has received, bounded in number and size, and the callers who wait for one.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

/** Characters of a body kept as text. */
export const maxText = 1_000_000
const maxRecords = 10_000
/** Characters of all bodies kept together. */
const maxTotal = 64 * 1024 * 1024

/** A bounded log of calls. */
export interface RequestLog<Request, Record extends { readonly request: Request }> {
  /** Records a call whose body had `size` characters, and tells those who wait for it. */
  readonly add: (record: Record, size: number) => void
  readonly all: Effect.Effect<ReadonlyArray<Record>>
  /** The first call that fits, recorded already or still to come. */
  readonly awaitFirst: (fits: (request: Request) => boolean) => Effect.Effect<Request>
}

/** Makes an empty log. */
export const make = <Request, Record extends { readonly request: Request }>(): RequestLog<Request, Record> => {
  const records: Array<{ readonly record: Record; readonly size: number }> = []
  const waiting = new Set<{
    readonly fits: (request: Request) => boolean
    readonly found: Deferred.Deferred<Request>
  }>()
  let total = 0

  return {
    add: (record, size) => {
      records.push({ record, size })
      total += size
      while (records.length > maxRecords || (total > maxTotal && records.length > 1)) {
        total -= records.shift()?.size ?? 0
      }
      for (const { fits, found } of waiting) {
        // A predicate is the caller's code: what it throws is the caller's problem, not the answer's.
        const fit = Result.try(() => fits(record.request))
        if (Result.isFailure(fit)) {
          Deferred.doneUnsafe(found, Effect.die(fit.failure))
        } else if (fit.success) {
          Deferred.doneUnsafe(found, Effect.succeed(record.request))
        }
      }
    },
    all: Effect.sync(() => records.map(({ record }) => record)),
    awaitFirst: (fits) =>
      Effect.suspend(() => {
        const known = records.find(({ record }) => fits(record.request))
        if (known !== undefined) {
          return Effect.succeed(known.record.request)
        }
        const waiter = { fits, found: Deferred.makeUnsafe<Request>() }
        waiting.add(waiter)
        return Effect.ensuring(Deferred.await(waiter.found), Effect.sync(() => waiting.delete(waiter)))
      })
  }
}
