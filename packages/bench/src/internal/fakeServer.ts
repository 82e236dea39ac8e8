/**
 * A server that speaks OpenCode's routes and sends prepared frames: a process of its own, so that nothing of its work
 * is measured. Its answers to `/bench/…` are the benchmark's own.
 */
import * as fs from "node:fs"
import * as http from "node:http"
import type { Socket } from "node:net"
import type { Feed, Turn } from "./recording.ts"
import * as recording from "./recording.ts"

/**
 * How frames are written: in HTTP chunks of 64 KiB, or each frame as an HTTP chunk of its own. One write carries 64 KiB
 * both ways: with a write for each frame the writer is what is slow, and the slower a reader the less it is woken.
 */
export type Mode = "burst" | "frame"

/** What `/bench/prepare` takes. */
export interface Prepare {
  readonly feed: Feed
  readonly mode: Mode
  readonly count: number
  /** Delta `i` is of session `i` modulo their number. */
  readonly sessions: ReadonlyArray<string>
  /** After so many deltas comes a command of the agent, which begins and ends. Default: none comes. */
  readonly tools?: number
}

/** What `/bench/paced` takes: deltas whose text is the time of their writing, 16 digits of epoch microseconds. */
export interface Paced {
  readonly session: string
  readonly count: number
  /** Events in a second. */
  readonly rate: number
}

/** What the server writes into the file `REINS_BENCH_INFO` when it is ready. */
export interface Info {
  readonly url: string
  readonly authorization: string
}

const burstSize = 65_536
const stampDigits = 16

const authorization = `Basic ${
  Buffer.from(`opencode:${process.env["OPENCODE_SERVER_PASSWORD"] ?? ""}`).toString("base64")
}`
const port = Number(/--port=(\d+)/.exec(process.argv.join(" "))?.[1] ?? 0)

const sockets: Record<Feed, Set<Socket>> = { global: new Set(), event: new Set(), floor: new Set() }
const directories = new Map<string, string>()
const turns = new Map<string, { readonly turn: Turn; text: string; open: boolean }>()
let sessionCount = 0
let prepared: { readonly feed: Feed; readonly bytes: Buffer } = { feed: "global", bytes: Buffer.alloc(0) }

const chunk = (body: Buffer | string): Buffer => {
  const bytes = Buffer.from(body)
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")])
}

const send = (feed: Feed, frames: string): void => {
  const bytes = chunk(frames)
  for (const socket of sockets[feed]) {
    const after = pouring.get(socket)
    if (after === undefined) socket.write(bytes)
    else after.push(bytes)
  }
}

/** Sockets to which prepared frames are being written, and what is to follow those. */
const pouring = new Map<Socket, Array<Buffer>>()

/** Writes what was prepared as fast as the reader takes it. */
const pour = ({ bytes, feed }: typeof prepared): void => {
  for (const socket of sockets[feed]) {
    let at = 0
    pouring.set(socket, [])
    const more = (): void => {
      while (at < bytes.length) {
        const piece = bytes.subarray(at, at + burstSize)
        at += piece.length
        if (!socket.write(piece)) {
          socket.once("drain", more)
          return
        }
      }
      for (const late of pouring.get(socket) ?? []) socket.write(late)
      pouring.delete(socket)
    }
    more()
  }
}

const prepare = (options: Prepare): { readonly bytes: number } => {
  const frames = options.sessions.map((session) => {
    const entry = turns.get(session)
    if (entry === undefined) throw new Error(`${session} has no turn.`)
    return recording.deltaFrame(entry.turn, options.feed)
  })
  const out: Array<string> = []
  for (let i = 0; i < options.count; i++) {
    const frame = frames[i % frames.length]
    if (frame !== undefined) out.push(frame(i, recording.jsonAt(i)))
    const turn = turns.get(options.sessions[i % frames.length] ?? "")?.turn
    if (options.tools !== undefined && (i + 1) % options.tools === 0 && turn !== undefined) {
      out.push(recording.tool(turn, i))
    }
  }
  if (options.feed === "global") {
    for (const [index, session] of options.sessions.entries()) {
      const entry = turns.get(session)
      if (entry !== undefined) entry.text += recording.textOf(options.count, index, options.sessions.length)
    }
  }
  const bodies: Array<Buffer> = []
  if (options.mode === "frame") { for (const frame of out) bodies.push(Buffer.from(frame)) }
  else {
    const whole = Buffer.from(out.join(""))
    for (let at = 0; at < whole.length; at += burstSize) bodies.push(whole.subarray(at, at + burstSize))
  }
  prepared = { feed: options.feed, bytes: Buffer.concat(bodies.map(chunk)) }
  return { bytes: bodies.reduce((size, body) => size + body.length, 0) }
}

