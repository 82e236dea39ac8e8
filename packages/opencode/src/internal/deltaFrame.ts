/**
 * The short way for streamed text: a frame that is a delta of text is read without parsing all of it.
 *
 * Exactly the recorded shape passes: these fields in this order, ids without escapes. Anything else is parsed as a
 * whole, and means the same there. To parse each frame as a whole takes twice as long, nearly all of it for envelopes.
 */
import type { WireEvent } from "./state.ts"

/** Everything up to the text, with the envelope of `/global/event` or without. */
const head =
  /(?:\{(?:"directory":"[^"\\]*",)?(?:"project":"[^"\\]*",)?"payload":)?\{"id":"[^"\\]*","type":"message\.part\.delta","properties":\{"sessionID":"([^"\\]*)","messageID":"[^"\\]*","partID":"([^"\\]*)","field":"text","delta":(?=")/y

/** The delta that a `data:` payload is; `undefined` when it is anything else, or has another shape. */
export const read = (data: string): WireEvent | undefined => {
  head.lastIndex = 0
  const match = head.exec(data)
  if (match === null) return undefined
  const tail = data.startsWith("{\"id\"") ? "}}" : "}}}"
  if (!data.endsWith(tail)) return undefined
  try {
    // With all its escapes; whatever follows the text makes it fail.
    const delta: unknown = JSON.parse(data.slice(head.lastIndex, data.length - tail.length))
    return { type: "message.part.delta", properties: { sessionID: match[1], partID: match[2], field: "text", delta } }
  } catch {
    return undefined
  }
}
