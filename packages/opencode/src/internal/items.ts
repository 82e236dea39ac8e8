/** Parts of messages as items. */
import type { FileChange, ItemContent, ItemStatus, PlanEntry } from "@reins/core/Item"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Wire from "../OpenCodeSchema.ts"
import type { PartRecord } from "./state.ts"

/** An item as a part shows it. */
export interface Shown {
  readonly item: ItemContent
  readonly hasText: boolean
  readonly status?: ItemStatus
}

type Loose = Readonly<Record<string, unknown>>

const text = (value: unknown): string | undefined => typeof value === "string" && value.length > 0 ? value : undefined
const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined
const object = (value: unknown): Loose | undefined =>
  Predicate.isObject(value) && !Array.isArray(value) ? value as Loose : undefined
const list = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []

/** A text or reasoning part. Until its end it is stored as "", which says nothing of what was streamed. */
export const ofText = (part: Wire.TextPart, summary: boolean): Shown => {
  const ended = part.time?.end !== undefined
  return {
    item: {
      _tag: part.type === "reasoning" ? "reasoning" : "assistantMessage",
      text: part.text,
      // The summary is the agent's text but no answer to anybody: readers can tell it by this.
      ...(summary && part.type === "text" ? { title: "Summary of the conversation" } : undefined)
    },
    hasText: ended || part.text.length > 0,
    ...(ended ? { status: "completed" as const } : undefined)
  }
}

/** The text of a user, which is whole from the start. */
export const ofUser = (part: Wire.TextPart): Shown => ({
  item: { _tag: "userMessage", text: part.text },
  hasText: true,
  status: "completed"
})

/** The order to compact the conversation. */
export const ofCompaction = (part: Wire.CompactionPart): Shown => ({
  item: { _tag: "compaction", ...(part.auto === undefined ? undefined : { automatic: part.auto }) },
  hasText: false,
  status: "completed"
})

const statuses: { readonly [status: string]: ItemStatus } = { completed: "completed", error: "failed" }

/** What tools say of themselves when the turn was aborted under them. */
const abortedError = "Tool execution aborted"
const abortedOutput = /<shell_metadata>\s*User aborted the command\s*<\/shell_metadata>\s*$/

const statusOf = (part: Wire.ToolPart): ItemStatus | undefined => {
  const status = statuses[part.state.status]
  if (status === "failed" && part.state.error === abortedError) return "interrupted"
  if (status === "completed" && part.tool === "invalid") return "failed"
  if (status === "completed" && abortedOutput.test(part.state.output ?? "")) return "interrupted"
  return status
}

/**
 * The output of a tool. While it runs, `metadata.output` is all that it wrote so far; of a long output only the tail is
 * shown, and then nothing more is told until the end. At the end that one of `output` and `metadata.output` counts that
 * goes on where the stream stopped, else `output`: that is what the model is given.
 */
const outputOf = (state: Wire.ToolState, record: PartRecord): string | undefined => {
  const running = text(state.metadata?.["output"])
  if (state.status === "completed") {
    const candidates = [state.output, running]
    return candidates.find((output) => output !== undefined && output.startsWith(record.output)) ?? state.output
  }
  if (running === undefined || !running.startsWith(record.output)) return undefined
  record.output = running
  return running
}

/** A call of a tool. Updates the record with what was told. */
export const ofTool = (
  part: Wire.ToolPart,
  record: PartRecord,
  agentPath: ReadonlyArray<string> | undefined
): Shown => {
  const { state } = part
  const status = statusOf(part)
  const invalid = part.tool === "invalid"
  const input = invalid ? record.input ?? {} : state.input ?? {}
  const output = invalid ? undefined : outputOf(state, record)
  const title = invalid ? undefined : text(state.title)
  const error = invalid ? text(state.input?.["error"]) ?? text(state.output) : text(state.error)
  return {
    item: {
      ...contentOf(record, input, state.metadata ?? {}, output ?? "", agentPath),
      ...(title === undefined ? undefined : { title }),
      ...(error === undefined ? undefined : { error })
    },
    hasText: output !== undefined && (status !== undefined || output.length > 0),
    ...(status === undefined ? undefined : { status })
  }
}

const contentOf = (
  { server, tool }: PartRecord,
  input: Loose,
  metadata: Loose,
  output: string,
  agentPath: ReadonlyArray<string> | undefined
): ItemContent => {
  switch (tool) {
    case "bash": {
      const cwd = text(input["workdir"])
      const exitCode = metadata["exit"]
      return {
        _tag: "command",
        command: text(input["command"]) ?? "",
        output,
        ...(cwd === undefined ? undefined : { cwd }),
        ...(typeof exitCode === "number" && Number.isSafeInteger(exitCode) ? { exitCode } : undefined)
      }
    }
    case "edit":
    case "write":
    case "multiedit":
    case "patch":
    case "apply_patch":
      return { _tag: "fileChange", tool, changes: changesOf(tool, input, metadata), output }
    case "webfetch":
    case "websearch": {
      const query = text(input["query"]) ?? text(input["url"])
      return { _tag: "webSearch", output, ...(query === undefined ? undefined : { query }) }
    }
    case "task": {
      const agent = text(input["subagent_type"])
      const prompt = text(input["prompt"])
      return {
        _tag: "subagent",
        output,
        ...(agent === undefined ? undefined : { agent }),
        ...(prompt === undefined ? undefined : { prompt }),
        ...(agentPath === undefined ? undefined : { path: agentPath })
      }
    }
    default:
      // The input was parsed from JSON, so it is JSON.
      return {
        _tag: "toolCall",
        tool,
        input: input as Schema.Json,
        output,
        ...(server === undefined ? undefined : { server })
      }
  }
}