/** Writes one frame at each tick of the rate. It looks at the clock all the time: no timer is as fine as that. */
const pace = ({ count, rate, session }: Paced): void => {
  const entry = turns.get(session)
  if (entry === undefined) throw new Error(`${session} has no turn.`)
  const frame = recording.deltaFrame(entry.turn, "global")
  const stamps: Array<string> = []
  const begin = performance.now()
  let sent = 0
  const tick = (): void => {
    while (sent < count && performance.now() >= begin + sent * 1000 / rate) {
      const stamp = Math.round((performance.timeOrigin + performance.now()) * 1000).toString().padStart(
        stampDigits,
        "0"
      )
      send("global", frame(sent, `"${stamp}"`))
      stamps.push(stamp)
      sent++
    }
    if (sent < count) setImmediate(tick)
    else entry.text += stamps.join("")
  }
  tick()
}

const begin = (session: string, messageID: string): void => {
  const turn = recording.turnOf(session, directories.get(session) ?? "/", messageID)
  turns.set(session, { turn, text: "", open: true })
  send("global", recording.before(turn).map((line) => recording.frame(turn.directory, "global", line)).join(""))
}

const finish = (session: string): void => {
  const entry = turns.get(session)
  if (entry === undefined || !entry.open) return
  entry.open = false
  const frames = recording.after(entry.turn, entry.text)
  send("global", frames.map((line) => recording.frame(entry.turn.directory, "global", line)).join(""))
}

const parsed = (line: string | undefined): { readonly properties: { readonly [key: string]: unknown } } =>
  JSON.parse(line ?? "{}")

/** Messages as they are stored: the text is there when it is whole. */
const messages = (session: string): ReadonlyArray<unknown> => {
  const entry = turns.get(session)
  if (entry === undefined) return []
  const lines = [...recording.before(entry.turn), ...(entry.open ? [] : recording.after(entry.turn, entry.text))]
  const infos = new Map<string, unknown>()
  const parts = new Map<string, Map<string, unknown>>()
  for (const line of lines) {
    const { properties } = parsed(line)
    const info = properties["info"] as { readonly id: string; readonly role?: string } | undefined
    const part = properties["part"] as { readonly id: string; readonly messageID: string } | undefined
    if (info?.role !== undefined) infos.set(info.id, info)
    if (part !== undefined) {
      const known = parts.get(part.messageID) ?? new Map<string, unknown>()
      parts.set(part.messageID, known.set(part.id, part))
    }
  }
  return [...infos].map(([id, info]) => ({ info, parts: [...(parts.get(id)?.values() ?? [])] }))
}

const statuses = (): Record<string, unknown> =>
  Object.fromEntries([...turns].filter(([, { open }]) => open).map(([id]) => [id, { type: "busy" }]))

const stream = (feed: Feed, request: http.IncomingMessage, response: http.ServerResponse): void => {
  response.writeHead(200, {
    "cache-control": "no-cache, no-transform",
    "content-type": "text/event-stream",
    "transfer-encoding": "chunked",
    "x-accel-buffering": "no"
  })
  response.flushHeaders()
  const { socket } = request
  socket.setNoDelay(true)
  const connected = "{\"id\":\"evt_1fc120cc00013TSQ1XPZjXB57V\",\"type\":\"server.connected\",\"properties\":{}}"
  socket.write(chunk(`data: ${feed === "event" ? connected : `{"payload":${connected}}`}\n\n`))
  sockets[feed].add(socket)
  socket.on("error", () => sockets[feed].delete(socket))
  socket.once("close", () => {
    sockets[feed].delete(socket)
    pouring.delete(socket)
  })
}

