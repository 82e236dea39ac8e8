/** Sends prompts: as messages, or as commands by the route that OpenCode has for these. */
import type * as AgentError from "@reins/core/AgentError"
import type { Submission } from "@reins/core/Provider"
import type { Signal } from "@reins/core/Signal"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OpenCodeClient } from "../OpenCodeClient.ts"
import * as catalogue from "./catalogue.ts"
import * as parts from "./parts.ts"

/** What the next turns use. */
export interface Choice {
  readonly model: string | undefined
  readonly mode: string | undefined
  readonly variant: string | undefined
}

export interface Submitter {
  readonly submit: (submission: Submission, choice: Choice) => Effect.Effect<void, AgentError.AgentError>
  /** Watches the signals for commands that have arrived. */
  readonly watch: (
    signals: Stream.Stream<Signal, AgentError.AgentError>
  ) => Stream.Stream<Signal, AgentError.AgentError>
}

interface Running {
  readonly arrived: Deferred.Deferred<void>
  readonly answered: Deferred.Deferred<void, AgentError.AgentError>
}

/** Commands run for as long as the scope lives; the agent goes on with one whose caller has gone. */
export const make = (client: OpenCodeClient, sessionID: string, scope: Scope.Scope): Submitter => {
  const running = new Map<string, Running>()

  const stored = (key: string) => Effect.map(client.message(sessionID, key), Option.isSome)

  /**
   * The route answers when the turn is over. That the command has arrived shows in the message of our key, on the stream
   * that told it. The text of that message comes from the command's template, in a part without an id of ours: a
   * repetition would add it again, so what the conversation has is not sent again.
   */
  const runCommand = Effect.fnUntraced(function*(
    { attempt, input, key }: Submission,
    command: { readonly name: string; readonly arguments: string },
    choice: Choice
  ): Effect.fn.Return<void, AgentError.AgentError> {
    const known = running.get(key)
    const call: Running = known ?? { arrived: Deferred.makeUnsafe(), answered: Deferred.makeUnsafe() }
    if (known === undefined) {
      if (attempt > 1 && (yield* stored(key))) return
      const files = parts.beside(key, input)
      running.set(key, call)
      yield* client.runCommand(sessionID, {
        messageID: key,
        command: command.name,
        arguments: command.arguments,
        ...(choice.model === undefined ? undefined : { model: choice.model }),
        ...(choice.mode === undefined ? undefined : { agent: choice.mode }),
        ...(choice.variant === undefined ? undefined : { variant: choice.variant }),
        ...(files.length === 0 ? undefined : { parts: files })
      }).pipe(
        Effect.onExit((exit) => {
          running.delete(key)
          return Deferred.done(call.answered, exit)
        }),
        Effect.exit,
        Effect.forkIn(scope, { startImmediately: true })
      )
    }
    yield* Effect.raceFirst(Deferred.await(call.arrived), Deferred.await(call.answered))
  })

  return {
    submit: Effect.fnUntraced(function*(submission, choice) {
      const { attempt, input, key } = submission
      const command = parts.commandOf(input)
      if (command !== undefined) return yield* runCommand(submission, command, choice)
      const again = attempt > 1 && input.parts.some((part) => part._tag === "File") && (yield* stored(key))
      yield* client.promptAsync(sessionID, {
        messageID: key,
        parts: parts.of(key, input, again),
        ...(choice.model === undefined ? undefined : { model: catalogue.splitModel(choice.model) }),
        ...(choice.mode === undefined ? undefined : { agent: choice.mode }),
        ...(choice.variant === undefined ? undefined : { variant: choice.variant })
      })
    }),
    watch: Stream.mapArray((signals) => {
      if (running.size > 0) {
        for (const signal of signals) {
          const call = signal._tag === "prompt" ? running.get(signal.key) : undefined
          if (call !== undefined) Deferred.doneUnsafe(call.arrived, Effect.void)
        }
      }
      return signals
    })
  }
}
