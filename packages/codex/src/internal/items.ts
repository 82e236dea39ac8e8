/** Codex's items as ours. */
import type { FileChange, ItemContent, ItemStatus } from "@reins/core/Item"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Wire from "../CodexSchema.ts"

/** An item as it was seen. */
export interface Seen {
  readonly key: string
  readonly type: string
  readonly content: ItemContent
  /** Whether the growing text in `content` is all of it. */
  readonly hasText: boolean
  /** Absent: still open. */
  readonly status: ItemStatus | undefined
}

/** The prompt that a user message is. */
export interface Said {
  readonly key: string
  readonly clientId: string | undefined
  readonly text: string
}

/** What a prompt is known by: our key, where it is ours. */
export const keyOf = (said: Said): string => said.clientId ?? said.key

const decodeAny = Schema.decodeUnknownResult(Wire.AnyItem)
const decode = {
  userMessage: Schema.decodeUnknownResult(Wire.Items.userMessage),
  agentMessage: Schema.decodeUnknownResult(Wire.Items.agentMessage),
  plan: Schema.decodeUnknownResult(Wire.Items.plan),
  reasoning: Schema.decodeUnknownResult(Wire.Items.reasoning),
  commandExecution: Schema.decodeUnknownResult(Wire.Items.commandExecution),
  fileChange: Schema.decodeUnknownResult(Wire.Items.fileChange),
  mcpToolCall: Schema.decodeUnknownResult(Wire.Items.mcpToolCall),
  dynamicToolCall: Schema.decodeUnknownResult(Wire.Items.dynamicToolCall),
  collabAgentToolCall: Schema.decodeUnknownResult(Wire.Items.collabAgentToolCall),
  subAgentActivity: Schema.decodeUnknownResult(Wire.Items.subAgentActivity),
  webSearch: Schema.decodeUnknownResult(Wire.Items.webSearch)
}

const statuses: Readonly<Record<string, ItemStatus>> = {
  completed: "completed",
  failed: "failed",
  declined: "declined",
  interrupted: "interrupted"
}

const maxUnwrapped = 1_048_576

