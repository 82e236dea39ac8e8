/** Looks at the version of Node before anything is loaded that an old one cannot read. */

const needed = "22.19.0"

/** What to tell the user of a Node that is too old; nothing when it will do. */
export const complaint = (version: string, command: string): string | undefined => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major > 22 || (major === 22 && minor >= 19) ? undefined : [
    `${command} needs Node ${needed} or newer, and this is Node ${version}.`,
    "  What to do: install Node 22 (nodejs.org has it). In the repository `npm start` and `npx reins` bring their own."
  ].join("\n")
}
