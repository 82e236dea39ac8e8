/** The errors of SQLite as those of `effect/sql`. */
import * as SqlError from "effect/sql/SqlError"

/** What crosses from the thread of a database. */
export interface Told {
  readonly message: string
  readonly code?: string | undefined
  readonly errcode?: number | undefined
  readonly errstr?: string | undefined
}

export const fromTold = ({ message, ...told }: Told): Error => Object.assign(new Error(message), told)

/** `node:sqlite` names the code of an error `errcode`; Effect reads `errno`. */
export const make = (cause: unknown, operation: string): SqlError.SqlError => {
  if (typeof cause === "object" && cause !== null && "errcode" in cause && !("errno" in cause)) {
    Object.assign(cause, { errno: cause.errcode })
  }
  const message = cause instanceof Error ? cause.message : "The statement failed"
  return new SqlError.SqlError({ reason: SqlError.classifySqliteError(cause, { message, operation }) })
}

/** Only what another attempt can change: not a snapshot that is too old to be written from. */
export const isBusy = (error: SqlError.SqlError): boolean => {
  const { cause } = error.reason
  const code = typeof cause === "object" && cause !== null && "errcode" in cause ? Number(cause.errcode) : 0
  return (code & 0xff) === 5 && code !== 517
}