const route = (request: http.IncomingMessage, body: string): unknown => {
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/"
  const json = (): never => JSON.parse(body) as never
  const of = /^\/session\/([^/]+)(?:\/(\w+))?$/.exec(path)
  if (path === "/session/status") return statuses()
  if (path === "/session" && request.method === "POST") {
    const id = `ses_e03edf2abffe${(sessionCount++).toString(36).padStart(14, "0")}`
    const directory = decodeURIComponent(String(request.headers["x-opencode-directory"] ?? "/"))
    directories.set(id, directory)
    return { id, directory, version: "1.18.33", title: "bench", time: { created: Date.now(), updated: Date.now() } }
  }
  if (of?.[1] !== undefined) {
    const id = of[1]
    switch (of[2]) {
      case undefined: {
        const info = { id, directory: directories.get(id), title: "bench" }
        if (request.method === "PATCH") {
          const payload = {
            id: "evt_1fc120cc00033TSQ1XPZjXB57V",
            type: "session.updated",
            properties: { sessionID: id, info }
          }
          send("global", `data: ${JSON.stringify({ directory: info.directory, payload })}\n\n`)
        }
        return info
      }
      case "message":
        return messages(id)
      case "children":
        return []
      case "prompt_async":
        begin(id, (json() as { readonly messageID: string }).messageID)
        return undefined
      case "abort":
        finish(id)
        return true
    }
  }
  switch (path) {
    case "/global/health":
      return { healthy: true, version: "1.18.33" }
    case "/config":
      return {}
    case "/permission":
    case "/question":
      return []
    case "/global/dispose":
      return true
    case "/bench/prepare":
      return prepare(json())
    case "/bench/go":
      setImmediate(() => pour(prepared))
      return undefined
    case "/bench/paced":
      pace(json())
      return undefined
    case "/bench/finish":
      for (const session of json() as ReadonlyArray<string>) finish(session)
      return undefined
  }
  throw new Error(`${request.method} ${path} is not served.`)
}

const server = http.createServer((request, response) => {
  if (request.headers.authorization !== authorization) {
    response.writeHead(401).end()
    return
  }
  const path = (request.url ?? "/").split("?", 1)[0]
  if (path === "/global/event") return stream("global", request, response)
  if (path === "/event") return stream("event", request, response)
  if (path === "/bench/event") return stream("floor", request, response)
  const chunks: Array<Buffer> = []
  request.on("data", (data: Buffer) => chunks.push(data))
  request.once("end", () => {
    try {
      const answer = route(request, Buffer.concat(chunks).toString())
      if (answer === undefined) response.writeHead(204).end()
      else response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer))
    } catch (cause) {
      response.writeHead(500, { "content-type": "application/json" }).end(
        JSON.stringify({ name: "UnknownError", data: { message: String(cause) } })
      )
    }
  })
})
server.keepAliveTimeout = 60_000

setInterval(() => {
  for (const feed of ["global", "event", "floor"] as const) {
    const payload = "{\"id\":\"evt_1fc120cc00023TSQ1XPZjXB57V\",\"type\":\"server.heartbeat\",\"properties\":{}}"
    send(feed, `data: ${feed === "event" ? payload : `{"payload":${payload}}`}\n\n`)
  }
}, 10_000).unref()

// A benchmark that was killed leaves no server behind.
const parent = process.ppid
setInterval(() => {
  if (process.ppid !== parent) process.exit(0)
}, 1_000).unref()
process.once("SIGTERM", () => process.exit(0))

server.listen(port, "127.0.0.1", () => {
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : port}`
  const info: Info = { url, authorization }
  const file = process.env["REINS_BENCH_INFO"]
  if (file !== undefined) fs.writeFileSync(file, JSON.stringify(info))
  console.log(`opencode server listening on ${url}`)
})
