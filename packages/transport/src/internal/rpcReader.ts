/** What an agent sent, chunk by chunk, as messages and answers in their order. Synchronous, without a fiber. */
import type { Id, Message } from "../JsonRpcPeer.ts"
import * as jsonLines from "./jsonLines.ts"

export interface Answer {
  /** `null` or absent: the agent could not tell to what it belongs. */
  readonly id?: unknown
  readonly result?: unknown
  readonly error?: unknown
}

/** Messages that follow each other, or an answer. */
export type Step =
  | { readonly _tag: "messages"; readonly messages: ReadonlyArray<Message> }
  | { readonly _tag: "answer"; readonly answer: Answer }

export interface RpcReader {
  readonly push: (chunks: ReadonlyArray<Uint8Array | string>) => ReadonlyArray<Step>
  /** What came after the last line, when nothing follows: a whole message may have lost its end of line. */
  readonly end: () => ReadonlyArray<Step>
  /** A message was longer than the limit: nothing behind it is read any more. */
  readonly isBroken: () => boolean
}

export interface RpcReaderOptions {
  /** Longest message in characters. */
  readonly maxMessage: number
  /** Text that is no message. */
  readonly onNoise: (text: string) => void
  readonly onMessage: ((message: object) => void) | undefined
  /** Takes secrets out of a message before it is read. */
  readonly clean: ((text: string) => string) | undefined
}

const isId = (id: unknown): id is Id => typeof id === "number" || typeof id === "string"

export const make = ({ clean, maxMessage, onMessage, onNoise }: RpcReaderOptions): RpcReader => {
  const lines = jsonLines.make()
  let broken = false

  const take = (value: unknown, text: string, steps: Array<Step>): void => {
    if (typeof value !== "object" || value === null) return onNoise(text)
    if (Array.isArray(value)) {
      for (const one of value) take(one, text, steps)
      return
    }
    if ("method" in value && typeof value.method === "string" && (!("id" in value) || isId(value.id))) {
      const last = steps.at(-1)
      if (last?._tag === "messages") (last.messages as Array<Message>).push(value as Message)
      else steps.push({ _tag: "messages", messages: [value as Message] })
    } else if (!("method" in value) && ("result" in value || "error" in value)) {
      steps.push({ _tag: "answer", answer: value })
    } else return onNoise(text)
    onMessage?.(value)
  }

  const parse = (raw: string, steps: Array<Step>): void => {
    // An empty line is nothing, and a line end of two characters leaves one that JSON passes over.
    if (raw === "" || raw === "\r" || broken) return
    if (raw.length > maxMessage) {
      broken = true
      return
    }
    const text = clean === undefined ? raw : clean(raw)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return onNoise(text)
    }
    take(value, text, steps)
  }

  return {
    push: (chunks) => {
      const steps: Array<Step> = []
      for (const chunk of chunks) {
        if (typeof chunk === "string") parse(chunk, steps)
        else for (const line of lines.push(chunk)) parse(line, steps)
      }
      if (lines.pendingSize() > maxMessage) broken = true
      return steps
    },
    end: () => {
      const steps: Array<Step> = []
      parse(lines.rest(), steps)
      return steps
    },
    isBroken: () => broken
  }
}
