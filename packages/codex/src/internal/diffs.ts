/** A diff of several files, as `git diff` writes it, file by file. */
import type { FileChange } from "@reins/core/Item"

const header = /^diff --git a\/(.*) b\/(.*)$/

/** Git writes a path with other than plain characters in quotes; such a one stays as it is written. */
const pathsOf = (line: string): readonly [from: string, to: string] | undefined => {
  const found = header.exec(line)
  return found === null ? undefined : [found[1] ?? "", found[2] ?? ""]
}

const changeOf = (lines: ReadonlyArray<string>): FileChange["change"] => {
  for (const line of lines) {
    if (line.startsWith("@@")) break
    if (line.startsWith("new file mode")) return "added"
    if (line.startsWith("deleted file mode")) return "deleted"
    if (line.startsWith("rename to ")) return "moved"
  }
  return "updated"
}

/** The files of a diff; what is no diff has none. */
export const parse = (diff: string): ReadonlyArray<FileChange> => {
  const files: Array<FileChange> = []
  let paths: readonly [string, string] | undefined
  let lines: Array<string> = []
  const end = () => {
    if (paths === undefined) return
    const [from, to] = paths
    const change = changeOf(lines)
    let additions = 0
    let deletions = 0
    let inHunk = false
    for (const line of lines) {
      if (line.startsWith("@@")) inHunk = true
      else if (inHunk && line.startsWith("+")) additions++
      else if (inHunk && line.startsWith("-")) deletions++
    }
    files.push({
      path: change === "moved" ? from : to,
      change,
      ...(change === "moved" ? { movedTo: to } : undefined),
      diff: lines.join("\n"),
      additions,
      deletions
    })
  }
  for (const line of diff.split("\n")) {
    const next = pathsOf(line)
    if (next !== undefined) {
      end()
      paths = next
      lines = [line]
    } else if (paths !== undefined) lines.push(line)
  }
  end()
  return files
}
