/** What OpenCode offers in a directory, and whether a prompt fits to it. */
import * as AgentError from "@reins/core/AgentError"
import type { Command, Mode } from "@reins/core/Catalogue"
import type { PromptInput } from "@reins/core/Prompt"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { OpenCodeClient } from "../OpenCodeClient.ts"
import type * as Wire from "../OpenCodeSchema.ts"
import * as wire from "./wire.ts"

/** Used where neither the host nor the configuration names one. */
const defaultAgent = "build"

const invalid = (field: string, description: string) =>
  AgentError.make(new AgentError.InvalidRequest({ field, description }), { provider: "opencode" })

const list = (names: ReadonlyArray<string>): string => {
  const shown = names.slice(0, 20).join(", ")
  return names.length === 0 ? "none" : names.length > 20 ? `${shown}, and ${names.length - 20} more` : shown
}

/** The field where it has a value. */
const given = <K extends string, V>(key: K, value: V | null | undefined) =>
  (value === undefined || value === null ? {} : { [key]: value }) as { readonly [P in K]?: V }

const modeOf = (agent: wire.Agent, chosen: string): Mode => ({
  id: agent.name,
  name: agent.name,
  ...given("description", agent.description),
  selectable: agent.mode !== "subagent",
  mentionable: agent.mode !== "primary",
  ...given(
    "model",
    agent.model?.modelID === undefined ? undefined : `${agent.model.providerID}/${agent.model.modelID}`
  ),
  ...(agent.name === chosen ? { isDefault: true } : undefined)
})

export const modes = (
  client: OpenCodeClient,
  directory: string
): Effect.Effect<ReadonlyArray<Mode>, AgentError.AgentError> =>
  Effect.map(
    Effect.all([client.agents(directory), client.config(directory)], { concurrency: 2 }),
    ([agents, config]) =>
      agents.filter((agent) => agent.hidden !== true).map((agent) =>
        modeOf(agent, config.default_agent ?? defaultAgent)
      )
  )

const sourceOf = (source: string | null | undefined): Command["source"] =>
  source === "skill" || source === "mcp" ? source : "command"

