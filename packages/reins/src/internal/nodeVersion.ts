/** Looks at the version of Node before anything is loaded that an old one cannot read. */
import type { ErrorInfo } from "../Model.ts"

const needed = "22.19.0"

/** What to tell the user of a Node that is too old; nothing when it will do. */
export const complaint = (version: string): ErrorInfo | undefined => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  if (major > 22 || (major === 22 && minor >= 19)) return undefined
  return {
    _tag: "UnsupportedVersion",
    message: `Reins needs Node ${needed} or newer, and this is Node ${version}.`,
    advice: "Install Node 22 or newer (nodejs.org has it) and start again.",
    retryable: false,
    facts: { found: version, supported: `>=${needed}` }
  }
}
