/**
 * How long OpenCode waits for a model: for the head of its answer, and between two pieces of it. Its own default is
 * 300 s for each, six times over before it gives a turn up.
 */
import * as Predicate from "effect/Predicate"
import * as jsonc from "./jsonc.ts"

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  Predicate.isObject(value) && !Array.isArray(value)

/**
 * The caller's `OPENCODE_CONFIG_CONTENT` with the time-outs of the providers that it defines itself, those with a
 * package. OpenCode merges this configuration last: at a provider that it only mentions, ours would win over what the
 * user's own files say, and at one that it does not mention they would make the provider count as configured.
 */
export const withTimeouts = (content: string | undefined, millis: number | undefined): string | undefined => {
  if (content === undefined || millis === undefined) return content
  let config: unknown
  try {
    config = jsonc.parse(content)
  } catch {
    // The agent itself reports what is wrong with it, with the place.
    return content
  }
  if (!isObject(config) || !isObject(config["provider"])) return content
  const provider = Object.fromEntries(
    Object.entries(config["provider"]).map(([id, value]) => {
      if (!isObject(value) || typeof value["npm"] !== "string") return [id, value]
      const options = isObject(value["options"]) ? value["options"] : {}
      return [id, { ...value, options: { headerTimeout: millis, chunkTimeout: millis, ...options } }]
    })
  )
  return JSON.stringify({ ...config, provider })
}
