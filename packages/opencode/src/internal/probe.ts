/** Whether an agent can be used, found out without a turn. */
import type * as AgentError from "@reins/core/AgentError"
import type { Probe } from "@reins/core/Provider"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import type { Live } from "../OpenCodeServer.ts"
import type { ModelProviders } from "../OpenCodeSchema.ts"

/** A start included; then what is known by then is told. */
const limit = 60_000
/** It takes half a second on an idle machine. */
const versionLimit = 10_000
const maxVersion = 1_000

/** What `Probe` says besides what is known of the binary. */
type Said = Omit<Probe, "binary" | "installed">

/** Asks a server that answers; fails where none can be had. */
type Ask = (use: (live: Live) => Effect.Effect<Said>) => Effect.Effect<Said, AgentError.AgentError>

const partsOf = (version: string): ReadonlyArray<number> | undefined => {
  const found = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(version)
  return found?.slice(1, 4).map((part) => Number(part ?? 0))
}

/** A version against the one that is tested; a build of a version counts as that version. */
export const supportOf = (version: string | undefined, tested: string): Probe["support"] => {
  const found = version === undefined ? undefined : partsOf(version)
  const known = partsOf(tested)
  if (found === undefined || known === undefined) return "unknown"
  for (const [index, part] of known.entries()) {
    const other = found[index] ?? 0
    if (other !== part) return other < part ? "older" : "newer"
  }
  return "tested"
}

const versionAdvice = (version: string | undefined, tested: string): string | undefined => {
  if (version !== undefined && partsOf(version)?.[0] !== partsOf(tested)?.[0]) {
    return `OpenCode ${version} speaks another protocol: use a release of the 1.x line, such as ${tested}.`
  }
  switch (supportOf(version, tested)) {
    case "tested":
      return undefined
    case "older":
      return `OpenCode ${version} is older than ${tested}, which is tested: update it if something does not work.`
    case "newer":
      return `OpenCode ${version} is newer than ${tested}, which is tested: it may have changed what Reins relies on.`
    case "unknown":
      return `The version of OpenCode could not be told; ${tested} is tested.`
  }
}

/** What its own hosted models are called with: it belongs to nobody. */
const isPublic = (provider: ModelProviders["providers"][number]): boolean =>
  provider.id === "opencode" && provider.options?.["apiKey"] === "public"

const signIn = "No model provider is signed in: use `opencode auth login`, or set the key of one in the environment."

const authOf = (offer: ModelProviders): Pick<Probe, "advice" | "auth"> =>
  offer.providers.some((provider) => !isPublic(provider)) ? { auth: "ok" } : { auth: "missing", advice: signIn }

const joined = (...advice: ReadonlyArray<string | undefined>): { readonly advice?: string } => {
  const said = advice.filter((one) => one !== undefined)
  return said.length === 0 ? {} : { advice: said.join(" ") }
}

/** What a server that answers says of itself. */
const ofServer = (live: Live, directory: string, tested: string): Effect.Effect<Said> =>
  Effect.map(
    Effect.match(live.client.providers(directory), {
      onFailure: (error): Pick<Probe, "advice" | "auth"> => ({ auth: "unknown", ...adviceOf(error) }),
      onSuccess: authOf
    }),
    ({ advice, auth }) => ({
      version: live.version,
      support: supportOf(live.version, tested),
      protocol: "http",
      auth,
      ...joined(versionAdvice(live.version, tested), advice)
    })
  )

const adviceOf = (error: AgentError.AgentError): { readonly advice: string } => ({
  advice: `${error.message} ${error.advice}`
})

/** What `--version` prints; nothing where the program does not say it. */
export const versionOf = (
  binary: string,
  env: Readonly<Record<string, string>>
): Effect.Effect<string | undefined, never, ChildProcessSpawner> =>
  Effect.scoped(Effect.gen(function*() {
    const spawner = yield* ChildProcessSpawner
    const handle = yield* spawner.spawn(ChildProcess.make(binary, ["--version"], {
      env: { ...env, OPENCODE_DISABLE_AUTOUPDATE: "1" },
      extendEnv: true,
      stdin: "ignore",
      stderr: "ignore",
      killSignal: "SIGTERM",
      forceKillAfter: "1 second"
    }))
    const said = yield* Stream.runFold(
      Stream.decodeText(handle.stdout),
      () => "",
      (text, chunk) => text.length > maxVersion ? text : text + chunk
    )
    return /\d+\.\d+\.\d+\S*/.exec(said)?.[0]
  })).pipe(
    Effect.timeoutOrElse({ duration: versionLimit, orElse: () => Effect.undefined }),
    Effect.catchCause(() => Effect.undefined)
  )

const bounded = (probe: Effect.Effect<Probe>, otherwise: Probe): Effect.Effect<Probe> =>
  probe.pipe(
    Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.succeed(otherwise) }),
    Effect.catchCause(() => Effect.succeed(otherwise))
  )

/** A binary of ours: its version, and what its server says when it is started. */
export const ofBinary = (options: {
  readonly find: Effect.Effect<{ readonly path: string }, AgentError.AgentError>
  readonly version: (binary: string) => Effect.Effect<string | undefined>
  readonly ask: Ask
  readonly directory: string
  readonly tested: string
}): Effect.Effect<Probe> =>
  bounded(
    Effect.matchEffect(options.find, {
      onFailure: (error) =>
        Effect.succeed<Probe>({ installed: false, support: "unknown", auth: "unknown", ...adviceOf(error) }),
      onSuccess: ({ path }) =>
        Effect.flatMap(options.version(path), (version) =>
          Effect.match(
            options.ask((live) => ofServer(live, options.directory, options.tested)),
            {
              onSuccess: (said): Probe => ({ installed: true, binary: path, ...said }),
              onFailure: (error): Probe => ({
                installed: true,
                binary: path,
                ...(version === undefined ? undefined : { version }),
                support: supportOf(version, options.tested),
                protocol: "http",
                auth: "unknown",
                ...joined(versionAdvice(version, options.tested), adviceOf(error).advice)
              })
            }
          ))
    }),
    { installed: true, support: "unknown", auth: "unknown", advice: "OpenCode did not answer in time." }
  )

/** A server of others. */
export const ofAddress = (options: {
  readonly ask: Ask
  readonly directory: string
  readonly tested: string
}): Effect.Effect<Probe> =>
  bounded(
    Effect.match(options.ask((live) => ofServer(live, options.directory, options.tested)), {
      onSuccess: (said): Probe => ({ installed: true, ...said }),
      onFailure: (error): Probe => {
        const { reason } = error
        const version = reason._tag === "UnsupportedVersion" && /\d/.test(reason.found) ? reason.found : undefined
        return {
          // Something answers there that is OpenCode, though it cannot be used as it is.
          installed: version !== undefined || reason._tag === "AuthRequired",
          ...(version === undefined ? undefined : { version }),
          support: supportOf(version, options.tested),
          auth: reason._tag === "AuthRequired" ? "missing" : "unknown",
          ...adviceOf(error)
        }
      }
    }),
    { installed: false, support: "unknown", auth: "unknown", advice: "Nothing answered at the address in time." }
  )
