/** Counts frames by the delimiter that ends them, also where it is split over chunks. */

export interface Scanner {
  /** Takes bytes that have passed. */
  readonly advance: (bytes: Buffer) => void
  /** How many of these bytes it takes until frame `n` has ended. */
  readonly endOf: (n: number, bytes: Buffer) => number | undefined
  readonly count: () => number
  /** Bytes since the last frame ended. */
  readonly open: () => number
  /** The frame that ended last, if frames are kept and it was not too long. */
  readonly frame: () => Buffer | undefined
}

/** Longest frame that is kept for being repeated, in bytes. */
const maxFrame = 1_048_576

export const make = (delimiter: string, keep: boolean): Scanner => {
  const mark = Buffer.from(delimiter)
  // The bytes of the open frame in which a delimiter may have begun.
  let tail: Buffer = Buffer.alloc(0)
  let count = 0
  let open = 0
  let frame: Array<Buffer> = []
  let last: Buffer | undefined

  /** Where the next delimiter ends in `bytes`. */
  const next = (bytes: Buffer): number | undefined => {
    const joined = tail.length === 0 ? bytes : Buffer.concat([tail, bytes])
    const at = joined.indexOf(mark)
    return at === -1 ? undefined : at + mark.length - tail.length
  }

  return {
    advance: (all) => {
      let bytes = all
      while (true) {
        const end = next(bytes)
        if (end === undefined) break
        if (keep) {
          frame.push(bytes.subarray(0, end))
          last = open + end <= maxFrame ? Buffer.concat(frame) : undefined
          frame = []
        }
        count++
        open = 0
        tail = Buffer.alloc(0)
        bytes = bytes.subarray(end)
      }
      open += bytes.length
      if (keep && bytes.length > 0 && open <= maxFrame) frame.push(Buffer.from(bytes))
      const joined = Buffer.concat([tail, bytes])
      tail = joined.subarray(Math.max(0, joined.length - mark.length + 1))
    },
    endOf: (n, bytes) => {
      let seen = count
      let from = 0
      let held = tail
      while (seen < n) {
        const joined = held.length === 0 ? bytes.subarray(from) : Buffer.concat([held, bytes.subarray(from)])
        const at = joined.indexOf(mark)
        if (at === -1) return undefined
        from += at + mark.length - held.length
        held = Buffer.alloc(0)
        seen++
      }
      return from
    },
    count: () => count,
    open: () => open,
    frame: () => last
  }
}
