/** Items in a line or two. */
import type { FileChange, Item, ItemStatus, PlanEntry } from "@reins/core/Item"
import * as sanitise from "./sanitise.ts"
import type { Style } from "./style.ts"

/** Lines of output shown of a command that failed. */
const maxOutput = 8

const verbs: { readonly [change in FileChange["change"]]: string } = {
  added: "Added",
  updated: "Changed",
  deleted: "Deleted",
  moved: "Moved"
}

const name = (item: Extract<Item, { _tag: "toolCall" }>): string => {
  const tool = item.server === undefined ? item.tool : `${item.server}/${item.tool}`
  const title = item.title ?? ""
  return sanitise.line(title === "" || title === tool ? tool : `${tool} ${title}`)
}

/** What the item is doing, for the time it does it. */
export const underWay = (item: Item): string | undefined => {
  switch (item._tag) {
    case "reasoning":
      return "Thinking"
    case "command":
      return `Running ${sanitise.line(item.command, 60)}`
    case "fileChange":
      return `Editing ${sanitise.line(item.changes.map((change) => change.path).join(", "), 60)}`
    case "toolCall":
      return `Using ${sanitise.line(name(item), 60)}`
    case "webSearch":
      return `Searching the web for ${sanitise.line(item.query ?? "", 60)}`
    case "subagent":
      return `Subagent ${sanitise.line(item.title ?? item.agent ?? "", 60)}`
    case "compaction":
      return "Compacting the conversation"
    case "userMessage":
    case "assistantMessage":
    case "plan":
      return undefined
  }
}

const changeLine = (change: FileChange): string => {
  const counted = change.additions === undefined && change.deletions === undefined
    ? ""
    : ` (+${change.additions ?? 0} -${change.deletions ?? 0})`
  const target = change.movedTo === undefined ? "" : ` to ${sanitise.line(change.movedTo)}`
  return `${verbs[change.change]} ${sanitise.line(change.path)}${target}${counted}`
}

const titles = (item: Item): ReadonlyArray<string> => {
  switch (item._tag) {
    case "command":
      return [`Ran ${sanitise.line(item.command)}`]
    case "fileChange":
      return item.changes.length === 0
        ? [`Edited ${sanitise.line(item.title ?? item.tool ?? "files")}`]
        : item.changes.map(changeLine)
    case "toolCall":
      return [`Used ${name(item)}`]
    case "webSearch":
      return [`Searched the web for ${sanitise.line(item.query ?? "")}`]
    case "subagent":
      return [`Subagent ${sanitise.line(item.title ?? item.agent ?? "")}`]
    case "compaction":
      return ["Compacted the conversation"]
    case "userMessage":
    case "assistantMessage":
    case "reasoning":
    case "plan":
      return []
  }
}

const marks: { readonly [status in ItemStatus]: (paint: Style) => string } = {
  completed: (paint) => paint.green("\u2713"),
  failed: (paint) => paint.red("\u2717"),
  declined: (paint) => paint.yellow("\u2298"),
  interrupted: (paint) => paint.yellow("\u25a0"),
  discarded: () => ""
}

const endings: { readonly [status in ItemStatus]: string } = {
  completed: "",
  failed: " (failed)",
  declined: " (declined)",
  interrupted: " (interrupted)",
  discarded: ""
}

/** The lines for an item that has ended; none for one that says nothing by itself. */
export const finished = (item: Item, status: ItemStatus, paint: Style): ReadonlyArray<string> => {
  if (status === "discarded") return []
  const failedCommand = item._tag === "command" && item.exitCode !== undefined && item.exitCode !== 0
  const mark = failedCommand && status === "completed" ? marks.failed(paint) : marks[status](paint)
  const ending = failedCommand ? ` (exit code ${item.exitCode})` : endings[status]
  const lines = titles(item).map((title) => `${mark} ${title}${ending}`)
  if (lines.length === 0) return []
  const detail = status === "failed" || failedCommand
    ? (item._tag === "command" && item.output !== "" ? item.output : item.error ?? "")
    : ""
  const tail = sanitise.text(detail).trim().split("\n").filter((line) => line.trim() !== "")
  return [...lines, ...tail.slice(-maxOutput).map((line) => paint.dim(`    ${sanitise.line(line)}`))]
}

const boxes: { readonly [status in PlanEntry["status"]]: string } = {
  pending: "\u2610",
  running: "\u25b8",
  completed: "\u2611",
  cancelled: "\u2612"
}

export const plan = (entries: ReadonlyArray<PlanEntry>, paint: Style): ReadonlyArray<string> =>
  entries.map((entry) => {
    const line = `${boxes[entry.status]} ${sanitise.line(entry.text)}`
    return entry.status === "running" ? line : paint.dim(line)
  })
