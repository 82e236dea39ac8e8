/** What a session is told at its opening besides its conversation: the title that it has, and the commands on offer. */
import type * as AgentError from "@reins/core/AgentError"
import type { Command } from "@reins/core/Catalogue"
import type { Signal } from "@reins/core/Signal"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OpenCodeClient } from "../OpenCodeClient.ts"
import * as catalogue from "./catalogue.ts"
import * as normalise from "./normalise.ts"
import type { NormaliserState } from "./state.ts"

/** What an event tells of commands. */
export const shown = (all: ReadonlyArray<Command>) =>
  all.map(({ description, name }) => ({ name, ...(description === undefined ? undefined : { description }) }))

export interface Teller {
  /** Tells the commands of a directory, once for each change that a session has not heard of. */
  readonly commands: (
    client: OpenCodeClient,
    directory: string,
    report: (signal: Signal) => void
  ) => Effect.Effect<void>
  /** Keeps the plan from being told again on the next connection of a session, for as long as the scope lives. */
  readonly plan: (state: NormaliserState, report: (signal: Signal) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Tells first that the conversation got another title while nobody listened. */
  readonly title: (
    state: NormaliserState,
    title: string | undefined,
    known: string | undefined,
    signals: Stream.Stream<Signal, AgentError.AgentError>
  ) => Stream.Stream<Signal, AgentError.AgentError>
}

export const make = (): Teller => {
  const told = new WeakMap<(signal: Signal) => void, string>()
  const plans = new WeakMap<(signal: Signal) => void, string>()
  return {
    plan: (state, report) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          if (!state.planSeen) state.plan = plans.get(report) ?? ""
        }),
        () => Effect.sync(() => plans.set(report, state.plan))
      ),
    commands: (client, directory, report) =>
      catalogue.commands(client, directory).pipe(
        Effect.map((all) => {
          const commands = shown(all)
          const content = JSON.stringify(commands)
          if (told.get(report) === content) return
          told.set(report, content)
          report({ _tag: "commands", commands })
        }),
        // A prompt that names a command asks for the list itself.
        Effect.ignore
      ),
    title: (state, title, known, signals) => {
      if (title === undefined || normalise.isPlaceholder(title)) return signals
      state.title = title
      return title === known ? signals : Stream.concat(Stream.succeed<Signal>({ _tag: "info", title }), signals)
    }
  }
}
