/**
 * The window of an event log: a synchronous data structure, without a stream and without a fiber.
 *
 * Slot `i` holds the durable event `floor + i` and the text that followed it. A reader stands in the text of one slot.
 */
import * as Effect from "effect/Effect"
import type { DurableEvent, ItemDelta, Lagged, SessionEvent } from "../SessionEvent.ts"

/** Most events of one pull: bounds the time in which a reader with a long backlog holds the thread. */
const maxPull = 1024

/** A segment is charged this many characters for its envelope, so that tiny segments are bounded by the window too. */
const segmentCost = 64

/** Short deltas are joined into chunks of at least this size, so that reading the newest never copies a long text. */
const chunkSize = 1024

/** A list that grows at its end and loses its head, in amortised constant time for both. */
class Deque<A> {
  private items: Array<A | undefined> = []
  private head = 0
  get length(): number {
    return this.items.length - this.head
  }
  at(index: number): A | undefined {
    return this.items[this.head + index]
  }
  push(item: A): void {
    this.items.push(item)
  }
  dropFirst(): void {
    this.items[this.head++] = undefined
    if (this.head > 64 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
  }
}

interface Chunk {
  /** Position of the first character within the segment. */
  start: number
  text: string
}

/** The text of one item between two durable events; a node of its slot's list, least recently grown first. */
interface Segment {
  readonly id: number
  readonly chunks: Deque<Chunk>
  /** Characters from the start of the segment, those that were trimmed included. */
  length: number
  trimmed: number
  /** The newest delta: the envelope of what is given, and given as it is to a reader that keeps up. */
  latest: ItemDelta
  readonly offset: number
  touched: number
  dropped: boolean
  previous: Segment | undefined
  next: Segment | undefined
}

/** One durable event and the text that followed it. In the first slot of the window the event itself is gone. */
interface Slot {
  event: DurableEvent | undefined
  first: Segment | undefined
  last: Segment | undefined
  /** `touched` of the last segment that was dropped whole. */
  droppedTouched: number
  /** Number of the eviction that last took text out of this slot. */
  lostAt: number
}

interface Waiter {
  readonly deltas: boolean
  readonly resume: (effect: Effect.Effect<void>) => void
}

const makeSlot = (event: DurableEvent | undefined): Slot => ({
  event,
  first: undefined,
  last: undefined,
  droppedTouched: 0,
  lostAt: 0
})

/** All of one log. */
export class State {
  readonly maxDurable: number
  readonly maxDeltaChars: number
  /** Slot `i` belongs to seq `floor + i`; the first has no event. */
  readonly slots = new Deque<Slot>()
  floor: number
  lastSeq: number
  lastSlot: Slot
  /** Every slot before this seq is without text. */
  textFloor: number
  chars = 0
  /** Counts calls that changed something: a reader does not start to wait when it has missed one. */
  changes = 0
  /** Counts appended deltas: says what of a slot a reader has seen. */
  touches = 0
  /** Counts evictions of text: says of which a reader was told. */
  losses = 0
  ended = false
  /** The last evicted slot with text: its seq, `touched` of its last segment, and the loss that took text out of it. */
  readonly left = { seq: -1, touched: 0, loss: 0 }
  /** Nothing beyond this seq is given to readers yet, nor the text that follows what is beyond it. */
  visible = Number.POSITIVE_INFINITY
  /** Nothing beyond this seq leaves: what was released last stays until the next release. */
  mayLeave = Number.POSITIVE_INFINITY
  coalesced = 0
  lagged = 0
  /** The segments of the last slot that may grow. */
  readonly open = new Map<string, Segment>()
  readonly waiters = new Set<Waiter>()

