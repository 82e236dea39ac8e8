/**
 * The agents that a host has configured, by the names that it gave them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AgentError from "./AgentError.ts"
import type { Provider, ProviderInstance } from "./Provider.ts"

/**
 * Finds a configured provider by its name.
 *
 * @category services
 * @since 0.1.0
 */
export class Providers extends Context.Service<Providers, {
  readonly get: (id: string) => Effect.Effect<ProviderInstance, AgentError.AgentError>
  readonly list: ReadonlyArray<ProviderInstance>
}>()("@reins/core/Providers") {}

type Needs<P> = P extends Provider<infer R> ? R : never

/**
 * Builds the providers of a host; several of one kind may stand side by side under different names.
 * Their servers belong to the scope of this layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const P extends Readonly<Record<string, Provider<unknown>>>>(
  providers: P
): Layer.Layer<Providers, never, Needs<P[keyof P]>> =>
  Layer.effect(
    Providers,
    Effect.gen(function*() {
      const instances = new Map<string, ProviderInstance>()
      for (const [id, provider] of Object.entries(providers)) {
        instances.set(id, yield* (provider as Provider<Needs<P[keyof P]>>).make(id))
      }
      return Providers.of({
        list: [...instances.values()],
        get: (id) => {
          const instance = instances.get(id)
          return instance === undefined
            ? Effect.fail(AgentError.make(
              new AgentError.InvalidRequest({
                field: "provider",
                description: `No provider is configured under the name "${id}". Configured: ${
                  [...instances.keys()].join(", ") || "none"
                }.`
              })
            ))
            : Effect.succeed(instance)
        }
      })
    })
  )
