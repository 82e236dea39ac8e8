/**
 * Where symbolic links lead, for policies that judge paths: a link inside the session's directory may leave it.
 * The look-up is synchronous, because a policy decides in the step that sees the request. The runtime's own `fs` is
 * asked for, so that this package imports no platform; where there is none, paths are judged as they are written.
 */
import * as ApprovalPolicy from "../ApprovalPolicy.ts"

interface Links {
  readonly readlinkSync: (path: string) => string
}

const fs = (): Links | undefined => {
  const host = globalThis as { readonly process?: { readonly getBuiltinModule?: (id: string) => Links | undefined } }
  return host.process?.getBuiltinModule?.("node:fs")
}

export const realPath = (): ((path: string) => string | undefined) | undefined => {
  const links = fs()
  return links === undefined ? undefined : ApprovalPolicy.followLinks((path) => {
    try {
      return links.readlinkSync(path)
    } catch {
      return undefined
    }
  })
}
