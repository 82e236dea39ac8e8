/** Time and processor time of one run, and what several runs come to. */
import { setTimeout } from "node:timers/promises"

/** One run. */
export interface Sample {
  /** Events in a second. */
  readonly rate: number
  /** Processor time of this process, user and system, in microseconds for each event. */
  readonly cpu: number
  /** Payload bytes of the stream. */
  readonly bytes: number
}

/** What a collection leaves to be swept is swept on other threads, whose time would count: the larger the heap, the more. */
const sweeping = 200

/** Collects garbage, so that a run does not pay for the one before it. */
export const collect = async (): Promise<void> => {
  globalThis.gc?.()
  await setTimeout(sweeping)
}

/** Starts the clocks. */
export const start = (): (events: number, bytes: number) => Sample => {
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

/** How much `y` grows with each `x`, by least squares. */
export const slope = (points: ReadonlyArray<readonly [x: number, y: number]>): number => {
  const mean = (of: (point: readonly [x: number, y: number]) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length
  const x = mean((point) => point[0])
  const y = mean((point) => point[1])
  const spread = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / spread
}

/** The median of the ratios of what was measured side by side. */
export const pairedRatio = (values: ReadonlyArray<number>, beside: ReadonlyArray<number>): number =>
  median(values.map((value, index) => value / (beside[index] ?? Number.NaN)))
