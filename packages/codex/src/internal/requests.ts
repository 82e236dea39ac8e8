/** What Codex asks, as requests of ours, and our answers in the words that it takes. */
import type { Answer, AnswerOption, Question, RequestFacts } from "@reins/core/AgentRequest"
import * as HostTool from "@reins/core/HostTool"
import type { RequestSignal } from "@reins/core/Signal"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { unwrapped } from "./items.ts"
import type { ThreadState } from "./state.ts"
import { askKey } from "./state.ts"

const optional = Schema.optionalKey
const nullable = <S extends Schema.Top>(schema: S) => optional(Schema.NullOr(schema))
const place = { threadId: Schema.String, turnId: nullable(Schema.String), itemId: optional(Schema.String) }

const Command = Schema.Struct({
  ...place,
  command: nullable(Schema.String),
  cwd: nullable(Schema.String),
  reason: nullable(Schema.String),
  networkApprovalContext: nullable(Schema.Struct({ host: optional(Schema.String) })),
  proposedExecpolicyAmendment: nullable(Schema.Array(Schema.String))
})

const FileChange = Schema.Struct({ ...place, reason: nullable(Schema.String), grantRoot: nullable(Schema.String) })

const Permissions = Schema.Struct({
  ...place,
  cwd: nullable(Schema.String),
  reason: nullable(Schema.String),
  permissions: Schema.Json
})

const UserInput = Schema.Struct({
  ...place,
  questions: Schema.Array(Schema.Struct({
    id: Schema.String,
    header: nullable(Schema.String),
    question: Schema.String,
    isOther: optional(Schema.Boolean),
    isSecret: optional(Schema.Boolean),
    options: nullable(Schema.Array(Schema.Struct({
      label: Schema.String,
      description: nullable(Schema.String)
    })))
  }))
})

const Elicitation = Schema.Struct({
  ...place,
  serverName: Schema.String,
  mode: Schema.String,
  message: optional(Schema.String),
  requestedSchema: optional(Schema.Json),
  url: optional(Schema.String),
  _meta: nullable(Schema.Json)
})

const ToolApproval = Schema.Struct({
  codex_approval_kind: Schema.Literal("mcp_tool_call"),
  tool_name: optional(Schema.String),
  tool_params: optional(Schema.Json),
  persist: nullable(Schema.Union([Schema.String, Schema.Array(Schema.String)]))
})

/** The two requests of the first protocol. */
const OldCommand = Schema.Struct({
  conversationId: Schema.String,
  callId: optional(Schema.String),
  command: Schema.Array(Schema.String),
  cwd: optional(Schema.String),
  reason: nullable(Schema.String)
})
const OldPatch = Schema.Struct({
  conversationId: Schema.String,
  callId: optional(Schema.String),
  fileChanges: Schema.Record(Schema.String, Schema.Unknown),
  grantRoot: nullable(Schema.String),
  reason: nullable(Schema.String)
})

const HostCall = Schema.Struct({
  ...place,
  callId: Schema.String,
  namespace: nullable(Schema.String),
  tool: Schema.String,
  arguments: optional(Schema.Json)
})

const decode = {
  hostCall: Schema.decodeUnknownResult(HostCall),
  command: Schema.decodeUnknownResult(Command),
  fileChange: Schema.decodeUnknownResult(FileChange),
  permissions: Schema.decodeUnknownResult(Permissions),
  userInput: Schema.decodeUnknownResult(UserInput),
  elicitation: Schema.decodeUnknownResult(Elicitation),
  toolApproval: Schema.decodeUnknownResult(ToolApproval),
  oldCommand: Schema.decodeUnknownResult(OldCommand),
  oldPatch: Schema.decodeUnknownResult(OldPatch)
}

/** What an approval may do besides what it says: told with each, since a policy and a person decide by it. */
const sandboxNote =
  "Codex may run an accepted command again outside of its sandbox when the sandbox has stopped it, without asking again."

const approval: ReadonlyArray<AnswerOption> = ["accept", "acceptForSession", "decline", "cancel"]

interface Asked {
  readonly id: number | string
  readonly method: string
  readonly params?: unknown
}

interface Parts {
  readonly turn?: string | null | undefined
  readonly item?: string | undefined
  readonly kind: RequestSignal["kind"]
  readonly subject: string
  readonly options?: ReadonlyArray<AnswerOption>
  readonly facts: RequestFacts
}

/** Where a change of the first protocol moves its file: `{ update: { move_path } }`, or without the word around it. */
const movedTo = (change: unknown): ReadonlyArray<string> => {
  if (!Predicate.isObject(change)) return []
  return Object.entries(change).flatMap(([key, value]) =>
    key === "move_path" ? (typeof value === "string" ? [value] : []) : key === "update" ? movedTo(value) : []
  )
}

const given = <K extends string, V>(key: K, value: V | null | undefined): { readonly [P in K]?: V } =>
  value === undefined || value === null ? {} : { [key]: value } as { readonly [P in K]: V }

