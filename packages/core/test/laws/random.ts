/** A small seeded generator (mulberry32): the same numbers on every machine. */
export interface Random {
  /** An integer in [0, n). */
  readonly below: (n: number) => number
  readonly chance: (percent: number) => boolean
  readonly pick: <A>(values: readonly [A, ...Array<A>]) => A
}

export const make = (seed: number): Random => {
  let a = seed >>> 0
  const next = (): number => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
  const below = (n: number): number => next() % n
  return {
    below,
    chance: (percent) => below(100) < percent,
    pick: (values) => values[below(values.length)] ?? values[0]
  }
}
