/**
 * The conformance suite: what every adapter has to keep, whatever its agent is.
 *
 * Each clause is a value with a name and an effect, so that any test runner can run it; `run` runs them all and reports.
 * A clause that needs what the agent or the wire cannot do is `notApplicable` and says why: it is never passed in silence.
 *
 * @since 0.1.0
 */
import type * as AgentError from "@reins/core/AgentError"
import type { Capabilities } from "@reins/core/Capabilities"
import type { SessionId } from "@reins/core/Ids"
import type { Session } from "@reins/core/Session"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as capabilities from "./internal/conformance/capabilities.ts"
import * as cuts from "./internal/conformance/cuts.ts"
import * as failing from "./internal/conformance/failing.ts"
import * as restarts from "./internal/conformance/restarts.ts"
import * as stops from "./internal/conformance/stops.ts"
import * as told from "./internal/conformance/told.ts"
import * as turns from "./internal/conformance/turns.ts"
import * as wires from "./internal/conformance/wires.ts"

/**
 * Prompts by which the agent does what a clause needs. Each gives the text of a prompt; what the agent cannot be made to
 * do is absent.
 *
 * @category models
 * @since 0.1.0
 */
export interface ScriptedAgent {
  /** It says these pieces, one after the other, and is done. */
  readonly say: (pieces: ReadonlyArray<string>) => string
  /** It says this and goes on until it is stopped. */
  readonly hold: (text: string) => string
  /** It asks before it runs something, says `text` when that was accepted, and is done. */
  readonly ask?: (text: string) => string
  /**
   * It runs a tool that prints this at once and goes on until it is stopped. Where it asks before, it is told to go on.
   */
  readonly work?: (text: string) => string
  /** It fails with an error of its model, and is done. */
  readonly fail?: () => string
}

/**
 * What can be done to the wire between the adapter and its agent, and to the agent itself. What cannot be done is absent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wire {
  /** Breaks the connections that are open. */
  readonly cut?: Effect.Effect<void>
  /** Breaks the connection that tells events after its n-th frame from now on, once; in force until the scope closes. */
  readonly cutAfter?: (n: number) => Effect.Effect<void, never, Scope.Scope>
  /** Ends the connections that are open as an agent does that says goodbye. */
  readonly end?: Effect.Effect<void>
  /**
   * Nothing passes any more, and nobody says so, until the effect that is given is run. The sessions of the subject have to
   * notice a wire that is dead for good within 45 seconds: by a heartbeat of the adapter, or by short `Sessions.Limits`.
   */
  readonly stall?: Effect.Effect<Effect.Effect<void>>
  /** What is told from now on is told twice where it may be, until the scope closes. */
  readonly repeat?: Effect.Effect<void, never, Scope.Scope>
  /** What may come in any order comes in another one, until the scope closes. */
  readonly reorder?: Effect.Effect<void, never, Scope.Scope>
  /** The agent says something that no adapter knows. */
  readonly unknown?: Effect.Effect<void>
  /** Ends the agent as SIGKILL does. */
  readonly kill?: Effect.Effect<void>
}

/**
 * An adapter under test, with its agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly capabilities: Capabilities
  /** A session of its own for each clause, under the policy `askAlways`; it closes with the scope. */
  readonly open: Effect.Effect<Session, AgentError.AgentError, Scope.Scope>
  readonly agent: ScriptedAgent
  readonly wire?: Wire
  /**
   * What works for sessions now, one line each: tools that run, turns where they can be told, processes of a `host` that
   * has ended. It has to name a tool that runs, and to be empty soon after its session has closed.
   */
  readonly leftovers?: Effect.Effect<ReadonlyArray<string>>
  /**
   * Opens a session in a host of its own, or goes on with the one of this id. The host ends with the scope; all hosts of a
   * subject have one store, with a journal, and one agent.
   */
  readonly host?: (id?: SessionId) => Effect.Effect<Session, AgentError.AgentError, Scope.Scope>
  /** Why something is absent, by its name: what the clauses that need it are not applicable for. */
  readonly lacks?: Lacks
}

/**
 * Why a subject cannot give something, by its name.
 *
 * @category models
 * @since 0.1.0
 */
export type Lacks = Readonly<Partial<Record<keyof ScriptedAgent | keyof Wire | "leftovers" | "host", string>>>

/**
 * Why an adapter does not conform.
 *
 * @category errors
 * @since 0.1.0
 */
export class Violation extends Data.TaggedError("Violation")<{ readonly message: string }> {}

/**
 * What the subject lacks for a clause.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotApplicable extends Data.TaggedError("NotApplicable")<{ readonly message: string }> {}

/**
 * One thing that an adapter has to keep. `law` is the number of the law that it stands for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clause {
  readonly name: string
  readonly group: "turns" | "stops" | "wire" | "cuts" | "failures" | "restarts" | "capabilities"
  readonly law?: number
  /** Bounded: a clause that takes too long is violated. */
  readonly run: Effect.Effect<void, Violation | NotApplicable>
}

/**
 * How the suite is run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Cuts at every n-th frame boundary only. Default 1: at each. */
  readonly every?: number
  /** How long one clause may take: 60 seconds, and as long for each ten cuts. */
  readonly limit?: Duration.Input
}

/**
 * The clauses for a subject, which is made anew for each.
 *
 * @category constructors
 * @since 0.1.0
 */
export const clauses = (
  subject: Effect.Effect<Subject, AgentError.AgentError, Scope.Scope>,
  options: Options = {}
): ReadonlyArray<Clause> => {
  const limit = Duration.toMillis(Duration.fromInputUnsafe(options.limit ?? "60 seconds"))
  return [
    ...turns.clauses,
    ...told.clauses,
    ...stops.clauses,
    ...wires.clauses,
    ...cuts.clauses(options.every ?? 1),
    ...failing.clauses,
    ...restarts.clauses,
    ...capabilities.clauses
  ].map(({ body, factor = 1, ...clause }) => ({
    ...clause,
    run: Effect.scoped(Effect.flatMap(subject, body)).pipe(
      Effect.timeoutOrElse({
        duration: limit * factor,
        orElse: () => Effect.fail(new Violation({ message: `it does not end within ${limit * factor} ms` }))
      }),
      Effect.catchTag("AgentError", (error) => Effect.fail(new Violation({ message: error.message }))),
      Effect.catchDefect((defect) => Effect.fail(new Violation({ message: `it died: ${String(defect)}` })))
    )
  }))
}

/**
 * What became of each clause.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly passed: ReadonlyArray<string>
  readonly failed: ReadonlyArray<{ readonly clause: string; readonly why: string }>
  readonly notApplicable: ReadonlyArray<{ readonly clause: string; readonly why: string }>
}

/**
 * Runs all clauses, one after the other.
 *
 * @category running
 * @since 0.1.0
 */
export const run = (
  subject: Effect.Effect<Subject, AgentError.AgentError, Scope.Scope>,
  options: Options = {}
): Effect.Effect<Report> =>
  Effect.gen(function*() {
    const passed: Array<string> = []
    const failed: Array<{ readonly clause: string; readonly why: string }> = []
    const notApplicable: Array<{ readonly clause: string; readonly why: string }> = []
    for (const clause of clauses(subject, options)) {
      const result = yield* Effect.result(clause.run)
      if (result._tag === "Success") passed.push(clause.name)
      else {
        const { message: why } = result.failure
        if (result.failure._tag === "NotApplicable") notApplicable.push({ clause: clause.name, why })
        else failed.push({ clause: clause.name, why })
      }
    }
    return { passed, failed, notApplicable }
  })