  constructor(maxDurable: number, maxDeltaChars: number, firstSeq: number) {
    this.maxDurable = maxDurable
    this.maxDeltaChars = maxDeltaChars
    this.floor = firstSeq - 1
    this.textFloor = this.floor
    this.lastSeq = this.floor
    this.lastSlot = makeSlot(undefined)
    this.slots.push(this.lastSlot)
  }
}

// -----------------------------------------------------------------------------
// appending
// -----------------------------------------------------------------------------

export const appendDurable = (state: State, event: DurableEvent): void => {
  state.lastSlot = makeSlot(event)
  state.lastSeq++
  state.slots.push(state.lastSlot)
  state.open.clear()
}

export const appendDelta = (state: State, delta: ItemDelta): void => {
  const length = delta.text.length
  if (length === 0) return
  const slot = state.lastSlot
  const newest = slot.last
  // Most deltas continue the one before them: no key is made for those.
  const segment = newest !== undefined && newest.latest.itemId === delta.itemId && newest.latest.stream === delta.stream
    ? newest
    : state.open.get(keyOf(delta))
  if (
    segment !== undefined && !segment.dropped && segment.offset + segment.length === delta.offset &&
    segment.latest.origin === delta.origin
  ) {
    const chunk = segment.chunks.at(segment.chunks.length - 1)
    if (chunk !== undefined && chunk.text.length < chunkSize) chunk.text += delta.text
    else segment.chunks.push({ start: segment.length, text: delta.text })
    segment.length += length
    segment.latest = delta
    segment.touched = ++state.touches
    state.chars += length
    if (slot.last !== segment) {
      unlink(slot, segment)
      link(slot, segment)
    }
    return
  }
  const touched = ++state.touches
  const created: Segment = {
    id: touched,
    chunks: new Deque(),
    length,
    trimmed: 0,
    latest: delta,
    offset: delta.offset,
    touched,
    dropped: false,
    previous: undefined,
    next: undefined
  }
  created.chunks.push({ start: 0, text: delta.text })
  state.chars += length + segmentCost
  state.open.set(keyOf(delta), created)
  link(slot, created)
}

const keyOf = (delta: ItemDelta): string => `${delta.stream} ${delta.itemId}`

const link = (slot: Slot, segment: Segment): void => {
  segment.previous = slot.last
  segment.next = undefined
  if (slot.last === undefined) slot.first = segment
  else slot.last.next = segment
  slot.last = segment
}

const unlink = (slot: Slot, segment: Segment): void => {
  if (segment.previous === undefined) slot.first = segment.next
  else segment.previous.next = segment.next
  if (segment.next === undefined) slot.last = segment.previous
  else segment.next.previous = segment.previous
}

// A woken reader goes on in a task of its own: its handler never runs inside the call of the one who appends, and
// everything that is appended until then is one batch for it.
export const wake = (state: State, durable: boolean): void => {
  state.changes++
  // What was appended waits for its release.
  if (state.lastSeq > state.visible && !state.ended) return
  for (const waiter of state.waiters) {
    if (!durable && !waiter.deltas) continue
    state.waiters.delete(waiter)
    waiter.resume(Effect.yieldNow)
  }
}

// -----------------------------------------------------------------------------
// eviction
// -----------------------------------------------------------------------------

/** Lets the oldest durable events go, with the text before them; what is held back does not count. */
export const evictDurables = (state: State): void => {
  const last = Math.min(state.lastSeq, state.visible)
  while (last - state.floor > state.maxDurable && state.floor < state.mayLeave) evictDurable(state)
}

const evictDurable = (state: State): void => {
  const slot = state.slots.at(0)
  if (slot !== undefined && (slot.first !== undefined || slot.lostAt > 0)) {
    state.left.seq = state.floor
    state.left.touched = slot.last?.touched ?? slot.droppedTouched
    state.left.loss = slot.first === undefined ? slot.lostAt : ++state.losses
  }
  for (let segment = slot?.first; segment !== undefined; segment = segment.next) {
    state.chars -= segment.length - segment.trimmed + segmentCost
  }
  state.slots.dropFirst()
  state.floor++
  if (state.textFloor < state.floor) state.textFloor = state.floor
  const first = state.slots.at(0)
  if (first !== undefined) first.event = undefined
}

export const evictText = (state: State): void => {
  const loss = ++state.losses
  while (state.chars > state.maxDeltaChars) {
    const slot = state.slots.at(state.textFloor - state.floor)
    if (slot === undefined) return
    const segment = slot.first
    if (segment === undefined) {
      state.textFloor++
      continue
    }
    slot.lostAt = loss
    const excess = state.chars - state.maxDeltaChars
    const before = segment.length - segment.trimmed
    if (excess < before) trim(segment, excess)
    state.chars -= before - (segment.length - segment.trimmed)
    if (excess >= before || segment.chunks.length === 0) {
      state.chars -= segment.length - segment.trimmed + segmentCost
      segment.dropped = true
      slot.droppedTouched = segment.touched
      unlink(slot, segment)
    }
  }
}

/** Drops the first `count` characters of a segment, and one more rather than half a surrogate pair. */
const trim = (segment: Segment, count: number): void => {
  segment.trimmed += count
  for (let chunk = segment.chunks.at(0); chunk !== undefined; chunk = segment.chunks.at(0)) {
    const drop = segment.trimmed - chunk.start
    if (drop < chunk.text.length) {
      const code = chunk.text.charCodeAt(drop)
      if (code >= 0xdc00 && code <= 0xdfff) {
        segment.trimmed++
        continue
      }
      chunk.text = chunk.text.slice(drop)
      chunk.start = segment.trimmed
      return
    }
    segment.chunks.dropFirst()
  }
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

/** Lets readers have the durable events up to this seq. */
export const release = (state: State, seq: number): void => {
  if (seq <= state.visible) return
  state.mayLeave = state.visible
  state.visible = seq
  state.changes++
  for (const waiter of state.waiters) {
    state.waiters.delete(waiter)
    waiter.resume(Effect.yieldNow)
  }
}

/** The cursor of one reader. */
export interface Reader {
  readonly deltas: boolean
  /** The last durable event that was given: the reader stands in the text that follows it. */
  seq: number
  /** Of that text, every segment that last grew at this count or before was given whole. */
  touched: number
  /** The eviction of text that the reader was told of last. */
  told: number
  /** Characters that were given of each segment of that text, by its id. */
  readonly taken: Map<number, number>
}

export const wait = (state: State, reader: Reader, seen: number): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (state.changes !== seen) return resume(Effect.void)
    const waiter: Waiter = { deltas: reader.deltas, resume }
    state.waiters.add(waiter)
    return Effect.sync(() => {
      state.waiters.delete(waiter)
    })
  })