/** The words in a shell's `-c`, as the agent writes every command; another command stays as it is. */
export const unwrapped = (command: string): string => {
  // The expression below would exhaust the stack on one of many megabytes.
  if (command.length > maxUnwrapped) return command
  const inner = /^(?:\/\S*\/)?(?:ba|z|da)?sh -l?c (?:'((?:[^']|'\\'')*)'|"((?:[^"\\]|\\.)*)")$/s.exec(command)
  if (inner === null) return command
  return inner[1] !== undefined ? inner[1].replaceAll("'\\''", "'") : (inner[2] ?? "").replace(/\\(["\\$`])/g, "$1")
}

const changeWords: Readonly<Record<string, FileChange["change"]>> = {
  add: "added",
  delete: "deleted",
  update: "updated"
}

const lines = (text: string): number => text === "" ? 0 : text.split("\n").length - (text.endsWith("\n") ? 1 : 0)

const counted = (change: FileChange["change"], diff: string) => {
  // Of a file that is new or gone the agent gives the text instead of a diff.
  if (change === "added") return { additions: lines(diff), deletions: 0 }
  if (change === "deleted") return { additions: 0, deletions: lines(diff) }
  let additions = 0
  let deletions = 0
  for (const line of diff.split("\n")) {
    if (line.startsWith("+") && !line.startsWith("+++")) additions++
    if (line.startsWith("-") && !line.startsWith("---")) deletions++
  }
  return { additions, deletions }
}

const prefixed = (sign: "+" | "-", text: string): string => {
  const body = text.endsWith("\n") ? text.slice(0, -1) : text
  return body === "" ? "" : `${body.split("\n").map((line) => `${sign}${line}`).join("\n")}\n`
}

/** A unified diff of one file, also where the agent gives the text alone. */
const diffOf = (change: FileChange["change"], text: string): string => {
  if (change === "added") return `@@ -0,0 +1,${lines(text)} @@\n${prefixed("+", text)}`
  if (change === "deleted") return `@@ -1,${lines(text)} +0,0 @@\n${prefixed("-", text)}`
  return text
}

/** The files of a patch. */
export const changesOf = (changes: ReadonlyArray<Wire.FileUpdateChange>): ReadonlyArray<FileChange> =>
  changes.map(({ diff, kind, path }) => {
    const moved = kind.move_path
    const change = moved !== undefined && moved !== null ? "moved" : changeWords[kind.type] ?? "updated"
    return {
      path,
      change,
      ...(change === "moved" && moved !== undefined && moved !== null ? { movedTo: moved } : undefined),
      diff: diffOf(change, diff),
      ...counted(change, diff)
    }
  })

const textIn = (content: ReadonlyArray<unknown>): string =>
  content.flatMap((part) =>
    Predicate.isObject(part) && "text" in part && typeof part.text === "string" ? [part.text] : []
  ).join("\n")

/** What a user said, in words; what is no text is named in brackets. */
export const textOfInput = (content: ReadonlyArray<Wire.UserInput>): string =>
  content.map(({ name, path, text, type }) => text ?? `[${type}${name ?? path ? ` ${name ?? path}` : ""}]`).join("\n")

/** The parts of a chain of thought as one text: those of its summary, or of the thought itself where there is none. */
export const reasoningText = (summary: ReadonlyArray<string>, content: ReadonlyArray<string> = []): string =>
  (summary.length > 0 ? summary : content).join("\n\n")

/** A user message, which is a prompt and not an item of the agent; `undefined` for every other item. */
export const saidOf = (item: unknown): Said | undefined => {
  if (!Predicate.isObject(item) || (item as { type?: unknown }).type !== "userMessage") return undefined
  const decoded = decode.userMessage(item)
  if (Result.isFailure(decoded)) return undefined
  const { clientId, content, id } = decoded.success
  return { key: id, clientId: clientId ?? undefined, text: textOfInput(content) }
}

/** An item, or why it cannot be read. `ended` says that the agent told of its end. */
export const seenOf = (item: unknown, ended: boolean): Result.Result<Seen, { readonly message: string }> =>
  Result.flatMap(decodeAny(item), ({ id, type }) => {
    const plain = (content: ItemContent, hasText: boolean): Seen => ({
      key: id,
      type,
      content,
      hasText,
      status: ended ? "completed" : undefined
    })
    const withStatus = (content: ItemContent, hasText: boolean, status: string): Seen => ({
      ...plain(content, hasText),
      status: statuses[status] ?? (ended ? "completed" : undefined)
    })
    switch (type) {
      case "userMessage":
        return Result.map(
          decode.userMessage(item),
          ({ content }) => plain({ _tag: "userMessage", text: textOfInput(content) }, true)
        )
      case "agentMessage":
        return Result.map(decode.agentMessage(item), ({ text }) => plain({ _tag: "assistantMessage", text }, ended))
      case "plan":
        return Result.map(
          decode.plan(item),
          ({ text }) => plain({ _tag: "assistantMessage", title: "Plan", text }, ended)
        )
      case "reasoning":
        return Result.map(
          decode.reasoning(item),
          ({ content, summary }) => plain({ _tag: "reasoning", text: reasoningText(summary, content) }, ended)
        )
      case "commandExecution":
        return Result.map(
          decode.commandExecution(item),
          ({ aggregatedOutput, command, cwd, exitCode, status }) =>
            withStatus(
              {
                _tag: "command",
                command: unwrapped(command),
                ...(cwd === undefined || cwd === null ? undefined : { cwd }),
                output: aggregatedOutput ?? "",
                ...(exitCode === undefined || exitCode === null ? undefined : { exitCode })
              },
              aggregatedOutput !== undefined && aggregatedOutput !== null,
              status
            )
        )
      case "fileChange":
        return Result.map(
          decode.fileChange(item),
          ({ changes, status }) =>
            withStatus(
              { _tag: "fileChange", tool: "apply_patch", changes: changesOf(changes), output: "" },
              false,
              status
            )
        )
      case "mcpToolCall":
        return Result.map(decode.mcpToolCall(item), (call) =>
          withStatus(
            {
              _tag: "toolCall",
              tool: call.tool,
              server: call.server,
              ...(call.arguments === undefined ? undefined : { input: call.arguments }),
              output: textIn(call.result?.content ?? []),
              ...(call.error === undefined || call.error === null ? undefined : { error: call.error.message })
            },
            call.result !== undefined && call.result !== null,
            call.status
          ))
      case "dynamicToolCall":
        return Result.map(decode.dynamicToolCall(item), (call) =>
          withStatus(
            {
              _tag: "toolCall",
              tool: call.namespace === undefined || call.namespace === null
                ? call.tool
                : `${call.namespace}.${call.tool}`,
              ...(call.arguments === undefined ? undefined : { input: call.arguments }),
              output: textIn(call.contentItems ?? [])
            },
            ended,
            call.success === false ? "failed" : call.status
          ))
      case "collabAgentToolCall":
        return Result.map(decode.collabAgentToolCall(item), (call) =>
          withStatus(
            {
              _tag: "subagent",
              title: call.tool,
              ...(call.prompt === undefined || call.prompt === null ? undefined : { prompt: call.prompt }),
              ...(call.receiverThreadIds.length === 0 ? undefined : { path: call.receiverThreadIds }),
              output: Object.values(call.agentsStates ?? {}).flatMap(({ message }) => message ?? []).join("\n")
            },
            ended,
            call.status
          ))
      case "subAgentActivity":
        return Result.map(decode.subAgentActivity(item), ({ agentPath = "", agentThreadId, kind }) => {
          const name = agentPath.split("/").at(-1) ?? ""
          return plain(
            {
              _tag: "subagent",
              title: kind === "started" ? name : `${name}: ${kind}`,
              ...(name === "" ? undefined : { agent: name }),
              path: [agentThreadId],
              output: ""
            },
            ended
          )
        })
      case "webSearch":
        return Result.map(
          decode.webSearch(item),
          ({ query }) =>
            plain(
              { _tag: "webSearch", ...(query === undefined || query === "" ? undefined : { query }), output: "" },
              ended
            )
        )
      case "contextCompaction":
        return Result.succeed(plain({ _tag: "compaction", automatic: true }, false))
      default:
        // Kinds without a shape of their own, those of later releases among them, are tools by their name.
        return Result.succeed(plain({ _tag: "toolCall", tool: type, output: "" }, false))
    }
  })
