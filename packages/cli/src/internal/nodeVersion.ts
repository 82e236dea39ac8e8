/** Looks at the version of Node before anything is loaded that an old one cannot read. */

/** What to tell the user of a Node that is too old; nothing when it will do. */
export const complaint = (version: string, command: string): string | undefined =>
  Number.parseInt(version, 10) >= 22 ? undefined : [
    `${command} needs Node 22 or newer, and this is Node ${version}.`,
    "  What to do: install Node 22 (nodejs.org has it). In the repository `npm start` and `npx reins` bring their own."
  ].join("\n")
