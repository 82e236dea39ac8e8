/** Pages of stored sessions. */
import type { Binding } from "../BindingStore.ts"
import type { SessionId } from "../Ids.ts"
import type { SessionFilter, SessionPage, SessionSummary } from "../SessionSummary.ts"

const defaultLimit = 50
const maxLimit = 1_000

/** The place of a session in the order: its time, then its id. */
const placeOf = (binding: Binding): string => `${binding.updatedAt}:${binding.sessionId}`

const isBehind = (binding: Binding, place: string): boolean => {
  const colon = place.indexOf(":")
  const time = Number(place.slice(0, colon))
  return binding.updatedAt < time || (binding.updatedAt === time && binding.sessionId > place.slice(colon + 1))
}

/** `open`: the sessions that are open here, with the number of their open requests. The bindings are newest first. */
export const page = (
  bindings: ReadonlyArray<Binding>,
  open: ReadonlyMap<SessionId, number>,
  filter: SessionFilter
): SessionPage => {
  const limit = Math.max(1, Math.min(maxLimit, filter.limit ?? defaultLimit))
  const words = filter.title?.toLowerCase()
  const found = bindings.filter((binding) =>
    (filter.after === undefined || isBehind(binding, filter.after)) &&
    (filter.provider === undefined || binding.provider === filter.provider) &&
    (filter.cwd === undefined || binding.cwd === filter.cwd) &&
    (words === undefined || (binding.title ?? "").toLowerCase().includes(words)) &&
    (filter.open === undefined || open.has(binding.sessionId) === filter.open)
  )
  const shown = found.slice(0, limit)
  const last = shown.at(-1)
  return {
    sessions: shown.map((binding) => summary(binding, open.get(binding.sessionId))),
    ...(last === undefined || shown.length === found.length ? undefined : { after: placeOf(last) })
  }
}

const summary = (binding: Binding, requests: number | undefined): SessionSummary => ({
  sessionId: binding.sessionId,
  provider: binding.provider,
  cwd: binding.cwd,
  createdAt: binding.createdAt,
  updatedAt: binding.updatedAt,
  open: requests !== undefined,
  openRequests: requests ?? 0,
  ...(binding.title === undefined ? undefined : { title: binding.title }),
  ...(binding.model === undefined ? undefined : { model: binding.model }),
  ...(binding.mode === undefined ? undefined : { mode: binding.mode }),
  ...(binding.lastOutcome === undefined ? undefined : { lastOutcome: binding.lastOutcome })
})
