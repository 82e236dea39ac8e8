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

/** Whether a file of settings names a key, in its table or with dots. */
const names = (toml: string, key: string): boolean => {
  const last = key.slice(key.lastIndexOf(".") + 1)
  return new RegExp(String.raw`^[^#\n]*(?:^|[\s.{,"'])${last}["']?\s*=`, "m").test(toml)
}

/** Arguments for what the file does not name. */
export const args = (toml: string): ReadonlyArray<string> =>
  defaults.flatMap(([key, value]) => names(toml, key) ? [] : ["-c", `${key}=${value}`])
