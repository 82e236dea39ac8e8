/** What Codex offers beside its sessions: models, modes, skills, conversations, and what is found of it. */
import * as AgentError from "@reins/core/AgentError"
import type { Mode } from "@reins/core/Catalogue"
import type { Conversation } from "@reins/core/Conversation"
import type { Model, Probe, ProviderInstance } from "@reins/core/Provider"
import * as Effect from "effect/Effect"
import type * as Wire from "../CodexSchema.ts"
import type * as CodexServer from "../CodexServer.ts"
import * as cursors from "./cursor.ts"
import type { Servers } from "./servers.ts"
import { beside } from "./servers.ts"
import * as skills from "./skills.ts"

/** Conversations of one page. */
const pageSize = 50

const modes: ReadonlyArray<Mode> = [
  { id: "default", name: "Default", selectable: true, mentionable: false, isDefault: true },
  {
    id: "plan",
    name: "Plan",
    description: "Asks and plans, and changes nothing.",
    selectable: true,
    mentionable: false
  }
]

export const checkMode = (mode: string | undefined): Effect.Effect<void, AgentError.AgentError> =>
  mode === undefined || modes.some(({ id }) => id === mode) ? Effect.void : AgentError.fail(
    new AgentError.InvalidRequest({
      field: "mode",
      description: `Codex has the modes ${modes.map(({ id }) => id).join(" and ")}; "${mode}" is none.`
    }),
    { provider: "codex" }
  )

const conversationOf = (thread: Wire.Thread): Conversation => {
  const title = thread.name ?? thread.preview ?? ""
  return {
    cursor: cursors.make(thread.id),
    ...(thread.cwd === undefined ? undefined : { cwd: thread.cwd }),
    ...(title === "" ? undefined : { title }),
    // Seconds on the wire.
    ...(thread.updatedAt === undefined ? undefined : { updatedAt: thread.updatedAt * 1_000 })
  }
}

const modelOf = (model: Wire.Model): Model => ({
  id: model.model,
  name: model.displayName ?? model.model,
  variants: (model.supportedReasoningEfforts ?? []).map(({ reasoningEffort }) => reasoningEffort),
  images: (model.inputModalities ?? []).includes("image"),
  isDefault: model.isDefault === true
})

const models = ({ client }: CodexServer.Live) =>
  Effect.map(client.listModels(), ({ data }) => data.filter(({ hidden }) => hidden !== true).map(modelOf))

const probe = (servers: Servers, testedVersion: string): Effect.Effect<Probe> =>
  Effect.gen(function*() {
    const binary = yield* servers.binary(process.cwd())
    const { account, version } = yield* beside(
      servers,
      { cwd: process.cwd() },
      ({ client, version }) => Effect.map(client.account, (account) => ({ account, version }))
    )
    const missing = account.requiresOpenaiAuth && (account.account === null || account.account === undefined)
    const order = version.localeCompare(testedVersion, undefined, { numeric: true })
    return {
      installed: true,
      ...(binary === undefined ? undefined : { binary }),
      version,
      support: order === 0 ? "tested" as const : order < 0 ? "older" as const : "newer" as const,
      protocol: "app-server",
      auth: missing ? "missing" as const : "ok" as const,
      ...(missing
        ? { advice: "Sign in with \"codex login\"." }
        : order === 0
        ? undefined
        : { advice: `Version ${version} was not tested; ${testedVersion} was.` })
    }
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed({
        installed: error.reason._tag !== "NotInstalled",
        support: "unknown" as const,
        auth: "unknown" as const,
        advice: `${error.message} ${error.advice}`
      })
    )
  )

type Offers = Required<
  Pick<
    ProviderInstance,
    "probe" | "models" | "modes" | "commands" | "conversations" | "conversation" | "removeConversation"
  >
>

export const make = (servers: Servers, testedVersion: string): Offers => ({
  probe: probe(servers, testedVersion),
  models: (place) => beside(servers, place, models),
  modes: () => Effect.succeed(modes),
  commands: (place) =>
    beside(
      servers,
      place,
      ({ client }) => Effect.map(skills.of(client, place.cwd), (all) => all.map(skills.commandOf))
    ),
  conversations: ({ after, cwd, limit = pageSize }) =>
    beside(servers, { cwd: cwd ?? process.cwd() }, ({ client }) =>
      Effect.map(
        client.listThreads({
          limit,
          ...(cwd === undefined ? undefined : { cwd }),
          ...(after === undefined ? undefined : { cursor: after })
        }),
        ({ data, nextCursor }) => ({
          conversations: data.map(conversationOf),
          ...(nextCursor === undefined || nextCursor === null ? undefined : { after: nextCursor })
        })
      )),
  conversation: ({ cursor, cwd }) =>
    Effect.flatMap(
      cursors.decode(cursor),
      ({ threadId }) =>
        beside(servers, { cwd: cwd ?? process.cwd() }, ({ client }) =>
          Effect.map(client.readThread(threadId), ({ thread }) =>
            conversationOf(thread)))
    ),
  removeConversation: ({ cursor, cwd }) =>
    Effect.flatMap(
      cursors.decode(cursor),
      ({ threadId }) =>
        beside(servers, { cwd }, ({ client }) =>
          client.deleteThread(threadId).pipe(
            Effect.as("deleted" as const),
            Effect.catchIf(({ reason }) => reason._tag === "SessionNotFound", () => Effect.succeed("gone" as const))
          ))
    )
})
