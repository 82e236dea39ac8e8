/** Ways to read what an agent says over its standard output; each has a child of its own. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as acp from "@agentclientprotocol/sdk"
import * as JsonRpcPeer from "@reins/transport/JsonRpcPeer"
import * as JsonRpcWire from "@reins/transport/JsonRpcWire"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"

/** Asks for so many pieces of text, and gives how many came before the answer, and how long their text is. */
export type Contender = (count: number) => Promise<{ readonly pieces: number; readonly characters: number }>

const script = fileURLToPath(new URL(`./rpcChild${path.extname(fileURLToPath(import.meta.url))}`, import.meta.url))

interface Update {
  readonly update?: { readonly content?: { readonly text?: string } }
}

/** What every contender does with a piece of text. */
const counter = () => {
  let pieces = 0
  let characters = 0
  return {
    take: (params: unknown) => {
      pieces++
      characters += (params as Update).update?.content?.text?.length ?? 0
    },
    result: () => {
      const result = { pieces, characters }
      pieces = 0
      characters = 0
      return result
    }
  }
}

const child = Effect.acquireRelease(
  Effect.sync(() => spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] })),
  (process) =>
    Effect.callback<void>((resume) => {
      process.once("exit", () => resume(Effect.void))
      process.kill("SIGKILL")
    }).pipe(Effect.timeoutOption("2 seconds"))
)

/** The peer, over the pipes of Effect's own child process. */
export const peer: Effect.Effect<Contender, Error, Scope.Scope> = Effect.gen(function*() {
  const process_ = yield* ChildProcess.make(process.execPath, [script], { stdin: "pipe", stderr: "inherit" })
  const count = counter()
  const made = yield* JsonRpcPeer.make({
    wire: JsonRpcWire.fromStdio(process_),
    target: "child",
    receive: (messages) =>
      Effect.sync(() => {
        for (const { params } of messages) count.take(params)
      })
  })
  return (pieces: number) =>
    Effect.runPromise(Effect.as(made.call("say", { count: pieces }, { timeout: "1 minute" }), undefined)).then(
      count.result
    )
}).pipe(Effect.provide(NodeServices.layer))

/** A loop over `readline` with `JSON.parse`, and nothing besides. */
export const plain: Effect.Effect<Contender, never, Scope.Scope> = Effect.map(child, ({ stdin, stdout }) => {
  const count = counter()
  let answered: (() => void) | undefined
  createInterface({ input: stdout }).on("line", (line) => {
    const message = JSON.parse(line) as { readonly method?: string; readonly params?: unknown }
    if (message.method === undefined) answered?.()
    else count.take(message.params)
  })
  return async (pieces) => {
    const done = new Promise<void>((resolve) => {
      answered = resolve
    })
    stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "say", params: { count: pieces } })}\n`)
    await done
    return count.result()
  }
})

/** The client of the official ACP SDK. */
export const sdk: Effect.Effect<Contender, never, Scope.Scope> = Effect.map(child, ({ stdin, stdout }) => {
  const count = counter()
  const connection = acp.client()
    .onNotification("session/update", ({ params }) => count.take(params))
    .connect(acp.ndJsonStream(
      Writable.toWeb(stdin) as WritableStream<Uint8Array>,
      Readable.toWeb(stdout) as ReadableStream<Uint8Array>
    ))
  return async (pieces) => {
    await connection.agent.request("say", { count: pieces })
    return count.result()
  }
})