/** Commands of the shell in a template; OpenCode runs them, unasked, when it fills the template in. */
const shell = /!`([^`]+)`/g

const commandOf = (command: wire.Command): Command => {
  const template = typeof command.template === "string" ? command.template : ""
  const runs = Array.from(template.matchAll(shell), (match) => match[1] ?? "")
  return {
    name: command.name,
    ...given("description", command.description),
    source: sourceOf(command.source),
    ...given("mode", command.agent),
    ...given("model", command.model),
    ...(runs.length === 0 ? undefined : { runs })
  }
}

export const commands = (
  client: OpenCodeClient,
  directory: string
): Effect.Effect<ReadonlyArray<Command>, AgentError.AgentError> =>
  Effect.map(client.commands(directory), (all) => all.map(commandOf))

/** The commands of an answer that was recorded. */
export const readCommands = (answer: ReadonlyArray<unknown>): ReadonlyArray<Command> =>
  wire.readableCommands(answer).map(commandOf)

/** What a session uses now. */
export interface InUse {
  readonly client: OpenCodeClient
  readonly directory: string
  readonly sessionID: string
  /** Where the server process itself runs; `undefined`: not known. */
  readonly serverDirectory: string | undefined
  readonly model: string | undefined
  readonly mode: string | undefined
}

export const splitModel = (model: string) => {
  const slash = model.indexOf("/")
  return { providerID: model.slice(0, slash), modelID: model.slice(slash + 1) }
}

/** The model that the next prompt goes to, in the order in which OpenCode itself chooses; `undefined`: not known. */
export const modelInUse = Effect.fnUntraced(function*(
  use: InUse
): Effect.fn.Return<string | undefined, AgentError.AgentError> {
  if (use.model !== undefined) return use.model
  const { client, directory } = use
  const [session, agents, config, offer] = yield* Effect.all([
    client.getSession(use.sessionID),
    client.agents(directory),
    client.config(directory),
    client.providers(directory)
  ], { concurrency: "unbounded" })
  const last = Option.getOrUndefined(session)
  const name = use.mode ?? last?.agent ?? config.default_agent ?? defaultAgent
  const own = agents.find((agent) => agent.name === name)?.model
  if (own !== undefined && own !== null) return `${own.providerID}/${own.modelID}`
  if (last?.model !== undefined) return `${last.model.providerID}/${last.model.id}`
  if (config.model !== undefined) return config.model
  const [first] = offer.providers
  const chosen = first === undefined ? undefined : offer.default?.[first.id]
  return offer.providers.length === 1 && first !== undefined && chosen !== undefined
    ? `${first.id}/${chosen}`
    : undefined
})

const findModel = (offer: Wire.ModelProviders, model: string): Wire.Model | undefined => {
  const { modelID, providerID } = splitModel(model)
  const provider = offer.providers.find((provider) => provider.id === providerID)
  return provider === undefined
    ? undefined
    : Object.values(provider.models).find((entry) => entry.id === modelID) ?? provider.models[modelID]
}

/** A variant that the model does not have is left out by the server without a word (measured on 1.18.33). */
export const checkVariant = Effect.fnUntraced(function*(
  use: InUse,
  variant: string | undefined
): Effect.fn.Return<void, AgentError.AgentError> {
  if (variant === undefined) return
  const model = yield* modelInUse(use)
  const offer = yield* use.client.providers(use.directory)
  const found = model === undefined ? undefined : findModel(offer, model)
  const known = Object.keys(found?.variants ?? {})
  if (known.includes(variant)) return
  return yield* invalid(
    "variant",
    model === undefined
      ? "A variant belongs to a model: choose the model, too."
      : `The model "${model}" has no variant "${variant}". It has: ${list(known)}.`
  )
})

/** An unknown mode is told as an error of the session only, behind a prompt that nothing comes of. */
export const checkMode = Effect.fnUntraced(function*(
  use: InUse,
  mode: string | undefined
): Effect.fn.Return<void, AgentError.AgentError> {
  if (mode === undefined) return
  const known = (yield* modes(use.client, use.directory)).filter((known) => known.selectable)
  if (known.some(({ id }) => id === mode)) return
  return yield* invalid("mode", `OpenCode has no mode "${mode}" here. It has: ${list(known.map(({ id }) => id))}.`)
})

/** Refuses what the server would drop, or replace by words of its own, without telling anybody but the model. */
export const accepts = Effect.fnUntraced(function*(
  use: InUse,
  input: PromptInput
): Effect.fn.Return<void, AgentError.AgentError> {
  const { client, directory } = use
  const mentions = input.parts.flatMap((part) => part._tag === "Mention" ? [part.agent] : [])
  if (mentions.length > 0) {
    const known = (yield* modes(client, directory)).filter((mode) => mode.mentionable).map((mode) => mode.id)
    const unknown = mentions.find((name) => !known.includes(name))
    if (unknown !== undefined) {
      return yield* invalid("prompt.parts", `There is no subagent "${unknown}" here. There are: ${list(known)}.`)
    }
  }
  let model = use.model
  const asked = input.parts.find((part) => part._tag === "Command")
  if (asked !== undefined) {
    const known = yield* client.commands(directory)
    const found = known.find((command) => command.name === asked.name)
    if (found === undefined) {
      const names = list(known.map((command) => command.name))
      return yield* invalid("prompt.parts", `There is no command "${asked.name}" here. There are: ${names}.`)
    }
    if (use.serverDirectory !== directory && (commandOf(found).runs ?? []).length > 0) {
      return yield* AgentError.make(
        new AgentError.Unsupported({
          operation: `the command "${asked.name}" here`,
          provider: "opencode",
          description: "Its text holds shell commands, and OpenCode runs these in the directory of its server process "
            + `(${use.serverDirectory ?? "which is not known"}), not in the session's`
        }),
        { provider: "opencode" }
      )
    }
    model = found.model ?? model
  }
  const types = input.parts.flatMap((part) =>
    (part._tag === "Image" || part._tag === "File") && part.mediaType !== "text/plain" ? [part.mediaType ?? ""] : []
  )
  if (types.length === 0) return
  const chosen = yield* modelInUse({ ...use, model })
  const found = chosen === undefined ? undefined : findModel(yield* client.providers(directory), chosen)
  // What is not known of a model is left to the model.
  const takes = found?.capabilities?.input
  for (const type of types) {
    const can = type === "application/pdf" ? takes?.pdf : takes?.image
    if (can !== false) continue
    return yield* AgentError.make(
      new AgentError.Unsupported({
        operation: `${type === "application/pdf" ? "a PDF" : "an image"} in a prompt to ${chosen}`,
        provider: "opencode"
      }),
      { provider: "opencode" }
    )
  }
})
