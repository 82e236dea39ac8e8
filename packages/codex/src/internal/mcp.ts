/**
 * MCP servers of a session, as settings of its thread. They go over the conversation with the server: neither an argument,
 * which every process can read, nor a file holds their secrets.
 */
import * as McpServer from "@reins/core/McpServer"
import type { Json } from "effect/Schema"

const settingOf = (server: McpServer.McpServer): Json => {
  const common = {
    enabled: server.enabled ?? true,
    startup_timeout_sec: (server.startTimeout ?? McpServer.startTimeout) / 1_000
  }
  return server._tag === "local"
    ? {
      command: server.command[0],
      args: server.command.slice(1),
      ...(server.cwd === undefined ? undefined : { cwd: server.cwd }),
      ...(server.env === undefined ? undefined : { env: McpServer.revealed(server.env) }),
      ...common
    }
    : {
      url: server.url,
      ...(server.headers === undefined ? undefined : { http_headers: McpServer.revealed(server.headers) }),
      ...common
    }
}

/** What a thread is begun with; each name is a key of its own, so that the user's servers stay. */
export const config = (servers: McpServer.McpServers): Readonly<Record<string, Json>> =>
  Object.fromEntries(Object.entries(servers).map(([name, server]) => [`mcp_servers.${name}`, settingOf(server)]))
