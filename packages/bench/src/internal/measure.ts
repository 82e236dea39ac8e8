/** Time and processor time of one run, and what several runs come to. */

/** One run. */
export interface Sample {
  /** Events in a second. */
  readonly rate: number
  /** Processor time of this process, user and system, in microseconds for each event. */
  readonly cpu: number
  /** Payload bytes of the stream. */
  readonly bytes: number
}

/** Starts the clocks. */
export const start = (): (events: number, bytes: number) => Sample => {
  globalThis.gc?.()
  const cpu = process.cpuUsage()
  const begin = performance.now()
  return (events, bytes) => {
    const took = performance.now() - begin
    const used = process.cpuUsage(cpu)
    return { rate: events / took * 1000, cpu: (used.user + used.system) / events, bytes }
  }
}

const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

/** The value that `share` of all values do not exceed. */
export const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const all = sorted(values)
  return all[Math.min(all.length - 1, Math.floor(all.length * share))] ?? Number.NaN
}

/** The middle one; of an even number the mean of the two in the middle. */
export const median = (values: ReadonlyArray<number>): number => {
  const all = sorted(values)
  const middle = all.length >> 1
  const upper = all[middle] ?? Number.NaN
  return all.length % 2 === 1 ? upper : ((all[middle - 1] ?? Number.NaN) + upper) / 2
}
