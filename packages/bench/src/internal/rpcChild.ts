/** The agent of the benchmark `rpc`: for each line with a number it says so many pieces of text, then answers. */
import { once } from "node:events"
import { createInterface } from "node:readline"

/** As much as a pipe holds. */
const chunk = 65_536

const said = (n: number): string =>
  `${
    JSON.stringify({
      jsonrpc: "2.0",
      method: "session/update",
      params: {
        sessionId: "ses_1",
        update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: `word ${n} of many, ` } }
      }
    })
  }\n`

for await (const line of createInterface({ input: process.stdin })) {
  const { id, params } = JSON.parse(line) as { readonly id: number; readonly params: { readonly count: number } }
  let text = ""
  for (let n = 0; n < params.count; n++) {
    text += said(n)
    if (text.length < chunk) continue
    if (!process.stdout.write(text)) await once(process.stdout, "drain")
    text = ""
  }
  process.stdout.write(`${text}${JSON.stringify({ jsonrpc: "2.0", id, result: {} })}\n`)
}