/** The session of the subagent that a `task` tool started, once the tool knows it. */
export const childOfTask = (part: Wire.ToolPart): string | undefined =>
  part.tool === "task" ? text(part.state.metadata?.["sessionId"]) : undefined

const changeWords: { readonly [word: string]: FileChange["change"] } = {
  add: "added",
  added: "added",
  Add: "added",
  delete: "deleted",
  deleted: "deleted",
  Delete: "deleted",
  move: "moved",
  moved: "moved"
}

const change = (
  path: string,
  kind: FileChange["change"],
  facts: {
    readonly diff?: unknown
    readonly additions?: unknown
    readonly deletions?: unknown
    readonly movedTo?: unknown
  }
): FileChange => {
  const diff = text(facts.diff)
  const additions = count(facts.additions)
  const deletions = count(facts.deletions)
  const movedTo = text(facts.movedTo)
  return {
    path,
    change: kind,
    ...(movedTo === undefined ? undefined : { movedTo }),
    ...(diff === undefined ? undefined : { diff }),
    ...(additions === undefined ? undefined : { additions }),
    ...(deletions === undefined ? undefined : { deletions })
  }
}

/** The files that a patch names in its own words. */
export const filesOfPatch = (patch: string): ReadonlyArray<FileChange> => {
  const changes: Array<FileChange> = []
  for (const line of patch.split("\n")) {
    const file = /^\*\*\* (Add|Update|Delete) File: (.+?)\s*$/.exec(line)
    if (file?.[1] !== undefined && file[2] !== undefined) {
      changes.push({ path: file[2], change: changeWords[file[1]] ?? "updated" })
      continue
    }
    const moved = /^\*\*\* Move to: (.+?)\s*$/.exec(line)?.[1]
    const last = changes.at(-1)
    if (moved !== undefined && last !== undefined)
      changes[changes.length - 1] = { ...last, change: "moved", movedTo: moved }
  }
  return changes
}

/** The files that a tool or an ask for permission lists in its metadata. */
export const filesOf = (metadata: Loose): ReadonlyArray<FileChange> =>
  list(metadata["files"]).flatMap((entry) => {
    const file = object(entry)
    const path = text(file?.["filePath"]) ?? text(file?.["file"]) ?? text(file?.["relativePath"])
    if (file === undefined || path === undefined) return []
    return [change(path, changeWords[text(file["type"]) ?? ""] ?? "updated", {
      diff: file["diff"] ?? file["patch"],
      additions: file["additions"],
      deletions: file["deletions"],
      movedTo: file["movePath"]
    })]
  })

const changesOf = (tool: string, input: Loose, metadata: Loose): ReadonlyArray<FileChange> => {
  const files = filesOf(metadata)
  if (files.length > 0) return files
  const created = metadata["exists"] === false || (tool === "edit" && input["oldString"] === "")
  const diffs = [metadata["filediff"], ...list(metadata["results"]).map((result) => object(result)?.["filediff"])]
    .flatMap((entry): ReadonlyArray<Loose> => {
      const diff = object(entry)
      return diff === undefined ? [] : [diff]
    })
  if (diffs.length > 0) {
    return diffs.flatMap((diff) => {
      const path = text(diff["file"])
      return path === undefined
        ? []
        : [change(path, created ? "added" : "updated", {
          diff: diff["patch"] ?? metadata["diff"],
          additions: diff["additions"],
          deletions: diff["deletions"]
        })]
    })
  }
  const path = text(input["filePath"]) ?? text(metadata["filepath"])
  if (path !== undefined) return [change(path, created ? "added" : "updated", { diff: metadata["diff"] })]
  return filesOfPatch(text(input["patchText"]) ?? "")
}

const planStatuses: { readonly [status: string]: PlanEntry["status"] } = {
  in_progress: "running",
  completed: "completed",
  cancelled: "cancelled"
}

const decodeTodos = Schema.decodeUnknownOption(Schema.Array(Wire.Todo))

/** A list of work as a plan; `undefined` when it is none. */
export const planOf = (todos: unknown): ReadonlyArray<PlanEntry> | undefined => {
  const decoded = decodeTodos(todos)
  if (decoded._tag === "None") return undefined
  return decoded.value.map((todo) => ({
    text: todo.content,
    status: planStatuses[todo.status ?? ""] ?? "pending",
    ...(todo.priority === undefined ? undefined : { priority: todo.priority })
  }))
}

/** The changed files of a session. */
export const diffOf = (diff: ReadonlyArray<Wire.FileDiff>): ReadonlyArray<FileChange> =>
  diff.flatMap((file) =>
    file.file === undefined
      ? []
      : [change(file.file, changeWords[file.status ?? ""] ?? "updated", {
        diff: file.patch,
        additions: file.additions,
        deletions: file.deletions
      })]
  )
