/** Cuts a tape to what the tests need, and takes out of it what differs from one recording to the next. */
import type * as HttpTape from "@reins/transport/HttpTape"
import * as normalise from "../../src/internal/normalise.ts"

/** A line of a fixture: a frame of the event stream, or as type `http` a call with its answer. */
export interface Line {
  readonly type: string
  readonly properties: unknown
}

type Loose = { readonly [key: string]: unknown }

const object = (value: unknown): Loose | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Loose : undefined

/** What the heads of sessions and messages hold and nothing reads. */
const dropped = new Set([
  "slug",
  "version",
  "projectID",
  "path",
  "cost",
  "modelID",
  "providerID",
  "model",
  "directory",
  "tokens",
  "permission"
])

const trim = (value: unknown, name?: string): unknown => {
  if (Array.isArray(value)) return value.map((entry) => trim(entry))
  const fields = object(value)
  if (fields === undefined) return value
  return Object.fromEntries(
    Object.entries(fields).filter(([key]) => name !== "info" || !dropped.has(key)).map((
      [key, entry]
    ) => [key, trim(entry, key)])
  )
}

/** The frames of the conversation and of its subagents, and what was read of the server meanwhile. */
const chosen = (entries: ReadonlyArray<HttpTape.Entry>, session: string): ReadonlyArray<Line> => {
  const tree = new Set([session])
  const lines: Array<Line> = []
  let head = ""
  for (const entry of entries) {
    if (entry._tag === "answered" && entry.body !== undefined && entry.call.method === "GET") {
      const { body, call: { method, path }, status } = entry
      if (!/^\/(?:permission|question|session\/)/.test(path) || path.endsWith("/children")) continue
      const response = path === "/session/status"
        ? Object.fromEntries(Object.entries(object(body) ?? {}).filter(([id]) => tree.has(id)))
        : path.startsWith("/session/") && !path.endsWith("/message")
        ? object(trim({ info: body }))?.["info"]
        : Array.isArray(body) && !path.startsWith("/session")
        ? body.filter((ask) => tree.has(String(object(ask)?.["sessionID"])))
        : trim(body)
      lines.push({ type: "http", properties: { method, path, status, response } })
    }
    if (entry._tag !== "events") continue
    for (const data of entry.events) {
      const event = normalise.fromEnvelope(JSON.parse(data))
      const id = event === undefined ? undefined : normalise.sessionOf(event)
      if (event === undefined || id === undefined || event.type === "sync") continue
      const family = normalise.childOf(event)
      if (family !== undefined && tree.has(family.parent)) tree.add(family.child)
      if (!tree.has(id)) continue
      if (event.type === "session.updated") {
        // It comes with each step; only its title is read.
        const info = object(object(event.properties)?.["info"])
        const next = `${String(info?.["id"])} ${String(info?.["title"])}`
        if (next === head) continue
        head = next
      }
      lines.push({ type: event.type, properties: trim(event.properties) })
    }
  }
  return lines
}

/** Where the first of all times lies, in milliseconds since the epoch. */
const epoch = 1_700_000_000_000

const isTime = (value: unknown): value is number => typeof value === "number" && value > 1_500_000_000_000

/**
 * Ids are numbered in the order in which they appear, and so are times, by what they are the time of; a time that names
 * nothing gets one of its own for each line. Both keep the order in which the agent makes them.
 */
const numbered = (lines: ReadonlyArray<Line>): ReadonlyArray<Line> => {
  const ids = new Map<string, string>()
  const times = new Map<string, number>()
  const idOf = (id: string, kind: string): string => {
    const known = ids.get(id)
    if (known !== undefined) return known
    const made = kind === "call"
      ? `call_${[...ids.values()].filter((other) => other.startsWith("call_")).length + 1}`
      : `${kind}_${(ids.size + 1).toString(16).padStart(12, "0")}RecordedFrames`
    ids.set(id, made)
    return made
  }
  const timeOf = (key: string): number => {
    const known = times.get(key) ?? epoch + 10 * times.size
    times.set(key, known)
    return known
  }
  const text = (value: string): string =>
    value.replaceAll(/\b(ses|msg|prt|per|que|evt|call)_\w{3,}/g, (id, kind: string) => idOf(id, kind))
  const walk = (value: unknown, owner: string, path: string): unknown => {
    if (typeof value === "string") return /(?:^|\/)date$/.test(path) ? "Tue, 14 Nov 2023 22:13:20 GMT" : text(value)
    if (isTime(value)) return timeOf(`${owner} ${path}`)
    if (Array.isArray(value)) return value.map((entry, index) => walk(entry, owner, `${path}/${index}`))
    const fields = object(value)
    if (fields === undefined) return value
    const id = fields["id"]
    const [within, from] = typeof id === "string" ? [id, ""] : [owner, path]
    return Object.fromEntries(
      Object.entries(fields).map(([key, entry]) => [text(key), walk(entry, within, `${from}/${key}`)])
    )
  }
  return lines.map((line, index) => ({ type: line.type, properties: walk(line.properties, `line ${index}`, "") }))
}

/** The lines of a fixture. `places` are names of this machine, and what stands for them. */
export const cut = (
  entries: ReadonlyArray<HttpTape.Entry>,
  session: string,
  places: ReadonlyArray<readonly [found: string, said: string]>
): string => {
  const clean = (line: string) =>
    places.reduce((text, [found, said]) => text.replaceAll(found, said), line)
      .replaceAll(/127\.0\.0\.1:\d{4,5}\b/g, "127.0.0.1:4010")
  return numbered(chosen(entries, session)).map((line) => `${clean(JSON.stringify(line))}\n`).join("")
}
