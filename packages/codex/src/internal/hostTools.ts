/** Tools of the host, as Codex offers them to the model: its own name for them is "dynamic tools". */
import type { HostTools } from "@reins/core/HostTool"
import type { Json } from "effect/Schema"

export const specs = (tools: HostTools): ReadonlyArray<Json> =>
  Object.entries(tools).map(([name, { description, inputSchema }]) => ({
    type: "function",
    name,
    description,
    inputSchema
  }))
