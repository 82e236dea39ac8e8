/** The settings of a session: what they are now, and how a change reaches the agent. */
import * as Effect from "effect/Effect"
import * as AgentError from "../AgentError.ts"
import type { ApprovalPolicy } from "../ApprovalPolicy.ts"
import type { Connection, ProviderInstance, Settings as Change } from "../Provider.ts"
import type { CallLimits, Driver } from "./driver.ts"

/** What the next connection is made with. */
export interface Current {
  model: string | undefined
  mode: string | undefined
  variant: string | undefined
}

/** What a connection was made with. */
export interface Used extends Readonly<Current> {
  readonly policy: ApprovalPolicy
}

export interface Settings {
  readonly configure: (change: Change) => Effect.Effect<void, AgentError.AgentError>
  /** What the connection was made with may have changed meanwhile; one that cannot be told hears at the next. */
  readonly catchUp: (connection: Connection, used: Used) => Effect.Effect<void, AgentError.AgentError>
  readonly used: () => Used
}

/** Those that are set. */
export const given = (
  { mode, model, variant }: Readonly<Current>
): { readonly model?: string; readonly mode?: string; readonly variant?: string } => ({
  ...(model === undefined ? undefined : { model }),
  ...(mode === undefined ? undefined : { mode }),
  ...(variant === undefined ? undefined : { variant })
})

const unsupported = (provider: string, operation: string) =>
  AgentError.make(new AgentError.Unsupported({ operation, provider }), { provider })

export const make = (options: {
  readonly current: Current
  readonly driver: Driver
  readonly provider: ProviderInstance
  readonly calls: CallLimits
  readonly context: { readonly provider: string; readonly sessionId: string }
  readonly closed: Effect.Effect<never, AgentError.AgentError>
}): Settings => {
  const { calls, context, current, driver, provider } = options
  const S = driver.state

  const tell = (connection: Connection, change: Change) =>
    driver.callOn(
      connection,
      (connection) => connection.configure?.(change) ?? Effect.void,
      calls.call,
      "a change of its settings"
    )

  const used = (): Used => ({ ...current, policy: S.policy })

  const catchUp: Settings["catchUp"] = (connection, before) =>
    Effect.suspend(() => {
      const now = used()
      if (connection.configure === undefined) return Effect.void
      const sameModel = now.model === before.model && now.variant === before.variant
      if (sameModel && now.mode === before.mode && now.policy === before.policy) return Effect.void
      return Effect.andThen(
        tell(connection, {
          ...(sameModel || now.model === undefined ? undefined : { model: now.model }),
          ...(sameModel || now.variant === undefined ? undefined : { variant: now.variant }),
          ...(now.mode === before.mode || now.mode === undefined ? undefined : { mode: now.mode }),
          ...(now.policy === before.policy ? undefined : { policy: now.policy })
        }),
        catchUp(connection, now)
      )
    })

  const configure: Settings["configure"] = (change) =>
    Effect.gen(function*() {
      if (S.phase === "closing" || S.phase === "closed") return yield* options.closed
      if (change.model !== undefined && !provider.capabilities.setModel) {
        return yield* unsupported(provider.id, "changing the model")
      }
      if (change.mode !== undefined && !provider.capabilities.setMode) {
        return yield* unsupported(provider.id, "changing the mode")
      }
      if (change.variant !== undefined && !provider.capabilities.setModel) {
        return yield* unsupported(provider.id, "choosing a variant of the model")
      }
      if (change.title !== undefined && !provider.capabilities.setTitle) {
        return yield* unsupported(provider.id, "setting a title")
      }
      const connection = driver.connection
      if (change.title !== undefined && connection === undefined) {
        return yield* AgentError.make(
          new AgentError.ConnectionLost({
            target: provider.id,
            description: "A title is kept by the agent, and there is no connection to it."
          }),
          context
        )
      }
      if (connection?.configure !== undefined) yield* tell(connection, change)
      if (change.policy !== undefined) driver.dispatch([{ _tag: "policy", policy: change.policy }])
      if (change.model === undefined && change.mode === undefined && change.variant === undefined) return
      if (change.model !== undefined || change.variant !== undefined) current.variant = change.variant
      current.model = change.model ?? current.model
      current.mode = change.mode ?? current.mode
      driver.dispatch([{
        _tag: "configured",
        ...(change.model === undefined ? undefined : { model: change.model }),
        ...(change.mode === undefined ? undefined : { mode: change.mode }),
        ...(change.variant === undefined ? undefined : { variant: change.variant })
      }])
    })

  return { catchUp, configure, used }
}
