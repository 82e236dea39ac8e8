/** Items: started once, completed once, their deltas laid by offset are their text. */
import { ItemId } from "../../Ids.ts"
import type { Item, ItemContent, ItemStatus } from "../../Item.ts"
import { streamOf, textOf, withText } from "../../Item.ts"
import type { Signal, SignalContext } from "../../Signal.ts"
import { emit, emitDelta } from "./emit.ts"
import type { EngineState, ItemRecord, TurnRecord } from "./state.ts"

type ItemSignal = Extract<Signal, { readonly _tag: "item" }>

const asItem = (record: ItemRecord, text: string): Item =>
  ({ ...withText(record.content, text), id: record.id }) as Item

const turnField = (record: ItemRecord) => record.turn === undefined ? undefined : { turnId: record.turn.id }

/** The item as a reader that joins now should see it. */
export const view = (record: ItemRecord): Item => asItem(record, record.sent)

const start = (
  S: EngineState,
  key: string,
  content: ItemContent,
  turn: TurnRecord | undefined,
  context: SignalContext,
  restarts: number
): ItemRecord => {
  const stream = streamOf(content)
  const record: ItemRecord = {
    id: ItemId.make(restarts === 0 ? key : `${key}~${restarts + 1}`),
    key,
    turn,
    content,
    stream,
    sent: "",
    // An item that a snapshot found under way has deltas that nobody saw.
    // What is first told of while a gap is being read, or after deltas of it were dropped, may have begun before.
    withheld: S.missed.delete(key) || S.reading !== undefined || S.resyncing,
    status: undefined,
    declined: false,
    background: false,
    restarts,
    startedAt: S.now,
    noticed: false,
    agentPath: context.agentPath
  }
  S.items.set(key, record)
  emit(S, { _tag: "ItemStarted", itemId: record.id, item: asItem(record, ""), ...turnField(record) }, context)
  return record
}

/** Completes an item exactly once; its text is what was sent. */
export const complete = (S: EngineState, record: ItemRecord, status: ItemStatus, context?: SignalContext): void => {
  if (record.status !== undefined) return
  record.status = record.declined && status === "failed" ? "declined" : status
  record.content = withText(record.content, record.sent)
  emit(
    S,
    { _tag: "ItemCompleted", itemId: record.id, item: view(record), status: record.status, ...turnField(record) },
    context
  )
}

/** Sends what the authoritative text has beyond what was sent; a text that does not extend it starts the item anew. */
const setText = (S: EngineState, record: ItemRecord, text: string, context: SignalContext): ItemRecord => {
  if (record.stream === undefined || text === record.sent) return record
  if (text.startsWith(record.sent)) {
    emitDelta(S, record, text.slice(record.sent.length))
    return record
  }
  complete(S, record, "discarded", context)
  const fresh = start(S, record.key, record.content, record.turn, context, record.restarts + 1)
  fresh.declined = record.declined
  fresh.background = record.background
  if (fresh.background) {
    emit(
      S,
      { _tag: "ItemUpdated", itemId: fresh.id, item: view(fresh), background: true, ...turnField(fresh) },
      context
    )
  }
  emitDelta(S, fresh, text)
  return fresh
}

const sameContent = (a: ItemContent, b: ItemContent): boolean =>
  JSON.stringify(withText(a, "")) === JSON.stringify(withText(b, ""))