/** A request of ours; `undefined` where Codex asks for what nobody here can give. */
export const opened = (
  state: ThreadState,
  asked: Asked
): Result.Result<RequestSignal, { readonly message: string }> | undefined => {
  const signal = ({ facts, item, kind, options = approval, subject, turn }: Parts): RequestSignal => ({
    _tag: "requestOpened",
    key: askKey(state, asked.id),
    kind,
    subject,
    options,
    facts,
    ...given("turn", turn),
    ...given("item", item)
  })
  switch (asked.method) {
    case "item/commandExecution/requestApproval":
      return Result.map(decode.command(asked.params), (ask) => {
        const host = ask.networkApprovalContext?.host
        const command = unwrapped(ask.command ?? "")
        return signal({
          turn: ask.turnId,
          item: ask.itemId,
          kind: host === undefined ? "command" : "network",
          subject: host === undefined ? command : `Network access to ${host}`,
          facts: {
            tool: "exec_command",
            reason: ask.reason === undefined || ask.reason === null ? sandboxNote : `${ask.reason}\n${sandboxNote}`,
            ...(command === "" ? undefined : { command }),
            ...given("cwd", ask.cwd),
            ...(host === undefined ? undefined : { hosts: [host] }),
            ...(ask.proposedExecpolicyAmendment === undefined || ask.proposedExecpolicyAmendment === null
              ? undefined
              : { always: [ask.proposedExecpolicyAmendment.join(" ")] })
          }
        })
      })
    case "item/fileChange/requestApproval":
      return Result.map(decode.fileChange(asked.params), (ask) => {
        // The request has no diff: it is that of the item which was told before.
        const changes = state.items.get(ask.itemId ?? "")?.changes ?? []
        return signal({
          turn: ask.turnId,
          item: ask.itemId,
          kind: "edit",
          subject: changes.map(({ movedTo, path }) =>
            movedTo === undefined ? path : `${path} → ${movedTo}`
          ).join(", ") ||
            "Change files",
          facts: {
            tool: "apply_patch",
            // Where a file is moved to is written to as well.
            paths: [
              ...changes.flatMap(({ movedTo, path }) => movedTo === undefined ? [path] : [path, movedTo]),
              ...(ask.grantRoot === undefined || ask.grantRoot === null ? [] : [ask.grantRoot])
            ],
            diff: changes.map(({ diff, path }) => `--- ${path}\n+++ ${path}\n${diff ?? ""}`).join("\n"),
            ...given("reason", ask.reason)
          }
        })
      })
    case "item/permissions/requestApproval":
      return Result.map(decode.permissions(asked.params), (ask) =>
        signal({
          turn: ask.turnId,
          item: ask.itemId,
          kind: "permissions",
          subject: "More permissions",
          options: ["accept", "acceptForSession", "decline", "cancel"],
          facts: {
            tool: "request_permissions",
            input: ask.permissions,
            ...given("cwd", ask.cwd),
            ...given("reason", ask.reason)
          }
        }))
    case "item/tool/requestUserInput":
      return Result.map(decode.userInput(asked.params), (ask) =>
        signal({
          turn: ask.turnId,
          item: ask.itemId,
          kind: "question",
          subject: ask.questions[0]?.question ?? "A question",
          options: ["answers", "decline", "cancel"],
          facts: {
            questions: ask.questions.map((question): Question => ({
              text: question.question,
              ...(question.header === undefined || question.header === null || question.header === ""
                ? undefined
                : { header: question.header }),
              options: (question.options ?? []).map(({ description, label }) => ({
                label,
                ...given("description", description)
              })),
              multiple: false,
              ...(question.isSecret === true ? { secret: true } : undefined),
              freeText: question.isOther === true || (question.options ?? []).length === 0
            }))
          }
        }))
    case "mcpServer/elicitation/request":
      return Result.map(decode.elicitation(asked.params), (ask) => {
        const tool = decode.toolApproval(ask._meta)
        if (Result.isSuccess(tool)) {
          const { persist, tool_name: name = "", tool_params: input } = tool.success
          return signal({
            turn: ask.turnId,
            kind: "tool",
            subject: `${ask.serverName}: ${name === "" ? ask.message ?? "a tool" : name}`,
            options: [persist ?? []].flat().includes("session") ? approval : ["accept", "decline", "cancel"],
            facts: {
              tool: `${ask.serverName}.${name}`,
              ...(input === undefined ? undefined : { input }),
              ...given("reason", ask.message)
            }
          })
        }
        return signal({
          turn: ask.turnId,
          kind: "elicitation",
          subject: ask.message ?? `${ask.serverName} asks for something`,
          options: ask.mode === "url" ? ["accept", "decline", "cancel"] : ["content", "decline", "cancel"],
          facts: {
            tool: ask.serverName,
            ...(ask.requestedSchema === undefined ? undefined : { schema: ask.requestedSchema }),
            ...given("url", ask.url)
          }
        })
      })
    case "item/tool/call":
      return Result.map(decode.hostCall(asked.params), (ask) =>
        signal({
          turn: ask.turnId,
          item: ask.callId,
          kind: "hostTool",
          subject: ask.tool,
          options: ["content", "decline", "cancel"],
          facts: { tool: ask.tool, ...given("input", ask.arguments) }
        }))
    case "execCommandApproval":
      return Result.map(decode.oldCommand(asked.params), (ask) =>
        signal({
          item: ask.callId,
          kind: "command",
          subject: ask.command.join(" "),
          facts: {
            argv: ask.command,
            command: ask.command.join(" "),
            ...given("cwd", ask.cwd),
            ...given("reason", ask.reason)
          }
        }))
    case "applyPatchApproval":
      return Result.map(decode.oldPatch(asked.params), (ask) =>
        signal({
          item: ask.callId,
          kind: "edit",
          subject: Object.keys(ask.fileChanges).join(", "),
          facts: {
            tool: "apply_patch",
            paths: [
              ...Object.keys(ask.fileChanges),
              ...Object.values(ask.fileChanges).flatMap(movedTo),
              ...(ask.grantRoot === undefined || ask.grantRoot === null ? [] : [ask.grantRoot])
            ],
            ...given("reason", ask.reason)
          }
        }))
    default:
      return undefined
  }
}

