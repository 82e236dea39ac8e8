/** What of MCP servers is secret. */
import { assert, it } from "@effect/vitest"
import * as McpServer from "@reins/core/McpServer"
import { Redacted, Schema } from "effect"

it("headers, redacted variables, long variables and what a URL holds are secrets", () => {
  const servers: McpServer.McpServers = {
    near: McpServer.local(["program"], {
      env: {
        DEBUG: "1",
        // What the protocol and the files are called is no secret.
        ROLE: "assistant",
        PORT: "4096409640",
        ROOT: "/home/user/project",
        LEVEL: "verbose-secret",
        KEY: "/9j/4AAQSkZJRg==",
        PIN: Redacted.make("1234")
      }
    }),
    far: McpServer.remote("http://user:pass-word@127.0.0.1/mcp?key=query%2Bsecret&n=1", {
      headers: { authorization: "Bearer token-secret", "x-key": Redacted.make("other-secret") }
    })
  }
  assert.deepStrictEqual(
    McpServer.secrets(servers).map(Redacted.value).toSorted(),
    [
      "/9j/4AAQSkZJRg==",
      "1234",
      "Bearer token-secret",
      "other-secret",
      "pass-word",
      "query%2Bsecret",
      "query+secret",
      "token-secret",
      "verbose-secret"
    ]
  )
})

it("a server that is shown as JSON shows no header", () => {
  const server = McpServer.remote("http://127.0.0.1/", { headers: { authorization: "Bearer token-secret" } })
  assert.notInclude(JSON.stringify(server), "token-secret")
  assert.isTrue(Schema.is(McpServer.McpServer)(server))
  const encode = Schema.encodeUnknownExit(Schema.toCodecJson(McpServer.McpServer))
  assert.strictEqual(encode(server)._tag, "Failure")
})

it("what cannot be a server is told with its name", () => {
  const local = McpServer.local(["program"])
  const wrong: ReadonlyArray<readonly [string, McpServer.McpServer]> = [
    ["a b", local],
    ["", local],
    ["x".repeat(65), local],
    ["numbers", McpServer.local([" "])],
    ["numbers", McpServer.local(["program"], { startTimeout: 0 })],
    ["numbers", McpServer.local(["program"], { startTimeout: 1.5 })],
    ["numbers", McpServer.remote("file:///etc/passwd")],
    ["numbers", McpServer.remote("no url")]
  ]
  for (const [name, server] of wrong) {
    const reason = McpServer.problem({ fine: local, [name]: server })?.reason
    assert.strictEqual(reason?._tag === "InvalidRequest" ? reason.field : undefined, `mcpServers.${name}`)
  }
  assert.isUndefined(McpServer.problem({ fine: local, "far-1": McpServer.remote("https://127.0.0.1/") }))
})