/** Tells of all that is missing between what the reader has and the durable event that follows `to`. */
export const lag = (state: State, reader: Reader, to: number): Lagged => {
  state.lagged++
  reader.told = state.losses
  return { _tag: "Lagged", from: reader.seq + 1, to }
}

/** Tells of text that left with its durable events, which are kept elsewhere. */
export const missedText = (state: State, reader: Reader, out: Array<SessionEvent | Lagged>): void => {
  const { left } = state
  if (reader.deltas && left.seq >= reader.seq && left.touched > reader.touched && left.loss > reader.told) {
    out.push(lag(state, reader, reader.seq))
  }
}

export const enter = (reader: Reader, seq: number): void => {
  reader.seq = seq
  if (reader.taken.size > 0) reader.taken.clear()
}

export const take = (state: State, reader: Reader): Array<SessionEvent | Lagged> => {
  const out: Array<SessionEvent | Lagged> = []
  while (out.length < maxPull && reader.seq <= state.visible) {
    if (reader.seq < state.floor) {
      out.push(lag(state, reader, state.floor))
      enter(reader, state.floor)
      continue
    }
    const slot = state.slots.at(reader.seq - state.floor)
    if (slot === undefined) break
    if (reader.deltas) takeText(state, reader, slot, out)
    if (out.length >= maxPull) break
    const next = reader.seq < state.visible ? state.slots.at(reader.seq + 1 - state.floor)?.event : undefined
    if (next === undefined) break
    out.push(next)
    enter(reader, reader.seq + 1)
  }
  return out
}

const takeText = (state: State, reader: Reader, slot: Slot, out: Array<SessionEvent | Lagged>): void => {
  let missed = slot.droppedTouched > reader.touched
  const grown: Array<Segment> = []
  for (let at = slot.last; at !== undefined && at.touched > reader.touched; at = at.previous) {
    grown.push(at)
    if (at.trimmed > (reader.taken.get(at.id) ?? 0)) missed = true
  }
  if (missed && slot.lostAt > reader.told) out.push(lag(state, reader, reader.seq))
  while (out.length < maxPull) {
    const segment = grown.pop()
    if (segment === undefined) return
    out.push(deltaOf(state, segment, Math.max(segment.trimmed, reader.taken.get(segment.id) ?? 0)))
    reader.taken.set(segment.id, segment.length)
    reader.touched = segment.touched
  }
}

const deltaOf = (state: State, segment: Segment, from: number): ItemDelta => {
  const latest = segment.latest
  const length = segment.length - from
  if (length === latest.text.length) return latest
  if (length > latest.text.length) state.coalesced++
  const { native: _, ...envelope } = latest
  return { ...envelope, offset: segment.offset + from, text: textFrom(segment.chunks, from) }
}

const textFrom = (chunks: Deque<Chunk>, from: number): string => {
  let low = 0
  let high = chunks.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((chunks.at(middle)?.start ?? 0) <= from) low = middle
    else high = middle - 1
  }
  const first = chunks.at(low)
  if (first === undefined) return ""
  let text = first.start < from ? first.text.slice(from - first.start) : first.text
  for (let i = low + 1; i < chunks.length; i++) text += chunks.at(i)?.text ?? ""
  return text
}