const known = new Set([
  "item/commandExecution/requestApproval",
  "item/fileChange/requestApproval",
  "item/permissions/requestApproval",
  "item/tool/requestUserInput",
  "mcpServer/elicitation/request",
  "item/tool/call",
  "execCommandApproval",
  "applyPatchApproval"
])

/** Whether a person or a policy can answer a request of this method. */
export const isKnown = (method: string): boolean => known.has(method)

/**
 * Whether Codex ends the turn by itself when such a request is cancelled; for the others it has to be interrupted
 * (measured on 0.169.0).
 */
export const endsByCancel = (method: string): boolean =>
  method === "item/commandExecution/requestApproval" || method === "item/fileChange/requestApproval" ||
  method === "execCommandApproval" || method === "applyPatchApproval"

/** The thread that a request belongs to; the first protocol called it a conversation. */
export const threadOf = (params: unknown): string | undefined => {
  if (!Predicate.isObject(params)) return undefined
  const { conversationId, threadId } = params as { readonly threadId?: unknown; readonly conversationId?: unknown }
  return typeof threadId === "string" ? threadId : typeof conversationId === "string" ? conversationId : undefined
}

type Decision = "accept" | "acceptForSession" | "decline" | "cancel"

/** What is no decision declines where one is asked for. */
const decisionOf = (answer: Answer): Decision => {
  switch (answer._tag) {
    case "accept":
    case "acceptForSession":
    case "decline":
    case "cancel":
      return answer._tag
    case "answers":
    case "content":
      return "decline"
  }
}

/** The words of the first protocol. */
const oldWords: Readonly<Record<Decision, string>> = {
  accept: "approved",
  acceptForSession: "approved_for_session",
  decline: "denied",
  cancel: "abort"
}

/**
 * An answer in the words that Codex takes for this method. A word that it does not know would be swallowed without an
 * error, and the turn would end as if all were well.
 */
export const answered = (method: string, params: unknown, answer: Answer): unknown => {
  const decision = decisionOf(answer)
  switch (method) {
    case "item/commandExecution/requestApproval":
    case "item/fileChange/requestApproval":
      return { decision }
    case "execCommandApproval":
    case "applyPatchApproval":
      return { decision: oldWords[decision] }
    case "item/permissions/requestApproval": {
      const wanted = Result.getOrUndefined(decode.permissions(params))?.permissions
      return decision === "accept" || decision === "acceptForSession"
        ? { permissions: wanted ?? {}, scope: decision === "accept" ? "turn" : "session" }
        : { permissions: {}, scope: "turn" }
    }
    case "item/tool/requestUserInput": {
      const questions = Result.getOrUndefined(decode.userInput(params))?.questions ?? []
      const said = answer._tag === "answers"
        ? answer.answers
        : answer._tag === "decline" && answer.reason !== undefined
        ? questions.map(() => [answer.reason ?? ""])
        : []
      return {
        answers: Object.fromEntries(
          questions.flatMap(({ id }, index) => {
            const answers = said[index]
            return answers === undefined ? [] : [[id, { answers }] as const]
          })
        )
      }
    }
    case "mcpServer/elicitation/request": {
      if (answer._tag === "content") return { action: "accept", content: answer.value, _meta: null }
      const isTool = Result.isSuccess(decode.toolApproval(Result.getOrUndefined(decode.elicitation(params))?._meta))
      if (decision === "accept" || decision === "acceptForSession") {
        return {
          action: "accept",
          content: isTool ? {} : null,
          _meta: isTool && decision === "acceptForSession" ? { persist: "session" } : null
        }
      }
      return { action: decision, content: null, _meta: null }
    }
    case "item/tool/call":
      return answer._tag === "content"
        ? { contentItems: [{ type: "inputText", text: HostTool.textOf(answer.value) }], success: true }
        : {
          contentItems: [{
            type: "inputText",
            text: (answer._tag === "decline" ? answer.reason : undefined) ?? "The host refused the call."
          }],
          success: false
        }
    default:
      return undefined
  }
}
