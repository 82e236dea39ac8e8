/**
 * Pure half of `ProcessTree`: what the operating system prints about processes, and who belongs to whom.
 */

/** One living process. `startTime` is only comparable with another `startTime` of the same machine. */
export interface ProcessRow {
  readonly pid: number
  readonly startTime: number
  readonly ppid: number
  readonly pgid: number
  readonly sid: number
}

/**
 * Reads one `/proc/<pid>/stat`. The command name is in parentheses and may itself hold parentheses, spaces and
 * newlines, so the fields are counted from the last closing one. A zombie is dead: it runs nothing, and only waits to
 * be reaped by a parent that may never do so.
 */
export const parseStat = (text: string): ProcessRow | undefined => {
  const open = text.indexOf("(")
  const close = text.lastIndexOf(")")
  if (open < 0 || close < open) return undefined
  const fields = text.slice(close + 2).split(" ")
  const state = fields[0]
  if (state === undefined || state === "Z" || state === "X" || state === "x") return undefined
  return row(text.slice(0, open), fields[1], fields[2], fields[3], fields[19])
}

/** Reads `ps -o pid=,ppid=,pgid=,sess=,stat=,lstart=`, with the start time to the second. */
export const parsePs = (text: string): ReadonlyArray<ProcessRow> => {
  const rows: Array<ProcessRow> = []
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/)
    const state = fields[4]
    if (state === undefined || state.startsWith("Z")) continue
    const started = Date.parse(fields.slice(5).join(" "))
    // Where `sess` is a pointer or 0 it names no session: 0 matches nothing.
    const sid = /^\d+$/.test(fields[3] ?? "") ? fields[3] : "0"
    const parsed = row(fields[0], fields[1], fields[2], sid, String(started))
    if (parsed !== undefined) rows.push(parsed)
  }
  return rows
}

const row = (...fields: ReadonlyArray<string | undefined>): ProcessRow | undefined => {
  const [pid, ppid, pgid, sid, startTime] = fields.map(Number)
  if (
    pid === undefined || ppid === undefined || pgid === undefined || sid === undefined || startTime === undefined ||
    ![pid, ppid, pgid, sid, startTime].every(Number.isSafeInteger) || pid <= 0
  ) return undefined
  return { pid, startTime, ppid, pgid, sid }
}

/**
 * All living processes that descend from `root`, without `root`: by parent, and by the sessions and groups that the
 * root and what was `collected` before lead or led, which still name a child whose own parent has ended.
 * `self` is the host, which is never a member, nor is what only shares the host's session or group.
 */
export const membersOf = (
  table: ReadonlyMap<number, ProcessRow>,
  root: { readonly pid: number; readonly startTime?: number | undefined },
  collected: ReadonlyArray<ProcessRow>,
  self: number
): ReadonlyArray<ProcessRow> => {
  const host = table.get(self)
  const known = new Map(collected.map((member) => [member.pid, member.startTime]))
  if (root.startTime !== undefined) known.set(root.pid, root.startTime)
  const members = new Map<number, ProcessRow>()
  const sids = new Set<number>()
  const pgids = new Set<number>()

  // A session or group id is in use as long as it has a member, even after its leader ended. The id stands for ours
  // unless a leader with that pid lives that we do not know: then the number was given out again.
  const claim = (ids: Set<number>, id: number, hostId: number | undefined) => {
    if (id <= 1 || id === hostId) return
    const leader = table.get(id)
    const startTime = known.get(id)
    if (leader === undefined || startTime === leader.startTime) ids.add(id)
  }

  const living = table.get(root.pid)
  const rootLives = living !== undefined && (root.startTime === undefined || root.startTime === living.startTime)
  if (rootLives) known.set(root.pid, living.startTime)
  claim(sids, root.pid, host?.sid)
  claim(pgids, root.pid, host?.pgid)
  for (const member of collected) {
    claim(sids, member.sid, host?.sid)
    claim(pgids, member.pgid, host?.pgid)
    const same = table.get(member.pid)
    if (same !== undefined && same.startTime === member.startTime) members.set(same.pid, same)
  }

  let grew = true
  while (grew) {
    grew = false
    for (const process of table.values()) {
      if (members.has(process.pid) || process.pid === root.pid || process.pid === self || process.pid <= 1) continue
      const belongs = members.has(process.ppid) || (rootLives && process.ppid === root.pid) ||
        sids.has(process.sid) || pgids.has(process.pgid)
      if (!belongs) continue
      grew = true
      members.set(process.pid, process)
      if (process.sid === process.pid) sids.add(process.pid)
      if (process.pgid === process.pid) pgids.add(process.pid)
    }
  }
  members.delete(root.pid)
  members.delete(self)
  return [...members.values()]
}
