/** Asks for permission and questions as requests. */
import type { Question, RequestFacts, RequestKind } from "@reins/core/AgentRequest"
import type { RequestSignal } from "@reins/core/Signal"
import type * as Schema from "effect/Schema"
import type * as Wire from "../OpenCodeSchema.ts"
import * as items from "./items.ts"
import type { NormaliserState, PartRecord, WireEvent } from "./state.ts"
import { callKey, contextOf, nativeOf } from "./state.ts"

/** Longest line for a person, in characters. */
const maxSubject = 200

const text = (value: unknown): string | undefined => typeof value === "string" && value.length > 0 ? value : undefined

const line = (value: string): string => {
  const flat = value.replace(/\s+/g, " ").trim()
  return flat.length > maxSubject ? `${flat.slice(0, maxSubject - 1)}…` : flat
}

const kinds: { readonly [permission: string]: RequestKind } = {
  bash: "command",
  edit: "edit",
  write: "edit",
  patch: "edit",
  read: "read",
  glob: "read",
  grep: "read",
  list: "read",
  webfetch: "network",
  websearch: "network",
  external_directory: "externalDirectory",
  task: "subagent",
  doom_loop: "tool"
}

const hostOf = (url: string | undefined): string | undefined => {
  if (url === undefined || !URL.canParse(url)) return undefined
  return text(new URL(url).host)
}

/** The files that an ask is about. One that names several in one text is read from its list. */
const pathsOf = (kind: RequestKind, ask: Wire.Permission): ReadonlyArray<string> => {
  const metadata = ask.metadata ?? {}
  const patterns = ask.patterns ?? []
  switch (kind) {
    case "edit": {
      const files = items.filesOf(metadata)
      if (files.length > 0) {
        return files.flatMap((file) => file.movedTo === undefined ? [file.path] : [file.path, file.movedTo])
      }
      const path = text(metadata["filepath"])
      return path === undefined || patterns.length > 1 ? patterns : [path]
    }
    case "read": {
      const path = text(metadata["filepath"]) ?? text(metadata["filePath"])
      if (path !== undefined) return [path]
      // A glob or a pattern of grep is no path; the directory that it searches is one.
      if (ask.permission === "read" || ask.permission === "list") return patterns
      return [text(metadata["path"]) ?? "."]
    }
    case "externalDirectory": {
      const path = text(metadata["filepath"]) ?? text(metadata["parentDir"])
      return path === undefined || patterns.length > 1
        ? patterns.map((pattern) => pattern.replace(/[\\/]\*+$/, "") || pattern)
        : [path]
    }
    default:
      return []
  }
}

const subjectOf = (kind: RequestKind, ask: Wire.Permission, facts: RequestFacts): string => {
  const patterns = (ask.patterns ?? []).join(", ")
  const paths = (facts.paths ?? []).join(", ") || patterns
  switch (kind) {
    case "command":
      return `Run ${facts.command ?? patterns}`
    case "edit":
      return `Change ${paths}`
    case "read":
      return ask.permission === "read" || ask.permission === "list"
        ? `Read ${paths}`
        : `Search ${paths} for ${patterns}`
    case "network":
      return ask.permission === "websearch" ? `Search the web for ${patterns}` : `Fetch ${facts.url ?? patterns}`
    case "externalDirectory":
      return `Use ${paths}, which is outside of the project`
    case "subagent":
      return `Start the subagent ${patterns}${
        text(ask.metadata?.["description"]) === undefined ? "" : `: ${text(ask.metadata?.["description"])}`
      }`
    case "tool":
      return `Call ${facts.tool ?? patterns} again: it was called several times with the same input`
    default:
      return patterns.length === 0 ? `Use ${ask.permission}` : `Use ${ask.permission}: ${patterns}`
  }
}

/** Whether the call behind an ask is known and its input is not: the frame that tells it follows at once. */
export const isEarly = (state: NormaliserState, ask: Wire.Permission): boolean => {
  const part = partOf(state, ask.tool)
  return part !== undefined && part.open && Object.keys(part.input ?? {}).length === 0
}

const partOf = (state: NormaliserState, tool: Wire.Permission["tool"]): PartRecord | undefined => {
  if (tool === undefined) return undefined
  const id = state.calls.get(callKey(tool.messageID, tool.callID))
  return id === undefined ? undefined : state.parts.get(id)
}

/** An ask for permission. */
export const ofPermission = (
  state: NormaliserState,
  ask: Wire.Permission,
  event: WireEvent | undefined
): RequestSignal => {
  const kind = kinds[ask.permission] ?? ask.permission
  const metadata = ask.metadata ?? {}
  const part = partOf(state, ask.tool)
  const known = part?.input !== undefined && Object.keys(part.input).length > 0 ? part.input : undefined
  const input = known ?? (kind === "tool" ? metadata["input"] : undefined)
  const command = kind === "command" ? text(metadata["command"]) ?? text(known?.["command"]) : undefined
  const cwd = kind === "command" ? text(known?.["workdir"]) : undefined
  const paths = pathsOf(kind, ask)
  const diff = text(metadata["diff"])
  const tool = (kind === "tool" ? text(metadata["tool"]) : undefined) ?? part?.tool ?? ask.permission
  const url = kind === "network" ? text(metadata["url"]) ?? text(known?.["url"]) : undefined
  const host = hostOf(url)
  const facts: RequestFacts = {
    tool,
    ...(command === undefined ? undefined : { command }),
    ...(cwd === undefined ? undefined : { cwd }),
    ...(paths.length === 0 ? undefined : { paths }),
    ...(diff === undefined ? undefined : { diff }),
    ...(ask.always === undefined || ask.always.length === 0 ? undefined : { always: ask.always }),
    // Parsed from JSON, so it is JSON.
    ...(input === undefined ? undefined : { input: input as Schema.Json }),
    ...(url === undefined ? undefined : { url }),
    ...(host === undefined ? undefined : { hosts: [host] })
  }
  return {
    _tag: "requestOpened",
    key: ask.id,
    kind,
    subject: line(subjectOf(kind, ask, facts)),
    options: ["accept", "acceptForSession", "decline", "cancel"],
    facts,
    ...(part === undefined ? undefined : { item: part.id }),
    ...contextOf(state, ask.sessionID, ask.tool?.messageID),
    ...nativeOf(state, event, { session: ask.sessionID, request: ask.id, message: ask.tool?.messageID })
  }
}

/** Questions to the user. */
export const ofQuestion = (
  state: NormaliserState,
  ask: Wire.Question,
  event: WireEvent | undefined
): RequestSignal => {
  const part = partOf(state, ask.tool)
  const questions: ReadonlyArray<Question> = ask.questions.map((question) => ({
    text: question.question,
    options: question.options ?? [],
    multiple: question.multiple === true,
    freeText: question.custom !== false,
    ...(question.header === undefined ? undefined : { header: question.header })
  }))
  const more = questions.length > 1 ? ` (and ${questions.length - 1} more)` : ""
  return {
    _tag: "requestOpened",
    key: ask.id,
    kind: "question",
    subject: line(`${questions[0]?.text ?? "The agent asks"}${more}`),
    options: ["answers", "decline", "cancel"],
    facts: { questions, ...(part === undefined ? undefined : { tool: part.tool }) },
    ...(part === undefined ? undefined : { item: part.id }),
    ...contextOf(state, ask.sessionID, ask.tool?.messageID),
    ...nativeOf(state, event, { session: ask.sessionID, request: ask.id, message: ask.tool?.messageID })
  }
}
