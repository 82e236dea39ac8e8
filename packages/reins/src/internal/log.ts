/** The logger of the host: also where Effect's own messages go. */
import * as Cause from "effect/Cause"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { LogFields, ReinsLogger } from "../Reins.ts"

export type Log = (level: keyof ReinsLogger, message: string, fields: LogFields) => void

/** Says it to the host's logger, which cannot harm us. */
export const make = (logger: ReinsLogger | undefined): Log => (level, message, fields) => {
  if (logger === undefined) return
  try {
    const result: unknown = logger[level](message, fields)
    // A logger may be asynchronous although its type does not say so.
    if (result instanceof Promise) result.catch(() => undefined)
  } catch {
    // There is nobody left to tell.
  }
}

const levelOf = (level: LogLevel.LogLevel): keyof ReinsLogger => {
  switch (level) {
    case "Fatal":
    case "Error":
      return "error"
    case "Warn":
      return "warn"
    case "Info":
      return "info"
    default:
      return "debug"
  }
}

const textOf = (part: unknown): string => {
  if (typeof part === "string") return part
  if (part instanceof Error) return part.message
  try {
    return JSON.stringify(part) ?? String(part)
  } catch {
    return String(part)
  }
}

/** Effect's loggers replaced by the host's; without one all is silent. */
export const layer = (log: Log | undefined): Layer.Layer<never> =>
  log === undefined ? Logger.layer([]) : Layer.merge(
    Logger.layer([
      Logger.make(({ cause, date, fiber, logLevel, message }) => {
        const parts: ReadonlyArray<unknown> = Array.isArray(message) ? message : [message]
        log(levelOf(logLevel), parts.map(textOf).join(" "), {
          ...fiber.getRef(References.CurrentLogAnnotations),
          at: date.getTime(),
          ...(cause.reasons.length === 0 ? undefined : { error: Cause.squash(cause) })
        })
      })
    ]),
    Layer.succeed(References.MinimumLogLevel, "Debug")
  )
