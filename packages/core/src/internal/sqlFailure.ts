/** What a failure of a database means for people. */
import type { SqlError } from "effect/sql/SqlError"
import * as AgentError from "../AgentError.ts"
import type { SessionId } from "../Ids.ts"

/** SQLite's own codes; another database says what it has to say in its message. */
const meaning: Readonly<Record<number, string>> = {
  3: "this user may not use it; change its permissions",
  5: "another program holds it; close that one or try again",
  6: "another program holds it; close that one or try again",
  8: "it cannot be written to: the file, its directory or its disk is read-only",
  10: "the disk reports an error; look at it before anything else",
  11:
    "it is damaged; move the file away (or restore a copy): agents keep their own conversations, which can be adopted",
  13: "the disk is full; make room",
  14: "it cannot be opened; does its directory exist?",
  26: "it is no database; name another file"
}

const codeOf = (cause: unknown): number => {
  if (typeof cause !== "object" || cause === null || !("errcode" in cause)) return 0
  return typeof cause.errcode === "number" ? cause.errcode & 0xff : 0
}

export const make = (error: SqlError, operation: string, options: {
  readonly path?: string | undefined
  readonly sessionId?: SessionId | undefined
} = {}): AgentError.AgentError =>
  AgentError.make(
    new AgentError.StoreFailed({
      operation,
      cause: error,
      description: meaning[codeOf(error.reason.cause)] ?? error.reason.message ?? error.message,
      ...(options.path === undefined ? undefined : { path: options.path })
    }),
    { sessionId: options.sessionId }
  )

/** What was read is not what was written. */
export const damaged = (operation: string, description: string, options: {
  readonly path?: string | undefined
  readonly sessionId?: SessionId | undefined
  readonly cause?: unknown
}): AgentError.AgentError =>
  AgentError.make(
    new AgentError.StoreFailed({
      operation,
      description,
      ...(options.cause === undefined ? undefined : { cause: options.cause }),
      ...(options.path === undefined ? undefined : { path: options.path })
    }),
    { sessionId: options.sessionId }
  )
