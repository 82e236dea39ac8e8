/** How Codex is made to ask about what a policy would not accept outright. */
import * as ApprovalPolicy from "@reins/core/ApprovalPolicy"
import type { Json } from "effect/Schema"

/** What a thread works under, in the words of `thread/start` and of `turn/start`. */
export interface Mode {
  readonly approvalPolicy: string
  readonly sandbox: string
  readonly sandboxPolicy: Json
}

/** Nothing is asked and nothing is held back. */
const everything: Mode = {
  approvalPolicy: "never",
  sandbox: "danger-full-access",
  sandboxPolicy: { type: "dangerFullAccess" }
}

/**
 * Every command and every patch is asked about. What is accepted runs in the sandbox first; it may write in the directory
 * there, so that what was accepted need not run twice.
 */
const asking: Mode = {
  approvalPolicy: "untrusted",
  sandbox: "workspace-write",
  sandboxPolicy: { type: "workspaceWrite" }
}

export const modeOf = (policy: ApprovalPolicy.ApprovalPolicy): Mode =>
  ApprovalPolicy.acceptsAll(policy) ? everything : asking
