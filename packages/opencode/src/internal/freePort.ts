/**
 * A loopback port that is free now. OpenCode's own `--port 0` takes 4096 when that is free, which is a port that others
 * look for (protocol fact: "4096 if free, else random"), so the port is chosen here.
 */
import * as AgentError from "@reins/core/AgentError"
import * as Effect from "effect/Effect"
import { createServer } from "node:net"

export const freePort: Effect.Effect<number, AgentError.AgentError> = Effect.callback((resume) => {
  const server = createServer()
  server.unref()
  server.once("error", (cause) =>
    resume(Effect.fail(AgentError.make(
      new AgentError.Unavailable({ target: "a free loopback port", description: "No port could be had.", cause })
    ))))
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
  return Effect.sync(() => {
    server.close()
  })
})
