/** OpenCode over plain HTTP and server-sent events, with nothing done that the wire does not need: what times are beside. */
import * as Undici from "@effect/platform-node/Undici"
import { within } from "./bench.ts"

/** Where a server is, and what it wants to see. */
export interface Access {
  readonly url: string
  readonly authorization: string | undefined
}

/** The payload of a frame. */
export interface Frame {
  readonly type: string
  readonly properties: {
    readonly sessionID?: string
    readonly id?: string
    readonly status?: { readonly type: string }
    readonly part?: {
      readonly type: string
      readonly state?: { readonly status: string; readonly metadata?: { readonly output?: unknown } }
    }
  }
}

interface Waiter {
  readonly select: (frame: Frame) => boolean
  readonly resolve: (frame: Frame) => void
}

export class BareClient {
  private readonly access: Access
  private readonly directory: string
  private readonly limit: number
  private readonly waiters = new Set<Waiter>()
  private close: () => void = () => {}

  /** `limit` is how many milliseconds anything may take. */
  constructor(access: Access, directory: string, limit: number) {
    this.access = access
    this.directory = directory
    this.limit = limit
  }

  private get headers(): Record<string, string> {
    const { authorization } = this.access
    return {
      "content-type": "application/json",
      "x-opencode-directory": encodeURIComponent(this.directory),
      ...(authorization === undefined ? undefined : { authorization })
    }
  }

  /** The answer as JSON; an empty one is undefined. */
  async call(method: "GET" | "POST", path: string, body?: unknown): Promise<unknown> {
    const response = await Undici.request(`${this.access.url}${path}`, {
      method,
      headers: this.headers,
      headersTimeout: this.limit,
      bodyTimeout: this.limit,
      ...(body === undefined ? undefined : { body: JSON.stringify(body) })
    })
    const text = await response.body.text()
    if (response.statusCode >= 300) throw new Error(`The bare server refused ${path}: ${text}`)
    return text === "" ? undefined : JSON.parse(text)
  }

  /** Hears the frames of all sessions until `stop`. */
  async listen(): Promise<void> {
    const { body } = await Undici.request(`${this.access.url}/global/event`, {
      headers: this.headers,
      headersTimeout: this.limit,
      bodyTimeout: 0
    })
    // It ends by being destroyed; that is not an error here.
    body.on("error", () => {})
    this.close = () => body.destroy()
    let rest = ""
    const decoder = new TextDecoder()
    const connected = this.next((frame) => frame.type === "server.connected", "The first frame")
    body.on("data", (chunk: Buffer) => {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n\n")
      rest = parts.pop() ?? ""
      for (const part of parts) this.take((JSON.parse(part.slice(6)) as { readonly payload: Partial<Frame> }).payload)
    })
    await connected
  }

  stop(): void {
    this.close()
  }

  private take({ properties, type }: Partial<Frame>): void {
    // Rows of the agent's history have no properties.
    if (type === undefined || properties === undefined) return
    const frame: Frame = { type, properties }
    for (const waiter of this.waiters) {
      if (!waiter.select(frame)) continue
      this.waiters.delete(waiter)
      waiter.resolve(frame)
    }
  }

  /** The first frame from now on that fits. */
  next(select: (frame: Frame) => boolean, what: string): Promise<Frame> {
    const frame = new Promise<Frame>((resolve) => this.waiters.add({ select, resolve }))
    return within(this.limit, what, frame)
  }

  async create(): Promise<string> {
    const session = await this.call("POST", "/session", {
      // A session with a title asks no model for one.
      title: "bench",
      permission: [{ permission: "bash", pattern: "*", action: "ask" }]
    }) as { readonly id: string }
    return session.id
  }

  async prompt(session: string, text: string): Promise<void> {
    await this.call("POST", `/session/${session}/prompt_async`, { parts: [{ type: "text", text }] })
  }

  async abort(session: string): Promise<void> {
    await this.call("POST", `/session/${session}/abort`)
  }

  async reply(request: string, reply: "once" | "reject"): Promise<void> {
    await this.call("POST", `/permission/${request}/reply`, { reply })
  }

  async messages(session: string): Promise<unknown> {
    return await this.call("GET", `/session/${session}/message`)
  }
}

/** The session's turn has ended. */
export const isIdle = (session: string) => (frame: Frame): boolean =>
  frame.properties.sessionID === session &&
  (frame.type === "session.idle" ||
    (frame.type === "session.status" && frame.properties.status?.type === "idle"))
