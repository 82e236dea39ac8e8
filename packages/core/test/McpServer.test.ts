/** What of MCP servers is secret. */
import { assert, it } from "@effect/vitest"
import * as McpServer from "@reins/core/McpServer"
import { Redacted, Schema } from "effect"

it("headers, redacted variables, long variables and what a URL holds are secrets", () => {
  const servers: McpServer.McpServers = {
    near: McpServer.local(["program"], {
      env: { DEBUG: "1", LEVEL: "verbose-secret", PIN: Redacted.make("1234") }
    }),
    far: McpServer.remote("http://user:pass-word@127.0.0.1/mcp?key=query-secret&n=1", {
      headers: { authorization: "Bearer token-secret", "x-key": Redacted.make("other-secret") }
    })
  }
  assert.deepStrictEqual(
    McpServer.secrets(servers).map(Redacted.value).toSorted(),
    ["1234", "Bearer token-secret", "other-secret", "pass-word", "query-secret", "token-secret", "verbose-secret"]
  )
})

it("a server that is shown as JSON shows no header", () => {
  const server = McpServer.remote("http://127.0.0.1/", { headers: { authorization: "Bearer token-secret" } })
  assert.notInclude(JSON.stringify(server), "token-secret")
  assert.isTrue(Schema.is(McpServer.McpServer)(server))
  const encode = Schema.encodeUnknownExit(Schema.toCodecJson(McpServer.McpServer))
  assert.strictEqual(encode(server)._tag, "Failure")
})
