/**
 * Settings that keep a turn from hanging for ever and the agent from calling places that the user did not choose, given on
 * the command line where the user's own file says nothing of them. Nothing is written.
 */

/** Per setting: what Codex does without it (measured on 0.169.0). */
const defaults: ReadonlyArray<readonly [key: string, value: string]> = [
  // A host that cannot be reached is tried for ever otherwise, and the turn never fails.
  ["features.unbounded_connection_retries", "false"],
  // The first thread fetches lists of plugins from GitHub and chatgpt.com otherwise.
  ["features.plugins", "false"]
]

/** The keys and tables of a file of settings, with dots; of an inline table only its own name. */
const namesIn = (toml: string): ReadonlyArray<string> => {
  let table = ""
  return toml.split("\n").flatMap((line) => {
    const header = /^\s*\[+\s*([^\]]+?)\s*\]/.exec(line)?.[1]
    if (header !== undefined) {
      table = plain(header)
      return [table]
    }
    const key = /^\s*([\w.\-"' ]+?)\s*=/.exec(line)?.[1]
    return key === undefined ? [] : [table === "" ? plain(key) : `${table}.${plain(key)}`]
  })
}

const plain = (name: string): string => name.replaceAll(/["'\s]/g, "")

/** Arguments for what the file does not name. */
export const args = (toml: string): ReadonlyArray<string> => {
  const names = new Set(namesIn(toml))
  // Whoever has set up a plugin wants plugins; an inline table of features may hold anything.
  const hasPlugins = [...names].some((name) => name === "plugins" || name.startsWith("plugins."))
  const isInline = /^\s*features\s*=/m.test(toml)
  return defaults.flatMap(([key, value]) =>
    names.has(key) || isInline || (hasPlugins && key === "features.plugins") ? [] : ["-c", `${key}=${value}`]
  )
}