/** `turn` is the one that the signal belongs to; an item that is known keeps its own. */
export const upsert = (S: EngineState, signal: ItemSignal, turn: TurnRecord | undefined): void => {
  let record = S.items.get(signal.key)
  if (record !== undefined && record.status !== undefined) {
    if (record.status === "discarded") {
      // What the agent threw away comes back with a text of its own only if it began again under the same key.
      if (!signal.hasText || textOf(signal.item).length === 0 || S.reading !== undefined) return
      record = start(S, signal.key, signal.item, record.turn ?? turn, signal, record.restarts + 1)
    } else {
      const older = S.reading !== undefined && signal.status === undefined
      if (!older && signal.hasText && textOf(signal.item) !== record.sent && !record.noticed) {
        record.noticed = true
        emit(S, {
          _tag: "Notice",
          level: "info",
          code: "lateEvidence",
          text: `The agent changed an item after it was complete: ${record.id}. The completed item stands.`,
          itemId: record.id,
          ...turnField(record)
        }, signal)
      }
      return
    }
  } else if (record === undefined) {
    if (S.doneItems.has(signal.key)) return
    record = start(S, signal.key, signal.item, turn, signal, 0)
  } else {
    const changed = !sameContent(record.content, signal.item)
    if (record.content._tag !== signal.item._tag) {
      // The agent found out what the item is only now; readers must not see one id change its kind.
      const declined = record.declined
      complete(S, record, "discarded", signal)
      record = start(S, signal.key, signal.item, record.turn ?? turn, signal, record.restarts + 1)
      record.declined = declined
    } else {
      record.content = signal.item
      if (changed && signal.status === undefined) {
        emit(S, { _tag: "ItemUpdated", itemId: record.id, item: view(record), ...turnField(record) }, signal)
      }
    }
  }
  if (signal.background === true) record.background = true
  if (signal.hasText) {
    const text = textOf(signal.item)
    // Before the end an agent may report an empty text for one that it is still streaming.
    if (signal.status !== undefined) record = setText(S, record, text, signal)
    else if (text.length > 0 && S.reading === undefined) {
      record = setText(S, record, text, signal)
      record.withheld = false
    } else if (text.length > 0 && record.withheld) {
      // A snapshot may be older or newer than the deltas that come next: it fills a gap, and the deltas stay withheld.
      if (!record.sent.startsWith(text)) record = setText(S, record, text, signal)
    }
  }
  if (signal.status !== undefined) complete(S, record, signal.status, signal)
}

/** Appends text; a repeated or overlapping delta with an offset adds only what is new. */
export const delta = (S: EngineState, record: ItemRecord, text: string, offset: number | undefined): void => {
  if (record.status !== undefined) return
  if (offset !== undefined) {
    const known = record.sent.length - offset
    if (known < 0 || known >= text.length) return
    emitDelta(S, record, known === 0 ? text : text.slice(known))
    if (known >= 0) record.withheld = false
    return
  }
  if (record.withheld) return
  emitDelta(S, record, text)
}

/** The agent threw away what it had sent. */
export const voided = (S: EngineState, key: string, context: SignalContext): void => {
  const record = S.items.get(key)
  if (record !== undefined && record.status === undefined) complete(S, record, "discarded", context)
}

/** Deltas may have been lost: open items wait for an authoritative text. */
export const withholdAll = (S: EngineState): void => {
  for (const record of S.items.values()) {
    if (record.status === undefined) record.withheld = true
  }
}

/** Ends what a turn left open, and forgets its finished items. */
export const closeTurn = (S: EngineState, turn: TurnRecord, status: ItemStatus): void => {
  for (const [key, record] of S.items) {
    if (record.turn !== turn) continue
    if (record.status === undefined) {
      if (record.background) {
        emit(S, { _tag: "ItemUpdated", itemId: record.id, item: view(record), background: true, turnId: turn.id })
        record.turn = undefined
        continue
      }
      // A text of which deltas were lost is not whole.
      const partial = record.withheld && record.stream !== undefined
      complete(S, record, partial && status === "completed" ? "interrupted" : status)
      if (partial) {
        emit(S, {
          _tag: "Notice",
          level: "info",
          code: "textIncomplete",
          text: `Part of a text was lost with the connection, and the agent does not have it: ${record.id}`,
          itemId: record.id,
          ...turnField(record)
        })
      }
    }
    S.items.delete(key)
    forget(S, key)
  }
}

/** How many keys of completed items are remembered. */
const rememberedItems = 8192

const forget = (S: EngineState, key: string): void => {
  S.doneItems.add(key)
  if (S.doneItems.size <= rememberedItems) return
  for (const oldest of S.doneItems) {
    S.doneItems.delete(oldest)
    return
  }
}

/** Ends every item that is still open; for the end of the session. */
export const closeAll = (S: EngineState, status: ItemStatus): void => {
  for (const record of S.items.values()) complete(S, record, status)
  S.items.clear()
}
